"""Every script from its command line: a dry run on small scenes, and what it leaves behind."""

from __future__ import annotations

import json

import pytest

import test_panoptic
import train_cityscapes
import train_coco
import train_mapillary
import train_toy
from datasets.synthetic import main as generate_scenes
from datasets.toy_generator import generate

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


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """Toy images and the weights of a dry run on them."""
    folder = tmp_path_factory.mktemp("toy")
    generate(folder / "data", train=4, test=3, seed=0, size=40, objects=(4, 4))
    options = ("--width", "4", "--batch-size", "2", "--points", "2", "--dry-run", "2")
    train_toy.main(["--data", str(folder / "data"), "--output", str(folder / "run"), *options])
    return folder


def evaluate(toy, output, *options):
    weights = toy / "run" / "dry-run" / "proposals" / "best.params"
    where = ("--data-root", str(toy / "data"), "--weights", str(weights), "--output", str(output))
    return test_panoptic.main(["toy", *where, "--pictures", "1", *options])


def test_evaluation_stopped_and_continued_gives_the_same(toy, tmp_path, monkeypatch):
    whole = evaluate(toy, tmp_path / "a")
    load = test_panoptic.load_predictor

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
        patch.setattr(test_panoptic, "load_predictor", load_one_that_breaks)
        with pytest.raises(ZeroDivisionError):
            evaluate(toy, tmp_path / "b")
    assert len(list((tmp_path / "b" / "predictions").glob("0*.png"))) == 2
    continued = evaluate(toy, tmp_path / "b")
    for metrics in (whole, continued):
        del metrics["seconds_per_image"]
    assert json.dumps(continued) == json.dumps(whole)


def test_another_configuration_is_refused(toy, tmp_path):
    evaluate(toy, tmp_path, "--points", "random")
    with pytest.raises(test_panoptic.ResultsError, match="settings"):
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
    with pytest.raises(test_panoptic.CheckpointError, match="other classes"):
        test_panoptic.main(["cityscapes", *options, "--output", str(tmp_path / "out")])
