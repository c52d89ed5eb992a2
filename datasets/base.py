"""The contract between the data sets and everything that reads them.

A data set has a ``name``, ``classes`` (ClassInfo), the ``names`` and ``image_ids`` of its images in
order (results are handed in by the ids), a length, and a Sample at every index, whose image is the
file ``image_path(index)``. It is ``labelled``, or a test split whose labels aren't public: then it
has the name of its ``split``, and all pixels of its samples are VOID. It can be pickled, as several
processes read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adaptis.errors import AdaptISError

VOID = -1
"""Class index of unlabelled pixels in a semantic map."""

PADDING = -2
"""Class index of pixels that an augmentation laid around an image."""


class DataError(AdaptISError):
    """A file of a data set is missing, broken or contradicts another; says which and what to do."""

    def __init__(self, path: Path | str, problem: str, remedy: str):
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
        semantic_map: (H, W) int32 class indices, VOID where unlabelled, PADDING around it.
        instance_map: (H, W) int32 instance ids, 0 where there is no object.
        instances: instance id -> Instance, one entry for every id > 0 of ``instance_map``.
    """

    name: str
    image: np.ndarray
    semantic_map: np.ndarray
    instance_map: np.ndarray
    instances: dict[int, Instance]

    @property
    def crowd_ids(self) -> list[int]:
        """The ids of instances that are crowds."""
        return [id_ for id_, instance in self.instances.items() if instance.iscrowd]

    @classmethod
    def unlabelled(cls, name: str, image: np.ndarray) -> Sample:
        """An image without labels."""
        size = image.shape[:2]
        return cls(name, image, np.full(size, VOID, np.int32), np.zeros(size, np.int32), {})
