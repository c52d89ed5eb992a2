"""Predictions made from the ground truth score 100 on every data set, and are fit to hand in."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

import test_panoptic
from adaptis.errors import ResultsError
from datasets.base import DataError
from datasets.formats import open_dataset
from datasets.synthetic import main as synthesize
from datasets.toy_generator import generate

SCENES = 6  # the fewest of which one shows a crowd and one a bonnet (void)
NAMES = ("toy", "cityscapes", "coco", "mapillary")


@pytest.fixture(scope="module")
def roots(tmp_path_factory, predict_perfectly):
    """Per data set a folder with ``data`` and ``predictions``, and the scored ``results``."""
    folders = {name: tmp_path_factory.mktemp(name) for name in NAMES}
    for name, folder in folders.items():
        if name == "toy":
            generate(folder / "data", train=0, test=SCENES, workers=1)
        else:
            counts = ("--train", "0", "--val", str(SCENES))
            synthesize(["--format", name, "--out", str(folder / "data"), *counts])
        dataset = open_dataset(name, folder / "data")
        predict_perfectly(dataset, folder / "predictions")
        score(name, folder)
    return folders


def score(name, folder, output="results", *options):
    where = ("--data-root", str(folder / "data"), "--output", str(folder / output))
    predictions = ("--predictions", str(folder / "predictions"))
    return test_panoptic.main([name, *where, *predictions, *options])


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_100(roots, name):
    results = roots[name] / "results"
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["images"] == SCENES
    for group in ("all", "things", "stuff"):
        assert metrics["pq"][group]["n"] > 0
        assert [metrics["pq"][group][key] for key in ("pq", "sq", "rq")] == [1, 1, 1]
    assert list(metrics["ap"].values()) == pytest.approx([1] * len(metrics["ap"]))
    assert metrics["miou"] == 1
    assert (metrics["counts"]["missed"], metrics["counts"]["false_positives"]) == (0, 0)
    rows = (results / "table.md").read_text().split("\n\n")[-1].splitlines()[2:]
    assert len(rows) == 3 + len(metrics["pq"]["per_class"])
    for row in rows:
        assert [cell.strip() for cell in row.split("|")[3:6]] == ["100.0"] * 3


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_score_the_same(roots, name):
    """To the digit, and in the same order whichever is done first."""
    score(name, roots[name], "again", "--processes", "2")
    for file in ("metrics.json", "table.md", "ground_truth.json", "predictions.json"):
        again, once = (roots[name] / run / file for run in ("again", "results"))
        assert again.read_bytes() == once.read_bytes()


@pytest.mark.parametrize("name", ["cityscapes", "coco", "mapillary"])
def test_scenes_hold_what_must_not_cost_anything(roots, name):
    """Void, and but for Mapillary crowds, are in the truth and in no prediction."""
    truth = json.loads((roots[name] / "results" / "ground_truth.json").read_text())
    crowds = [s for a in truth["annotations"] for s in a["segments_info"] if s["iscrowd"]]
    assert bool(crowds) == (name != "mapillary")
    pngs = (roots[name] / "results" / "ground_truth").glob("*.png")
    assert any((np.asarray(Image.open(png)).max(axis=2) == 0).any() for png in pngs)


@pytest.mark.parametrize("name", ["cityscapes", "coco", "mapillary"])
def test_the_official_evaluator_takes_the_files_as_they_are(roots, name, tmp_path):
    """Against the data set's own panoptic files, whose image ids the predictions carry."""
    data = roots[name] / "data"
    labels = {
        "cityscapes": tmp_path / "cityscapes_panoptic_val",
        "coco": data / "annotations" / "panoptic_val2017",
        "mapillary": data / "validation" / "panoptic",
    }[name]
    json_path = labels.with_suffix(".json")
    if name == "cityscapes":
        convert2panoptic(str(data / "gtFine"), str(tmp_path), setNames=["val"])
    if name == "mapillary":
        json_path = labels / "panoptic_2018.json"
    predictions = roots[name] / "results" / "predictions.json"
    module = "cityscapesscripts.evaluation.evalPanopticSemanticLabeling"
    command = [sys.executable, "-m", module, "--results_file", str(tmp_path / "results.json")]
    command += ["--gt-json-file", str(json_path), "--gt-folder", str(labels)]
    command += ["--prediction-json-file", str(predictions)]
    command += ["--prediction-folder", str(roots[name] / "predictions")]
    subprocess.run(command, capture_output=True, check=True)
    official = json.loads((tmp_path / "results.json").read_text())
    assert official["All"]["pq"] == 1


def test_coco_ids_and_file_names(roots):
    """Integer ids and the data set's own names, as COCO's server wants them."""
    predictions = json.loads((roots["coco"] / "results" / "predictions.json").read_text())
    for number, annotation in enumerate(predictions["annotations"]):
        assert annotation["image_id"] == number
        assert annotation["file_name"] == f"{number:012d}.png"
        assert (roots["coco"] / "predictions" / annotation["file_name"]).exists()


def test_cityscapes_files_for_its_own_evaluators(roots):
    folder = roots["cityscapes"] / "results" / "cityscapes"
    names = [f"syntheticval_{i:06d}_000019" for i in range(SCENES)]
    assert sorted(path.stem for path in (folder / "semantic").iterdir()) == names
    assert sorted(path.stem for path in (folder / "instances").glob("*.txt")) == names


@pytest.mark.parametrize("end", ["labelIds", "instanceIds"])
def test_missing_ground_truth_is_named(roots, end, tmp_path):
    folder = roots["cityscapes"]
    path = sorted((folder / "data").rglob(f"*_{end}.png"))[1]
    path.rename(tmp_path / path.name)
    try:
        with pytest.raises(DataError, match=rf"{path.name}: .*is missing"):
            score("cityscapes", folder)
    finally:
        (tmp_path / path.name).rename(path)


def test_an_image_without_prediction_is_named(roots, tmp_path):
    folder = roots["coco"]
    path = folder / "predictions" / f"{3:012d}.png"
    path.rename(tmp_path / path.name)
    try:
        with pytest.raises(ResultsError, match=path.name):
            score("coco", folder)
    finally:
        (tmp_path / path.name).rename(path)
