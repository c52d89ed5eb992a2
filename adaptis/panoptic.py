"""From instances and class probabilities to one panoptic map (paper, Section 5)."""

from __future__ import annotations

import numpy as np

VOID_SEGMENT = 0


def fuse_panoptic(
    records: list[dict], class_probabilities: np.ndarray, classes: list[dict]
) -> tuple[np.ndarray, list[dict]]:
    """Instances on top, elsewhere the most probable class if it is stuff, else void.

    Parameters:
        records: instances that don't overlap, see ``AdaptISPredictor.segment``.
        class_probabilities: (classes, H, W) float32.
        classes: of the weights file: category_id and isthing of each, in order.

    Returns:
        panoptic_seg: (H, W) int32 segment ids, 0 = void.
        segments: one record a segment: id, category_id, score (average confidence of an instance,
            average probability of stuff).
    """
    best = class_probabilities.argmax(axis=0)
    panoptic_seg = np.zeros(best.shape, np.int32)
    segments = []
    for record in records:
        segments.append(
            {
                "id": len(segments) + 1,
                "category_id": record["category_id"],
                "score": record["score"],
            }
        )
        panoptic_seg[record["segmentation"]] = len(segments)
    free = panoptic_seg == VOID_SEGMENT
    for index, info in enumerate(classes):
        mask = free & (best == index)
        if info["isthing"] or not mask.any():
            continue
        segments.append(
            {
                "id": len(segments) + 1,
                "category_id": info["category_id"],
                "score": float(class_probabilities[index][mask].mean()),
            }
        )
        panoptic_seg[mask] = len(segments)
    return panoptic_seg, segments
