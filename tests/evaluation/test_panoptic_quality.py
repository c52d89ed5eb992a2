"""PQ by the official evaluator, on hand-drawn maps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from adaptis.evaluation.panoptic_quality import (
    PanopticWriter,
    evaluate_panoptic,
    segments_info,
)
from adaptis.image_files import read_panoptic_png
from tests.paths import SHARED

COCO_SAMPLE = SHARED / "coco_sample"
CELL, FIELD = 1, 2  # category ids of a thing and of stuff
CATEGORIES = [
    {"id": CELL, "name": "cell", "isthing": 1, "color": [250, 2, 4]},
    {"id": FIELD, "name": "field", "isthing": 0, "color": [0, 200, 0]},
]


class Side:
    """Ground truth or predictions of one-row images."""

    def __init__(self, folder: Path, categories=CATEGORIES):
        self.folder, self.json = folder, folder.with_suffix(".json")
        self.writer = PanopticWriter(folder, categories)

    def add(self, row: list[int], category_ids: dict[int, int], crowd_ids=(), image_id=1):
        panoptic_seg = np.array([row], np.int32)
        self.writer.add(image_id, f"{image_id}.png", panoptic_seg, category_ids, crowd_ids)
        self.writer.save(self.json)

    def draw(self, picture: str, category_ids: dict[str, int]):
        """One image as text, a letter or digit a pixel, "." for void."""
        rows = [[ord(c) for c in line.split()] for line in picture.split("\n") if line.strip()]
        panoptic_seg = np.array(rows, np.int32)
        panoptic_seg[panoptic_seg == ord(".")] = 0
        ids = {ord(letter): category for letter, category in category_ids.items()}
        self.writer.add(1, "1.png", panoptic_seg, ids)
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


def test_wrong_category_is_both_missed_and_invented(sides):
    truth, prediction = sides
    truth.add([1, 1, 1, 2, 2, 2], {1: CELL, 2: FIELD})
    prediction.add([1, 1, 1, 2, 2, 2], {1: CELL, 2: CELL})
    results = pq(*sides)
    assert results["things"] == {
        "pq": pytest.approx(2 / 3),
        "sq": 1,
        "rq": pytest.approx(2 / 3),
        "n": 1,
    }
    assert results["stuff"]["pq"] == 0


def test_counts_are_summed_over_images(sides):
    truth, prediction = sides
    truth.add([1, 1, 1, 1, 0], {1: CELL}, image_id=1)
    prediction.add([1, 1, 1, 0, 0], {1: CELL}, image_id=1)
    truth.add([1, 2, 3, 0, 0], {1: CELL, 2: CELL, 3: CELL}, image_id=2)
    prediction.add([1, 0, 0, 4, 0], {1: CELL, 4: CELL}, image_id=2)  # 4 lies in void
    # 2 found with IoU 3/4 and 1, 2 missed: not the mean of the images' 3/4 and 1/2
    expected = {"pq": 1.75 / 3, "sq": 1.75 / 2, "rq": 2 / 3}
    assert pq(*sides)["per_class"] == {CELL: pytest.approx(expected)}


def test_by_hand_in_two_dimensions(sides):
    """IoUs are of pixels, wherever they lie: cell 1 has 4 of 5, cell 2 is in two pieces."""
    truth, prediction = sides
    truth.draw(
        """
        1 1 f f 2
        1 1 f . 2
        f f f . .
        2 2 f f f
        """,
        {"1": CELL, "2": CELL, "f": FIELD},
    )
    prediction.draw(
        """
        1 1 1 f 2
        1 1 f f 2
        f f f 3 3
        2 2 f f f
        """,
        {"1": CELL, "2": CELL, "3": CELL, "f": FIELD},
    )
    results = pq(*sides)
    # cells: 4/5, 4/4, and cell 3 in void by more than half
    assert results["things"] == pytest.approx({"pq": 0.9, "sq": 0.9, "rq": 1, "n": 1})
    # field: 8 common of 9 + 9 - 8 - 1 in void
    assert results["stuff"]["pq"] == pytest.approx(8 / 9)


def test_void_is_left_out_of_the_union_and_excuses_false_positives(sides):
    truth, prediction = sides
    truth.add([1, 1, 0, 0, 0, 0, 2, 2, 0, 2], {1: CELL, 2: FIELD})
    prediction.add([1, 1, 1, 1, 3, 3, 3, 2, 4, 4], {1: CELL, 2: FIELD, 3: CELL, 4: CELL})
    results = pq(*sides)
    # cell 1 has IoU 2 / (4 + 2 - 2 - 2 void) = 1; cell 3 lies in void by 2/3: no false positive;
    # cell 4 by 1/2, not more: one, 1 / (1 + 1/2)
    assert results["things"] == pytest.approx({"pq": 2 / 3, "sq": 1, "rq": 2 / 3, "n": 1})


def test_crowd_excuses_false_positives_of_its_category_only(sides):
    truth, prediction = sides
    truth.add([1, 1, 8, 8, 8, 8, 2, 2], {1: CELL, 8: CELL, 2: FIELD}, crowd_ids={8})
    prediction.add([1, 1, 3, 3, 4, 4, 2, 2], {1: CELL, 2: FIELD, 3: CELL, 4: FIELD})
    results = pq(*sides)
    assert results["things"]["pq"] == 1  # cell 3 lies in the crowd of cells
    assert results["stuff"]["pq"] == pytest.approx(2 / 3)  # field 4 does, too: 1 / (1 + 1/2)


def test_crowds_need_not_be_found(sides):
    truth, prediction = sides
    truth.add([1, 1, 8, 8, 8], {1: CELL, 8: CELL}, crowd_ids={8})
    prediction.add([1, 1, 0, 0, 0], {1: CELL})
    assert pq(*sides)["all"] == {"pq": 1, "sq": 1, "rq": 1, "n": 1}


def test_void_and_crowd_excuse_together(sides):
    truth, prediction = sides
    truth.add([1, 1, 0, 8, 2, 2, 2, 2], {1: CELL, 8: CELL, 2: FIELD}, crowd_ids={8})
    prediction.add([1, 1, 3, 3, 3, 2, 2, 2], {1: CELL, 3: CELL, 2: FIELD})
    assert pq(*sides)["things"]["pq"] == 1  # 1 pixel of 3 in void, 1 in the crowd


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
    with pytest.raises(ValueError, match=r"prediction.1\.png: can't be read"):
        pq(*sides)
    png.unlink()
    with pytest.raises(ValueError, match=r"prediction.1\.png: can't be read: is missing"):
        pq(*sides)
    prediction.json.write_text("{")
    with pytest.raises(ValueError, match=r"prediction\.json: not valid JSON"):
        pq(*sides)


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
