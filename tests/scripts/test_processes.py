"""Evaluating and segmenting by several processes and in shards: the same as by one, also when a
process is killed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import segment
import test_panoptic
from adaptis.errors import ResultsError
from adaptis.evaluation.options import parse_arguments
from adaptis.evaluation.script import evaluate
from adaptis.inference.loading import load_again, load_predictor
from adaptis.segmenting.script import SegmentingError
from adaptis.weights import CheckpointError
from datasets.toy import ToyDataset
from tests.paths import ROOT
from tests.untrained import write_images, write_weights

INFERENCE = {"peak_threshold": 0.02, "greedy": {"mask_threshold": 0.15, "min_area": 1}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, toy):
    """Five images of noise, and the weights of an untrained network, which finds things in it."""
    root = tmp_path_factory.mktemp("toy")
    write_images(root / "data", "abcde", [np.s_[2:8, 2:8], np.s_[10:14, 1:14]])
    write_weights(root / "w.params", toy(4), INFERENCE)
    return root


def arguments(folder, output, *options):
    where = ("--data-root", folder / "data", "--weights", folder / "w.params", "--output", output)
    return [str(a) for a in ("toy", *where, "--pictures", 0, *options)]


def scores_of(output):
    """All that an evaluation says but how long it took."""
    metrics = json.loads((output / "metrics.json").read_text())
    metrics.pop("seconds_per_image", None)
    return metrics, (output / "table.md").read_text()


def files(folder):
    """What a run of segment.py wrote, but which process used its folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".lock")
    }


@pytest.fixture(scope="module")
def one(folder, tmp_path_factory):
    """The scores of an evaluation by one process."""
    output = tmp_path_factory.mktemp("one")
    test_panoptic.main(arguments(folder, output))
    metrics, table = scores_of(output)
    assert metrics["counts"]["false_positives"] > 0  # else nothing is found, and all are equal
    return metrics, table


