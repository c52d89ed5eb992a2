"""What a training has to know of its images before it starts, and what follows from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from adaptis.progress import progress
from datasets.base import DataError, Sample

CROP_STEP = 16  # px; the U-Net halves four times
CONTEXT = 1.5  # a crop's side by the extent of large objects: one of them and what is around it

TAKE_CROWDS = (
    "if they are single objects, as masks in CVAT's export are, --crowds-are-objects reads them so"
)


class ImageStatistics(NamedTuple):
    """Of one image; crowds are no objects."""

    size: tuple[int, int]  # (height, width) in pixels
    areas: np.ndarray  # (N,) int64, visible pixels of each object
    extents: np.ndarray  # (N,) int64, the longer side of each object's box in pixels
    brightest: int  # value of the image as the network sees it, 0..255
    crowds: int = 0


class Defaults(NamedTuple):
    """What follows from the objects of a training set, all in pixels."""

    relative_radius: int  # R of Relative CoordConv: 19 of 20 objects extend no further
    crop: int  # height and width of the training windows
    min_area: int  # 1 of 100 objects has fewer visible pixels


def measure(sample: Sample) -> ImageStatistics:
    """The statistics of a sample."""
    counts = np.bincount(sample.instance_map.ravel())
    areas, extents = [], []
    for id_, box in enumerate(ndimage.find_objects(sample.instance_map), start=1):
        if box is not None and not sample.instances[id_].iscrowd:
            areas.append(counts[id_])
            extents.append(max(side.stop - side.start for side in box))
    return ImageStatistics(
        sample.instance_map.shape,
        np.array(areas, np.int64),
        np.array(extents, np.int64),
        int(sample.image.max()),
        len(sample.crowd_ids),
    )


def measure_all(dataset) -> list[ImageStatistics]:
    """The statistics of every image. Raises DataError where one can't be read."""
    return [
        measure(dataset[index])
        for index in progress(range(len(dataset)), "measuring objects", leave=False, unit="image")
    ]


def derive_defaults(images: Sequence[ImageStatistics], where: str) -> Defaults:
    """R, crop and size limit for a training set.

    Parameters:
        images: its statistics.
        where: its folder, for the message.

    Raises DataError where the set has no object.
    """
    extents = np.concatenate([image.extents for image in images])
    areas = np.concatenate([image.areas for image in images])
    if not len(areas):
        problem = f"none of {len(images)} training images has an object"
        if crowds := sum(image.crowds for image in images):
            raise DataError(where, f'{problem}, but {crowds} crowds ("iscrowd": 1)', TAKE_CROWDS)
        raise DataError(where, problem, "give labels with some: 0 is background, 1, 2, ... objects")
    radius = math.ceil(np.percentile(extents, 95))
    longest_side = max(max(image.size) for image in images)
    crop = CROP_STEP * math.ceil(min(CONTEXT * radius, longest_side) / CROP_STEP)
    return Defaults(radius, crop, max(1, int(np.percentile(areas, 1))))
