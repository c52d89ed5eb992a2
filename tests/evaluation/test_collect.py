"""Rows of several evaluations below the paper's."""

from __future__ import annotations

import json

import pytest

from adaptis.errors import ResultsError
from adaptis.evaluation.collect import collect
from tests.evaluation.test_tables import PQ, cells


@pytest.fixture
def write_run(tmp_path, monkeypatch):
    """A function: name, entries of its metrics -> the folder of an evaluation."""
    monkeypatch.chdir(tmp_path)

    def write(name, **metrics):
        (tmp_path / name).mkdir()
        pq = {**PQ, "stuff": {"pq": None}}  # as JSON has NaN
        scores = {"pq": pq, "miou": None, "ap": {"0.5:0.95": 0.25}, "images": 7}
        content = {"data_root": "data", "split": "val", **scores, **metrics}
        (tmp_path / name / "metrics.json").write_text(json.dumps(content))
        return name

    return write


def test_runs_of_a_data_set_share_a_table(write_run):
    first = write_run("r50", dataset="cityscapes", miou=0.753)
    other = write_run("coco", dataset="coco")
    second = write_run("r101", dataset="cityscapes")
    cityscapes, coco = collect([first, other, second]).split("\n\ncoco\n\n")
    rows = cells(cityscapes.removeprefix("cityscapes\n\n"))
    assert rows[0] == ["", "PQ", "PQ_st", "PQ_th", "mIoU", "AP"]
    assert rows[2] == ["AdaptIS ResNet-50 (paper)", "59.0", "61.3", "55.8", "75.3", "32.3"]
    assert rows[5:] == [
        ["AdaptIS (r50, 7 images)", "50.0", "-", "50.0", "75.3", "25.0"],
        ["AdaptIS (r101, 7 images)", "50.0", "-", "50.0", "-", "25.0"],
    ]
    assert len(cells(coco)) == 2 + 3 + 1


def test_toy_runs_stand_below_table_1(write_run):
    ap = {"0.5": 1, "0.7": 0.9, "0.8": 0.5, "0.9": 0}
    rows = cells(collect([write_run("toy", dataset="toy", ap=ap)]).split("\n\n")[1])
    assert rows[2][0] == "Mask R-CNN (paper)"
    assert rows[-1] == ["AdaptIS (toy, 7 images)", "100.0", "90.0", "50.0", "0.0"]


def test_what_is_no_evaluation_is_refused(write_run, tmp_path):
    with pytest.raises(ResultsError, match=r"nowhere/metrics\.json: is missing"):
        collect(["nowhere"])
    path = tmp_path / write_run("run") / "metrics.json"
    for text in ("{", "[]", "{}", '{"dataset": "coco"}', '{"dataset": "coco", "pq": 1}'):
        path.write_text(text)
        with pytest.raises(ResultsError, match=r"run/metrics\.json: is no evaluation's"):
            collect(["run"])
