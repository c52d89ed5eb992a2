"""Evaluators and written predictions, on drawn scenes: of any size, void, crowds, single pixels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from adaptis.errors import ResultsError
from adaptis.evaluation.box_overlap import highest_box_overlaps
from adaptis.evaluation.cityscapes import score_cityscapes
from adaptis.evaluation.ground_truth import GroundTruth
from adaptis.evaluation.instance import InstanceEvaluator
from adaptis.evaluation.results import PredictionFolder
from tests.scores import score_truths
from tests.strategies import CLASSES, STUFF, THINGS, VOID, scenes, seeds

ALL = (VOID, *STUFF, *THINGS)
SMALLEST = 100  # pixels of an object that Cityscapes' evaluator counts
thorough = settings(max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A function -> a new folder for each example."""
    return lambda: tmp_path_factory.mktemp("example")


def renumbered(scene, seed: int, left_out=()):
    """The scene as a prediction: panoptic_seg with other ids of up to 24 bits, and segments."""
    rng = np.random.default_rng(seed)
    ids = [id_ for id_ in scene.category_ids if id_ not in left_out]
    new = dict(zip(ids, (rng.choice(2**24 - 1, len(ids), replace=False) + 1).tolist()))
    number_of_segment = np.zeros(256, np.int32)
    number_of_segment[ids] = list(new.values())
    segments = [
        {"id": new[i], "category_id": scene.category_ids[i], "score": rng.random()} for i in ids
    ]
    return number_of_segment[scene.panoptic_seg], segments


@thorough
@given(scene=scenes(ALL), seed=seeds)
def test_png_and_json_describe_the_same_segments(scene, seed, folder):
    """Read without this project's reader."""
    path = folder()
    predictions = PredictionFolder(path, {})
    panoptic_seg, segments = renumbered(scene, seed)
    predictions.write("a", panoptic_seg, segments, scene.class_map.clip(0))
    rgb = np.asarray(Image.open(path / "a.png")).astype(int)
    ids = rgb @ [1, 256, 65536]
    np.testing.assert_array_equal(ids, panoptic_seg)
    content = json.loads((path / "a.json").read_text())
    written = {record["id"]: record for record in content["segments_info"]}
    assert written.keys() == set(ids[ids > 0].tolist())
    assert sum(record["area"] for record in written.values()) == np.count_nonzero(ids)
    for segment in segments:
        record = written[segment["id"]]
        rle = coco_mask.encode(np.asfortranarray(ids == segment["id"], np.uint8))
        assert record["area"] == coco_mask.area(rle)
        assert record["bbox"] == coco_mask.toBbox(rle).tolist()
        assert record["category_id"] == segment["category_id"]
        assert record["score"] == pytest.approx(segment["score"], abs=1e-6)
    read_seg, records, class_map = predictions.read("a")
    np.testing.assert_array_equal(read_seg, panoptic_seg)
    np.testing.assert_array_equal(class_map, scene.class_map.clip(0))
    assert records == list(written.values())


@thorough
@given(scene=scenes(ALL), seed=seeds, damage=st.sampled_from(["record", "pixel", "segment"]))
def test_png_and_json_that_differ_are_refused(scene, seed, damage, folder):
    path, rng = folder(), np.random.default_rng(seed)
    predictions = PredictionFolder(path, {})
    panoptic_seg, segments = renumbered(scene, seed)
    predictions.write("a", panoptic_seg, segments, scene.class_map.clip(0))
    assert predictions.has("a")
    content = json.loads((path / "a.json").read_text())
    records, rgb = content["segments_info"], np.array(Image.open(path / "a.png"))
    unused = next(i for i in range(1, 99) if not (panoptic_seg == i).any())
    if damage == "record":
        records.append({"id": unused, "category_id": CLASSES[0]["id"], "score": 1})
    elif damage == "pixel":
        rgb[rng.integers(rgb.shape[0]), rng.integers(rgb.shape[1])] = unused, 0, 0
    elif segments:
        rgb[panoptic_seg == rng.choice([s["id"] for s in segments])] = 0
    (path / "a.json").write_text(json.dumps({"segments_info": records}))  # as if made elsewhere
    Image.fromarray(rgb).save(path / "a.png")
    assert predictions.has("a") == (damage == "segment" and not segments)
    if not predictions.has("a"):
        with pytest.raises(ResultsError, match=r"a\.png: no usable prediction: .*without"):
            predictions.read("a")


