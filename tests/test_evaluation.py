"""The official evaluators on maps drawn by hand, with the answers beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adaptis.evaluation.instance import InstanceEvaluator
from adaptis.evaluation.panoptic import (
    PanopticWriter,
    evaluate_panoptic,
    read_panoptic_png,
    segments_info,
    write_panoptic_png,
)
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


# ---- panoptic -------------------------------------------------------------------------------


class Side:
    """Ground truth or predictions of one-row images."""

    def __init__(self, folder: Path, categories=CATEGORIES):
        self.folder, self.json = folder, folder.with_suffix(".json")
        self.writer = PanopticWriter(folder, categories)

    def add(self, row: list[int], category_ids: dict[int, int], crowd_ids=(), image_id=1):
        panoptic_seg = np.array([row], np.int32)
        self.writer.add(image_id, f"{image_id}.png", panoptic_seg, category_ids, crowd_ids)
        self.writer.save(self.json)

    def edit(self, change) -> None:
        content = json.loads(self.json.read_text())
        change(content)
        self.json.write_text(json.dumps(content))


@pytest.fixture
def sides(tmp_path):
    return Side(tmp_path / "truth"), Side(tmp_path / "prediction")


def pq(truth: Side, prediction: Side) -> dict:
    return evaluate_panoptic(truth.json, truth.folder, prediction.json, prediction.folder)


def test_perfect_prediction(sides):
    for side in sides:
        side.add([5, 5, 9, 9, 70000, 70000], {5: CELL, 9: CELL, 70000: FIELD})
        side.add([3, 3, 0], {3: CELL}, image_id=2)
    results = pq(*sides)
    assert results["all"] == {"pq": 1, "sq": 1, "rq": 1, "n": 2}
    assert results["things"] == results["stuff"] == {"pq": 1, "sq": 1, "rq": 1, "n": 1}
    assert results["per_class"] == {c: {"pq": 1, "sq": 1, "rq": 1} for c in (CELL, FIELD)}


def test_partial_overlap(sides):
    truth, prediction = sides
    truth.add([1, 1, 1, 1, 2, 2, 2, 2], {1: CELL, 2: FIELD})
    prediction.add([1, 1, 1, 2, 2, 2, 2, 2], {1: CELL, 2: FIELD})
    results = pq(*sides)
    assert results["things"]["pq"] == pytest.approx(3 / 4)  # IoU of the cell
    assert results["stuff"]["pq"] == pytest.approx(4 / 5)
    assert results["all"]["pq"] == pytest.approx((3 / 4 + 4 / 5) / 2)


def test_half_overlap_is_no_match(sides):
    truth, prediction = sides
    truth.add([1, 1, 1, 1, 0, 0], {1: CELL})
    prediction.add([1, 1, 0, 0, 0, 0], {1: CELL})  # IoU is exactly 1/2
    results = pq(*sides)
    assert results["things"] == {"pq": 0, "sq": 0, "rq": 0, "n": 1}


def test_missed_and_invented_segments(sides):
    truth, prediction = sides
    truth.add([1, 1, 2, 2, 3, 3, 3, 3], {1: CELL, 2: CELL, 3: FIELD})
    prediction.add([1, 1, 3, 3, 4, 3, 3, 3], {1: CELL, 3: FIELD, 4: CELL})
    results = pq(*sides)
    # cells: 1 found with IoU 1, 1 missed, 1 invented: 1 / (1 + 1/2 + 1/2)
    assert results["things"] == {"pq": 1 / 2, "sq": 1, "rq": 1 / 2, "n": 1}
    # field: 3 common pixels of 6
    assert results["stuff"]["pq"] == 0


def test_void_is_left_out_of_the_union_and_excuses_false_positives(sides):
    truth, prediction = sides
    truth.add([1, 1, 0, 0, 0, 0, 2, 2], {1: CELL, 2: FIELD})
    prediction.add([1, 1, 1, 1, 3, 3, 3, 2], {1: CELL, 2: FIELD, 3: CELL})
    results = pq(*sides)
    # cell 1 has IoU 2 / (4 + 2 - 2 - 2 void) = 1; cell 3 lies in void by 2/3: no false positive
    assert results["things"] == {"pq": 1, "sq": 1, "rq": 1, "n": 1}


def test_crowd_excuses_false_positives_of_its_category_only(sides):
    truth, prediction = sides
    truth.add([1, 1, 8, 8, 8, 8, 2, 2], {1: CELL, 8: CELL, 2: FIELD}, crowd_ids={8})
    prediction.add([1, 1, 3, 3, 4, 4, 2, 2], {1: CELL, 2: FIELD, 3: CELL, 4: FIELD})
    results = pq(*sides)
    assert results["things"]["pq"] == 1  # cell 3 lies in the crowd of cells
    assert results["stuff"]["pq"] == pytest.approx(2 / 3)  # field 4 does, too: 1 / (1 + 1/2)


def test_empty_prediction_and_empty_ground_truth(sides):
    truth, prediction = sides
    truth.add([1, 1, 0], {1: CELL})
    prediction.add([0, 0, 0], {})
    assert pq(truth, prediction)["things"] == {"pq": 0, "sq": 0, "rq": 0, "n": 1}
    nothing = pq(prediction, prediction)
    assert nothing["all"]["n"] == 0
    assert math.isnan(nothing["all"]["pq"])
    assert nothing["per_class"] == {}


@pytest.mark.parametrize(
    ("category", "present", "absent"), [(CELL, "things", "stuff"), (FIELD, "stuff", "things")]
)
def test_things_or_stuff_only(sides, category, present, absent):
    for side in sides:
        side.add([1, 1, 0], {1: category})
    results = pq(*sides)
    assert results[present]["pq"] == results["all"]["pq"] == 1
    assert math.isnan(results[absent]["pq"])
    assert results["per_class"].keys() == {category}


def test_wrong_areas_in_the_json_change_nothing(sides):
    for side in sides:
        side.add([1, 1, 1, 1], {1: CELL})
        side.edit(lambda content: content["annotations"][0]["segments_info"][0].update(area=1))
    assert pq(*sides)["all"]["pq"] == 1


def add_segment(content):
    content["annotations"][0]["segments_info"].append({"id": 7, "category_id": CELL, "iscrowd": 0})


def drop_segment(content):
    content["annotations"][0]["segments_info"].pop()


def repeat_segment(content):
    content["annotations"][0]["segments_info"] *= 2


def unknown_category(content):
    content["annotations"][0]["segments_info"][0]["category_id"] = 99


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (add_segment, "without segment: \\[7\\]"),
        (drop_segment, "without category: \\[1\\]"),
        (repeat_segment, "share an id"),
        (unknown_category, "no categories \\[99\\]"),
    ],
)
@pytest.mark.parametrize("broken", [0, 1])
def test_png_and_json_must_agree(sides, change, problem, broken):
    for side in sides:
        side.add([1, 1, 1, 1], {1: CELL})
    sides[broken].edit(change)
    with pytest.raises(ValueError, match=f"{sides[broken].folder.name}.1.png: .*{problem}"):
        pq(*sides)


def test_sizes_must_agree(sides):
    truth, prediction = sides
    truth.add([1, 1, 1, 1], {1: CELL})
    prediction.add([1, 1], {1: CELL})
    with pytest.raises(ValueError, match=r"prediction.1.png: \(1, 2\) .*\(1, 4\)"):
        pq(*sides)


def test_every_image_needs_one_prediction(sides):
    truth, prediction = sides
    truth.add([1], {1: CELL}, image_id="a")
    prediction.add([1], {1: CELL}, image_id="b")
    with pytest.raises(ValueError, match=r"prediction.json: no prediction for 1 images: \['a'\]"):
        pq(*sides)
    prediction.edit(lambda content: content["annotations"].append(content["annotations"][0]))
    with pytest.raises(ValueError, match="share an image_id"):
        pq(*sides)


def test_broken_files_are_named(sides):
    prediction = sides[1]
    for side in sides:
        side.add(np.arange(1, 2000).tolist(), dict.fromkeys(range(1, 2000), CELL))
    png = prediction.folder / "1.png"
    whole = png.read_bytes()
    png.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"prediction.1\.png: not a readable image"):
        pq(*sides)
    png.unlink()
    with pytest.raises(FileNotFoundError, match=r"prediction.1\.png"):
        pq(*sides)
    prediction.json.write_text("{")
    with pytest.raises(ValueError, match=r"prediction\.json: not valid JSON"):
        pq(*sides)


def test_png_holds_24_bit_ids(tmp_path):
    path = tmp_path / "sub" / "a.png"
    panoptic_seg = np.array([[0, 1, 255], [256, 65536, 256**3 - 1]], np.int32)
    write_panoptic_png(path, panoptic_seg)
    np.testing.assert_array_equal(read_panoptic_png(path), panoptic_seg)
    assert np.asarray(Image.open(path))[1].tolist() == [[0, 1, 0], [0, 0, 1], [255, 255, 255]]
    assert list(path.parent.iterdir()) == [path]  # no temporary file stays


@pytest.mark.parametrize(
    "panoptic_seg", [np.zeros((1, 1)), np.zeros((1, 1, 3), int), np.array([[-1]]), [[256**3]]]
)
def test_unfit_maps_are_not_written(tmp_path, panoptic_seg):
    with pytest.raises(ValueError, match=r"a\.png"):
        write_panoptic_png(tmp_path / "a.png", panoptic_seg)
    assert not list(tmp_path.iterdir())


def test_only_rgb_is_a_panoptic_png(tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="8-bit RGB"):
        read_panoptic_png(tmp_path / "a.png")


def test_segments_info():
    panoptic_seg = np.array([[0, 4, 4, 0], [0, 0, 4, 6]])
    assert segments_info(panoptic_seg, {6: FIELD, 4: CELL}, crowd_ids={4}) == [
        {"id": 4, "category_id": CELL, "area": 3, "bbox": [1, 0, 2, 2], "iscrowd": 1},
        {"id": 6, "category_id": FIELD, "area": 1, "bbox": [3, 1, 1, 1], "iscrowd": 0},
    ]


@pytest.mark.skipif(not COCO_SAMPLE.exists(), reason=f"the COCO sample is not here: {COCO_SAMPLE}")
def test_real_coco_ground_truth_scores_one_against_itself():
    side = COCO_SAMPLE / "panoptic_examples.json", COCO_SAMPLE / "panoptic_examples"
    results = evaluate_panoptic(*side, *side)
    assert results["all"]["pq"] == results["things"]["pq"] == results["stuff"]["pq"] == 1
    annotation = json.loads(side[0].read_text())["annotations"][0]
    panoptic_seg = read_panoptic_png(side[1] / annotation["file_name"])
    category_ids = {s["id"]: s["category_id"] for s in annotation["segments_info"]}
    crowd_ids = {s["id"] for s in annotation["segments_info"] if s["iscrowd"]}
    by_id = {s["id"]: s for s in annotation["segments_info"]}
    assert {s["id"]: s for s in segments_info(panoptic_seg, category_ids, crowd_ids)} == by_id


# ---- instances ------------------------------------------------------------------------------


def mask(*columns: int, width: int = 20) -> np.ndarray:
    """One row of pixels, true in the columns given."""
    row = np.zeros((1, width), bool)
    row[0, list(columns)] = True
    return row


@pytest.fixture
def two_cells():
    """Cells in columns 0-9 and 10-19 of a one-row image."""
    evaluator = InstanceEvaluator([CELL])
    instance_map = np.repeat([[1, 2]], 10, axis=1)
    evaluator.add_ground_truth("a", instance_map, {1: (CELL, False), 2: (CELL, False)})
    return evaluator


def test_one_of_two_found_with_iou_06(two_cells):
    two_cells.add_predictions("a", [mask(*range(6))], [0.9], [CELL])
    # precision 1 up to recall .5: at 51 of COCO's 101 recalls 0, .01, ..., 1
    expected = {"0.5": pytest.approx(51 / 101), "0.6": pytest.approx(51 / 101), "0.7": 0}
    assert two_cells.evaluate([0.5, 0.6, 0.7]) == expected
    assert two_cells.evaluate([0.5, 0.6, 0.7]) == expected  # evaluating changes no record
    assert two_cells.detection_counts() == (1, 1, 0)


def test_false_positive_of_higher_score(two_cells):
    masks = [mask(*range(5, 15)), mask(*range(10)), mask(*range(10, 20))]  # the first has IoU 1/3
    two_cells.add_predictions("a", masks, [0.9, 0.8, 0.7], [CELL] * 3)
    # precision 1/2 at recall 1/2, 2/3 at recall 1; interpolated: the best to the right, 2/3
    assert two_cells.evaluate([0.5]) == {"0.5": pytest.approx(2 / 3)}
    assert two_cells.detection_counts() == (2, 0, 1)


def test_second_prediction_of_an_object_is_a_false_positive(two_cells):
    two_cells.add_predictions("a", [mask(*range(10)), mask(*range(9))], [0.9, 0.8], [CELL] * 2)
    assert two_cells.detection_counts() == (1, 1, 1)


def test_standard_coco_ap(two_cells):
    masks = [mask(*range(10)), mask(*range(10, 18))]  # IoU 1 and .8
    two_cells.add_predictions("a", masks, [0.9, 0.8], [CELL] * 2)
    results = two_cells.evaluate()
    assert results["0.8"] == pytest.approx(1)
    assert results["0.85"] == pytest.approx(51 / 101)
    assert results["0.5:0.95"] == pytest.approx((7 * 1 + 3 * 51 / 101) / 10)
    assert len(results) == 11


def test_only_the_standard_ap_stops_at_100_predictions():
    evaluator = InstanceEvaluator([CELL])
    evaluator.add_ground_truth(
        1, np.arange(1, 102)[None], {i: (CELL, False) for i in range(1, 102)}
    )
    masks = [mask(i, width=101) for i in range(101)]
    evaluator.add_predictions(1, masks, np.linspace(0.9, 0.1, 101), [CELL] * 101)
    assert evaluator.evaluate([0.5]) == {"0.5": pytest.approx(1)}
    # 100 of 101 objects: recall .9901 misses the last of the 101 recalls
    assert evaluator.evaluate()["0.5"] == pytest.approx(100 / 101)


def test_crowds_are_neither_found_nor_missed():
    evaluator = InstanceEvaluator([CELL])
    instance_map = np.repeat([[1, 2]], 10, axis=1)
    evaluator.add_ground_truth(1, instance_map, {1: (CELL, False), 2: (CELL, True)})
    masks = [mask(10, 11), mask(15), mask(*range(10))]
    evaluator.add_predictions(1, masks, [0.9, 0.8, 0.7], [CELL] * 3)
    assert evaluator.evaluate([0.5]) == {"0.5": pytest.approx(1)}
    assert evaluator.detection_counts() == (1, 0, 0)


def test_ap_is_the_mean_over_categories_with_objects():
    evaluator = InstanceEvaluator([CELL, FIELD, 3])
    instance_map = np.repeat([[1, 2]], 10, axis=1)
    evaluator.add_ground_truth(1, instance_map, {1: (CELL, False), 2: (FIELD, False)})
    evaluator.add_predictions(1, [mask(*range(10)), mask(*range(10, 20))], [0.9, 0.9], [CELL, 3])
    assert evaluator.evaluate([0.5]) == {"0.5": pytest.approx(1 / 2)}  # cell 1, field 0, no third
    assert evaluator.detection_counts() == (1, 1, 1)


def test_no_predictions_and_no_ground_truth(two_cells):
    assert two_cells.evaluate([0.5]) == {"0.5": 0}
    assert two_cells.detection_counts() == (0, 2, 0)

    empty = InstanceEvaluator([CELL])
    assert math.isnan(empty.evaluate([0.5])["0.5"])
    empty.add_ground_truth(1, np.zeros((1, 20), int), {})
    assert math.isnan(empty.evaluate([0.5])["0.5"])
    empty.add_predictions(1, [mask(3)], [0.9], [CELL])
    assert math.isnan(empty.evaluate([0.5])["0.5"])
    assert empty.detection_counts() == (0, 0, 1)


def test_run_length_codes_are_taken_as_masks(two_cells):
    from pycocotools.mask import encode

    rle = encode(np.asfortranarray(mask(*range(10)), np.uint8))
    two_cells.add_predictions("a", [rle], [0.9], [CELL])
    assert two_cells.detection_counts() == (1, 1, 0)


def test_evaluation_is_silent(two_cells, capsys):
    two_cells.evaluate([0.5])
    assert capsys.readouterr().out == ""


def test_bad_instances_are_errors(two_cells):
    one = [mask(0)]
    with pytest.raises(ValueError, match="'b': add its ground truth first"):
        two_cells.add_predictions("b", one, [0.9], [CELL])
    with pytest.raises(ValueError, match=r"'a': unknown category ids \[7\]"):
        two_cells.add_predictions("a", one, [0.9], [7])
    with pytest.raises(ValueError, match="'a': 1 masks, 2 scores"):
        two_cells.add_predictions("a", one, [0.9, 0.8], [CELL])
    with pytest.raises(ValueError, match=r"'a': a mask of \(1, 5\)"):
        two_cells.add_predictions("a", [mask(0, width=5)], [0.9], [CELL])
    with pytest.raises(ValueError, match="'a': a score is NaN"):
        two_cells.add_predictions("a", one, [np.nan], [CELL])
    with pytest.raises(ValueError, match="'a': its ground truth was added before"):
        two_cells.add_ground_truth("a", np.zeros((1, 20), int), {})
    with pytest.raises(ValueError, match=r"'c': unknown category ids \[7\]"):
        two_cells.add_ground_truth("c", np.ones((1, 20), int), {1: (7, False)})
    with pytest.raises(ValueError, match=r"'c': instance ids .* differ: \[1, 2\]"):
        two_cells.add_ground_truth("c", np.ones((1, 20), int), {2: (CELL, False)})


# ---- semantic -------------------------------------------------------------------------------


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
