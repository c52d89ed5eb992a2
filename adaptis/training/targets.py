"""What there is to train on, told before it begins."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from adaptis.progress import progress
from adaptis.training.checkpoints import TrainingError
from adaptis.training.validation import spread

IMAGES = 200  # looked at, evenly spread; more only while no target was found


class Targets(NamedTuple):
    """Objects of some images, as annotated: before scaling and cropping."""

    images: int
    counted: int  # that are trained on
    small: int  # with fewer visible pixels than the limit
    crowds: int


def count_targets(dataset, min_area: int, images: int = IMAGES) -> Targets:
    """Count the objects of some images, and of the others too until one is a target.

    Parameters:
        dataset: a data set of this project.
        min_area: visible pixels below which an object is no target.
        images: how many, evenly spread over it.

    Raises DataError for broken data.
    """
    first = spread(len(dataset), images)
    others = sorted(set(range(len(dataset))) - set(first))
    total = np.zeros(4, int)
    for number, index in enumerate(progress([*first, *others], "counting objects", leave=False)):
        if number >= len(first) and total[1]:
            break
        total += _count(dataset[index], min_area)
    return Targets(*total.tolist())


def _count(sample, min_area: int) -> tuple[int, int, int, int]:
    areas = np.bincount(sample.instance_map.ravel())
    crowds = sample.crowd_ids
    objects = [i for i in sample.instances if i not in crowds]
    targets = sum(areas[i] >= min_area for i in objects)
    return 1, targets, len(objects) - targets, len(crowds)


def describe_targets(targets: Targets, total: int, min_area: int, where: str) -> str:
    """What a training says of its objects.

    Parameters:
        total: images of the data set.
        where: its folder.

    Raises TrainingError where there is no target.
    """
    left_out = f"{targets.small:,} under {min_area} px (--min-area) and {targets.crowds:,} crowds"
    if not targets.counted:
        raise TrainingError(
            f"{where}: no object to train on in {targets.images:,} images: {left_out}; choose "
            "a smaller --min-area, or look at the annotations by python -m datasets.check"
        )
    return (
        f"in {targets.images:,} of {total:,} training images {targets.counted:,} objects count; "
        f"{left_out} don't"
    )
