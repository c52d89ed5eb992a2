"""Batches of samples, read ahead by threads; what goes wrong is told with the files' names."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from functools import partial

import mxnet as mx
from mxnet import gluon

from adaptis.training.checkpoints import TrainingError

TIMEOUT_SECONDS = 120  # a thread that takes longer for a batch is dead or hangs


def load_batches(samples, batches: Iterable[list], threads: int) -> Iterator[list[mx.nd.NDArray]]:
    """The batches' arrays, in order.

    Parameters:
        samples: (epoch, index) -> arrays, see adaptis.training.samples.TrainingSamples.
        batches: lists of keys; iterated over twice at a time.
        threads: that read ahead, 0 for none.

    Raises TrainingError where a thread is stuck or images differ in size, DataError for broken
    data.
    """
    loader = gluon.data.DataLoader(
        samples,
        batch_sampler=batches,
        batchify_fn=partial(_stack, samples, threads),
        num_workers=threads,
        thread_pool=True,  # a forked worker that gets our signal dies holding the queue's lock
        timeout=TIMEOUT_SECONDS,
    )
    arrays = iter(loader)
    for keys in batches:
        try:
            batch = next(arrays)
        except multiprocessing.TimeoutError as error:
            raise TrainingError(
                f"no batch in {TIMEOUT_SECONDS} s: a loader thread died or hangs on one of "
                f"{', '.join(image_paths(samples, (i for _, i in keys)))}; --workers 0 shows where"
            ) from error
        yield batch


def image_paths(samples, indices: Iterable[int]) -> list[str]:
    """The image files of samples, as text."""
    return [str(samples.image_path(int(index))) for index in indices]


def _stack(samples, threads: int, batch: list) -> list[mx.nd.NDArray]:
    """The arrays of a batch's samples."""
    sizes = {sample[0].shape[1:]: int(sample[-1]) for sample in batch}
    if len(sizes) > 1:
        paths = image_paths(samples, sizes.values())
        listed = (f"{path}: {h} x {w}" for path, (h, w) in zip(paths, sizes))
        raise TrainingError(
            f"images of several sizes (height x width) make no batch: {', '.join(listed)}; "
            "choose a --crop that fits into all of them, or --batch-size 1"
        )
    batchify = gluon.data.dataloader
    return (batchify.default_mp_batchify_fn if threads else batchify.default_batchify_fn)(batch)
