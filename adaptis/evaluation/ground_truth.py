"""What predictions are scored against: a data set's samples in COCO's panoptic terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np


class GroundTruth(NamedTuple):
    """One image as it is scored.

    Attributes:
        name: of its prediction's files, relative and without extension.
        image_id: of the data set; what predictions are handed in by.
        panoptic_seg: (H, W) integer segment ids, 0 = void.
        category_ids: segment id -> category id.
        crowd_ids: segment ids of crowds.
        semantic_map: (H, W) class indices, -1 = void.
    """

    name: str
    image_id: int | str
    panoptic_seg: np.ndarray
    category_ids: dict[int, int]
    crowd_ids: set[int]
    semantic_map: np.ndarray


def panoptic_truth(sample, classes: Sequence) -> tuple[np.ndarray, dict[int, int], set[int]]:
    """A sample as COCO's panoptic ground truth.

    Parameters:
        sample, classes: a Sample of a data set and its ClassInfos, see ``datasets.base``.

    Returns panoptic_seg, (H, W) int32 segment ids, 0 = void, where instances keep their ids;
    category_ids, segment id -> category id; and crowd_ids, the segment ids of crowds.
    """
    panoptic_seg = sample.instance_map.astype(np.int32)
    category_ids = {i: classes[v.class_index].category_id for i, v in sample.instances.items()}
    first_free = max(category_ids, default=0) + 1
    for index, info in enumerate(classes):
        stuff = (sample.semantic_map == index) & (sample.instance_map == 0)
        if not info.isthing and stuff.any():
            panoptic_seg[stuff] = first_free + index
            category_ids[first_free + index] = info.category_id
    return panoptic_seg, category_ids, set(sample.crowd_ids)


def ground_truths(dataset, indices: Iterable[int]) -> Iterator[GroundTruth]:
    """Read the ground truth of some images of a data set.

    Raises DataError where a file is broken.
    """
    for index in indices:
        yield ground_truth(dataset, index)


def ground_truth(dataset, index: int) -> GroundTruth:
    """Read the ground truth of an image of a data set. Raises DataError."""
    sample = dataset[index]
    truth = panoptic_truth(sample, dataset.classes)
    return GroundTruth(sample.name, dataset.image_ids[index], *truth, sample.semantic_map)
