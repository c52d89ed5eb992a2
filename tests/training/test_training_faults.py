"""What must not cost a training run, or must end it with a message: each fault happens here."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

import adaptis.training.loader
import adaptis.training.stage_run
from adaptis.training.checkpoints import TrainingError
from adaptis.training.distributed import JointEnd, Workers
from adaptis.training.samples import TrainingSamples
from adaptis.training.stages import InstanceStage
from adaptis.training.targets import Targets
from adaptis.weights import CheckpointError, load_arrays, save_arrays
from datasets.base import DataError
from tests.paths import ROOT
from tests.training_runs import OPTIONS, assert_same_end, at_iteration, checkpoints, train

# A run that saves after each iteration, and in whose save of iteration 6 comes a SIGKILL.
KILLED_IN_A_SAVE = """
import os, signal, sys, threading, time
import adaptis.training.checkpoints, adaptis.training.trainer, train_toy
adaptis.training.trainer.CHECKPOINT_SECONDS = 0
save = adaptis.training.checkpoints.save_arrays
share, seconds = float(sys.argv.pop(1)), []
def killed(path, *arguments):
    if path.name == "checkpoint-0000006.params":
        kill = lambda: os.kill(os.getpid(), signal.SIGKILL)
        threading.Timer(share * min(seconds), kill).start()
    start = time.monotonic()
    save(path, *arguments)
    seconds.append(time.monotonic() - start)
