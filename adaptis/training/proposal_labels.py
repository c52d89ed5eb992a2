"""Which of an object's points are good proposals: labels of the proposal branch. Arrays only.

Each function is given, of several points of an object, the IoU of the mask from each with the
object's true mask, and the mean confidence on the object: (..., K) arrays. It returns (..., K)
float32 labels in [0, 1]. Points whose mask misses the object are never good.
"""

from __future__ import annotations

import numpy as np

POSITIVE_SHARE = 0.2  # of an object's points, those of highest IoU are good (Section 5)

# authors' code, like the rest
BAD_PERCENTILE = 30  # of an object's scores: points below are bad, but for
TOLERANCE = 0.95  # of it
EQUAL_IOUS = 0.1  # an object's points whose IoUs differ by no more are all good
LOWEST_GOOD = 0.7  # label of the worst good point; that of the best is 1


def paper_labels(ious: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    """1 for the top 20 % by IoU (Section 5), and for those as good as the last of them, which most
    of a well-segmented object's points are; 0 for the others."""
    positives = max(1, round(POSITIVE_SHARE * ious.shape[-1]))
    lowest = np.sort(ious, axis=-1)[..., -positives, None]
    return ((ious >= lowest) & (ious > 0)).astype(np.float32)


def authors_labels(ious: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    """The authors': points are scored by IoU times mean confidence; those above .95 of the 30th
    percentile are good, with labels from .7 for the lowest to 1 for the highest; 0 for the others.
    """
    scores = ious * confidences
    differ = np.ptp(ious, axis=-1, keepdims=True) > EQUAL_IOUS
    percentile = np.percentile(scores, BAD_PERCENTILE, axis=-1, keepdims=True)
    lowest = scores.min(axis=-1, keepdims=True)
    good = scores > np.where(differ, TOLERANCE * percentile, 0.99 * lowest)
    worst = np.where(good, scores, np.inf).min(axis=-1, keepdims=True)
    best = np.where(good, scores, -np.inf).max(axis=-1, keepdims=True)
    soft = best - worst > 1e-3
    share = np.where(soft, (scores - worst) / np.where(soft, best - worst, 1), 1)
    return np.where(good, LOWEST_GOOD + (1 - LOWEST_GOOD) * share, 0).astype(np.float32)


PROPOSAL_LABELS = {"paper": paper_labels, "authors": authors_labels}
