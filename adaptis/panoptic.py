"""From instances and class probabilities to one panoptic map (paper, Section 5)."""

from __future__ import annotations

import numpy as np

VOID_SEGMENT = 0  # id of unlabelled pixels (COCO panoptic format)


def fuse_panoptic(
    instance_map: np.ndarray,
    instances: list[dict],
    class_probabilities: np.ndarray,
    class_map: np.ndarray,
    classes: list[dict],
) -> tuple[np.ndarray, list[dict]]:
    """Instances on top, elsewhere the most probable class if it is stuff, else void.

    Parameters:
        instance_map: (H, W) integer numbers of instances, 0 where there is none.
        instances: records of those to keep, see ``classified_instances``.
        class_probabilities: (classes, H, W) float32.
        class_map: (H, W) integer, their arg max.
        classes: of the weights file: category_id and isthing of each, in order.

    Returns:
        panoptic_seg: (H, W) int32 segment ids, 0 = void; instances first, in their order.
        segments: one record a segment: id, category_id, score (average confidence of an instance,
            average probability of stuff).
    """
    segment_of_instance = np.zeros(instance_map.max(initial=0) + 1, np.int32)
    segments = []
    for record in instances:
        id_ = segment_of_instance[record["instance"]] = len(segments) + 1
        segments.append({"id": id_, **{k: record[k] for k in ("category_id", "score")}})
    panoptic_seg = segment_of_instance[instance_map]
    free = panoptic_seg == VOID_SEGMENT
    free_classes = class_map[free]
    segment_of_class = np.zeros(len(classes), np.int32)
    for index in np.flatnonzero(np.bincount(free_classes, minlength=len(classes))):
        if classes[index]["isthing"]:
            continue
        id_ = segment_of_class[index] = len(segments) + 1
        score = class_probabilities[index][free][free_classes == index].mean()
        segments.append(
            {"id": id_, "category_id": classes[index]["category_id"], "score": float(score)}
        )
    panoptic_seg[free] = segment_of_class[free_classes]
    return panoptic_seg, segments
