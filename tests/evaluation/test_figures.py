"""Figures of an evaluation: which images and objects they show."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import test_panoptic
from adaptis.errors import ResultsError
from adaptis.evaluation import figures
from adaptis.evaluation.figures import save_confidences, save_lowest
from adaptis.inference.predictor import AdaptISPredictor
from datasets.formats import open_dataset
from datasets.toy_generator import generate
from draw_panoptic import main as draw
from tests.strategies import CLASSES, Scene, SeesWhatIsDrawn

MISSED = 2  # the image whose objects are missed


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory, predict_perfectly):
    """The folder of an evaluation of three toy images, perfect but for one without its objects."""
    folder = tmp_path_factory.mktemp("figures")
    generate(folder / "data", train=0, test=3, size=40, objects=(3, 4), workers=1)
    dataset = open_dataset("toy", folder / "data")
    predictions = predict_perfectly(dataset, folder / "run" / "predictions")
    sample = dataset[MISSED]
    background = (sample.instance_map == 0).astype(np.int32)
    segments = [{"id": 1, "category_id": dataset.classes[0].category_id, "score": 1}]
    predictions.write(sample.name, background, segments, sample.semantic_map.clip(0))
    where = ("--data-root", str(folder / "data"), "--output", str(folder / "run"))
    test_panoptic.main(["toy", *where, "--predictions", str(predictions.folder)])
    return folder / "run", dataset, predictions


def test_the_lowest_pq_is_drawn_first(evaluation, tmp_path, monkeypatch):
    """Background alone is found: its PQ is 1, that of objects 0."""
    run, dataset, predictions = evaluation
    drawn = {}
    monkeypatch.setattr(figures, "save_grid", lambda *arguments: drawn.update(grid=arguments))
    found = save_lowest(dataset, run, predictions, 2, tmp_path / "lowest.png")
    assert found[0] == (dataset.names[MISSED], 0.5)
    assert [pq for _, pq in found] == [0.5, 1]
    _, columns, rows, labels, _ = drawn["grid"]
    assert [len(row) for row in rows] == [len(columns)] * 2
    assert labels[0] == f"{dataset.names[MISSED]}\nPQ 50.0"


def test_images_of_another_data_set_are_refused(evaluation, tmp_path):
    run, _, predictions = evaluation
    generate(tmp_path / "data", train=0, test=1, size=40, objects=(3, 4), workers=1)
    with pytest.raises(ResultsError, match="scored images that this data set lacks"):
        save_lowest(open_dataset("toy", tmp_path / "data"), run, predictions, 2, tmp_path / "a.png")


def test_the_command_draws_figure_12(evaluation, capsys):
    run, dataset, _ = evaluation
    draw([str(run), "--lowest", "1"])
    assert (run / "pictures" / "lowest_pq.png").exists()
    assert f"| {dataset.names[MISSED]}" in capsys.readouterr().out


def test_predictions_that_lie_elsewhere_are_drawn(evaluation, tmp_path):
    run, _, predictions = evaluation
    where = ["--data-root", str(run.parent / "data"), "--output", str(tmp_path)]
    test_panoptic.main(["toy", *where, "--predictions", str(predictions.folder)])
    draw([str(tmp_path), "--lowest", "1"])
    assert (tmp_path / "pictures" / "lowest_pq.png").exists()


def test_own_images_are_read_as_they_were_evaluated(tmp_path, predict_perfectly):
    """Two classes taken for one."""
    box = [[1, 1, 9, 1, 9, 9, 1, 9]]
    objects = [{"id": 1, "image_id": 1, "category_id": 9, "segmentation": box}]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 20}],
        "categories": [{"id": i, "name": str(i)} for i in (5, 9)],
        "annotations": objects,
    }
    root = tmp_path / "data" / "test"
    root.mkdir(parents=True)
    (root / "_annotations.coco.json").write_text(json.dumps(content))
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(root / "a.png")
    dataset = open_dataset("instances", root.parent, class_agnostic=True)
    predictions = predict_perfectly(dataset, tmp_path / "predictions")
    where = ["--data-root", str(root.parent), "--output", str(tmp_path / "run")]
    where.append("--class-agnostic")
    test_panoptic.main(["instances", *where, "--predictions", str(predictions.folder)])
    draw([str(tmp_path / "run")])
    assert (tmp_path / "run" / "pictures" / "lowest_pq.png").exists()


def test_confidences_are_of_the_largest_objects_of_a_class(tmp_path, monkeypatch):
    class_map = np.array([[0, 2, 2, 2, 3, 3, 2]])
    panoptic_seg = np.array([[1, 10, 10, 10, 11, 11, 12]])
    image = SeesWhatIsDrawn.image_of(Scene(class_map, panoptic_seg, {}))
    description = SeesWhatIsDrawn.description()
    for info, of in zip(description["classes"], CLASSES):
        info["color"] = of["color"]
    predictor = AdaptISPredictor(SeesWhatIsDrawn(), description)
    drawn = []
    monkeypatch.setattr(figures, "save_heat_maps", lambda _, rows: drawn.extend(rows))
    person = CLASSES[2]["id"]
    save_confidences(predictor, [image], 2, None, tmp_path / "a.png")
    save_confidences(predictor, [image], 9, [person], tmp_path / "b.png")
    maps = [[confidence.astype(int).tolist() for _, confidence in row[2]] for row in drawn]
    assert maps[0] == [[[0, 1, 1, 1, 0, 0, 0]], [[0, 0, 0, 0, 1, 1, 0]]]
    assert maps[1] == [[[0, 1, 1, 1, 0, 0, 0]], [[0, 0, 0, 0, 0, 0, 1]]]
    for _, _, of_image in drawn:
        assert all(confidence[point_yx] == 1 for point_yx, confidence in of_image)
