"""TP / (TP + FP + FN) on hand-drawn maps, counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptis.evaluation.ground_truth import GroundTruth
from adaptis.evaluation.matching import MatchCounts, match_counts, score_matching, shared_pixels
from adaptis.evaluation.results import PredictionFolder

CELL, DEBRIS = 2, 3  # category ids


def drawn(row: str) -> np.ndarray:
    """(1, W) ids from digits."""
    return np.array([[int(c) for c in row]])


def counted(true: str, predicted: str, *thresholds: float, crowd_ids=()) -> list[tuple]:
    counts = match_counts(drawn(true), drawn(predicted), thresholds, crowd_ids)
    return [tuple(row) for row in counts]


def test_an_iou_of_the_threshold_is_a_match():
    # IoU 3/5
    assert counted("1111000", "0111100", 0.5, 0.6, 0.61) == [(1, 0, 0), (1, 0, 0), (0, 1, 1)]


def test_missed_and_invented_objects():
    # 1 is found whole, 2 is missed, 8 is invented, 3 is found by half and a bit
    assert counted("1102203330", "7700084440", 0.5, 0.9) == [(2, 1, 1), (2, 1, 1)]
    assert counted("1102203330", "7700084400", 0.5, 0.9) == [(2, 1, 1), (1, 2, 2)]


def test_one_prediction_matches_one_object():
    assert counted("11112222", "11111111", 0.5) == [(1, 0, 1)]  # IoU 1/2 with both
    assert counted("11111111", "11112222", 0.5) == [(1, 1, 0)]


def test_below_half_as_many_pairs_as_can_be_are_matched():
    """By the highest IoU first, object 1 would take prediction 1 (4 of 9 px), and nothing would be
    left for object 2, which overlaps no other one."""
    true, predicted = "1111110220", "2211110111"
    # IoUs: object 1 with prediction 1 4/9, with 2 2/6; object 2 with prediction 1 2/7
    assert counted(true, predicted, 0.25) == [(2, 0, 0)]
    assert counted(true, predicted, 0.3) == [(1, 1, 1)]


def test_the_numbers_of_ids_do_not_matter():
    true, predicted = "1102203330", "7700084400"
    shuffled = true.translate(str.maketrans("123", "952"))
    assert counted(shuffled, predicted, 0.5, 0.9) == counted(true, predicted, 0.5, 0.9)


def test_predictions_in_crowds_are_no_false_positives():
    # 9 is a crowd; it has 2 of 3 px of prediction 2, half of 3 and nothing of 4
    assert counted("11099090000", "11222330040", 0.5, crowd_ids={9}) == [(1, 2, 0)]


def test_empty_images():
    assert counted("000", "000", 0.5) == [(0, 0, 0)]
    assert math.isnan(MatchCounts(0, 0, 0).ap)
    assert counted("000", "110", 0.5) == [(0, 1, 0)]
    assert counted("110", "000", 0.5) == [(0, 0, 1)]
    assert MatchCounts(0, 1, 0).ap == MatchCounts(0, 0, 1).ap == 0


def test_shared_pixels_by_hand():
    first_ids, second_ids, counts = shared_pixels(
        np.array([[0, 7, 7], [3, 7, 3]]), np.array([[5, 5, 5], [5, 0, 0]])
    )
    assert (first_ids.tolist(), second_ids.tolist()) == ([0, 3, 7], [0, 5])
    assert counts.tolist() == [[0, 1], [1, 1], [1, 2]]


def test_ap_by_hand():
    assert MatchCounts(tp=3, fp=1, fn=2).ap == 0.5


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_what_is_equal_is_all_found(ids):
    objects = len(set(ids) - {0})
    assert match_counts(np.array([ids]), np.array([ids]), [1.0]) == [(objects, 0, 0)]


def truth(name: str, row: str, **category_ids: int) -> GroundTruth:
    ids = {int(key[1:]): category for key, category in category_ids.items()}
    panoptic_seg = drawn(row)
    return GroundTruth(name, name, panoptic_seg, ids, set(), np.zeros_like(panoptic_seg))


@pytest.fixture
def folder(tmp_path):
    """A function: name, row, category ids -> the folder, with this prediction in it."""
    predictions = PredictionFolder(tmp_path, {})

    def write(name, row, **category_ids):
        segments = [
            {"id": int(key[1:]), "category_id": category, "score": 0.5}
            for key, category in category_ids.items()
        ]
        predictions.write(name, drawn(row), segments, np.zeros((1, len(row)), int))
        return predictions

    return write


def test_counts_are_summed_over_images_before_the_division(folder):
    """1 of 1 and 0 of 3 objects: a quarter, not the mean of 1 and 0."""
    folder("a", "1100", s1=CELL)
    predictions = folder("b", "0000")
    truths = [truth("a", "1100", s1=CELL), truth("b", "1230", s1=CELL, s2=CELL, s3=CELL)]
    scores = score_matching(predictions, truths, [CELL])
    assert scores["matching"]["0.5"] == {"ap": 0.25, "tp": 1, "fp": 0, "fn": 3}
    assert scores["worst_image"] == {"name": "b", "ap": 0}


def test_the_worst_image_is_worst_over_all_thresholds(folder):
    folder("a", "1111000", s1=CELL)  # IoU 4/5: found at .5 to .8
    folder("b", "0000000")
    predictions = folder("c", "1111111", s1=CELL)  # IoU 5/7: at .5 to .7
    truths = [
        truth("a", "1111100", s1=CELL),
        truth("b", "0000000"),  # nothing to find, nothing found: no AP
        truth("c", "1111100", s1=CELL),
    ]
    scores = score_matching(predictions, truths, [CELL])
    assert scores["worst_image"] == {"name": "c", "ap": pytest.approx(3 / 5)}
    assert [scores["matching"][key]["ap"] for key in ("0.7", "0.8", "0.9")] == [1, 1 / 3, 0]


def test_classes_match_their_own(folder):
    predictions = folder("a", "1122", s1=CELL, s2=CELL)
    truths = [truth("a", "1122", s1=CELL, s2=DEBRIS)]
    scores = score_matching(predictions, truths, [CELL, DEBRIS])
    assert scores["matching"]["0.5"] == {"ap": pytest.approx(1 / 3), "tp": 1, "fp": 1, "fn": 1}


def test_stuff_is_no_object(folder):
    predictions = folder("a", "1122", s1=CELL, s2=1)
    scores = score_matching(predictions, [truth("a", "1122", s1=CELL, s2=1)], [CELL])
    assert scores["matching"]["0.9"] == {"ap": 1, "tp": 1, "fp": 0, "fn": 0}


def test_a_data_set_without_objects_has_no_worst_image(folder):
    scores = score_matching(folder("a", "00"), [truth("a", "00")], [CELL])
    assert scores["worst_image"] is None
    assert math.isnan(scores["matching"]["0.5"]["ap"])