adaptis.training.checkpoints.save_arrays = killed
train_toy.main(sys.argv[1:])
"""


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_killed_in_a_save(data, uninterrupted, tmp_path, share):
    """At any share of the time a save takes: the run goes on, to the same bits."""
    arguments = ["--data", data, "--output", tmp_path, *OPTIONS.split()]
    process = subprocess.run(
        [sys.executable, "-c", KILLED_IN_A_SAVE, str(share), *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    run = tmp_path / "instances"
    found = checkpoints(run)
    assert "checkpoint-0000005.params" in found or "checkpoint-0000006.params" in found
    assert_same_end(train(data, tmp_path, "--resume"), uninterrupted())


def test_a_full_disk_keeps_the_last_checkpoint(data, tmp_path, monkeypatch):
    """Files can't grow beyond half a checkpoint from iteration 5 on."""
    run, limits = tmp_path / "instances", resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(_):
        size = (run / "checkpoint-0000004.params").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))

    at_iteration(monkeypatch, 5, fill)
    try:
        with pytest.raises(CheckpointError, match=r"0000008\.params: could not be"):
            train(data, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints(run) == ["checkpoint-0000004.params"]
    load_arrays(run / "checkpoint-0000004.params")


def test_weights_that_cannot_be_written_are_made_up_for(data, uninterrupted, tmp_path, monkeypatch):
    """The checkpoint of an epoch comes after its weights: resuming repeats what is missing."""
    save = save_arrays

    def fail_at_the_second_epochs(path, arrays, description):
        if path.name == "last.params" and path.exists():
            raise CheckpointError("full")
        save(path, arrays, description)

    with monkeypatch.context() as patch:
        patch.setattr("adaptis.training.checkpoints.save_arrays", fail_at_the_second_epochs)
        with pytest.raises(CheckpointError, match="full"):
            train(data, tmp_path)
    run = train(data, tmp_path, "--resume")
    assert_same_end(run, uninterrupted())
    for file in ("best.params", "last.params"):
        ours, theirs = (load_arrays(r / file)[0] for r in (run, uninterrupted()))
        for name, array in ours.items():
            np.testing.assert_array_equal(array.asnumpy(), theirs[name].asnumpy())


@pytest.mark.parametrize("iteration", [4, 8])
def test_an_update_that_makes_no_numbers_is_not_kept(data, tmp_path, monkeypatch, iteration):
    """The loss before it was finite, and after the last one there is no other."""

    def poison(trainer):
        weight = trainer._network.collect_params(".*conv.*weight").values()
        parameter = next(iter(weight))
        parameter.set_data(parameter.data() * np.nan)

    at_iteration(monkeypatch, iteration, poison)
    with pytest.raises(TrainingError, match=rf"no finite numbers after iteration {iteration}"):
        train(data, tmp_path)
    kept = ["checkpoint-0000004.params"] if iteration == 8 else []
    assert checkpoints(tmp_path / "instances") == kept


class TestLossThatIsNoNumber:
    @pytest.fixture
    def nan_at_5(self, monkeypatch):
        """The loss of the second image of iteration 5 is NaN, in the first call with it."""
        losses, calls = InstanceStage.losses, []

        def broken(self, *arrays):
            loss, scalars = losses(self, *arrays)
            calls.append(1)
            factor = mx.nd.array([1, np.nan, 1, 1]) if len(calls) == 6 else 1
            return loss * factor, scalars

        monkeypatch.setattr(InstanceStage, "losses", broken)

    def test_message_and_batch(self, data, tmp_path, nan_at_5):
        with pytest.raises(TrainingError) as raised:
            train(data, tmp_path)
        path = tmp_path / "instances" / "nonfinite-0000005-0.npz"
        batch = np.load(path)
        message = str(raised.value)
        assert "at iteration 5: nan" in message
        for term in ("loss/instance", "loss/semantic", "learning rate 0.00015"):
            assert term in message
        assert str(path) in message
        assert len(batch["image_paths"]) == 4
        assert ", ".join(batch["image_paths"]) in message
        assert Path(batch["image_paths"][0]).parent == data / "train"
        assert Path(batch["image_paths"][0]).exists()
        assert batch["images"].shape == (4, 3, 32, 32)
        assert batch["masks"].shape == (4, 2, 32, 32)
        assert batch["points_yx"].shape == (4, 2, 2)
        assert batch["labels"].shape == (4, 32, 32)

    def test_in_another_workers_part(self, data, tmp_path, monkeypatch):
        """All stop; the one that has it tells the images and keeps them."""
        monkeypatch.setattr(Workers, "total", lambda self, *n: [np.nan if len(n) == 2 else 0, 8])
        message = "no finite number at iteration 0; learning rate .* no checkpoint yet: begin again"
        with pytest.raises(JointEnd, match=message):
            train(data, tmp_path)
        assert not list((tmp_path / "instances").glob("*.npz"))

    def test_the_last_checkpoint_is_good(self, data, tmp_path, nan_at_5):
        with pytest.raises(TrainingError, match="--resume with a lower --learning-rate"):
            train(data, tmp_path)
        run = tmp_path / "instances"
        assert checkpoints(run) == ["checkpoint-0000004.params"]
        arrays, description = load_arrays(run / "checkpoint-0000004.params")
        assert description["state"]["iteration"] == 4
        assert all(np.isfinite(array.asnumpy()).all() for array in arrays.values())
        train(data, tmp_path, "--resume", "--learning-rate", "1e-4")
        assert checkpoints(run)[-1] == "checkpoint-0000008.params"


class TestBrokenFiles:
    @pytest.fixture(autouse=True)
    def met_by_the_loader(self, monkeypatch):
        """Not by the look at the objects before, as in a large data set."""
        monkeypatch.setattr(
            adaptis.training.stage_run, "count_targets", lambda *_: Targets(1, 1, 0, 0)
        )

    @pytest.fixture
    def broken(self, data, tmp_path):
        """Images to train on, of which 00003 is cut off."""
        copy = Path(shutil.copytree(data, tmp_path / "data"))
        path = copy / "train" / "00003_rgb.png"
        path.write_bytes(path.read_bytes()[:-30])
        return copy

    @pytest.mark.parametrize("threads", [0, 2])
    def test_a_cut_file_ends_the_run_with_its_name(self, broken, tmp_path, threads):
        with pytest.raises(DataError, match=r"00003_rgb\.png: can't be read.*copy or download"):
            train(broken, tmp_path / "run", "--workers", threads)

    def test_a_file_that_is_gone_ends_the_run_with_its_name(self, data, tmp_path):
        copy = Path(shutil.copytree(data, tmp_path / "data"))
        gone = copy / "train" / "00003_im.png"
        gone.unlink()
        with pytest.raises(DataError, match=r"00003_im\.png: can't be read: .*is missing"):
            train(copy, tmp_path / "run")

    def test_skipped(self, broken, tmp_path, capfd):
        """Reported once, and the same run each time, however many threads load."""
        first = train(broken, tmp_path / "first", "--skip-broken")
        message = capfd.readouterr().err
        assert message.count("00003_rgb.png: can't be read") == 1
        assert "left out, 1 of 16 by now" in message
        again = train(broken, tmp_path / "again", "--skip-broken", "--workers", 2)
        assert_same_end(again, first)

    def test_skipped_in_the_validation_too(self, data, tmp_path, capfd):
        copy = Path(shutil.copytree(data, tmp_path / "data"))
        (copy / "test" / "00000_im.png").write_bytes(b"")
        train(copy, tmp_path / "run", "--skip-broken", "--epochs", 1)
        assert "00000_im.png: can't be read" in capfd.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("fault", ["dies", "hangs"])
def test_a_loader_thread_that_dies_or_hangs(data, tmp_path, monkeypatch, fault):
    """Ends the run with the images it was reading, in the time set."""
    read, end = TrainingSamples.__getitem__, threading.Event()

    def stuck(self, key):
        if key[0] == 1:  # the second epoch
            if fault == "dies":
                raise SystemExit  # ends the thread, and no one is told
            end.wait(60)
        return read(self, key)

    monkeypatch.setattr(TrainingSamples, "__getitem__", stuck)
    monkeypatch.setattr(adaptis.training.loader, "TIMEOUT_SECONDS", 1)
    start = time.monotonic()
    with pytest.raises(TrainingError, match=r"no batch in 1 s.*_rgb\.png, .*workers 0"):
        train(data, tmp_path, "--workers", 2)
    assert time.monotonic() - start < 20
    end.set()
    assert checkpoints(tmp_path / "instances") == ["checkpoint-0000004.params"]


def test_a_hanging_thread_does_not_keep_the_process(data, tmp_path):
    """The interpreter ends, too."""
    code = (
        "import sys, time, adaptis.training.loader, train_toy\n"
        "from adaptis.training.samples import TrainingSamples\n"
        "adaptis.training.loader.TIMEOUT_SECONDS = 1\n"
        "TrainingSamples.__getitem__ = lambda self, key: time.sleep(1000)\n"
        "train_toy.main(sys.argv[1:])\n"
    )
    arguments = ["--data", data, "--output", tmp_path, *OPTIONS.split(), "--workers", 2]
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 1
    assert "TrainingError: no batch in 1 s" in process.stderr
