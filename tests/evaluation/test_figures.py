"""Figures of an evaluation: which images and objects they show."""

from __future__ import annotations

import numpy as np
import pytest

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
