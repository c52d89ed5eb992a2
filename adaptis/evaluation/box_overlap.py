"""Objects found, by how much their bounding boxes overlap: Mask R-CNN's failure (paper, Section 6).

A detection-first method keeps one of several detections whose boxes overlap too much, so of two
objects with similar boxes it loses one. The measure is recall: the share of the objects whose
highest box IoU with another object of their image lies in a bin that are found, by pycocotools'
matching at a mask IoU, with all predictions whatever their score. It is recall and not AP since a
false positive belongs to no bin, and it takes all predictions since a threshold on scores would
have to be chosen for each method; that favours methods with many predictions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

BIN_EDGES = (0.0, 0.3, 0.5, 0.7, 1.0)  # box IoU; .5 is the usual limit of non-maximum suppression


class OverlapBin(NamedTuple):
    """Objects whose highest box IoU is at least ``low`` and below ``high``, 1 included in 1."""

    low: float
    high: float
    objects: int
    found: int

    @property
    def recall(self) -> float:
        """The share found, NaN without objects."""
        return self.found / self.objects if self.objects else float("nan")


def highest_box_overlaps(instance_map: np.ndarray) -> dict[int, float]:
    """The highest IoU of each instance's bounding box with another instance's, 0 where it is alone.

    Parameters:
        instance_map: (H, W) integer instance ids, 0 where there is no object. The boxes are those
            of the pixels shown, with whole pixels: one of a single pixel has area 1.
    """
    ids = np.unique(instance_map[instance_map > 0])
    boxes = np.zeros((len(ids), 2, 2))  # (first, last + 1) of (row, column)
    for box, instance in zip(boxes, ids):
        pixels = np.argwhere(instance_map == instance)
        box[:] = pixels.min(axis=0), pixels.max(axis=0) + 1
    return dict(zip(ids.tolist(), highest_ious(boxes).tolist()))


def highest_ious(boxes: np.ndarray) -> np.ndarray:
    """The highest IoU of each box with another, 0 where it is alone: (N,) float64.

    Parameters:
        boxes: (N, 2, 2) numbers, (first, last + 1) of (row, column) in pixels.
    """
    first, end = boxes[:, 0], boxes[:, 1]
    sides = np.minimum(end[:, None], end) - np.maximum(first[:, None], first)  # (N, N, 2)
    intersections = sides.clip(0).prod(axis=2)
    areas = (end - first).prod(axis=1)
    ious = intersections / (areas[:, None] + areas - intersections)
    np.fill_diagonal(ious, 0)
    return ious.max(axis=1, initial=0)


def recall_by_overlap(
    objects: Iterable[tuple[float, bool]], edges: Sequence[float] = BIN_EDGES
) -> list[OverlapBin]:
    """Count objects and those found in bins of their overlap.

    Parameters:
        objects: of each its highest box IoU and whether it was found.
        edges: of the bins, ascending from 0 to 1.
    """
    overlaps, found = np.reshape(list(objects), (-1, 2)).T
    bins = np.digitize(overlaps, edges[1:-1])
    return [
        OverlapBin(low, high, int((bins == i).sum()), int(found[bins == i].sum()))
        for i, (low, high) in enumerate(zip(edges, edges[1:]))
    ]
