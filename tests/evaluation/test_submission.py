"""Splits without labels: what is handed in, read and scored by the official scripts, gets what the
same images get as a split with labels."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as instance_level
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as pixel_level
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

import test_panoptic
from adaptis.errors import ResultsError
from adaptis.evaluation import figures
from adaptis.evaluation.cityscapes import cityscapes_average_precision, cityscapes_mean_iou
from adaptis.evaluation.collect import read_metrics
from adaptis.inference.predictor import AdaptISPredictor
from datasets.formats import open_dataset
from datasets.synthetic import main as synthesize
from tests.strategies import SeesWhatIsDrawn

SCENES = 3
STEMS = {
    "cityscapes": "cityscapes_panoptic_test",
    "coco": "panoptic_test-dev2017_adaptis_results",
    "mapillary": "panoptic_test_adaptis_results",
}


class SeesClasses(SeesWhatIsDrawn):
    """It proposes no points, and knows as many classes as the data set has."""

    def __init__(self, num_classes):
        self._num_classes = num_classes

    def class_probabilities(self, image):
        return np.stack([image[0] == i for i in range(self._num_classes)]).astype(np.float32)

    def proposal_logits(self, image):
        return np.full(image.shape[1:], -9, np.float32)


def draw_samples(dataset):
    """Draw what the backend shall see in place of the scenes: the truth without the largest object,
    and stuff where nothing is known."""
    for index in range(len(dataset)):
        sample = dataset[index]
        class_map, instance_map = sample.semantic_map.clip(0), sample.instance_map.copy()
        hidden = instance_map == np.argmax(np.bincount(instance_map[instance_map > 0]))
        class_map[hidden] = instance_map[hidden] = 0
        drawn = np.stack([class_map, instance_map, 0 * class_map], axis=2).astype(np.uint8)
        Image.fromarray(drawn).save(dataset.image_path(index), format="PNG")  # named .jpg, too


def without_labels(name, root):
    """The images of the validation split as the data set's test split."""
    if name == "cityscapes":
        shutil.copytree(root / "leftImg8bit" / "val", root / "leftImg8bit" / "test")
        shutil.copytree(root / "gtFine" / "val", root / "gtFine" / "test")
        for path in (root / "gtFine" / "test").rglob("*.png"):  # the public ones: void alone
            Image.fromarray(0 * np.asarray(Image.open(path))).save(path)
    elif name == "mapillary":
        shutil.copytree(root / "validation" / "images", root / "testing" / "images")
    else:
        shutil.copytree(root / "val2017", root / "test2017")
        content = json.loads((root / "annotations" / "panoptic_val2017.json").read_text())
        things = [c for c in content["categories"] if c["isthing"]]
        info = {
            "images": content["images"],
            "categories": [
                {key: c[key] for key in ("id", "name", "supercategory")} for c in things
            ],
        }
        (root / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps(info))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Per data set a folder with ``data`` and the evaluations ``val`` and ``test``."""
    folders = {}
    for name in STEMS:
        folders[name] = folder = tmp_path_factory.mktemp(name)
        counts = ("--train", "0", "--val", str(SCENES), "--size", "48", "96")
        synthesize(["--format", name, "--out", str(folder / "data"), *counts])
        draw_samples(open_dataset(name, folder / "data"))
        without_labels(name, folder / "data")
        run(name, folder, folder / "val", None)  # the split by default
        run(name, folder, folder / "test", "test")
    return folders


def run(name, folder, output, split, *options):
    root = folder / "data"
    classes = open_dataset(name, root).classes
    described = [
        {"category_id": c.category_id, "name": c.name, "isthing": c.isthing, "color": list(c.color)}
        for c in classes
    ]
    predictor = AdaptISPredictor(
        SeesClasses(len(classes)), {**SeesWhatIsDrawn.description(), "classes": described}
    )
    where = ["--data-root", str(root), "--output", str(output)]
    if split:
        where += ["--split", split]
    options = options or ("--weights", "w.params", "--pictures", "1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdaptISPredictor, "load", lambda *_: predictor)
        return test_panoptic.main([name, *where, *options])


def read(folder):
    return json.loads((folder / "metrics.json").read_text())


def unzipped(folder, name, target):
    with zipfile.ZipFile(folder / "test" / "submission" / f"{name}.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(target)
    return target


@pytest.mark.parametrize("name", STEMS)
def test_the_official_script_gives_the_pq_of_the_same_images_with_labels(runs, name, tmp_path):
    labels = {
        "cityscapes": tmp_path / "cityscapes_panoptic_val",
        "coco": runs[name] / "data" / "annotations" / "panoptic_val2017",
        "mapillary": runs[name] / "data" / "validation" / "panoptic",
    }[name]
    json_path = labels.with_suffix(".json")
    if name == "cityscapes":
        convert2panoptic(str(runs[name] / "data" / "gtFine"), str(tmp_path), setNames=["val"])
    if name == "mapillary":
        json_path = labels / "panoptic_2018.json"
    handed_in = unzipped(runs[name], STEMS[name], tmp_path / "zip")
    module = "cityscapesscripts.evaluation.evalPanopticSemanticLabeling"
    command = [sys.executable, "-m", module, "--results_file", str(tmp_path / "results.json")]
    command += ["--gt-json-file", str(json_path), "--gt-folder", str(labels)]
    # it takes the folder of the JSON's name for the PNGs
    command += ["--prediction-json-file", str(handed_in / f"{STEMS[name]}.json")]
    subprocess.run(command, capture_output=True, check=True)
    official = json.loads((tmp_path / "results.json").read_text())
    expected = read(runs[name] / "val")["pq"]
    assert 0 < expected["things"]["pq"] < 1
    for group in ("all", "things", "stuff"):
        assert official[group.title()]["pq"] == expected[group]["pq"]


def test_cityscapes_own_scripts_find_and_score_the_label_maps_and_instances(runs, tmp_path):
    folder = runs["cityscapes"]
    ids, maps = (
        sorted((folder / "data" / "gtFine" / "val").rglob(f"*_{end}.png"))
        for end in ("instanceIds", "labelIds")
    )
    roots = {
        part: unzipped(folder, f"cityscapes_{part}_test", tmp_path / part)
        for part in ("semantic", "instances")
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, part in ((pixel_level, "semantic"), (instance_level, "instances")):
            patch.setattr(module.args, "predictionPath", str(roots[part]))
            patch.setattr(module.args, "predictionWalk", None)
        semantic = [pixel_level.getPrediction(pixel_level.args, str(path)) for path in maps]
        instances = [instance_level.getPrediction(str(path), instance_level.args) for path in ids]
    expected = read(folder / "val")
    assert cityscapes_mean_iou(semantic, maps) == expected["miou"]
    ap = cityscapes_average_precision(roots["instances"], instances, ids)
    assert (ap["ap50"], ap["ap"]) == (expected["ap"]["0.5"], expected["ap"]["0.5:0.95"])
    assert 0 < expected["ap"]["0.5"] < 1


@pytest.mark.parametrize("name", STEMS)
def test_what_is_in_the_zip(runs, name):
    stem, dataset = STEMS[name], open_dataset(name, runs[name] / "data", "test")
    with zipfile.ZipFile(runs[name] / "test" / "submission" / f"{stem}.zip") as archive:
        annotations = json.loads(archive.read(f"{stem}.json"))["annotations"]
        names = set(archive.namelist())
    assert [a["image_id"] for a in annotations] == dataset.image_ids
    assert names == {f"{stem}.json", *(f"{stem}/{a['file_name']}" for a in annotations)}


@pytest.mark.parametrize("name", STEMS)
def test_the_record_says_what_was_done_and_has_no_scores(runs, name):
    metrics, scored = read(runs[name] / "test"), read(runs[name] / "val")
    assert metrics["submission"][0] == f"submission/{STEMS[name]}.zip"
    assert len(metrics["submission"]) == (3 if name == "cityscapes" else 1)
    assert not {"pq", "ap", "miou"} & metrics.keys()
    assert (metrics["images"], metrics["split"]) == (SCENES, "test")
    assert metrics["settings"] == scored["settings"]
    assert not (runs[name] / "test" / "table.md").exists()
    with pytest.raises(ResultsError, match=r"metrics\.json: has no scores: split test of"):
        read_metrics(runs[name] / "test")


def test_it_says_that_nothing_is_scored_and_where_the_files_lie(runs, tmp_path, capsys):
    weights = ("--weights", "w.params", "--pictures", "0", "--limit", "2")
    run("coco", runs["coco"], tmp_path, "test-dev2017", *weights)
    printed = capsys.readouterr().out
    assert "split test-dev2017 isn't labelled, so nothing is scored; its server takes:\n" in printed
    assert f"\n{tmp_path}/submission/{STEMS['coco']}.zip\n" in printed
    assert f"these are 2 images, and it takes no less than all {SCENES}" in printed


def test_earlier_predictions_can_be_handed_in(runs, tmp_path):
    """Those of the validation split fit, as the images are the same."""
    predictions = runs["mapillary"] / "val" / "predictions"
    options = ("--predictions", str(predictions))
    metrics = run("mapillary", runs["mapillary"], tmp_path, "test", *options)
    contents = []
    for output in (tmp_path, runs["mapillary"] / "test"):
        with zipfile.ZipFile(output / metrics["submission"][0]) as archive:
            contents.append({name: archive.read(name) for name in archive.namelist()})
    assert contents[0] == contents[1]


def test_predictions_of_other_images_are_refused(runs, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(runs["mapillary"] / "data", data)
    path = sorted((data / "testing" / "images").iterdir())[1]
    Image.new("RGB", (90, 48)).save(path)
    options = ("--predictions", str(runs["mapillary"] / "val" / "predictions"))
    with pytest.raises(ResultsError, match=rf"{path.stem}\.png: is \(48, 96\) .* \(48, 90\)"):
        run("mapillary", tmp_path, tmp_path / "out", "test", *options)
    assert not (tmp_path / "out" / "submission").exists()


def test_pictures_have_no_column_for_the_truth(runs, tmp_path, monkeypatch):
    assert (runs["coco"] / "test" / "pictures" / "results.png").exists()
    drawn = {}
    monkeypatch.setattr(figures, "save_grid", lambda *arguments: drawn.update(grid=arguments))
    run("coco", runs["coco"], tmp_path, "test")
    _, columns, rows, *_ = drawn["grid"]
    assert columns == ("Image", "AdaptIS")
    assert [len(row) for row in rows] == [2]
