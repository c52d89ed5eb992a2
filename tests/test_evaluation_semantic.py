"""mIoU and Cityscapes' own scores, known by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptis.evaluation.semantic import (
    cityscapes_average_precision,
    cityscapes_mean_iou,
    confusion_matrix,
    mean_iou,
    write_cityscapes_instances,
)

COCO_SAMPLE = Path(__file__).parents[2] / "shared" / "coco_sample"
CELL, FIELD = 1, 2  # category ids of a thing and of stuff
CATEGORIES = [
    {"id": CELL, "name": "cell", "isthing": 1, "color": [250, 2, 4]},
    {"id": FIELD, "name": "field", "isthing": 0, "color": [0, 200, 0]},
]


def test_mean_iou_by_hand():
    truth = np.array([[0, 0, 1], [1, 1, -1]])
    prediction = np.array([[0, 1, 1], [1, 1, 0]])
    confusion = confusion_matrix(truth, prediction, 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 3, 0], [0, 0, 0]]  # the void pixel isn't counted
    results = mean_iou(confusion)
    assert results["per_class"][:2] == [1 / 2, 3 / 4]
    assert math.isnan(results["per_class"][2])  # in neither
    assert results["miou"] == (1 / 2 + 3 / 4) / 2


def test_mean_iou_of_nothing_and_bad_indices():
    assert math.isnan(
        mean_iou(confusion_matrix(np.full((2, 2), -1), np.zeros((2, 2), int), 3))["miou"]
    )
    with pytest.raises(ValueError, match=r"0\.\.3 of 3 classes"):
        confusion_matrix(np.array([[0]]), np.array([[3]]), 3)
    with pytest.raises(ValueError, match="ground truth"):
        confusion_matrix(np.zeros((1, 2), int), np.zeros((2, 1), int), 3)


ROAD, CAR = 7, 26  # Cityscapes label ids


@pytest.fixture
def street(tmp_path):
    """A 20 x 40 scene: two cars of 10 x 10 pixels (the evaluator's minimum is 100) on a road."""
    instance_ids = np.full((20, 40), ROAD, np.uint16)
    instance_ids[:10, :10] = CAR * 1000
    instance_ids[:10, 20:30] = CAR * 1000 + 1
    label_ids = np.where(instance_ids >= 1000, CAR, ROAD).astype(np.uint8)
    instances = tmp_path / "ulm_000000_000019_gtFine_instanceIds.png"
    labels = tmp_path / "ulm_000000_000019_gtFine_labelIds.png"
    Image.fromarray(instance_ids).save(instances)
    Image.fromarray(label_ids).save(labels)
    return instance_ids, instances, label_ids, labels


def test_cityscapes_mean_iou(tmp_path, street):
    _, _, label_ids, labels = street
    prediction = tmp_path / "prediction.png"
    predicted = label_ids.copy()
    predicted[:10, 20:30] = ROAD  # one car of two is missed
    Image.fromarray(predicted).save(prediction)
    results = cityscapes_mean_iou([prediction], [labels])
    assert results["per_class"]["car"] == pytest.approx(100 / 200)
    assert results["per_class"]["road"] == pytest.approx(600 / 700)
    assert results["miou"] == pytest.approx((100 / 200 + 600 / 700) / 2)
    assert len(results["per_class"]) == 19

    ours = confusion_matrix(label_ids == CAR, predicted == CAR, 2)
    assert mean_iou(ours)["miou"] == pytest.approx(results["miou"])


def test_cityscapes_mean_iou_names_bad_files(tmp_path, street):
    labels = street[3]
    bad = tmp_path / "bad.png"
    with pytest.raises(ValueError, match=r"bad\.png: not a readable image"):
        cityscapes_mean_iou([bad], [labels])
    Image.new("L", (40, 20), 255).save(bad)
    with pytest.raises(ValueError, match=r"bad\.png: unknown label ids \[255\]"):
        cityscapes_mean_iou([bad], [labels])
    Image.new("L", (4, 2), ROAD).save(bad)
    with pytest.raises(ValueError, match=r"Image widths of .*bad\.png .* are not equal"):
        cityscapes_mean_iou([bad], [labels])
    with pytest.raises(ValueError, match="1 predictions for 0 images"):
        cityscapes_mean_iou([labels], [])


@pytest.mark.parametrize(("found", "ap"), [(2, 1), (1, 0.5), (0, 0)])
def test_cityscapes_average_precision(tmp_path, street, monkeypatch, found, ap):
    instance_ids, instances = street[:2]
    root = tmp_path / "predictions"
    txt = root / "ulm" / "ulm_000000_000019.txt"
    masks = [instance_ids == CAR * 1000 + i for i in range(found)]
    write_cityscapes_instances(txt, masks, [0.9] * found, [CAR] * found)
    working_directory = tmp_path / "work"
    working_directory.mkdir()
    monkeypatch.chdir(working_directory)

    results = cityscapes_average_precision(root, [txt], [instances])
    assert results["ap"] == results["ap50"] == results["per_class"]["car"] == pytest.approx(ap)
    assert math.isnan(results["per_class"]["person"])
    assert not list(working_directory.iterdir())  # the evaluator would leave a matches.json


def test_cityscapes_average_precision_names_missing_files(tmp_path, street):
    with pytest.raises(ValueError, match=r"none\.txt"):
        cityscapes_average_precision(tmp_path, [tmp_path / "none.txt"], [street[1]])


def test_cityscapes_instances_that_the_evaluator_would_misread(tmp_path):
    car = [np.ones((2, 2), bool)]
    with pytest.raises(ValueError, match="no classes with instances"):
        write_cityscapes_instances(tmp_path / "a.txt", car, [0.9], [ROAD])
    with pytest.raises(ValueError, match="space"):
        write_cityscapes_instances(tmp_path / "a b.txt", car, [0.9], [CAR])
    with pytest.raises(ValueError, match="1 masks, 0 scores"):
        write_cityscapes_instances(tmp_path / "a.txt", car, [], [CAR])
