"""Batches of samples as PyTorch's tensors, read ahead by processes: a GPU takes more than threads
of one process can read. Nothing here imports MXNet, which each of them would wait for."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from adaptis.errors import AdaptISError
from adaptis.training.checkpoints import TrainingError
from adaptis.training.samples import TIMEOUT_SECONDS, check_sizes, stuck

READ_AHEAD = 4  # batches, of each process


def load_torch_batches(
    samples, batches: Iterable[list], processes: int, pinned: bool
) -> Iterator[list[torch.Tensor]]:
    """As ``adaptis.training.loader.load_batches``.

    Parameters:
        processes: that read ahead, 0 for none.
        pinned: in memory from which a GPU copies while it computes.
    """
    of_processes: dict[str, Any] = {}
    if processes:
        context = multiprocessing.get_context("forkserver")  # forks none of MXNet's threads
        context.set_forkserver_preload([__name__])
        of_processes = {
            "multiprocessing_context": context,
            "worker_init_fn": _start_process,
            "prefetch_factor": READ_AHEAD,
            "timeout": TIMEOUT_SECONDS,
        }
    loader = DataLoader(
        _Told(samples),
        batch_sampler=batches,
        collate_fn=partial(_stack, samples),
        num_workers=processes,
        pin_memory=pinned,
        **of_processes,
    )
    arrays = iter(loader)
    for keys in batches:
        try:
            batch = next(arrays)
        except RuntimeError as error:
            if "DataLoader" not in str(error):  # timed out, or a process died
                raise
            raise stuck(samples, keys, TIMEOUT_SECONDS) from error
        if isinstance(batch, AdaptISError):
            raise batch
        yield batch


class _Told:
    """Samples whose errors are returned: PyTorch would make another of one, with a traceback."""

    def __init__(self, samples):
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, key: tuple[int, int]):
        try:
            return self._samples[key]
        except AdaptISError as error:
            return error


def _stack(samples, batch: list) -> list[torch.Tensor] | AdaptISError:
    """The arrays of a batch's samples, or an error of one of them."""
    for sample in batch:
        if isinstance(sample, AdaptISError):
            return sample
    try:
        check_sizes(samples, batch)
    except TrainingError as error:
        return error
    return [torch.from_numpy(np.stack(arrays)) for arrays in zip(*batch)]


def _start_process(number: int) -> None:
    """One of the processes: there is one for each core, and its parent ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
