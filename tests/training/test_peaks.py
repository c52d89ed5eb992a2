"""PQ of one image counted by hand, and the threshold that is chosen of a branch whose peaks are
known."""

from __future__ import annotations

import numpy as np
import pytest

from adaptis.inference.predictor import AdaptISPredictor
from adaptis.training.peaks import Peaks, choose_peaks, pq_of, pq_terms
from datasets.base import Instance, Sample

CLASSES = [
    {"name": "ground", "category_id": 1, "isthing": False},
    {"name": "object", "category_id": 2, "isthing": True},
]


class TestPQTerms:
    void = np.zeros((2, 6), bool)

    def counts(self, found, truth, void=None):
        void = self.void if void is None else np.array(void, bool)
        return pq_terms(np.array(found), np.array(truth), void).tolist()

    def test_all_found(self):
        truth = [[1, 1, 0, 7, 7, 7], [1, 1, 0, 7, 7, 7]]
        found = [[2, 2, 0, 1, 1, 1], [2, 2, 0, 1, 1, 1]]
        assert self.counts(found, truth) == [2, 2, 0, 0]

    def test_one_in_part_one_missed_one_false(self):
        """Of 4 pixels 3 are found, and nothing else: 3/4. Object 7 is found by half: a miss and a
        mistake; so is what is found of nothing."""
        truth = [[1, 1, 0, 7, 7, 0], [1, 1, 0, 0, 0, 0]]
        found = [[2, 2, 0, 1, 0, 0], [2, 0, 0, 0, 0, 3]]
        assert self.counts(found, truth) == [3 / 4, 1, 2, 1]

    def test_void_is_in_no_union(self):
        """Found are the object's 2 pixels and 2 of void; mostly on void, 3 is no mistake."""
        truth, found = [[1, 1, 0, 0, 0, 0]] * 2, [[5, 5, 5, 3, 3, 3]] * 2
        void = [[0, 0, 1, 1, 1, 0]] * 2
        assert self.counts(found, truth, void) == [1, 1, 0, 0]

    def test_half_on_void_is_a_mistake(self):
        found, void = [[0, 0, 0, 0, 3, 3]] * 2, [[0, 0, 0, 0, 1, 0]] * 2
        assert self.counts(found, np.zeros((2, 6), int), void) == [0, 0, 1, 0]

    def test_what_is_under_void_is_no_object(self):
        truth, void = [[9, 9, 0, 0, 0, 0]] * 2, [[1, 1, 0, 0, 0, 0]] * 2
        assert self.counts(np.zeros((2, 6), int), truth, void) == [0, 0, 0, 0]

    def test_nothing(self):
        assert self.counts(np.zeros((2, 6), int), np.zeros((2, 6), int)) == [0, 0, 0, 0]


def test_pq_of_its_terms():
    assert pq_of(1.5, 2, 1, 2) == pytest.approx(1.5 / 3.5)
    assert pq_of(0, 0, 0, 0) == 0


class Cells:
    """A backend for which each cell of 6 x 6 pixels of a picture is an object that any point in it
    finds; in its middle the proposal branch's probability is the red level, in percent."""

    class device:
        kind = "cpu"

    def encode(self, image):
        return np.rint(image[0] * 255)

    def class_probabilities(self, levels):
        return np.stack(
            [0.1 * (levels > 0) + 0.9 * (levels == 0), 0.9 * (levels > 0) + 0.1 * (levels == 0)]
        )

    def proposal_logits(self, levels):
        rows, cols = np.mgrid[: levels.shape[0], : levels.shape[1]]
        distance = np.maximum(abs(rows % 6 - 2.5), abs(cols % 6 - 2.5))
        share = np.clip(levels / 100 - 0.02 * distance, 1e-6, 1 - 1e-6)
        return np.log(share / (1 - share)).astype(np.float32)

    def confidences(self, levels, points_yx, window):
        rows, cols = np.mgrid[: levels.shape[0], : levels.shape[1]] // 6
        return np.stack(
            [((rows == y // 6) & (cols == x // 6)) * np.float32(0.99) for y, x in points_yx]
        )


class Drawn(list):
    """Cells of red levels 90, 60 and 30; that of 30 is no object."""

    def __init__(self):
        levels = np.repeat(np.repeat([[90, 60, 30, 0]], 6, axis=0), 6, axis=1)
        ids = np.repeat(np.repeat([[1, 2, 0, 0]], 6, axis=0), 6, axis=1)
        image = np.stack([levels] * 3, axis=2).astype(np.uint8)
        instances = {1: Instance(1), 2: Instance(1)}
        super().__init__([Sample("a", image, (ids > 0).astype(int), ids, instances)] * 3)


@pytest.fixture
def predictor():
    inference = {"points": "random", "proposal_blur": 1, "greedy": {"within_masks": True}}
    description = {"mean": [0] * 3, "std": [1] * 3, "classes": CLASSES, "inference": inference}
    return AdaptISPredictor(Cells(), description)


def at(*thresholds):
    return [Peaks(threshold, 0.003) for threshold in thresholds]


def test_the_threshold_between_good_and_bad_peaks_is_chosen(predictor):
    """The cells' scores are .81, .36 and .09: over .5 an object is missed, under .08 a third is
    found that is none."""
    chosen, metrics = choose_peaks(predictor, Drawn(), 2, at(0.5, 0.2, 0.01))
    assert chosen == Peaks(0.2, 0.003)
    assert metrics == {"pq": 1, "peaks": 2}


@pytest.mark.parametrize(
    ("threshold", "pq", "peaks"), [(0.5, 1 / 1.5, 1), (0.2, 1, 2), (0.01, 2 / 2.5, 3)]
)
def test_quality_of_a_threshold(predictor, threshold, pq, peaks):
    chosen = choose_peaks(predictor, Drawn(), 3, at(threshold))
    assert chosen == (Peaks(threshold, 0.003), {"pq": pytest.approx(pq), "peaks": peaks})


def test_of_equal_ones_the_first(predictor):
    assert choose_peaks(predictor, Drawn(), 1, at(0.25, 0.2, 0.15))[0].peak_threshold == 0.25


def test_a_tolerance_that_makes_one_of_two_peaks_is_not_chosen(predictor):
    """Between neighbouring pixels of a cell scores fall by .02 of .9 squared and less."""
    candidates = [Peaks(0.2, tolerance) for tolerance in (0.9, 0.003)]
    chosen, metrics = choose_peaks(predictor, Drawn(), 1, candidates)
    assert chosen == candidates[1]
    assert metrics == {"pq": 1, "peaks": 2}


@pytest.mark.parametrize("asked", range(1, 6))  # a threshold, its point, a threshold, its two
def test_it_is_stopped_at_each_point(predictor, asked):
    answers = iter([*[False] * (asked - 1), True])
    stopped = choose_peaks(predictor, Drawn(), 1, at(0.5, 0.2), lambda: next(answers))
    assert stopped is None


def test_it_is_not_asked_once_all_is_done(predictor):
    answers = iter([False] * 5)
    chosen = choose_peaks(predictor, Drawn(), 1, at(0.5, 0.2), lambda: next(answers))
    assert chosen == (Peaks(0.2, 0.003), {"pq": 1, "peaks": 2})
