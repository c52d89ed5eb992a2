"""Mean intersection over union (mIoU) from a confusion matrix."""

from __future__ import annotations

import numpy as np

VOID = -1  # class index of unlabelled pixels in the ground truth (datasets/base.py)


def confusion_matrix(
    ground_truth: np.ndarray, prediction: np.ndarray, num_classes: int
) -> np.ndarray:
    """Count the pixels of each pair of classes in one image; add the matrices of all images.

    Parameters:
        ground_truth: (H, W) integer class indices, VOID (-1) where unlabelled.
        prediction: (H, W) integer class indices; those on unlabelled pixels don't count.
        num_classes: K.

    Returns (K, K) int64 pixel counts: row = true class, column = predicted class.

    Raises ValueError where the shapes differ, or an index is outside [0, K).
    """
    if ground_truth.shape != prediction.shape:
        raise ValueError(f"ground truth {ground_truth.shape} and prediction {prediction.shape}")
    labelled = ground_truth != VOID
    pairs = np.stack([ground_truth[labelled], prediction[labelled]]).astype(np.int64)
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < num_classes:
        raise ValueError(f"class indices {pairs.min()}..{pairs.max()} of {num_classes} classes")
    counts = np.bincount(pairs[0] * num_classes + pairs[1], minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def mean_iou(confusion: np.ndarray) -> float:
    """Mean IoU, from 0 to 1, over the classes that occur in the ground truth or the prediction; NaN
    where none does.

    Parameters:
        confusion: (K, K) pixel counts, rows = true classes.
    """
    intersection = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - intersection
    occurs = union > 0
    return float(np.mean(intersection[occurs] / union[occurs])) if occurs.any() else np.nan
