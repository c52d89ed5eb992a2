"""Two workers on this machine do what one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partialmethod

import numpy as np
import pytest
from mxnet.gluon import nn

from adaptis.training.checkpoints import TrainingError
from adaptis.training.distributed import JointEnd, Workers, connect
from tests.paths import ROOT
from tests.training_runs import OPTIONS, checkpoints, final_state, train

# train_toy.py with BatchNorm as it is at inference, since in training it looks at the whole batch;
# after iteration 6 a signal comes to worker 1 alone.
WORKER = """
import os, signal, sys
from functools import partialmethod
import train_toy
from adaptis.training.trainer import Trainer
from mxnet.gluon import nn
nn.BatchNorm.__init__ = partialmethod(nn.BatchNorm.__init__, use_global_stats=True)
step = Trainer._step
def then_stop(self, batch, epoch):
    assert batch[0].shape[0] == 2
    result = step(self, batch, epoch)
    if self._iteration + 1 == 6 and self._workers.rank == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return result
Trainer._step = then_stop
train_toy.main(sys.argv[1:])
"""


@pytest.fixture
def batch_norm_as_at_inference(monkeypatch):
    init = partialmethod(nn.BatchNorm.__init__, use_global_stats=True)
    monkeypatch.setattr(nn.BatchNorm, "__init__", init)


def test_two_workers_are_one_of_the_whole_batch(data, tmp_path, batch_norm_as_at_inference):
    """Stopped together after 6 of 8 iterations, and gone on with by one."""
    arguments = ["--data", data, "--output", tmp_path / "two", *OPTIONS.split()]
    launched = subprocess.run(
        [
            *(sys.executable, "-m", "adaptis.launch", "-n", "2", "--"),
            *(sys.executable, "-c", WORKER, *map(str, arguments)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    two = tmp_path / "two" / "instances"
    assert launched.returncode == 1
    for reason in ("a worker's signal", "SIGTERM"):  # of worker 0 and worker 1
        assert f"stopped by {reason} after iteration 6" in launched.stderr
    assert launched.stderr.count("iteration 4: iou") == 1  # only worker 0 validates
    assert checkpoints(two) == ["checkpoint-0000004.params", "checkpoint-0000006.params"]
    assert len(list((two / "tensorboard").iterdir())) == 1

    one = train(data, tmp_path / "one")
    train(data, tmp_path / "two", "--resume")
    (arrays, description), (expected, other) = final_state(two), final_state(one)
    assert description["state"]["iteration"] == other["state"]["iteration"] == 8
    assert set(arrays) == set(expected)
    # AdaIN takes out the shift before it, whose gradient is rounding errors that Adam enlarges
    arrays = {k: v for k, v in arrays.items() if "selection.stages.0.5.beta" not in k}
    for name, array in arrays.items():
        np.testing.assert_allclose(
            array.asnumpy(), expected[name].asnumpy(), rtol=0, atol=1e-4, err_msg=name
        )


def test_a_dry_run_is_for_one(data, tmp_path):
    with pytest.raises(TrainingError, match="--dry-run is for one process"):
        train(data, tmp_path, "--dry-run", 2, "--kvstore", "dist_sync")


class TestConnect:
    def test_alone(self):
        workers = connect("device")
        assert (workers.kvstore, workers.rank, workers.count) == (None, 0, 1)
        assert workers.total(2.5, 3) == [2.5, 3]

    def test_not_launched(self):
        with pytest.raises(TrainingError, match=r"start them by python -m adaptis\.launch"):
            connect("dist_sync")

    def test_the_others_do_not_come(self):
        place = {"DMLC_PS_ROOT_URI": "127.0.0.1", "DMLC_PS_ROOT_PORT": "9", "DMLC_ROLE": "worker"}
        numbers = {"DMLC_NUM_WORKER": "1", "DMLC_NUM_SERVER": "1", "ADAPTIS_CONNECT_SECONDS": "1"}
        process = subprocess.run(
            [
                sys.executable,
                "-c",
                "from adaptis.training.distributed import connect; connect('dist_sync')",
            ],
            env={**os.environ, **place, **numbers, "DMLC_INTERFACE": "lo"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert process.returncode == 1
        assert ": not all 1 workers, servers and scheduler met at 127.0.0.1:9 in 1 s" in (
            process.stderr
        )


def test_an_error_of_ones_own_leaves_without_waiting(monkeypatch):
    """Nobody waits at the exit for one that waits for gradients; all wait at a common end."""
    calls = []

    class Store:
        handle, rank, num_workers = "handle", 1, 2

    monkeypatch.setattr(
        "adaptis.training.distributed._LIB.MXKVStoreSetBarrierBeforeExit",
        lambda *arguments: calls.append(arguments) or 0,
        raising=False,
    )
    for error in (JointEnd("all"), signal.ItimerError("mine")):
        with pytest.raises(type(error)), Workers(Store):
            raise error
    assert calls == [("handle", 0)]


def test_workers_with_different_checkpoints(data, tmp_path, monkeypatch):
    """Of folders that aren't shared: 4 iterations here, none at the other."""
    monkeypatch.setattr(Workers, "total", lambda self, number: [number + 4])
    with pytest.raises(TrainingError, match=r"different checkpoints.*one folder for all"):
        train(data, tmp_path)
