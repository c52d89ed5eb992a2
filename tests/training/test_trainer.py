from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest

import train_toy
from adaptis.disk import temporary_for
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.training import stage_run
from adaptis.training.checkpoints import TrainingError, checkpoint_paths
from adaptis.training.log import TrainingLog
from adaptis.training.peaks import CANDIDATES, Peaks
from adaptis.training.stages import InstanceStage
from adaptis.training.validation import Validation
from adaptis.weights import load_arrays, load_weights, set_parameters
from datasets.toy import ToyDataset
from datasets.toy_generator import generate
from tests.training_runs import (
    ITERATIONS,
    assert_same_end,
    at_iteration,
    checkpoints,
    final_state,
    stop_at,
    train,
)


class TestWholeRun:
    def test_files(self, uninterrupted):
        """A checkpoint an epoch, the best and the last weights, TensorBoard logs, and no temporary
        files."""
        files = set(os.listdir(uninterrupted()))
        names = {"checkpoint-0000004.params", "checkpoint-0000008.params"}
        assert files == names | {".lock", "best.params", "last.params", "tensorboard"}

    def test_adams_moments_are_those_of_every_trained_parameter(self, uninterrupted):
        arrays, description = final_state(uninterrupted())
        moments = {name for name in arrays if name.startswith("optimizer:")}
        trained = {
            name.split(":")[1]
            for name in arrays
            if name.startswith("parameter:")
            and not any(part in name for part in ("proposal_head.", "running_", "upsampler"))
        }
        assert moments == {f"optimizer:{n}/{m}" for n in trained for m in ("mean", "variance")}
        assert description["state"]["iteration"] == ITERATIONS

    def test_the_same_seed_gives_the_same_and_another_does_not(self, data, uninterrupted, tmp_path):
        assert_same_end(train(data, tmp_path / "again"), uninterrupted())
        short = ("--images", 4, "--epochs", 1, "--seed", 1)
        arrays, _ = final_state(train(data, tmp_path / "other", *short))
        expected, _ = final_state(uninterrupted())
        name = "parameter:backbone.fe.0.weight"  # which 8 updates move by 0.004 at most
        assert np.abs(arrays[name].asnumpy() - expected[name].asnumpy()).max() > 0.1

    def test_loader_threads_change_nothing(self, data, uninterrupted, tmp_path):
        assert_same_end(train(data, tmp_path, "--workers", 2), uninterrupted())

    def test_best_weights_are_complete_and_describe_themselves(self, uninterrupted, toy):
        arrays, description = load_arrays(uninterrupted() / "best.params")
        assert description["network"]["width"] == 4
        assert 0 <= description["metrics"]["iou"] <= 1
        assert 0 <= description["metrics"]["miou"] <= 1
        set_parameters(toy(width=4, proposal_branch="paper"), arrays, "best.params")

    def test_the_last_weights_are_the_last_checkpoints(self, uninterrupted):
        arrays, description = load_arrays(uninterrupted() / "last.params")
        parameters, described, _ = load_weights(uninterrupted() / "checkpoint-0000008.params")
        assert set(arrays) == set(parameters)
        for name, array in arrays.items():
            np.testing.assert_array_equal(array.asnumpy(), parameters[name].asnumpy())
        assert description["network"] == described["network"]


@pytest.mark.parametrize("threads", [0, 3])
@pytest.mark.parametrize(("stage", "stop"), [("instances", 3), ("instances", 6), ("proposals", 6)])
def test_resume_is_exact(data, uninterrupted, tmp_path, monkeypatch, stage, stop, threads):
    """Stopped by SIGTERM in the middle of an epoch and resumed: the same bits at the end, and the
    same learning rates on the way."""
    whole, options = uninterrupted(stage), ["--stage", stage, "--workers", threads]
    if stage == "proposals":
        options += ["--weights", uninterrupted() / "best.params"]
    with monkeypatch.context() as patch:
        stop_at(patch, stop)
        with pytest.raises(TrainingError, match=f"SIGTERM after iteration {stop}.*--resume"):
            train(data, tmp_path, *options)
    assert checkpoints(tmp_path / stage)[-1] == f"checkpoint-{stop:07d}.params"
    rates = []
    for iteration in range(stop + 1, ITERATIONS + 1):
        at_iteration(monkeypatch, iteration, lambda t: rates.append(t._updates.learning_rate))
    assert_same_end(train(data, tmp_path, *options, "--resume"), whole)
    done = np.arange(stop, ITERATIONS) / ITERATIONS
    np.testing.assert_allclose(rates, 5e-4 * (1 + np.cos(np.pi * done)) / 2)


