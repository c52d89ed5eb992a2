"""Section 5's fusion, on hand-drawn maps."""

from __future__ import annotations

import numpy as np
import pytest

from adaptis.panoptic import fuse_panoptic

CLASSES = [
    {"name": "sky", "category_id": 10, "isthing": False},
    {"name": "road", "category_id": 11, "isthing": False},
    {"name": "car", "category_id": 20, "isthing": True},
]


def test_instances_lie_on_stuff_and_things_without_instance_are_void():
    probabilities = np.zeros((3, 2, 4), np.float32)
    probabilities[0, 0] = 0.8  # sky
    probabilities[1, 1, :2] = 0.6  # road
    probabilities[2, 1, 2:] = 0.9  # car
    mask = np.zeros((2, 4), bool)
    mask[:, 2] = True
    records = [{"segmentation": mask, "category_id": 20, "score": 0.7}]
    panoptic_seg, segments = fuse_panoptic(records, probabilities, CLASSES)
    assert panoptic_seg.tolist() == [[2, 2, 1, 2], [3, 3, 1, 0]]
    assert [(s["id"], s["category_id"]) for s in segments] == [(1, 20), (2, 10), (3, 11)]
    assert [s["score"] for s in segments] == pytest.approx([0.7, 0.8, 0.6])
