"""Files of results, read back by other libraries."""

from __future__ import annotations

import contextlib
import csv
import io
import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from adaptis.errors import ResultsError
from adaptis.inference.images import ImageError
from adaptis.segmenting.objects import Segmentation, describe
from adaptis.segmenting.outputs import (
    OutputFolder,
    coco_results_json,
    label_map_png,
    objects_csv,
    overlay_png,
)

LABEL_MAP = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [2, 0, 0, 0]], np.int32)
SEGMENTATION = Segmentation(
    LABEL_MAP,
    [
        {**record, "category_id": 5 + id_, "score": 0.9 - 0.1 * id_}
        for id_, record in describe(LABEL_MAP).items()
    ],
)
ONE, SEVERAL = {6: "cell"}, {6: "cell", 7: "debris, small"}


def decoded(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def test_label_map():
    labels = decoded(label_map_png(SEGMENTATION))
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels, LABEL_MAP)


@pytest.mark.parametrize("highest", [255, 256, 65535])
def test_ids_of_16_bits_stay_as_they_are(highest):
    png = label_map_png(Segmentation(np.array([[0, highest]], np.int32), []))
    assert decoded(png).tolist() == [[0, highest]]


def test_more_objects_than_16_bits_count():
    with pytest.raises(ImageError, match=r"65536 objects, .* holds 65535"):
        label_map_png(Segmentation(np.array([[65536]], np.int32), []))


def test_coco_takes_the_json():
    coco = COCO()
    coco.dataset = {
        "images": [{"id": "sub/a", "height": 3, "width": 4}],
        "categories": [{"id": 6}, {"id": 7}],
        "annotations": [],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        results = coco.loadRes(json.loads(coco_results_json(SEGMENTATION, "sub/a")))
    first, second = results.loadAnns(results.getAnnIds(imgIds=["sub/a"]))
    assert (first["score"], first["category_id"]) == (0.8, 6)
    assert (first["bbox"], first["area"]) == ([1, 0, 2, 2], 4)
    np.testing.assert_array_equal(coco_mask.decode(second["segmentation"]), LABEL_MAP == 2)


def test_table():
    rows = list(csv.DictReader(io.StringIO(objects_csv(SEGMENTATION, ONE).decode())))
    assert rows[0] == {
        "id": "1",
        "area": "4",
        "box_x": "1",
        "box_y": "0",
        "box_width": "2",
        "box_height": "2",
        "centroid_x": "1.5",
        "centroid_y": "0.5",
        "confidence": "0.8",
    }
    assert [row["id"] for row in rows] == ["1", "2"]


def test_classes_where_there_are_several():
    rows = list(csv.DictReader(io.StringIO(objects_csv(SEGMENTATION, SEVERAL).decode())))
    assert [row["category"] for row in rows] == ["cell", "debris, small"]


def test_overlay_leaves_the_background():
    image = np.full((3, 4, 3), (10, 200, 30), np.uint8)
    picture = decoded(overlay_png(SEGMENTATION, image))[..., ::-1]  # OpenCV: blue first
    same = (picture == image).all(axis=2)
    np.testing.assert_array_equal(same, LABEL_MAP == 0)


def test_an_image_without_objects_has_files_too():
    nothing = Segmentation(np.zeros((2, 2), np.int32), [])
    assert decoded(label_map_png(nothing)).tolist() == [[0, 0], [0, 0]]
    assert json.loads(coco_results_json(nothing, "a")) == []
    assert objects_csv(nothing, ONE).decode().count("\n") == 1  # the names of the columns


def test_what_is_there_and_of_the_same_image_is_finished(tmp_path):
    folder = OutputFolder(tmp_path, ("labels", "csv"), {"weights": "w"})
    assert not folder.has("sub/a", "sha")
    folder.write("sub/a", {"labels": b"1", "csv": b"2"}, "sha")
    assert (tmp_path / "labels" / "sub" / "a.png").read_bytes() == b"1"
    assert (tmp_path / "csv" / "sub" / "a.csv").read_bytes() == b"2"
    again = OutputFolder(tmp_path, ("labels",), {"weights": "w"})
    assert again.has("sub/a", "sha")
    assert not again.has("sub/a", "another image of this name")
    assert not OutputFolder(tmp_path, ("labels", "json"), {"weights": "w"}).has("sub/a", "sha")
    (tmp_path / "labels" / "sub" / "a.png").unlink()
    assert not again.has("sub/a", "sha")


def test_nothing_stays_of_an_image_that_was_replaced(tmp_path):
    OutputFolder(tmp_path, ("labels", "csv"), {}).write("a", {"labels": b"1", "csv": b"1"}, "old")
    fewer = OutputFolder(tmp_path, ("labels",), {})
    fewer.write("a", {"labels": b"2"}, "new")
    assert not (tmp_path / "csv" / "a.csv").exists()
    assert not OutputFolder(tmp_path, ("labels", "csv"), {}).has("a", "new")
    OutputFolder(tmp_path, ("csv",), {}).write("a", {"csv": b"2"}, "new")  # of the same: both stay
    assert OutputFolder(tmp_path, ("labels", "csv"), {}).has("a", "new")


def test_files_of_something_else_are_left_alone(tmp_path):
    """Such as annotations, which are kept in a folder of that name."""
    (tmp_path / "labels").mkdir()
    annotation = tmp_path / "labels" / "a.png"
    annotation.write_bytes(b"drawn by hand")
    with pytest.raises(ResultsError, match=r"labels: holds files that no run .* another --output"):
        OutputFolder(tmp_path, ("csv",), {})
    assert list(tmp_path.rglob("*")) == [tmp_path / "labels", annotation]
    annotation.unlink()
    OutputFolder(tmp_path, ("csv",), {}).write("a", {"csv": b"1"}, "sha")
    OutputFolder(tmp_path, ("csv",), {})  # its own


def test_a_folder_of_other_settings(tmp_path):
    def settings(min_area):
        return {"settings": {"flip": True, "greedy": {"min_area": min_area, "candidates": 7}}}

    OutputFolder(tmp_path, ("csv",), settings(1))
    with pytest.raises(ResultsError, match=r"\(settings\.greedy\.min_area: 1, now 2\); choose"):
        OutputFolder(tmp_path, ("csv",), settings(2))


@pytest.mark.parametrize("content", ["", "3", '{"settings": {', None])
def test_a_lost_record_of_the_run_is_made_anew(tmp_path, content):
    """From the marks of what is finished, which say what made it: nothing is lost or adopted."""
    run, record = {"settings": {"flip": True}}, tmp_path / ".run.json"
    OutputFolder(tmp_path, ("csv",), run).write("sub/a", {"csv": b"1"}, "sha")
    record.unlink() if content is None else record.write_text(content)
    with pytest.raises(ResultsError, match=r"another run .settings\.flip: True, now False"):
        OutputFolder(tmp_path, ("csv",), {"settings": {"flip": False}})
    assert OutputFolder(tmp_path, ("csv",), run).has("sub/a", "sha")
    assert json.loads(record.read_text()) == run


def test_a_cut_mark_is_none(tmp_path):
    folder = OutputFolder(tmp_path, ("csv",), {})
    folder.write("a", {"csv": b"1"}, "sha")
    (mark,) = (tmp_path / ".finished").iterdir()
    mark.write_bytes(mark.read_bytes()[:-1])
    assert not folder.has("a", "sha")
