"""Files of clicks, and an object for each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adaptis.inference.images import ImageError
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.segmenting.clicks import ClicksError, read_clicks, segment_clicks
from adaptis.segmenting.objects import segment_objects
from tests.strategies import CLASSES, SeesWhatIsDrawn

PERSON, CAR = 2, 3  # class indices


@pytest.fixture
def file(tmp_path):
    """A function: text -> path."""

    def write(text: str):
        path = tmp_path / "clicks.csv"
        path.write_bytes(text.encode("utf-8"))
        return path

    return write


def test_clicks_of_each_image_in_order(file):
    clicks = read_clicks(file("image,x,y\na.png,1,2\nsub/b.tif, 3.5 ,4\na.png,0,0\n"))
    assert {name: points.tolist() for name, points in clicks.items()} == {
        "a.png": [[1, 2], [0, 0]],
        "sub/b.tif": [[3.5, 4]],
    }


def test_spreadsheets_files_with_more_columns(file):
    clicks = read_clicks(file("\ufeffy,note,image,x\r\n2,mitosis,a.png,1\r\n"))
    assert clicks["a.png"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "text",
    [
        "image ,x ,y \na.png ,1 ,2 \n",
        "Image,X,Y\na.png,1,2\n",
        "image;x;y\r\na.png;1;2\r\n",
        "image,x,y\na.png,1,2,,\n",
        "y\tx\tnote, perhaps\timage\n2\t1\ta,b\ta.png\n",
        '"image", "x", "y"\n"a.png", "1", "2"\n',
    ],
    ids=["blanks", "capitals", "semicolons", "empty", "tabs", "quotes"],
)
def test_files_of_many_programs(file, text):
    assert {k: v.tolist() for k, v in read_clicks(file(text)).items()} == {"a.png": [[1, 2]]}


@pytest.mark.parametrize(("name", "why"), [("proposal", "No such file"), ("", "Is a directory")])
def test_what_is_no_file(tmp_path, name, why):
    with pytest.raises(ClicksError, match=rf"^--points .*: {why}.*; give proposals, random or a C"):
        read_clicks(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.png,1,2\n", r"its first line lacks the columns \['image', 'x', 'y'\]"),
        ("a.png,1,2\n", "the line is 'a.png,1,2'$"),
        ("image,x\na.png,1\n", r"lacks the columns \['y'\]"),
        ("", "lacks the columns"),
        ("image,x,y\n", "holds no clicks"),
        ("image,x,y\na.png,1,2\na.png,1,\n", "line 3: image 'a.png', x '1', y ''"),
        ("image,x,y\na.png,one,2\n", "line 2: image 'a.png', x 'one'"),
        ("image,x,y\na.png,nan,2\n", "line 2"),
        ("image;x;y\n\na.png;1,5;2\n", "line 3: image 'a.png', x '1,5'"),
        ("image,x,y\n,1,2\n", "line 2: image ''"),
        ("image,x,y\na.png,1,5,2,5\n", "line 2: 5 values, and the first line names 3: write"),
        ("image,X,y,x\na.png,1,2,9\n", r"its first line names \['x'\] twice"),
        ("image,x,y\na.png,1\n", "line 2: image 'a.png', x '1', y None"),
    ],
)
def test_files_that_cannot_be_used(file, text, problem):
    with pytest.raises(ClicksError, match=rf"clicks\.csv.*{problem}"):
        read_clicks(file(text))


def test_bytes_that_are_no_text(file, tmp_path):
    (tmp_path / "clicks.csv").write_bytes(b"image,x,y\n\xff\xfe,1,2\n")
    with pytest.raises(ClicksError, match="no CSV file in UTF-8"):
        read_clicks(tmp_path / "clicks.csv")


def drawn(rows: list[str]) -> np.ndarray:
    """An image of two persons, 1 and 2, and a car, 3, on a road."""
    ids = np.array([[int(c) for c in row] for row in rows], np.uint8)
    class_of_id = np.array([0, PERSON, PERSON, CAR], np.uint8)
    return np.stack([class_of_id[ids], ids, 0 * ids], axis=2)


IMAGE = drawn(["110022", "110022", "000000", "333333"])


@pytest.fixture
def predictor():
    return AdaptISPredictor(SeesWhatIsDrawn(), SeesWhatIsDrawn.description())


@pytest.mark.parametrize("tile_size", [None, 4])
def test_an_object_a_click(predictor, tile_size):
    predictor.settings = replace(predictor.settings, tile_size=tile_size)
    label_map, objects = segment_clicks(predictor, IMAGE, [[5, 1], [0, 0]])
    assert label_map[:3].tolist() == [[2, 2, 0, 0, 1, 1], [2, 2, 0, 0, 1, 1], [0] * 6]
    assert [found["id"] for found in objects] == [1, 2]
    assert [found["bbox"] for found in objects] == [[4, 0, 2, 2], [0, 0, 2, 2]]
    assert {found["category_id"] for found in objects} == {CLASSES[PERSON]["id"]}


def test_the_class_is_that_of_the_pixels(predictor):
    _, (found,) = segment_clicks(predictor, IMAGE, [[2, 3]])
    assert found["category_id"] == CLASSES[CAR]["id"]
    assert found["score"] == 1


def test_without_thing_classes_there_is_no_object():
    """Neither by clicks nor by the greedy algorithm."""
    description = SeesWhatIsDrawn.description()
    for info in description["classes"]:
        info["isthing"] = False
    predictor = AdaptISPredictor(SeesWhatIsDrawn(), description)
    for found in (segment_clicks(predictor, IMAGE, [[5, 1]]), segment_objects(predictor, IMAGE)):
        assert not found.label_map.any()
        assert found.objects == []


def test_only_tiles_with_clicks_are_looked_at(predictor, monkeypatch):
    predictor.settings = replace(predictor.settings, tile_size=4)
    encoded = []
    encode = predictor.backend.encode
    monkeypatch.setattr(
        predictor.backend, "encode", lambda image: encoded.append(image.shape) or encode(image)
    )
    segment_clicks(predictor, IMAGE, [[5, 1], [4, 0]])
    assert encoded == [(3, 4, 4)]
    assert predictor.settings.tile_size == 4


def test_masks_that_overlap(predictor, monkeypatch):
    """Both records have all their pixels; of the map each goes to the most confident."""
    maps = {0: [0.6, 0.6, 0.6, 0.0], 3: [0.0, 0.0, 0.9, 0.9], 1: [0.1, 0.1, 0.1, 0.1]}
    monkeypatch.setattr(
        predictor.backend,
        "confidences",
        lambda _, points_yx, head_window: np.array(
            [[maps[int(x)]] for _, x in points_yx], np.float32
        ),
    )
    image = np.full((1, 4, 3), PERSON, np.uint8)
    label_map, objects = segment_clicks(predictor, image, [[0, 0], [1, 0], [3, 0]])
    assert label_map.tolist() == [[1, 1, 3, 3]]  # click 2 is on nothing
    assert [(found["id"], found["area"]) for found in objects] == [(1, 3), (3, 2)]
    assert [found["score"] for found in objects] == pytest.approx([0.6, 0.9])


def test_masks_end_at_the_largest_radius(predictor):
    greedy = replace(predictor.settings.greedy, max_radius=2.0)
    predictor.settings = replace(predictor.settings, greedy=greedy)
    _, (found,) = segment_clicks(predictor, IMAGE, [[1, 3]])
    assert found["bbox"] == [0, 3, 4, 1]


def test_results_come_back_at_the_size_of_the_image(predictor):
    predictor.settings = replace(predictor.settings, shortest_side=8)
    label_map, (found,) = segment_clicks(predictor, IMAGE.repeat(4, 0).repeat(4, 1), [[0, 15]])
    assert label_map.shape == (16, 24)
    assert found["segmentation"]["size"] == [16, 24]
    x, y, width, height = found["bbox"]
    assert (x, width, y + height) == (0, 24, 16)
    assert 3 <= height <= 5  # interpolated


def test_a_click_outside_of_the_image(predictor):
    with pytest.raises(ImageError, match=r"\(6\.0, 0\.0\) lies outside"):
        segment_clicks(predictor, IMAGE, [[6, 0]])
