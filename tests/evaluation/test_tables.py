"""The tables of results, known by hand."""

from __future__ import annotations

from adaptis.evaluation.tables import (
    class_table,
    instances_table,
    paper_table,
    percent,
    toy_table,
)

NAN = float("nan")
SCORES = {"pq": 0.5, "sq": 0.75, "rq": 2 / 3}
NOTHING = {"pq": NAN, "sq": NAN, "rq": NAN, "n": 0}
PQ = {
    "all": {**SCORES, "n": 1},
    "things": {**SCORES, "n": 1},
    "stuff": NOTHING,
    "per_class": {3: SCORES},
}
CATEGORIES = [{"id": 9, "name": "sky", "isthing": 0}, {"id": 3, "name": "car", "isthing": 1}]


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]


def test_percent():
    assert [percent(value) for value in (1, 0.1234, 0, NAN, None)] == [
        *("100.0", "12.3", "0.0", "-", "-")
    ]


def test_classes_that_occur_follow_the_groups():
    rows = cells(class_table(PQ, CATEGORIES))
    assert rows[0] == ["Class", "Kind", "PQ", "SQ", "RQ"]
    assert rows[2:] == [
        ["all", "1 classes", "50.0", "75.0", "66.7"],
        ["things", "1 classes", "50.0", "75.0", "66.7"],
        ["stuff", "0 classes", "-", "-", "-"],
        ["car", "thing", "50.0", "75.0", "66.7"],
    ]


def test_our_row_follows_the_papers():
    metrics = {"pq": PQ, "miou": NAN, "ap": {"0.5:0.95": 0.25}, "images": 7}
    rows = cells(paper_table("coco", {"this run": metrics}))
    assert rows[2] == ["AdaptIS ResNet-50 (paper)", "35.9", "29.3", "40.3", "", ""]
    assert rows[-1] == ["AdaptIS (this run, 7 images)", "50.0", "-", "50.0", "-", "25.0"]


def test_toy():
    counts = {"found": 3, "missed": 2, "false_positives": 1}
    ap = {"0.5": 1, "0.7": 0.9, "0.8": NAN, "0.9": 0}
    area = {"0.5": 0.996, "0.7": 0.992, "0.8": NAN, "0.9": 0.1}
    table = toy_table({"pq": PQ, "ap": ap, "ap_area": area, "counts": counts, "images": 7})
    assert cells(table)[4] == ["AdaptIS (this run, 7 images)", "100.0", "90.0", "-", "0.0"]
    assert "the area under all of it: 99.6 / 99.2 / - / 10.0\n" in table
    assert "PQ 50.0, PQ_th 50.0 (SQ 75.0, RQ 66.7)" in table
    assert "3 objects found, 2 missed, 1 false positives" in table


def test_own_images_have_no_row_of_other_data():
    matching = {
        "0.5": {"ap": 0.75, "tp": 3, "fp": 0, "fn": 1},
        "0.9": {"ap": 0.2, "tp": 1, "fp": 2, "fn": 2},
    }
    ap = {"0.5": 0.8, "0.55": 0.7, "0.9": NAN, "0.5:0.95": 0.5}
    table = instances_table({"pq": PQ, "ap": ap, "matching": matching, "images": 7})
    assert cells(table)[:4] == [
        ["", "IoU 0.5", "IoU 0.9"],
        ["-" * 28, "-" * 9, "-" * 9],
        ["AP = TP / (TP + FP + FN)", "75.0", "20.0"],
        ["COCO's AP, all predictions", "80.0", "-"],
    ]
    assert "COCO's AP over .50:.05:.95 50.0; PQ_th 50.0 (SQ 75.0, RQ 66.7)" in table
    assert "3 objects found, 1 missed, 0 false positives" in table
