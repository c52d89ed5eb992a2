"""Training by several processes, on one machine or many, over MXNet's own parameter server.

Each worker computes the gradients of its own part of every batch; the servers add them up, and each
worker makes the same update with the sum, so that n workers do what one does with the whole batch.
Only BatchNorm tells the difference: in training, its statistics are those of a worker's own part.
``python -m adaptis.launch`` starts the processes.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

import mxnet as mx
from mxnet.base import _LIB, check_call

from adaptis.launch import CONNECT_SECONDS, CONNECT_VARIABLE, beat
from adaptis.training.checkpoints import TrainingError

_FIRST_KEY = 1 << 20  # on the servers, where the Gluon Trainer's keys are 0, 1, 2, ...


class JointEnd(TrainingError):
    """Training ends at this iteration on every worker."""


class Workers:
    """The processes that train one network, this one among them.

    As a context: one that leaves it with an error of its own doesn't wait for the others at its
    exit, as MXNet would; they may be waiting for its gradients, until the launcher ends them.

    Parameters:
        kvstore: a connected ``mx.kv.KVStore``; None for a process on its own.

    Attributes:
        rank: which one this is; 0 writes checkpoints and logs, and validates.
        count: how many there are.
    """

    def __init__(self, kvstore=None) -> None:
        self.kvstore = kvstore
        self.rank: int = kvstore.rank if kvstore else 0
        self.count: int = kvstore.num_workers if kvstore else 1
        self._keys: set[int] = set()

    def share_parameters(self, trainer: mx.gluon.Trainer) -> None:
        """Give all workers worker 0's parameters, before the trainer's first step.

        The step would do it itself, but its first gradients could then overtake the parameters on
        their way, and a worker take the one for the other.
        """
        if self.kvstore is not None:
            trainer._init_kvstore()
            trainer._init_params()
            mx.nd.waitall()

    def total(self, *numbers: float) -> list[float]:
        """Each number's sum over all workers, which must all call it: it waits for them."""
        if self.kvstore is None:
            return list(numbers)
        key = _FIRST_KEY + len(numbers)  # a key holds arrays of one size
        if key not in self._keys:
            self.kvstore.init(key, mx.nd.zeros(len(numbers)))
            self._keys.add(key)
        array = mx.nd.array(numbers)
        self.kvstore.pushpull(key, array, out=array)
        return array.asnumpy().tolist()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if self.kvstore and error and not isinstance(error, JointEnd):
            check_call(_LIB.MXKVStoreSetBarrierBeforeExit(self.kvstore.handle, 0))


def connect(kvstore: str) -> Workers:
    """Meet the other workers; returns when all are there.

    Parameters:
        kvstore: "dist_sync" for a worker of the launcher, "device" for a process on its own.

    Raises TrainingError in a process that wasn't launched. Where the others don't come in time,
    ends the process with a message: MXNet's wait can't be interrupted otherwise.
    """
    if kvstore != "dist_sync":
        return Workers()
    if os.environ.get("DMLC_ROLE") != "worker":
        raise TrainingError(
            "--kvstore dist_sync is for workers with others to meet; start them by "
            "python -m adaptis.launch -n 2 -- python train_..."
        )
    beat()
    seconds = float(os.environ.get(CONNECT_VARIABLE, CONNECT_SECONDS))

    def give_up():
        print(
            f"error: a worker on {socket.gethostname()}: not all {os.environ['DMLC_NUM_WORKER']} "
            f"workers, servers and scheduler met at {os.environ['DMLC_PS_ROOT_URI']}:"
            f"{os.environ['DMLC_PS_ROOT_PORT']} in {seconds:g} s; has one failed, does a firewall "
            "stand between?",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.start()
    try:
        return Workers(mx.kv.create(kvstore))
    finally:
        timer.cancel()
