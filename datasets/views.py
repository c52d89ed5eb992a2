"""Views of a data set: a part, kept in memory, fixed windows; and how often to show each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.base import DataError, Sample
from datasets.transforms import Transform

HELD_OUT = 0.1  # of the images, to choose by where there is no split of their own


class Selection:
    """Some samples of another data set, in a given order; one may come more than once.

    Parameters:
        dataset: any data set.
        indices: of its samples.

    Attributes:
        name, classes, names, image_ids, labelled: as of any data set.
    """

    def __init__(self, dataset, indices: Sequence[int]):
        self._dataset, self._indices = dataset, list(indices)
        self.name, self.classes, self.labelled = dataset.name, dataset.classes, dataset.labelled
        self.names = [dataset.names[i] for i in self._indices]
        self.image_ids = [dataset.image_ids[i] for i in self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._dataset[self._indices[index]]

    def image_path(self, index: int) -> Path:
        return self._dataset.image_path(self._indices[index])


def held_out(dataset, split: str, seed: int = 0) -> Selection:
    """A random tenth of a data set as split "val", the rest as "train"; the same for a seed.

    Raises DataError where the data set has a single image.
    """
    if len(dataset) < 2:
        problem = "is the only image: none is left to choose by"
        raise DataError(dataset.image_path(0), problem, "add images")
    order = np.random.default_rng(seed).permutation(len(dataset))
    count = max(1, round(HELD_OUT * len(order)))
    chosen = order[:count] if split == "val" else order[count:]
    return Selection(dataset, sorted(chosen.tolist()))


class Cached(Selection):
    """A data set whose samples stay in memory once they were read, as many as fit.

    Parameters:
        dataset: any data set of at most 65,535 objects an image.
        budget: bytes; a sample takes 7 a pixel.
    """

    def __init__(self, dataset, budget: int):
        super().__init__(dataset, range(len(dataset)))
        self._left = budget
        self._samples: dict[int, Sample] = {}

    def __getitem__(self, index: int) -> Sample:
        if index not in self._samples:
            sample = super().__getitem__(index)
            kept = replace(
                sample,
                semantic_map=sample.semantic_map.astype(np.int16),
                instance_map=sample.instance_map.astype(np.uint16),
            )
            size = sum(a.nbytes for a in (kept.image, kept.semantic_map, kept.instance_map))
            if size > self._left:
                return sample
            self._left -= size
            self._samples[index] = kept
        kept = self._samples[index]
        return replace(  # whoever gets it may write on it, what is kept stays as it is
            kept,
            image=kept.image.copy(),
            semantic_map=kept.semantic_map.astype(np.int32),
            instance_map=kept.instance_map.astype(np.int32),
        )


def times_by_area(sizes: Sequence[tuple[int, int]]) -> list[int]:
    """How often an epoch shows each image: in proportion to its pixels, the median one once. With a
    random window of one size each time, all pixels, and so all objects, are seen about equally
    often.

    Parameters:
        sizes: (height, width) of the images in pixels.
    """
    pixels = np.prod(sizes, axis=1)
    return np.maximum(1, np.rint(pixels / np.median(pixels))).astype(int).tolist()


class FixedWindows(Selection):
    """One window of each image, always the same: what is looked at during training is bounded.

    Parameters:
        dataset: any data set.
        cut: the random transform that cuts them.
        seed: of its draws.
    """

    def __init__(self, dataset, cut: Transform, seed: int = 0):
        super().__init__(dataset, range(len(dataset)))
        self._cut, self._seed = cut, seed

    def __getitem__(self, index: int) -> Sample:
        return self._cut(super().__getitem__(index), np.random.default_rng((self._seed, index)))
