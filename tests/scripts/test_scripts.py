"""Every script from its command line: a dry run on small scenes, and what it leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

import test_panoptic
import train_cityscapes
import train_coco
import train_mapillary
import train_toy
from adaptis.errors import ResultsError
from adaptis.evaluation import script as evaluation
from adaptis.inference import loading
from adaptis.weights import CheckpointError
from datasets.synthetic import main as generate_scenes
from datasets.toy_generator import generate
from tests.paths import ROOT

SMALL = (
    *("--backbone", "resnet18_v1b", "--backbone-weights", "none", "--channels", "16"),
    *("--crop", "48", "64", "--batch-size", "2", "--points", "2", "--dry-run", "2"),
)


@pytest.mark.parametrize(
    ("name", "script", "scale"),
    [
        ("cityscapes", train_cityscapes, ("--scale", "0.5", "1")),
        ("mapillary", train_mapillary, ("--longest-side", "90", "120", "--inference-side", "96")),
        ("coco", train_coco, ("--shortest-side", "40", "60", "--inference-side", "48")),
    ],
)
def test_dry_run(name, script, scale, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(script.CONFIG, "proposal_points", 4)
    data, output = tmp_path / "data", tmp_path / "run"
    size = ("--size", "48", "96")
    generate_scenes(["--format", name, "--out", str(data), "--train", "3", "--val", "2", *size])
    script.main(["--data", str(data), "--output", str(output), *SMALL, *scale])
    folder = output / "dry-run"
    assert (folder / "instances" / "best.params").exists()
    assert (folder / "proposals" / "best.params").exists()
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
    assert metrics["images"] == 2
    assert 0 <= metrics["pq"]["all"]["pq"] <= 1
    assert "PQ_th" in capsys.readouterr().out
    assert (folder / "evaluation" / "pictures" / "results.png").exists()


def test_a_minute_of_training_is_far_above_chance(tmp_path):
    """The smallest of docs/results.md: after 200 iterations on street scenes stuff is known."""
    data, run = tmp_path / "data", tmp_path / "run"
    sizes = ("--train", "40", "--val", "8", "--size", "48", "96")
    generate_scenes(["--format", "cityscapes", "--out", str(data), *sizes])
    options = (
        *("--backbone", "resnet18_v1b", "--backbone-weights", "none", "--channels", "32"),
        *("--relative-radius", "32", "--crop", "48", "64", "--scale", "0.9", "1.1"),
        *("--batch-size", "2", "--alpha", "0.5", "--points", "8", "--schedule", "cosine"),
        *("--warmup", "0.1", "--learning-rate", "2e-3", "--repeats", "10", "--epochs", "1"),
    )
    train_cityscapes.main(["--data", str(data), "--output", str(run), *options])
    weights = ("--weights", str(run / "instances" / "best.params"))
    where = ("--data-root", str(data), "--output", str(tmp_path / "out"), "--pictures", "1")
    metrics = test_panoptic.main(["cityscapes", *where, *weights])
    assert metrics["miou"] > 0.2  # 0.34; one class everywhere gives less than 0.05
    assert metrics["pq"]["stuff"]["pq"] > 0.2  # 0.37


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Toy images and the weights of a dry run on them."""
    folder = tmp_path_factory.mktemp("toy")
    generate(folder / "data", train=4, test=3, seed=0, size=48, objects=(4, 4))
    options = ("--width", "4", "--batch-size", "2", "--points", "2", "--dry-run", "2")
    train_toy.main(["--data", str(folder / "data"), "--output", str(folder / "run"), *options])
    return folder


def arguments(toy, output, *options):
    weights = toy / "run" / "dry-run" / "proposals" / "best.params"
    where = ("--data-root", str(toy / "data"), "--weights", str(weights), "--output", str(output))
    return ["toy", *where, "--pictures", "1", *options]


def evaluate(toy, output, *options):
    return test_panoptic.main(arguments(toy, output, *options))


def comparable(metrics) -> str:
    """Without the time an evaluation took, and its place."""
    left_out = ("seconds_per_image", "predictions")
    return json.dumps({name: value for name, value in metrics.items() if name not in left_out})


