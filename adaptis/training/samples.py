"""From a data set to batches: augmentation, sampled points, and an order that can be resumed.

All that is random about a sample comes from (seed, epoch, index), never from a shared generator:
loader threads can't repeat each other, and a resumed run sees what an uninterrupted one would have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from adaptis.preprocessing import normalize_image
from adaptis.training.checkpoints import TrainingError
from adaptis.training.sampling import IGNORED, objects_of

TIMEOUT_SECONDS = 120  # a thread or process that takes longer for a batch is dead or hangs
EMPTY_KEPT = 0.05  # of crops without an object where the image has some, authors' code


class Repeated:
    """The first images of a data set, several times over: an epoch of a small one, with its
    validation and its checkpoint, would end before it began.

    Parameters:
        dataset: a data set of this project.
        images: how many of them, None for all.
        repeats: how often an epoch shows each.
        times: of each image of the data set, by how much that is multiplied; None for 1.
    """

    def __init__(
        self, dataset, images: int | None, repeats: int, times: Sequence[int] | None = None
    ):
        self._dataset = dataset
        count = min(images or len(dataset), len(dataset))
        once = np.repeat(np.arange(count), 1 if times is None else times[:count])
        self._indices = np.tile(once, repeats).tolist()

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int):
        return self._dataset[self._indices[index]]

    def image_path(self, index: int) -> Path:
        return self._dataset.image_path(self._indices[index])

    @property
    def names(self) -> list[str]:
        return [self._dataset.names[i] for i in self._indices]


class TrainingSamples:
    """Samples as the network is trained on them, by (epoch, index).

    An augmentation that leaves none of an image's objects is drawn again, but for EMPTY_KEPT of
    the times.

    Parameters:
        dataset: a data set of this project.
        augmentation: (Sample, rng) -> Sample.
        draw_points: (ObjectPixels, rng=) -> points_yx (K, 2), masks (M, H, W).
        seed: of everything random.
        mean, std: see ``normalize_image``.
        min_area: visible pixels below which an object is no target.
    """

    def __init__(
        self,
        dataset,
        augmentation: Callable,
        draw_points: Callable,
        seed: int,
        mean,
        std,
        min_area: int,
    ):
        self._dataset, self._augmentation, self._draw_points = dataset, augmentation, draw_points
        self._seed, self._mean, self._std, self._min_area = seed, mean, std, min_area

    def __len__(self) -> int:
        return len(self._dataset)

    def image_path(self, index: int) -> Path:
        return self._dataset.image_path(index)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, ...]:
        """Returns image (3, H, W) float32, points_yx (K, 2) float32, masks (M, H, W) int8,
        semantic labels (H, W) int32 and the index, an int64 scalar array."""
        epoch, index = key
        rng = np.random.default_rng((self._seed, epoch, index))
        sample, objects = self._augmented(self._dataset[index], rng)
        points_yx, masks = self._draw_points(objects, rng=rng)
        image = normalize_image(sample.image, self._mean, self._std)
        labels = np.maximum(sample.semantic_map, IGNORED)  # padding, too
        return image, points_yx, masks, labels, np.array(index)

    def _augmented(self, sample, rng: np.random.Generator):
        """The augmented sample and its ObjectPixels."""
        has_objects = len(sample.instances) > len(sample.crowd_ids)
        while True:
            augmented = self._augmentation(sample, rng)
            objects = objects_of(augmented, self._min_area)
            if len(objects.targets) or not has_objects or rng.random() < EMPTY_KEPT:
                return augmented, objects


class EpochBatches:
    """Batches of (epoch, index) keys to the end of training; each epoch is its own permutation,
    whose remainder that fills no batch is left out.

    Parameters:
        num_samples, batch_size, epochs, seed: what the names say.
        start: batches to skip, those a resumed run has behind it.
        rank, count: which part of each batch this is, of how many: every ``count``-th key.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        epochs: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        count: int = 1,
    ):
        if batch_size > num_samples:
            raise ValueError(
                f"a batch of {batch_size} from {num_samples} images: choose a smaller batch size"
            )
        if count > batch_size:
            raise ValueError(
                f"a batch of {batch_size} for {count} workers: choose a larger batch size"
            )
        self._num_samples, self._batch_size, self._epochs = num_samples, batch_size, epochs
        self._seed, self._start = seed, start
        self._rank, self._count = rank, count
        self.per_epoch = num_samples // batch_size

    def __len__(self) -> int:
        return self._epochs * self.per_epoch - self._start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for epoch in range(self._start // self.per_epoch, self._epochs):
            order = np.random.default_rng((self._seed, epoch)).permutation(self._num_samples)
            first = max(0, self._start - epoch * self.per_epoch)
            for batch in range(first, self.per_epoch):
                indices = order[batch * self._batch_size : (batch + 1) * self._batch_size]
                yield [(epoch, int(index)) for index in indices[self._rank :: self._count]]


def stuck(samples, keys: list[tuple[int, int]], seconds: float) -> TrainingError:
    """What to raise where a batch doesn't come in time."""
    paths = ", ".join(image_paths(samples, (index for _, index in keys)))
    return TrainingError(
        f"no batch in {seconds:g} s: a loader's thread or process died or hangs on one of "
        f"{paths}; --workers 0 shows where"
    )


def image_paths(samples, indices: Iterable[int]) -> list[str]:
    """The image files of samples, as text."""
    return [str(samples.image_path(int(index))) for index in indices]


def check_sizes(samples, batch: list) -> None:
    """Raises TrainingError where the images of a batch's samples differ in size."""
    sizes = {sample[0].shape[1:]: int(sample[-1]) for sample in batch}
    if len(sizes) > 1:
        paths = image_paths(samples, sizes.values())
        listed = (f"{path}: {h} x {w}" for path, (h, w) in zip(paths, sizes))
        raise TrainingError(
            f"images of several sizes (height x width) make no batch: {', '.join(listed)}; "
            "choose a --crop that fits into all of them, or --batch-size 1"
        )
