"""The contract between the data sets and everything that reads them.

A data set has a ``name``, ``classes`` (ClassInfo), the ``names`` and ``image_ids`` of its images in
order (results are handed in by the ids), a length, and a Sample at every index, whose image is the
file ``image_path(index)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

VOID = -1
"""Class index of unlabelled pixels in a semantic map."""


class DataError(Exception):
    """A file of a data set is missing, broken or contradicts another; says which and what to do."""

    def __init__(self, path: Path | str, problem: str, remedy: str = ""):
        self.path, self.problem, self.remedy = Path(path), problem, remedy
        super().__init__(f"{path}: {problem}" + (f" ({remedy})" if remedy else ""))


class ClassInfo(NamedTuple):
    """One class. Its class index is its place in the data set's list: stuff first, then things."""

    name: str
    category_id: int  # the data set's own number
    isthing: bool
    color: tuple[int, int, int]  # RGB


class Instance(NamedTuple):
    """One annotated object."""

    class_index: int
    iscrowd: bool = False  # a group without individual masks: never a training target


@dataclass(frozen=True)
class Sample:
    """One annotated image.

    Attributes:
        name: unique in its data set, relative and without extension; output files are named by it.
        image: (H, W, 3) uint8, RGB.
        semantic_map: (H, W) int32 class indices, VOID (-1) where unlabelled.
        instance_map: (H, W) int32 instance ids, 0 where there is no object.
        instances: instance id -> Instance, one entry for every id > 0 of ``instance_map``.
    """

    name: str
    image: np.ndarray
    semantic_map: np.ndarray
    instance_map: np.ndarray
    instances: dict[int, Instance]


def panoptic_truth(
    sample: Sample, classes: Sequence[ClassInfo]
) -> tuple[np.ndarray, dict[int, int], set[int]]:
    """A sample as COCO's panoptic ground truth.

    Returns:
        panoptic_seg: (H, W) int32 segment ids, 0 = void; instances keep their ids.
        category_ids: segment id -> category id.
        crowd_ids: segment ids of crowds.
    """
    panoptic_seg = sample.instance_map.astype(np.int32)
    category_ids = {i: classes[v.class_index].category_id for i, v in sample.instances.items()}
    crowd_ids = {i for i, instance in sample.instances.items() if instance.iscrowd}
    first_free = max(category_ids, default=0) + 1
    for index, info in enumerate(classes):
        stuff = (sample.semantic_map == index) & (sample.instance_map == 0)
        if not info.isthing and stuff.any():
            panoptic_seg[stuff] = first_free + index
            category_ids[first_free + index] = info.category_id
    return panoptic_seg, category_ids, crowd_ids
