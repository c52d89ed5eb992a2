"""Instances as records, the form segment-anything's users know (paper, Section 5)."""

from __future__ import annotations

import cv2
import numpy as np

from adaptis.greedy import Aggregation


def instance_records(aggregation: Aggregation, probabilities: np.ndarray, classes) -> list[dict]:
    """Records of an Aggregation's instances, see :meth:`AdaptISPredictor.segment`.

    The class of an instance is the thing class of the highest summed probability over its mask
    (Section 5).
    """
    things = [i for i, c in enumerate(classes) if c["isthing"]]
    records = []
    for instance, (y, x) in enumerate(aggregation.points_yx, start=1):
        mask = aggregation.instance_map == instance
        area = int(np.count_nonzero(mask))
        if area < aggregation.settings.min_area:
            continue  # others were more confident at its pixels
        best = things[int(np.argmax([probabilities[i][mask].sum() for i in things]))]
        records.append(
            {
                "segmentation": mask,
                **extent(mask),
                "score": aggregation.scores[instance - 1],
                "point_coords": [[x, y]],
                "category_id": classes[best]["category_id"],
            }
        )
    return sorted(records, key=lambda record: -record["score"])


def extent(mask: np.ndarray) -> dict:
    """area in pixels and bbox [x, y, width, height] of a mask (H, W) bool."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return {"area": int(np.count_nonzero(mask)), "bbox": [x, y, width, height]}
