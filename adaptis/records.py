"""From the greedy algorithm's result to instances with a class (paper, Section 5)."""

from __future__ import annotations

import cv2
import numpy as np

from adaptis.greedy import Aggregation


def classified_instances(
    aggregation: Aggregation, class_probabilities: np.ndarray, classes: list[dict]
) -> list[dict]:
    """The instances of an Aggregation, best first.

    The class of an instance is the thing class of the highest summed probability over its pixels
    (Section 5); without thing classes there is none. Instances of which others left too little are
    dropped.

    Parameters:
        class_probabilities: (classes, H, W) float32.
        classes: of the weights file: category_id and isthing of each, in order.

    Returns a record an instance: instance (its number in ``instance_map``), category_id, score
    (average confidence) and point_yx (row, col).
    """
    things = [i for i, info in enumerate(classes) if info["isthing"]]
    if not things:
        return []
    instance_of_pixel = aggregation.instance_map.ravel()
    count = len(aggregation.points_yx) + 1
    areas = np.bincount(instance_of_pixel, minlength=count)
    sums = [  # (things, instances)
        np.bincount(instance_of_pixel, weights=class_probabilities[i].ravel(), minlength=count)
        for i in things
    ]
    records = [
        {
            "instance": number,
            "category_id": classes[things[best]]["category_id"],
            "score": score,
            "point_yx": point_yx,
        }
        for number, (best, score, point_yx) in enumerate(
            zip(np.argmax(sums, axis=0)[1:], aggregation.scores, aggregation.points_yx), start=1
        )
        if areas[number] >= aggregation.settings.min_area
    ]
    return sorted(records, key=lambda record: -record["score"])


def extent(mask: np.ndarray) -> dict:
    """area in pixels and bbox [x, y, width, height] of a mask (H, W) bool."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return {"area": int(np.count_nonzero(mask)), "bbox": [x, y, width, height]}
