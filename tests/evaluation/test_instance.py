"""AP by pycocotools, with precision known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptis.evaluation.instance import COCO_IOU_THRESHOLDS, EVERY_RECALL, InstanceEvaluator
from tests.paths import SHARED

COCO_SAMPLE = SHARED / "coco_sample"
CELL, FIELD = 1, 2  # category ids of a thing and of stuff
CATEGORIES = [
    {"id": CELL, "name": "cell", "isthing": 1, "color": [250, 2, 4]},
    {"id": FIELD, "name": "field", "isthing": 0, "color": [0, 200, 0]},
]


def mask(*columns: int, width: int = 20) -> np.ndarray:
    """One row of pixels, true in the columns given."""
    row = np.zeros((1, width), bool)
    row[0, list(columns)] = True
    return row


@pytest.fixture
def two_cells():
    """Cells in columns 0-9 and 10-19 of a one-row image."""
    evaluator = InstanceEvaluator([CELL])
    instance_map = np.repeat([[1, 2]], 10, axis=1)
    evaluator.add_ground_truth("a", instance_map, {1: (CELL, False), 2: (CELL, False)})
    return evaluator


def test_one_of_two_found_with_iou_06(two_cells):
    two_cells.add_predictions("a", [mask(*range(6))], [0.9], [CELL])
    # precision 1 up to recall .5: at 51 of COCO's 101 recalls 0, .01, ..., 1
    expected = {"0.5": pytest.approx(51 / 101), "0.6": pytest.approx(51 / 101), "0.7": 0}
    assert two_cells.evaluate([0.5, 0.6, 0.7]) == expected
    assert two_cells.evaluate([0.5, 0.6, 0.7]) == expected  # evaluating changes no record
    assert two_cells.evaluate([0.5], EVERY_RECALL) == {"0.5": pytest.approx(1 / 2, abs=1e-4)}
    assert two_cells.detection_counts() == (1, 1, 0)


def test_false_positive_of_higher_score(two_cells):
    masks = [mask(*range(5, 15)), mask(*range(10)), mask(*range(10, 20))]  # the first has IoU 1/3
    two_cells.add_predictions("a", masks, [0.9, 0.8, 0.7], [CELL] * 3)
    # precision 1/2 at recall 1/2, 2/3 at recall 1; interpolated: the best to the right, 2/3
    assert two_cells.evaluate([0.5]) == {"0.5": pytest.approx(2 / 3)}
    assert two_cells.detection_counts() == (2, 0, 1)


def test_second_prediction_of_an_object_is_a_false_positive(two_cells):
    two_cells.add_predictions("a", [mask(*range(10)), mask(*range(9))], [0.9, 0.8], [CELL] * 2)
    assert two_cells.detection_counts() == (1, 1, 1)


def test_standard_coco_ap(two_cells):
    masks = [mask(*range(10)), mask(*range(10, 18))]  # IoU 1 and .8
    two_cells.add_predictions("a", masks, [0.9, 0.8], [CELL] * 2)
    results = two_cells.evaluate()
    assert results["0.8"] == pytest.approx(1)
    assert results["0.85"] == pytest.approx(51 / 101)
    assert results["0.5:0.95"] == pytest.approx((7 * 1 + 3 * 51 / 101) / 10)
    assert len(results) == 11


def test_only_the_standard_ap_stops_at_100_predictions():
    evaluator = InstanceEvaluator([CELL])
    evaluator.add_ground_truth(
        1, np.arange(1, 102)[None], {i: (CELL, False) for i in range(1, 102)}
    )
    masks = [mask(i, width=101) for i in range(101)]
    evaluator.add_predictions(1, masks, np.linspace(0.9, 0.1, 101), [CELL] * 101)
    assert evaluator.evaluate([0.5]) == {"0.5": pytest.approx(1)}
    # 100 of 101 objects: recall .9901 misses the last of the 101 recalls
    assert evaluator.evaluate()["0.5"] == pytest.approx(100 / 101)
    assert evaluator.evaluate(COCO_IOU_THRESHOLDS)["0.5:0.95"] == pytest.approx(1)


def test_crowds_are_neither_found_nor_missed():
    evaluator = InstanceEvaluator([CELL])
    instance_map = np.repeat([[1, 2]], 10, axis=1)
    evaluator.add_ground_truth(1, instance_map, {1: (CELL, False), 2: (CELL, True)})
    masks = [mask(10, 11), mask(15), mask(*range(10))]
    evaluator.add_predictions(1, masks, [0.9, 0.8, 0.7], [CELL] * 3)
    assert evaluator.evaluate([0.5]) == {"0.5": pytest.approx(1)}
    assert evaluator.detection_counts() == (1, 0, 0)


def test_ap_is_the_mean_over_categories_with_objects():
    evaluator = InstanceEvaluator([CELL, FIELD, 3])
    instance_map = np.repeat([[1, 2]], 10, axis=1)
    evaluator.add_ground_truth(1, instance_map, {1: (CELL, False), 2: (FIELD, False)})
    evaluator.add_predictions(1, [mask(*range(10)), mask(*range(10, 20))], [0.9, 0.9], [CELL, 3])
    assert evaluator.evaluate([0.5]) == {"0.5": pytest.approx(1 / 2)}  # cell 1, field 0, no third
    assert evaluator.detection_counts() == (1, 1, 1)


def test_no_predictions_and_no_ground_truth(two_cells):
    assert two_cells.evaluate([0.5]) == {"0.5": 0}
    assert two_cells.detection_counts() == (0, 2, 0)

    empty = InstanceEvaluator([CELL])
    assert math.isnan(empty.evaluate([0.5])["0.5"])
    empty.add_ground_truth(1, np.zeros((1, 20), int), {})
    assert math.isnan(empty.evaluate([0.5])["0.5"])
    empty.add_predictions(1, [mask(3)], [0.9], [CELL])
    assert math.isnan(empty.evaluate([0.5])["0.5"])
    assert empty.detection_counts() == (0, 0, 1)


def test_run_length_codes_are_taken_as_masks(two_cells):
    from pycocotools.mask import encode

    rle = encode(np.asfortranarray(mask(*range(10)), np.uint8))
    two_cells.add_predictions("a", [rle], [0.9], [CELL])
    assert two_cells.detection_counts() == (1, 1, 0)


def test_evaluation_is_silent(two_cells, capsys):
    two_cells.evaluate([0.5])
    assert capsys.readouterr().out == ""


def test_bad_instances_are_errors(two_cells):
    one = [mask(0)]
    with pytest.raises(ValueError, match="'b': add its ground truth first"):
        two_cells.add_predictions("b", one, [0.9], [CELL])
    with pytest.raises(ValueError, match=r"'a': unknown category ids \[7\]"):
        two_cells.add_predictions("a", one, [0.9], [7])
    with pytest.raises(ValueError, match="'a': 1 masks, 2 scores"):
        two_cells.add_predictions("a", one, [0.9, 0.8], [CELL])
    with pytest.raises(ValueError, match=r"'a': a mask of \(1, 5\)"):
        two_cells.add_predictions("a", [mask(0, width=5)], [0.9], [CELL])
    with pytest.raises(ValueError, match="'a': a score is NaN"):
        two_cells.add_predictions("a", one, [np.nan], [CELL])
    with pytest.raises(ValueError, match="'a': its ground truth was added before"):
        two_cells.add_ground_truth("a", np.zeros((1, 20), int), {})
    with pytest.raises(ValueError, match=r"'c': unknown category ids \[7\]"):
        two_cells.add_ground_truth("c", np.ones((1, 20), int), {1: (7, False)})
    with pytest.raises(ValueError, match=r"'c': instance ids .* differ: \[1, 2\]"):
        two_cells.add_ground_truth("c", np.ones((1, 20), int), {2: (CELL, False)})