def test_a_dry_run_does_not_try_every_pixel(toy):
    text = (toy / "run" / "dry-run" / "evaluation" / "metrics.json").read_text()
    assert json.loads(text)["settings"]["greedy"]["max_fruitless"] == evaluation.BRIEF_FRUITLESS


def test_evaluation_stopped_and_continued_gives_the_same(toy, tmp_path, monkeypatch):
    whole = evaluate(toy, tmp_path / "a")
    load = loading.load_predictor

    def load_one_that_breaks(*arguments):
        predictor = load(*arguments)
        calls = []
        real = predictor.set_image
        monkeypatch.setattr(
            predictor,
            "set_image",
            lambda i: calls.append(1) or (real(i) if len(calls) < 3 else 1 / 0),
        )
        return predictor

    with monkeypatch.context() as patch:
        patch.setattr(loading, "load_predictor", load_one_that_breaks)
        with pytest.raises(ZeroDivisionError):
            evaluate(toy, tmp_path / "b")
    assert len(list((tmp_path / "b" / "predictions").glob("0*.png"))) == 2
    continued = evaluate(toy, tmp_path / "b")
    assert comparable(continued) == comparable(whole)


KILLED_WHILE_WRITING = """
import os, signal, sys
import test_panoptic
replace, calls = os.replace, []
def killed(*paths):
    calls.append(1)
    if len(calls) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
os.replace = killed
test_panoptic.main(sys.argv[2:])
"""


@pytest.mark.parametrize("call", [3, 6])  # of os.replace: within an image's files, and after them
def test_evaluation_killed_and_continued_gives_the_same(toy, tmp_path, call):
    whole = evaluate(toy, tmp_path / "a")
    process = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(call), *arguments(toy, tmp_path / "b")],
        cwd=ROOT,
        capture_output=True,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    continued = evaluate(toy, tmp_path / "b")
    assert comparable(continued) == comparable(whole)
    tables = [(tmp_path / run / "table.md").read_text() for run in "ab"]
    assert tables[0] == tables[1]


@pytest.mark.parametrize("name", ["00001_rgb.png", "00001_rgb.json", "semantic/00001_rgb.png"])
def test_a_damaged_prediction_is_made_again(toy, tmp_path, name):
    evaluate(toy, tmp_path)
    path = next((tmp_path / "predictions").glob(name.replace("_rgb", "*")))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :])
    evaluate(toy, tmp_path)
    assert path.read_bytes() == whole


def test_more_images_can_follow(toy, tmp_path):
    whole = evaluate(toy, tmp_path / "whole")
    assert evaluate(toy, tmp_path / "grown", "--limit", "2")["images"] == 2
    grown = evaluate(toy, tmp_path / "grown")
    assert comparable(grown) == comparable(whole)
    assert evaluate(toy, tmp_path / "grown", "--limit", "2")["images"] == 2


def test_another_configuration_is_refused(toy, tmp_path):
    evaluate(toy, tmp_path, "--points", "random")
    with pytest.raises(ResultsError, match="settings"):
        evaluate(toy, tmp_path, "--points", "proposals")


def test_score_only(toy, tmp_path):
    scored = evaluate(toy, tmp_path)
    again = test_panoptic.main(
        [
            *("toy", "--data-root", str(toy / "data"), "--output", str(tmp_path / "again")),
            *("--predictions", str(tmp_path / "predictions")),
        ]
    )
    assert json.dumps(again["pq"]) == json.dumps(scored["pq"])


def test_weights_of_other_classes_are_refused(toy, tmp_path):
    generate_scenes(
        ["--format", "cityscapes", "--out", str(tmp_path), "--train", "1", "--val", "1"]
    )
    weights = toy / "run" / "dry-run" / "proposals" / "best.params"
    options = ("--data-root", str(tmp_path), "--weights", str(weights))
    with pytest.raises(CheckpointError, match="other classes"):
        test_panoptic.main(["cityscapes", *options, "--output", str(tmp_path / "out")])