def test_resume_is_exact_on_two_devices(data, tmp_path, monkeypatch):
    """Each has moments of its own, which are restored on both."""
    monkeypatch.setattr(mx, "gpu", mx.cpu)
    options = ("--ctx", "0,1", "--images", 8, "--epochs", 1)  # two iterations
    whole = train(data, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(TrainingError, match="stopped"):
            train(data, tmp_path / "stopped", *options)
    assert_same_end(train(data, tmp_path / "stopped", *options, "--resume"), whole)


@pytest.mark.parametrize(("ious", "mean"), [([0.25, 0.75], 0.5), ([0.25, np.nan], 0.25)])
def test_scalars_are_of_all_devices(data, tmp_path, monkeypatch, ious, mean):
    """But those whose images have no objects."""
    monkeypatch.setattr(mx, "gpu", mx.cpu)
    ious = iter(ious)
    losses, logged = InstanceStage.losses, []

    def with_known_iou(*arguments):
        loss, scalars = losses(*arguments)
        return loss, {**scalars, "iou": mx.nd.array([next(ious)])}

    monkeypatch.setattr(InstanceStage, "losses", with_known_iou)
    monkeypatch.setattr(TrainingLog, "step", lambda self, _, scalars: logged.append(scalars))
    train(data, tmp_path, "--ctx", "0,1", "--images", 4, "--epochs", 1)  # one iteration
    assert [scalars["iou"] for scalars in logged] == [mean]


def test_fewer_images_than_devices(data, tmp_path, monkeypatch):
    monkeypatch.setattr(mx, "gpu", mx.cpu)
    with pytest.raises(TrainingError, match=r"1 workers with 2 devices.*larger --batch-size"):
        train(data, tmp_path, "--ctx", "0,1", "--batch-size", 1)


def test_fewer_images_than_a_batch(data, tmp_path):
    with pytest.raises(TrainingError, match=r"3 images make no batch of 4; .*--batch-size"):
        train(data, tmp_path, "--images", 3)


def test_a_checkpoint_serves_as_weights(data, uninterrupted, tmp_path):
    """In the proposal stage, which keeps it but for its branch, and for inference."""
    checkpoint = uninterrupted() / "checkpoint-0000008.params"
    short = ("--images", 4, "--epochs", 1)
    run = train(data, tmp_path, "--stage", "proposals", "--weights", checkpoint, *short)
    expected, arrays = load_weights(checkpoint)[0], load_arrays(run / "last.params")[0]
    name = "selection.first_conv.weight"
    np.testing.assert_array_equal(arrays[name].asnumpy(), expected[name].asnumpy())
    assert AdaptISPredictor.load(checkpoint).classes[1]["name"] == "object"


def test_the_proposal_stage_goes_on_with_its_own_first_stage_only(data, uninterrupted, tmp_path):
    weights = tmp_path / "first.params"
    shutil.copy(uninterrupted() / "checkpoint-0000004.params", weights)
    options = ("--stage", "proposals", "--weights", weights, "--images", 4, "--epochs", 1)
    train(data, tmp_path, *options)
    train(data, tmp_path, *options, "--resume")
    shutil.copy(uninterrupted() / "best.params", weights)
    with pytest.raises(TrainingError, match=r"first\.params: has changed since .*proposals was"):
        train(data, tmp_path, *options, "--resume")


def test_best_is_of_the_best_epoch_and_of_the_proposal_stage_the_last(
    data, uninterrupted, tmp_path, monkeypatch
):
    """Scores fall."""
    weights, picture = uninterrupted() / "best.params", np.zeros((2, 2, 3), np.uint8)
    monkeypatch.setattr(stage_run, "choose_peaks", lambda *_: (Peaks(0.2, 0.003), {}))
    options = ("--images", 4, "--epochs", 2, "--weights", weights)
    for stage, best in (("instances", 0.5), ("proposals", 0.25)):
        scores = iter([0.5, 0.25])
        monkeypatch.setattr(
            stage_run,
            "validate",
            lambda *_, s=scores: Validation({"score": next(s)}, picture, {}),
        )
        run = train(data, tmp_path, "--stage", stage, *options)
        metrics = [load_arrays(run / f"{k}.params")[1]["metrics"] for k in ("best", "last")]
        assert [m["score"] for m in metrics] == [best, 0.25]


class TestPeaks:
    def test_it_is_chosen_for_the_weights(self, uninterrupted):
        """Once the last epoch is over; the last checkpoint serves as weights too."""
        run = uninterrupted("proposals")
        checkpoint = checkpoint_paths(run)[0]
        inference = load_arrays(checkpoint)[1]["inference"]
        peaks = {name: inference[name] for name in Peaks._fields}
        assert Peaks(**peaks) in CANDIDATES
        for name in ("best", "last"):
            description = load_arrays(run / f"{name}.params")[1]
            for kind in ("inference", "metrics"):
                assert description[kind].items() >= peaks.items()
            assert 0 <= description["metrics"]["pq"] <= 1
            assert description["metrics"]["peaks"] >= 0

    def test_a_signal_leaves_it_to_the_next_start(self, data, uninterrupted, tmp_path, monkeypatch):
        options = ["--stage", "proposals", "--weights", uninterrupted() / "best.params"]
        options += ["--images", 4, "--epochs", 1]
        with monkeypatch.context() as patch:
            patch.setattr(stage_run, "choose_peaks", stopped_by_a_signal)
            with pytest.raises(TrainingError, match="SIGTERM after iteration 1"):
                train(data, tmp_path, *options)
        run = tmp_path / "proposals"
        assert not (run / "last.params").exists()
        train(data, tmp_path, *options, "--resume")
        assert "pq" in load_arrays(run / "last.params")[1]["metrics"]


def stopped_by_a_signal(*_):
    os.kill(os.getpid(), signal.SIGTERM)


def test_proposal_stage_keeps_the_rest(uninterrupted):
    before, _ = load_arrays(uninterrupted() / "best.params")
    after, _ = load_arrays(uninterrupted("proposals") / "best.params")
    for name, array in before.items():
        same = np.array_equal(array.asnumpy(), after[name].asnumpy())
        assert same != name.startswith("proposal_head."), name


def test_masks_are_cut_where_the_loss_is_balanced_in_both_stages(data, tmp_path, monkeypatch):
    """Of BCE and of another alpha, whatever the data set's T is; also where the second stage is
    resumed without the weights."""
    monkeypatch.setitem(train_toy.CONFIG.inference.greedy, "mask_threshold", 0.3)
    short = ("--images", 4, "--epochs", 1)
    first = train(data, tmp_path, *short, "--loss", "bce")
    options = ("--stage", "proposals", "--weights", first / "best.params", *short)
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(TrainingError, match="stopped"):
            train(data, tmp_path, *options, "--epochs", 2)
    resumed = ("--stage", "proposals", "--images", 4, "--resume", "--weights", tmp_path / "none")
    second = train(data, tmp_path, *resumed)
    for path in (first / "best.params", second / "best.params"):
        assert load_arrays(path)[1]["inference"]["greedy"]["mask_threshold"] == 0.5
    for options, threshold in ((), 0.3), (("--alpha", 0.25), 0.4):
        other = train(data, tmp_path / f"nfl-{threshold}", *short, *options)
        settings = load_arrays(other / "best.params")[1]["inference"]
        assert settings["greedy"]["mask_threshold"] == threshold


class TestStopping:
    @pytest.mark.parametrize("epoch", [1, 2])
    def test_during_validation_it_is_heeded_and_resuming_validates(
        self, data, uninterrupted, tmp_path, monkeypatch, epoch
    ):
        """Of the last epoch too, after which there is nothing left to train."""
        real, calls = stage_run.validate, []

        def stopped_once(*arguments):
            calls.append(1)
            if len(calls) == epoch:
                os.kill(os.getpid(), signal.SIGTERM)
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(stage_run, "validate", stopped_once)
            with pytest.raises(TrainingError, match=f"SIGTERM after iteration {4 * epoch};"):
                train(data, tmp_path)
        assert len(calls) == epoch
        assert final_state(tmp_path / "instances")[1]["state"]["validated"] == 4 * (epoch - 1)
        assert_same_end(train(data, tmp_path, "--resume"), uninterrupted())

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signals_save_and_are_given_back(self, data, tmp_path, monkeypatch, number):
        handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
        stop_at(monkeypatch, 1, number)
        with pytest.raises(TrainingError, match=f"{number.name} after iteration 1"):
            train(data, tmp_path)
        assert checkpoints(tmp_path / "instances") == ["checkpoint-0000001.params"]
        assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers


@pytest.fixture(scope="module")
def stopped_once(data, tmp_path_factory):
    """A run stopped after 6 iterations: checkpoints 4 and 6."""
    output = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(TrainingError, match="stopped"):
            train(data, output)
    names = ["checkpoint-0000004.params", "checkpoint-0000006.params"]
    assert checkpoints(output / "instances") == names
    return output


class TestResume:
    @pytest.fixture
    def stopped(self, stopped_once, tmp_path):
        """A copy of it."""
        return Path(shutil.copytree(stopped_once, tmp_path / "run"))

    @pytest.mark.parametrize("damage", ["flipped", "cut", "without description"])
    def test_a_damaged_checkpoint_gives_way_to_the_one_before(
        self, data, uninterrupted, stopped, capfd, damage
    ):
        path = stopped / "instances" / "checkpoint-0000006.params"
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        elif damage == "cut":
            path.write_bytes(content[: len(content) // 3])
        else:
            mx.nd.save(str(path), load_arrays(path)[0])
        assert_same_end(train(data, stopped, "--resume"), uninterrupted())
        message = capfd.readouterr().err
        assert "checkpoint-0000006.params: is " in message
        assert "trying the previous checkpoint" in message

    def test_no_usable_checkpoint(self, data, stopped, tmp_path):
        for path in (stopped / "instances").glob("*.params"):
            path.write_bytes(b"")
        with pytest.raises(TrainingError, match="instances: no usable checkpoint"):
            train(data, stopped, "--resume")
        with pytest.raises(TrainingError, match="instances: no usable checkpoint"):
            train(data, tmp_path / "new", "--resume")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--width", "6"], r"network\.width: 4, now 6"),
            (["--schedule", "step"], "schedule: cosine, now step"),
            (["--epochs", "3"], "cosine_epochs: 2, now 3 .a cosine of another length has other"),
        ],
    )
    def test_other_settings_are_named(self, data, stopped, options, message):
        with pytest.raises(TrainingError, match=rf"0000006\.params: .*other settings: .*{message}"):
            train(data, stopped, "--resume", *options)

    def test_another_learning_rate_is_said(self, data, stopped, capfd):
        """Where it is given; where the run's own was forgotten, it is refused."""
        run = train(data, stopped, "--resume", "--learning-rate", 1e-4)
        assert "goes on with training.learning_rate 0.0001, before 0.0005" in capfd.readouterr().err
        assert load_arrays(run / "best.params")[1]["training"]["learning_rate"] == 1e-4
        message = r"learning_rate: 0\.0001, now 0\.0005 \(give --learning-rate to go on"
        with pytest.raises(TrainingError, match=message):
            train(data, stopped, "--resume")

    def test_another_rate_of_the_backbone_is_named(self, data, stopped, monkeypatch):
        """As when --backbone-weights was forgotten, which decides it."""
        monkeypatch.setattr(stage_run, "_backbone_factor", lambda *_: 0.5)
        with pytest.raises(TrainingError, match=r"backbone_factor: 1\.0, now 0\.5"):
            train(data, stopped, "--resume")

    def test_the_weights_it_began_with_are_not_needed(self, data, uninterrupted, stopped):
        weights = stopped / "no longer there.params"
        assert_same_end(train(data, stopped, "--resume", "--weights", weights), uninterrupted())

    def test_another_data_set_is_named(self, data, stopped, monkeypatch):
        monkeypatch.setattr(train_toy.CONFIG, "dataset", "cells")
        background, thing = ToyDataset.classes
        classes = (background, thing._replace(name="cell"))
        monkeypatch.setattr(ToyDataset, "classes", classes)
        message = r"dataset: toy, now cells; classes\.1\.name: object, now cell; resume with"
        with pytest.raises(TrainingError, match=message):
            train(data, stopped, "--resume")

    def test_other_images_are_named(self, data, stopped, tmp_path):
        generate(tmp_path / "other", train=18, test=1, seed=1)
        message = r"samples: 16, now 18; training\.names_sha256: "
        with pytest.raises(TrainingError, match=message):
            train(tmp_path / "other", stopped, "--resume")

    def test_what_a_killed_save_left_is_removed(self, data, stopped):
        leftover = temporary_for(stopped / "instances" / "checkpoint-0000007.params")
        leftover.write_bytes(b"half")
        train(data, stopped, "--resume")
        assert not leftover.exists()

    def test_only_what_changes_the_result_must_agree(
        self, data, uninterrupted, stopped, tmp_path_factory
    ):
        moved = stopped.rename(tmp_path_factory.mktemp("other") / "place")
        assert_same_end(train(data, moved, "--resume", "--workers", 1), uninterrupted())

    def test_starting_anew_over_a_run_is_refused(self, data, stopped):
        before = checkpoints(stopped / "instances")
        with pytest.raises(TrainingError, match=r"earlier run.*--resume.*another --output"):
            train(data, stopped)
        assert checkpoints(stopped / "instances") == before

    def test_a_finished_run_stays_as_it_is(self, data, uninterrupted):
        run = uninterrupted()
        before = (run / "checkpoint-0000008.params").read_bytes()
        train(data, run.parent, "--resume")
        assert (run / "checkpoint-0000008.params").read_bytes() == before


class TestExtending:
    """--resume with more --epochs: the bits of a run that was as long from the start."""

    short = ("--images", 4)  # an iteration an epoch

    def test_a_constant_rate(self, data, tmp_path):
        options = (*self.short, "--schedule", "constant")
        whole = train(data, tmp_path / "whole", *options, "--epochs", 3)
        train(data, tmp_path / "longer", *options, "--epochs", 1)
        longer = train(data, tmp_path / "longer", *options, "--epochs", 3, "--resume")
        assert_same_end(longer, whole)

    def test_drops_that_stay(self, data, tmp_path):
        options = (*self.short, "--schedule", "step")
        train(data, tmp_path, *options, "--epochs", 1, "--drops", 2)
        message = r"drops: \[2\.0\], now \[1\.5, 1\.9\] \(they move with --epochs; give --drops"
        with pytest.raises(TrainingError, match=message):
            train(data, tmp_path, *options, "--epochs", 2, "--resume")
        run = train(data, tmp_path, *options, "--epochs", 2, "--drops", 2, "--resume")
        assert checkpoints(run)[-1] == "checkpoint-0000002.params"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--distance-map", "distance_map: False, now True; give the same options"),
    ],
)
def test_weights_of_another_network_are_refused(data, uninterrupted, tmp_path, option, message):
    weights = uninterrupted() / "best.params"
    with pytest.raises(TrainingError, match=f"best.params: is of another network: .*{message}"):
        train(data, tmp_path, "--stage", "proposals", "--weights", weights, option)


def test_the_proposal_stage_needs_weights(data, tmp_path):
    with pytest.raises(TrainingError, match="--stage proposals needs --weights"):
        train(data, tmp_path, "--stage", "proposals")


def test_the_authors_weights_are_accepted(data, tmp_path, reference):
    """Frozen in the proposal stage, they come out as they went in."""
    path = reference / "authors_toy_width8.params"
    options = ["--width", "8", "--distance-map", "--weights", path, "--epochs", "1"]
    run = train(data, tmp_path, "--stage", "proposals", *options)
    arrays, _ = load_arrays(run / "best.params")
    theirs = mx.nd.load(str(path))["adaptis_head.adain.affine_scale.weight"].asnumpy()
    np.testing.assert_array_equal(arrays["selection.adains.0.scale.weight"].asnumpy(), theirs)
