"""Views of a data set of images of different sizes: larger ones more often, fixed windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.base import Sample
from datasets.transforms import Transform


class _View:
    """Another data set's samples in another order or form.

    Attributes:
        name, classes, names, image_ids: as of any data set.
    """

    def __init__(self, dataset, indices: Sequence[int]):
        self._dataset, self._indices = dataset, list(indices)
        self.name, self.classes = dataset.name, dataset.classes
        self.names = [dataset.names[i] for i in self._indices]
        self.image_ids = [dataset.image_ids[i] for i in self._indices]

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Sample:
        return self._dataset[self._indices[index]]

    def image_path(self, index: int) -> Path:
        return self._dataset.image_path(self._indices[index])


class ByArea(_View):
    """Each image in proportion to its pixels, the median one once: with a random window of one
    size each time, all pixels, and so all objects, are seen about equally often.

    Args:
        dataset: any data set.
        sizes: (height, width) of its images in pixels.
    """

    def __init__(self, dataset, sizes: Sequence[tuple[int, int]]):
        pixels = np.prod(sizes, axis=1)
        times = np.maximum(1, np.rint(pixels / np.median(pixels))).astype(int)
        super().__init__(dataset, np.repeat(np.arange(len(times)), times).tolist())


class FixedWindows(_View):
    """One window of each image, always the same: what is looked at during training is bounded.

    Args:
        dataset: any data set.
        cut: the random transform that cuts them.
        seed: of its draws.
    """

    def __init__(self, dataset, cut: Transform, seed: int = 0):
        super().__init__(dataset, range(len(dataset)))
        self._cut, self._seed = cut, seed

    def __getitem__(self, index: int) -> Sample:
        return self._cut(super().__getitem__(index), np.random.default_rng((self._seed, index)))
