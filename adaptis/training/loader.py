"""Batches of samples, read ahead by threads; what goes wrong is told with the files' names."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from functools import partial

import mxnet as mx
from mxnet import gluon

from adaptis.training.samples import TIMEOUT_SECONDS, check_sizes, stuck


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
            raise stuck(samples, keys, TIMEOUT_SECONDS) from error
        yield batch


def _stack(samples, threads: int, batch: list) -> list[mx.nd.NDArray]:
    """The arrays of a batch's samples."""
    check_sizes(samples, batch)
    batchify = gluon.data.dataloader
    return (batchify.default_mp_batchify_fn if threads else batchify.default_batchify_fn)(batch)
