"""How many points were proposed is kept with each prediction and reported."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from adaptis.evaluation.prediction import predict_image
from adaptis.evaluation.results import PredictionFolder
from adaptis.evaluation.script import count_proposals
from adaptis.inference.predictor import AdaptISPredictor
from tests.strategies import THINGS, SeesWhatIsDrawn

SEGMENTS = [{"id": 1, "category_id": 1, "score": 1}]


def folder_of(path, counts):
    """A data set and a folder of predictions with these numbers of proposals, None or (proposed,
    left out)."""
    folder = PredictionFolder(path, {})
    names = [f"image{i}" for i in range(len(counts))]
    for name, count in zip(names, counts):
        folder.write(name, np.ones((2, 3), int), SEGMENTS, np.zeros((2, 3), int), count)
    return SimpleNamespace(names=names), range(len(counts)), folder


@pytest.mark.parametrize(
    ("counts", "mean", "without", "warns"),
    [
        ([100, 50, 0], 50, 1 / 3, False),
        ([9, 0], 4.5, 0.5, False),
        ([9, 0, 0], 3, 2 / 3, True),
        ([None, 4, 6], 5, 0, False),  # the first was made by random points
    ],
)
def test_mean_and_warning(tmp_path, capsys, counts, mean, without, warns):
    proposals = [count if count is None else (count, 0) for count in counts]
    assert count_proposals(*folder_of(tmp_path, proposals)) == {
        "proposals_per_image": mean,
        "images_without_proposals": pytest.approx(without),
        "images_over_max_proposals": 0,
    }
    assert ("2 of 3 images have no point proposal" in capsys.readouterr().err) == warns


def test_random_points_are_not_proposed(tmp_path):
    assert count_proposals(*folder_of(tmp_path, [None, None])) == {}


def test_peaks_left_out_are_said(tmp_path, capsys):
    counted = count_proposals(*folder_of(tmp_path, [(4, 3), (4, 0), (2, 0), (4, 10)]))
    assert counted["images_over_max_proposals"] == 0.5
    said = capsys.readouterr().err
    assert "2 of 4 images have more point proposals than --max-proposals: 13 in all" in said


class ProposesWhatIsBlue(SeesWhatIsDrawn):
    def proposal_logits(self, image):
        return 2 * image[2] - 2  # of 0, 2 and 3 scores of .01, .78 and .96


class Named(list):
    @property
    def names(self):
        return [sample.name for sample in self]


@pytest.mark.parametrize(("limit", "expected"), [(None, (3, 0)), (2, (2, 1)), (3, (3, 0))])
def test_an_evaluation_counts_them(tmp_path, limit, expected):
    image = np.zeros((5, 13, 3), np.uint8)
    image[..., 0] = THINGS[0]
    for col in (2, 6, 10):
        image[1:4, col - 1 : col + 2, 2] = 2
        image[2, col, 2] = 3
    settings = {"points": "proposals", "peak_threshold": 0.5, "proposal_blur": 1}
    description = SeesWhatIsDrawn.description(**settings, max_proposals=limit)
    predictor = AdaptISPredictor(ProposesWhatIsBlue(), description)
    dataset = Named([SimpleNamespace(name="a", image=image)])
    folder = PredictionFolder(tmp_path, {})
    predict_image(predictor, dataset, folder, 0)
    assert folder.proposals("a") == expected
