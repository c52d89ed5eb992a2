"""mIoU, known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adaptis.evaluation.semantic import confusion_matrix, mean_iou


def test_mean_iou_by_hand():
    truth = np.array([[0, 0, 1], [1, 1, -1]])
    prediction = np.array([[0, 1, 1], [1, 1, 0]])
    confusion = confusion_matrix(truth, prediction, 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 3, 0], [0, 0, 0]]  # the void pixel isn't counted
    assert mean_iou(confusion) == (1 / 2 + 3 / 4) / 2  # the third class is in neither


def test_mean_iou_of_nothing_and_bad_indices():
    assert math.isnan(mean_iou(confusion_matrix(np.full((2, 2), -1), np.zeros((2, 2), int), 3)))
    with pytest.raises(ValueError, match=r"0\.\.3 of 3 classes"):
        confusion_matrix(np.array([[0]]), np.array([[3]]), 3)
    with pytest.raises(ValueError, match="ground truth"):
        confusion_matrix(np.zeros((1, 2), int), np.zeros((2, 1), int), 3)