class TestEvaluation:
    def test_two_processes_give_the_same(self, folder, one, tmp_path, capfd):
        test_panoptic.main(arguments(folder, tmp_path, "--processes", 2))
        assert scores_of(tmp_path) == one
        said = capfd.readouterr().err
        assert (
            said.count("segmenting: 100 % (5 of 5)") == said.count("scoring: 100 % (5 of 5)") == 1
        )

    def test_shards_give_the_same(self, folder, one, tmp_path, capsys):
        assert test_panoptic.main(arguments(folder, tmp_path, "--shard", "2/2")) == {}
        assert "of shard 2 of 2, 2 of 5 images, are in" in capsys.readouterr().out
        metrics = test_panoptic.main(arguments(folder, tmp_path, "--score-only"))
        assert (metrics["images"], metrics["images_without_prediction"]) == (2, 3)
        missing = "3 more images have no prediction and are not scored."
        assert missing in capsys.readouterr().out
        assert missing in (tmp_path / "table.md").read_text()
        test_panoptic.main(arguments(folder, tmp_path, "--shard", "1/2"))
        test_panoptic.main(arguments(folder, tmp_path, "--score-only"))
        assert scores_of(tmp_path) == one

    def test_nothing_there_to_score(self, folder, tmp_path):
        with pytest.raises(ResultsError, match="holds no predictions of these images yet"):
            test_panoptic.main(arguments(folder, tmp_path, "--score-only"))

    def test_shards_of_other_settings_are_refused(self, folder, tmp_path):
        test_panoptic.main(arguments(folder, tmp_path, "--shard", "1/5"))
        with pytest.raises(ResultsError, match="another run"):
            test_panoptic.main(arguments(folder, tmp_path, "--shard", "2/5", "--flip"))

    @pytest.mark.parametrize("other", [("--score-only",), ("--predictions", "p")])
    def test_a_shard_is_not_scored(self, folder, tmp_path, other, capsys):
        with pytest.raises(SystemExit):
            test_panoptic.main(arguments(folder, tmp_path, "--shard", "1/2", *other))
        assert "--shard only predicts" in capsys.readouterr().err

    def test_a_killed_process_loses_its_image_only(self, folder, one, tmp_path):
        """And another number of processes goes on."""
        said = tmp_path / "said"
        args = parse_arguments("", arguments(folder, tmp_path / "out", "--processes", 2))
        dataset = SlowImage(folder / "data", "test")
        dataset.says = said
        killing = threading.Thread(target=kill_who_says, args=(said,))
        killing.start()
        lost = r"1 of 5 images can't be segmented.*: \S*/b_rgb\.png: the process at it was killed"
        with pytest.raises(ResultsError, match=lost):
            evaluate(args, dataset, load_predictor(args))
        killing.join()
        found = sorted(path.stem for path in (tmp_path / "out" / "predictions").glob("[!.]*.json"))
        assert found == list("acde")
        test_panoptic.main(arguments(folder, tmp_path / "out"))
        assert scores_of(tmp_path / "out") == one

    def test_ctrl_c(self, folder, one, tmp_path):
        """One line, no process left, and the same result when it goes on."""
        process = subprocess.Popen(
            [sys.executable, "test_panoptic.py", *arguments(folder, tmp_path, "--processes", 2)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as of a terminal, whose Ctrl-C reaches all of it
        )
        try:
            wait_for(lambda: any(tmp_path.glob("predictions/*.json")) or process.poll() is not None)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            output, error = process.communicate(timeout=60)
        finally:
            process.kill()
        assert "Traceback" not in error
        if process.returncode == 130:
            assert error.strip().splitlines()[-1].startswith("stopped: what was finished is kept")
        else:  # it was done before
            assert (process.returncode, "the results are in" in output) == (0, True)
        wait_for(lambda: not group_runs(process.pid))
        test_panoptic.main(arguments(folder, tmp_path))
        assert scores_of(tmp_path) == one


class SlowImage(ToyDataset):
    """Whoever is first to read b says so in a file, and is at it for long."""

    says = None

    def __getitem__(self, index):
        if self.names[index] == "b" and not self.says.exists():
            self.says.with_suffix(".part").write_text(str(os.getpid()))
            self.says.with_suffix(".part").rename(self.says)
            time.sleep(100)
        return super().__getitem__(index)


def kill_who_says(path):
    wait_for(path.exists)
    os.kill(int(path.read_text()), signal.SIGKILL)


def wait_for(condition):
    end = time.monotonic() + 100
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def group_runs(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_weights_replaced_meanwhile(folder, tmp_path):
    args = parse_arguments("", arguments(folder, tmp_path))
    sha256 = load_predictor(args).weights_sha256
    assert load_again(args, "cpu", sha256).weights_sha256 == sha256
    with pytest.raises(CheckpointError, match=r"w\.params: was replaced since the command began"):
        load_again(args, "cpu", "0" * 64)


class TestSegmenting:
    @pytest.fixture
    def images(self, folder, tmp_path):
        """Five, the second of them broken."""
        path = tmp_path / "images"
        path.mkdir()
        for name in "abcde":
            shutil.copy(folder / "data" / "test" / f"{name}_rgb.png", path / f"{name}.png")
        (path / "b.png").write_bytes(b"cut")
        return path

    def run(self, folder, images, output, *options):
        where = ("--weights", folder / "w.params", "--output", output)
        with pytest.raises(SegmentingError, match=r"^1 of \d images .*:\n\S*/b\.png: can't be"):
            segment.main([str(argument) for argument in (images, *where, *options)])

    def test_two_processes_and_shards_give_the_same(self, folder, images, tmp_path, capsys):
        self.run(folder, images, tmp_path / "one")
        expected = files(tmp_path / "one")
        assert {name for name in expected if name.startswith("labels")} == {
            f"labels/{name}.png" for name in "acde"
        }
        (said,) = [line for line in capsys.readouterr().out.splitlines() if "objects in 4" in line]
        self.run(folder, images, tmp_path / "two", "--processes", 2)
        assert files(tmp_path / "two") == expected
        assert said.split(":")[0] in capsys.readouterr().out
        self.run(folder, images, tmp_path / "parts", "--shard", "2/2")  # b and d
        where = ("--weights", folder / "w.params", "--output", tmp_path / "parts")
        segment.main([str(a) for a in (images, *where, "--shard", "1/2")])
        assert files(tmp_path / "parts") == expected
