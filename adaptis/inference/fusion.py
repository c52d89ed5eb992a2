"""From the greedy algorithm's result and class probabilities to instances with a class and one
panoptic map (paper, Section 5)."""

from __future__ import annotations

import numpy as np

from adaptis.inference.greedy import Aggregation
from adaptis.preprocessing import Size, resize_labels

VOID_SEGMENT = 0  # id of unlabelled pixels (COCO panoptic format)


def classified_instances(aggregation: Aggregation, classes: list[dict]) -> list[dict]:
    """The instances of an Aggregation, best first.

    The class of an instance is that of its mask M, see :func:`category_of`, whatever others left of
    it in R; without thing classes there is no instance. Those of which others left too little are
    dropped.

    Parameters:
        aggregation: with the sums of the class probabilities.
        classes: of the weights file: category_id and isthing of each, in order.

    Returns a record an instance: instance (its number in ``instance_map``), category_id, score
    (average confidence) and point_yx (row, col).
    """
    count = len(aggregation.points_yx)
    areas = np.bincount(aggregation.instance_map.ravel(), minlength=count + 1)
    records = []
    for number, sums, score, point_yx in zip(
        range(1, count + 1), aggregation.class_sums, aggregation.scores, aggregation.points_yx
    ):
        category_id = category_of(sums, classes)
        if category_id is not None and areas[number] >= aggregation.settings.min_area:
            found = {"instance": number, "category_id": category_id}
            records.append({**found, "score": score, "point_yx": point_yx})
    return sorted(records, key=lambda record: -record["score"])


def category_of(sums: np.ndarray, classes: list[dict]) -> int | None:
    """The category_id of the thing class of the highest summed probability over a mask (Section 5);
    None without thing classes.

    Parameters:
        sums: (classes,) of the probabilities of the mask's pixels.
        classes: of the weights file: category_id and isthing of each, in order.
    """
    things = [i for i, info in enumerate(classes) if info["isthing"]]
    if not things:
        return None
    return classes[max(things, key=sums.__getitem__)]["category_id"]


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

    Returns panoptic_seg, (H, W) int32 segment ids, 0 = void, instances first, in their order; and
    segments, one record a segment: id, category_id, score (average confidence of an instance,
    average probability of stuff).
    """
    segment_of_instance = np.zeros(instance_map.max(initial=0) + 1, np.int32)
    segments: list[dict] = []
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


def thing_ids(classes: list[dict]) -> set[int]:
    """The category ids of the things among a weights file's classes."""
    return {info["category_id"] for info in classes if info["isthing"]}


def resize_panoptic(
    panoptic_seg: np.ndarray, segments: list[dict], size: Size
) -> tuple[np.ndarray, list[dict]]:
    """What ``fuse_panoptic`` returns, at (height, width); without the segments that scaling down
    loses."""
    panoptic_seg = resize_labels(panoptic_seg, size)
    left = set(np.unique(panoptic_seg).tolist())
    return panoptic_seg, [segment for segment in segments if segment["id"] in left]
