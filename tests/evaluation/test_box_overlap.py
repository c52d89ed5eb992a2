"""Recall by the overlap of bounding boxes, on boxes whose IoU is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptis.evaluation.box_overlap import highest_box_overlaps, recall_by_overlap
from adaptis.evaluation.instance import InstanceEvaluator


def test_boxes_side_by_side_and_within_each_other():
    instance_map = np.array(
        [
            [1, 1, 2, 2],
            [1, 1, 3, 2],
            [0, 0, 2, 2],
            [4, 0, 0, 0],
        ]
    )
    # 1 touches 2 only; 3 is one pixel of the six of 2's box; nothing is near 4
    assert highest_box_overlaps(instance_map) == {1: 0, 2: 1 / 6, 3: 1 / 6, 4: 0}


def test_crossing_diagonals_have_equal_boxes():
    instance_map = np.diag([1, 1, 1, 1]) + np.fliplr(np.diag([2, 2, 2, 2]))
    assert highest_box_overlaps(instance_map) == {1: 1, 2: 1}


def test_highest_of_several():
    instance_map = np.zeros((6, 10), int)
    instance_map[[0, 3], [0, 3]] = 5  # rows 0-3, columns 0-3: area 16
    instance_map[[1, 2], [1, 2]] = 6  # rows 1-2, columns 1-2: area 4, all of it in 5
    instance_map[[0, 5], [2, 3]] = 7  # rows 0-5, columns 2-3: area 12
    overlaps = highest_box_overlaps(instance_map)
    assert overlaps[5] == pytest.approx(8 / 20)  # with 7; with 6 it is 4 / 16
    assert overlaps[6] == pytest.approx(4 / 16)  # with 5; with 7 it is 2 / 14
    assert overlaps[7] == pytest.approx(8 / 20)


def test_image_without_objects_and_with_one():
    assert highest_box_overlaps(np.zeros((3, 3), int)) == {}
    assert highest_box_overlaps(np.array([[0, 9]])) == {9: 0}


def test_bins_include_their_lower_edge_and_the_last_includes_one():
    objects = [(0, True), (0.29, False), (0.3, True), (0.5, False), (0.69, False), (1.0, True)]
    bins = recall_by_overlap(objects)
    assert bins == [(0, 0.3, 2, 1), (0.3, 0.5, 1, 1), (0.5, 0.7, 2, 0), (0.7, 1, 1, 1)]
    assert [b.recall for b in bins] == [0.5, 1, 0, 1]


def test_bins_without_objects():
    bins = recall_by_overlap([])
    assert [(b.objects, b.found) for b in bins] == [(0, 0)] * 4
    assert math.isnan(bins[0].recall)


def test_found_objects_are_those_of_the_official_matching():
    evaluator = InstanceEvaluator([1])
    first = np.repeat([[7, 4]], 10, axis=1)  # instance 7 in columns 0-9, 4 in 10-19
    evaluator.add_ground_truth("a", first, {7: (1, False), 4: (1, False)})
    evaluator.add_ground_truth("b", first, {7: (1, False), 4: (1, False)})
    columns = np.arange(20)[None]
    masks = [columns < 10, columns < 9, columns >= 14]  # IoU 1 and .9 with 7, .6 with 4
    evaluator.add_predictions("a", masks, [0.9, 0.8, 0.7], [1, 1, 1])
    assert evaluator.found_objects(0.5) == {"a": {7, 4}, "b": set()}
    assert evaluator.found_objects(0.7) == {"a": {7}, "b": set()}
