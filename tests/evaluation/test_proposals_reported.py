"""How many points were proposed is kept with each prediction and reported."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from adaptis.evaluation.results import PredictionFolder
from adaptis.evaluation.script import count_proposals

SEGMENTS = [{"id": 1, "category_id": 1, "score": 1}]


def folder_of(path, counts):
    """A data set and a folder of predictions with these numbers of proposals."""
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
        ([None, 4, 6], 5, 0, False),  # the first was made by an earlier version
    ],
)
def test_mean_and_warning(tmp_path, capsys, counts, mean, without, warns):
    assert count_proposals(*folder_of(tmp_path, counts)) == {
        "proposals_per_image": mean,
        "images_without_proposals": pytest.approx(without),
    }
    assert ("2 of 3 images have no point proposal" in capsys.readouterr().err) == warns


def test_random_points_are_not_proposed(tmp_path):
    assert count_proposals(*folder_of(tmp_path, [None, None])) == {}
