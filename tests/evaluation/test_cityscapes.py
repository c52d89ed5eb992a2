"""Cityscapes' own scores, known by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from adaptis.evaluation.cityscapes import (
    cityscapes_average_precision,
    cityscapes_mean_iou,
    score_cityscapes,
    write_cityscapes_instances,
)
from adaptis.evaluation.results import PredictionFolder, file_stem
from adaptis.evaluation.semantic import confusion_matrix, mean_iou

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
    expected = pytest.approx((100 / 200 + 600 / 700) / 2)  # of cars and of road; no other occurs
    assert cityscapes_mean_iou([prediction], [labels]) == expected
    assert mean_iou(confusion_matrix(label_ids == CAR, predicted == CAR, 2)) == expected


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
    assert results == {"ap": pytest.approx(ap), "ap50": pytest.approx(ap)}  # no other class occurs
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


@pytest.mark.parametrize("name", ["a", "a b", "x" * 246, "ulm/a"])
def test_predictions_with_a_known_error(tmp_path, street, name):
    """Half of one car is found, which is no match (IoU .5), with the highest score; the semantic
    branch takes that car for road."""
    instance_ids, instances, label_ids, labels = street
    classes = [{"id": ROAD, "isthing": 0}, {"id": CAR, "isthing": 1}]
    panoptic_seg = np.where(instance_ids >= 1000, instance_ids % 1000 + 1, 3)
    panoptic_seg[:5, :10] = 0
    records = [
        {"id": i, "category_id": c, "score": s}
        for i, c, s in ((1, CAR, 0.9), (2, CAR, 0.8), (3, ROAD, 1))
    ]
    class_map = (label_ids == CAR).astype(np.uint8)
    class_map[:, :10] = 0
    predictions = PredictionFolder(tmp_path / "predictions", {})
    predictions.write(name, panoptic_seg, records, class_map)
    for part in ("gtFine", "semantic"):  # the data set, and what an earlier run left
        (tmp_path / "out" / part).mkdir(parents=True)
        (tmp_path / "out" / part / "before.png").touch()
    scores = score_cityscapes(predictions, {name: (labels, instances)}, classes, tmp_path / "out")
    assert scores["miou"] == pytest.approx((100 / 200 + 600 / 700) / 2)
    # (recall, precision) (0, 0), then (1/2, 1/2): a triangle, as this evaluator takes trapezoids
    assert scores["ap"] == {"0.5": pytest.approx(1 / 8), "0.5:0.95": pytest.approx(1 / 8)}
    assert (tmp_path / "out" / "gtFine" / "before.png").exists()
    assert not (tmp_path / "out" / "semantic" / "before.png").exists()
    stem = file_stem(name)
    instances_txt = (tmp_path / "out" / "instances" / f"{stem}.txt").read_text()
    assert instances_txt == f"{stem}_0.png {CAR} 0.9\n{stem}_1.png {CAR} 0.8\n"
