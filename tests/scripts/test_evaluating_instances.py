"""test_panoptic.py instances, with a backend that sees what is drawn: scores counted by hand."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import test_panoptic
from adaptis.errors import ResultsError
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.weights import CheckpointError
from tests.strategies import SeesWhatIsDrawn

CLASSES = [
    {"category_id": 1, "name": "background", "isthing": False},
    {"category_id": 2, "name": "object", "isthing": True},
]
STORED = [0, 510]  # the intensity in the weights: the images' values are twice what is drawn
SEEN = {"a": ["1102", "1102"], "b": ["1102", "0002"], "c": ["0000", "0000"]}
TRUTH = {"a": ["1102", "1102"], "b": ["1132", "0032"], "c": ["0000", "0000"]}


class SeesObjects(SeesWhatIsDrawn):
    def class_probabilities(self, image):
        return np.stack([image[0] == index for index in range(2)]).astype(np.float32)

    def proposal_logits(self, image):
        return np.full(image.shape[1:], -9, np.float32)


def drawn(rows) -> np.ndarray:
    return np.array([[int(c) for c in row] for row in rows], np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three images: in b an object of two pixels can't be seen; c is empty."""
    for kind in ("images", "labels"):
        (tmp_path / "data" / "test" / kind).mkdir(parents=True)
    for name, rows in SEEN.items():
        ids = drawn(rows)
        image = 2 * np.stack([ids > 0, ids, 0 * ids], axis=2).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "data" / "test" / "images" / f"{name}.png")
        labels = Image.fromarray(drawn(TRUTH[name]))
        labels.save(tmp_path / "data" / "test" / "labels" / f"{name}.png")
    description = {**SeesWhatIsDrawn.description(), "classes": CLASSES, "intensity": STORED}
    monkeypatch.setattr(
        AdaptISPredictor, "load", lambda *_: AdaptISPredictor(SeesObjects(), description)
    )
    return tmp_path


def run(folder, *options):
    where = ("--data-root", str(folder / "data"), "--output", str(folder / "out"))
    return test_panoptic.main(["instances", *where, "--weights", "w.params", *options])


def test_scores_by_hand(folder, capsys):
    metrics = run(folder)
    for threshold in ("0.5", "0.6", "0.7", "0.8", "0.9"):
        assert metrics["matching"][threshold] == {"ap": 4 / 5, "tp": 4, "fp": 0, "fn": 1}
    assert metrics["worst_image"] == {"name": "b", "ap": pytest.approx(2 / 3)}
    assert metrics["pq"]["things"]["pq"] == pytest.approx(4 / 4.5)  # 4 whole ones, half of a miss
    assert metrics["ap"]["0.5:0.95"] == pytest.approx(81 / 101)  # recalls 0 to .8 at precision 1
    assert metrics["intensity"] == STORED
    printed = capsys.readouterr().out
    assert re.search(r"\| AP = TP / \(TP \+ FP \+ FN\) +\| 80\.0 ", printed)
    assert "4 objects found, 1 missed, 0 false positives" in printed
    assert "(paper)" not in printed
    assert json.loads((folder / "out" / "metrics.json").read_text())["matching"]["0.5"]["tp"] == 4
    pictures = {path.name for path in (folder / "out" / "pictures").iterdir()}
    assert pictures == {"results.png", "worst.png", "proposals.png", "iterations.png"}


def test_predictions_of_another_intensity_are_not_mixed(folder):
    run(folder, "--pictures", "0")
    with pytest.raises(ResultsError, match=r"intensity: \[0, 510\], now percentile"):
        run(folder, "--pictures", "0", "--intensity", "percentile")


def test_score_only(folder):
    scored = run(folder, "--pictures", "0")
    where = ("--data-root", str(folder / "data"), "--output", str(folder / "again"))
    predictions = ("--predictions", str(folder / "out" / "predictions"))
    again = test_panoptic.main(["instances", *where, *predictions])
    assert again["matching"] == scored["matching"]


def test_other_classes(folder, monkeypatch):
    classes = [CLASSES[0], {**CLASSES[1], "name": "cell"}]
    description = {**SeesWhatIsDrawn.description(), "classes": classes}
    monkeypatch.setattr(
        AdaptISPredictor, "load", lambda *_: AdaptISPredictor(SeesObjects(), description)
    )
    with pytest.raises(CheckpointError, match=r"\(2, 'cell'\).*list the same categories"):
        run(folder)


def test_crowds_as_objects(folder):
    """Of an image's two objects the left one is a crowd: it counts on request alone."""
    test = folder / "data" / "test"
    shutil.rmtree(test / "labels")
    left, right = ({"size": [2, 4], "counts": counts} for counts in ([0, 4, 4], [6, 2]))
    of_a_cell = {"image_id": 1, "category_id": 3}
    content = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 3, "name": "cell"}],
        "annotations": [
            {**of_a_cell, "segmentation": left, "iscrowd": 1},
            {**of_a_cell, "segmentation": right, "iscrowd": 0},
        ],
    }
    (test / "annotations.json").write_text(json.dumps(content))
    options = ("--class-agnostic", "--pictures", "0")
    metrics = run(folder, *options)
    assert metrics["matching"]["0.5"] == {"ap": 1, "tp": 1, "fp": 0, "fn": 0}
    with pytest.raises(ResultsError, match="crowds_are_objects: None, now True"):
        run(folder, *options, "--crowds-are-objects")
    shutil.rmtree(folder / "out")
    metrics = run(folder, *options, "--crowds-are-objects")
    assert metrics["matching"]["0.5"] == {"ap": 1, "tp": 2, "fp": 0, "fn": 0}
    assert metrics["crowds_are_objects"] is True


@pytest.mark.parametrize(
    "option", [("--intensity", "full"), ("--class-agnostic",), ("--crowds-are-objects",)]
)
def test_options_of_own_images_only(option, capsys):
    with pytest.raises(SystemExit):
        test_panoptic.main(["toy", *option])
    assert "are for instances" in capsys.readouterr().err