@thorough
@given(
    scene=scenes(ALL), seed=seeds, crowded=st.sampled_from([0, 0.5, 1]), crowds_found=st.booleans()
)
def test_the_truth_scores_one_and_nothing_is_nan(scene, seed, crowded, crowds_found, folder):
    path, rng = folder(), np.random.default_rng(seed)
    in_crowd = {id_ for id_ in scene.things if rng.random() < crowded}
    objects = scene.things.keys() - in_crowd
    predictions = PredictionFolder(path / "predictions", {})
    predicted = renumbered(scene, seed, left_out=() if crowds_found else in_crowd)
    predictions.write("a", *predicted, scene.class_map.clip(0))
    panoptic_seg = scene.panoptic_seg.copy()
    for id_ in in_crowd:  # COCO has one crowd a class and image
        crowd = min(i for i in in_crowd if scene.category_ids[i] == scene.category_ids[id_])
        panoptic_seg[panoptic_seg == id_] = crowd
    crowds = in_crowd & set(np.unique(panoptic_seg).tolist())
    category_ids = {i: c for i, c in scene.category_ids.items() if i not in in_crowd - crowds}
    truth = GroundTruth("a", 7, panoptic_seg, category_ids, crowds, scene.class_map)
    metrics = score_truths(predictions, [truth], CLASSES, path / "out", None)
    present = {c for id_, c in category_ids.items() if id_ not in crowds}
    for group, classes in (("all", (*STUFF, *THINGS)), ("stuff", STUFF), ("things", THINGS)):
        count = len(present & {CLASSES[i]["id"] for i in classes})
        score = 1 if count else pytest.approx(np.nan, nan_ok=True)
        assert metrics["pq"][group] == {"pq": score, "sq": score, "rq": score, "n": count}
    assert metrics["pq"]["per_class"].keys() == present
    expected = pytest.approx(1 if objects else np.nan, nan_ok=True)
    assert len(metrics["ap"]) == 11
    assert all(ap == expected for ap in metrics["ap"].values())
    assert metrics["counts"] == {"found": len(objects), "missed": 0, "false_positives": 0}
    assert metrics["miou"] == pytest.approx(
        1 if (scene.class_map != VOID).any() else np.nan, nan_ok=True
    )


@thorough
@given(scene=scenes(ALL), missed=st.floats(0, 1), seed=seeds)
def test_objects_found_and_missed_are_told_apart(scene, missed, seed):
    things, rng = scene.things, np.random.default_rng(seed)
    instance_map = np.where(np.isin(scene.panoptic_seg, list(things)), scene.panoptic_seg, 0)
    found = {id_ for id_ in things if rng.random() >= missed}
    evaluator = InstanceEvaluator(CLASSES[i]["id"] for i in THINGS)
    evaluator.add_ground_truth("a", instance_map, {id_: (c, False) for id_, c in things.items()})
    masks = [instance_map == id_ for id_ in found]
    evaluator.add_predictions("a", masks, rng.random(len(found)), [things[id_] for id_ in found])
    assert evaluator.found_objects(0.5) == {"a": found}
    assert evaluator.detection_counts() == (len(found), len(things) - len(found), 0)


@thorough
@given(scene=scenes(ALL, pixels=9))
def test_overlaps_of_boxes_are_pycocotools(scene):
    overlaps = highest_box_overlaps(scene.panoptic_seg)
    assert overlaps.keys() == scene.category_ids.keys()
    boxes = [
        coco_mask.toBbox(coco_mask.encode(np.asfortranarray(scene.panoptic_seg == i, np.uint8)))
        for i in overlaps
    ]
    for place, overlap in enumerate(overlaps.values()):
        others = np.reshape(boxes[:place] + boxes[place + 1 :], (-1, 4))
        ious = coco_mask.iou(boxes[place][None], others, [0] * len(others)) if len(others) else 0
        assert overlap == pytest.approx(np.max(ious))


@settings(max_examples=10, deadline=None)
@given(scene=scenes(ALL), seed=seeds)
def test_the_truth_scores_one_by_cityscapes_evaluators(scene, seed, folder):
    path = folder()
    label_ids = np.append([c["id"] for c in CLASSES], 0)[scene.class_map]  # VOID is the last
    is_object = np.isin(scene.class_map, THINGS)
    instance_ids = np.where(is_object, label_ids * 1000 + scene.panoptic_seg, label_ids)
    truth = path / "a_labelIds.png", path / "a_instanceIds.png"
    Image.fromarray(label_ids.astype(np.uint8)).save(truth[0])
    Image.fromarray(instance_ids.astype(np.uint16)).save(truth[1])
    predictions = PredictionFolder(path / "predictions", {})
    predictions.write("a", *renumbered(scene, seed), scene.class_map.clip(0))
    scores = score_cityscapes(predictions, {"a": truth}, CLASSES, path / "out")
    labelled = (scene.class_map != VOID).any()
    assert scores["miou"] == pytest.approx(1 if labelled else np.nan, nan_ok=True)
    large = any((scene.panoptic_seg == id_).sum() >= SMALLEST for id_ in scene.things)
    assert scores["ap"]["0.5"] == pytest.approx(1 if large else np.nan, nan_ok=True)
