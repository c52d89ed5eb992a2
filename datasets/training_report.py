"""What a training would do with own images, for ``python -m datasets.check instances``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datasets.base import DataError
from datasets.matched_classes import LIST_THE_SAME, identity, strangers
from datasets.statistics import TAKE_CROWDS, Defaults, ImageStatistics, derive_defaults

DARK = 32  # of 255; an image whose brightest pixel is below shows next to nothing


class CheckedSplit(NamedTuple):
    """A split that was read."""

    dataset: Any
    objects: np.ndarray  # (classes,) int64, number of objects of each class
    images: list[ImageStatistics]  # of those that could be read


def report_training(
    root: Path, splits: dict[str, CheckedSplit], min_area: int | None
) -> list[DataError]:
    """Print what a training would do and return what it couldn't be done with.

    Parameters:
        root: folder of the data.
        splits: by name.
        min_area: the size limit in pixels, None for the one derived from the data.
    """
    for split, checked in splits.items():
        if crowds := sum(image.crowds for image in checked.images):
            print(f'{split}: {crowds} objects are crowds ("iscrowd": 1), no targets: {TAKE_CROWDS}')
    if "train" not in splits or not splits["train"].images:
        return []  # said already
    try:
        defaults = derive_defaults(splits["train"].images, str(root))
    except DataError as error:
        return [error]
    if min_area:
        defaults = defaults._replace(min_area=min_area)
    print(
        f"training: R {defaults.relative_radius} px, windows of {defaults.crop} px, objects under "
        f"{defaults.min_area} px are no targets"
    )
    problems = _differing_classes(root, splits)
    for split, checked in splits.items():
        for line in describe(checked.images, defaults):
            print(f"{split}: {line}")
    if not any((image.areas >= defaults.min_area).any() for image in splits["train"].images):
        problem = f"no object of the training images has {defaults.min_area} px or more"
        problems.append(DataError(root, problem, "choose a smaller --min-area"))
    return problems


def describe(images: Sequence[ImageStatistics], defaults: Defaults) -> list[str]:
    """Lines about the images of a split, and about those that need a look."""
    if not images:
        return ["no images"]
    areas = np.concatenate([image.areas for image in images])
    extents = np.concatenate([image.extents for image in images])
    sizes = sorted({image.size for image in images}, key=lambda size: size[0] * size[1])
    between = " to ".join(f"{h}x{w}" for h, w in dict.fromkeys((sizes[0], sizes[-1])))
    lines = [f"{len(images)} images of {between} px, {len(areas)} objects"]
    if len(areas):
        low, middle, high = np.percentile(extents, (0, 50, 100)).astype(int)
        lines.append(f"objects extend over {low} to {high} px, half of them over {middle} at most")
    for count, what in (
        (sum(min(i.size) < defaults.crop for i in images), "images are padded to a window's size"),
        (int((areas < defaults.min_area).sum()), "objects are under the size limit"),
        (sum(not len(i.areas) for i in images), "images are empty: background to learn from"),
        (sum(i.brightest < DARK for i in images), "images are almost black: choose --intensity"),
    ):
        if count:
            lines.append(f"{count} {what}")
    if len(images) > 1 and len(areas) and all(len(image.areas) < 2 for image in images):
        lines.append("no image has a second object: are these masks of all objects in one?")
    return lines


def _differing_classes(root: Path, splits: dict[str, CheckedSplit]) -> list[DataError]:
    """Splits whose classes aren't the training's; says which have no object to learn from."""
    problems = []
    train = splits["train"]
    learned = {identity(i): count for i, count in zip(train.dataset.classes, train.objects)}
    for split, checked in splits.items():
        theirs = checked.dataset.classes
        problem = strangers(train.dataset.classes, theirs)
        if problem:
            problems.append(DataError(root, f"{split} has {problem}", LIST_THE_SAME))
            continue
        if split == "test" and [i[:2] for i in theirs] != [i[:2] for i in train.dataset.classes]:
            problem = "test has fewer categories than training, or in another order"
            problems.append(DataError(root, problem, LIST_THE_SAME))
        for info, count in zip(theirs, checked.objects):
            if count and not learned[identity(info)]:
                print(f"{split}: has objects of class {info.name}, of which train has none")
    return problems
