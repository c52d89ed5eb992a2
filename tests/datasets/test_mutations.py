"""Every mutation of a file of each data set is accepted and right, or refused by name and reported
by the check; nothing else may come of it."""

from __future__ import annotations

import copy
import json
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets.base import DataError
from datasets.check import main as check
from datasets.formats import open_dataset

IMAGE = np.random.default_rng(0).integers(100, 256, (6, 8, 3), dtype=np.uint8)
OBJECTS = np.repeat([[0, 0, 1, 1, 2, 2, 0, 0]], 6, axis=0)  # 0 stuff, two objects
SPLITS = {"toy": "test", "cityscapes": "val", "coco": "val2017", "mapillary": "val"}
CITY = ("leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png", "gtFine/val/ulm/ulm_000000_000019")
FILES = {  # what holds pixels, the image first
    "toy": ("test/a_rgb.png", "test/a_im.png"),
    "cityscapes": (CITY[0], f"{CITY[1]}_gtFine_labelIds.png", f"{CITY[1]}_gtFine_instanceIds.png"),
    "coco": ("val2017/a.png", "annotations/panoptic_val2017/a.png"),
    "mapillary": (
        "validation/images/a.jpg",
        "validation/labels/a.png",
        "validation/instances/a.png",
    ),
}
JSON = {"coco": "annotations/panoptic_val2017.json", "mapillary": "config.json"}
COCO = {
    "images": [{"id": 3, "file_name": "a.png", "height": 6, "width": 8}],
    "annotations": [
        {
            "image_id": 3,
            "file_name": "a.png",
            "segments_info": [
                {"id": 1, "category_id": 5, "iscrowd": 0, "area": 12, "bbox": [2, 0, 2, 6]},
                {"id": 2, "category_id": 5, "iscrowd": 0, "area": 12, "bbox": [4, 0, 2, 6]},
                {"id": 3, "category_id": 9, "iscrowd": 0, "area": 24, "bbox": [0, 0, 8, 6]},
            ],
        }
    ],
    "categories": [
        {"id": 5, "name": "cat", "isthing": 1, "color": [1, 2, 3]},
        {"id": 9, "name": "grass", "isthing": 0, "color": [4, 5, 6]},
    ],
}
MAPILLARY = {
    "labels": [
        {"readable": "Car", "color": [1, 2, 3], "instances": True, "evaluate": True},
        {"readable": "Sky", "color": [4, 5, 6], "instances": False, "evaluate": True},
    ]
}


def write_sound(name: str, root: Path) -> None:
    thing = OBJECTS > 0
    car = {"labels": np.where(thing, 26, 7), "values": np.where(thing, 26000 + OBJECTS, 7)}
    labels = np.where(thing, 0, 1)
    pixels = {
        "toy": [OBJECTS],
        "cityscapes": [car["labels"], car["values"].astype(np.uint16)],
        "coco": [np.stack([np.where(thing, OBJECTS, 3), 0 * OBJECTS, 0 * OBJECTS], axis=2)],
        "mapillary": [labels, (labels * 256 + OBJECTS).astype(np.uint16)],
    }[name]
    for file, array in zip(FILES[name], [IMAGE, *pixels]):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        array = array if array.dtype == np.uint16 else array.astype(np.uint8)
        Image.fromarray(array).save(root / file, quality=95)
    if name in JSON:
        (root / JSON[name]).write_text(json.dumps({"coco": COCO, "mapillary": MAPILLARY}[name]))


def outcome(name: str, root: Path, expected) -> str:
    """Accepted, with what is expected; or refused by name, and reported."""
    message = None
    try:
        dataset = open_dataset(name, root)
        samples = [dataset[index] for index in range(len(dataset))]
    except DataError as error:
        message = str(error)
    if message:
        assert str(root) in message
        assert len(message) < 1000
        assert check([name, str(root), "--split", SPLITS[name]]) == 1
        return "refused"
    (sample,) = samples
    assert np.array_equal(sample.semantic_map, expected.semantic_map)
    assert np.array_equal(sample.instance_map, expected.instance_map)
    assert sample.instances == expected.instances
    assert np.abs(sample.image.astype(int) - expected.image).max() <= 1
    assert check([name, str(root), "--split", SPLITS[name]]) == 0
    return "accepted"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Of each data set its sample, as it is without mutation."""
    samples = {}
    for name in FILES:
        root = tmp_path_factory.mktemp(name)
        write_sound(name, root)
        (samples[name],) = open_dataset(name, root)
    return samples


def test_the_sound_ones_by_hand(sound):
    for sample in sound.values():
        numbers = {0: 0, **{i: i for i in sample.instances}}
        assert sorted(numbers) == [0, 1, 2]
        assert np.array_equal(sample.instance_map, OBJECTS)
        assert np.array_equal(sample.semantic_map > 0, OBJECTS > 0)


# Of JSON files: an entry gets another value, is missing, is there twice.

VALUES = [
    *(None, "", "text", "0", "1", "5", "false", True, False, 0, 1, 1.0, 1.5, -1, 2**31, 2**70),
    *(-(2**70), 1e308, float("nan"), float("inf"), [], [[]], {}, {"a": 1}, [1, 2, 3]),
]
SEGMENT = ("annotations", 0, "segments_info", 0)
PLACES = {
    "coco": [
        *((key,) for key in COCO),
        *(("categories", 0), ("images", 0), ("annotations", 0), SEGMENT),
        *(("categories", 0, key) for key in ("id", "name", "isthing", "color")),
        *(("categories", 1, "isthing"), ("categories", 0, "color", 1)),
        *(("images", 0, key) for key in ("id", "file_name", "height")),
        *(("annotations", 0, key) for key in ("image_id", "file_name", "segments_info")),
        *((*SEGMENT, key) for key in ("id", "category_id", "iscrowd", "area", "bbox")),
    ],
    "mapillary": [
        *(("labels",), ("labels", 0), ("labels", 0, "color", 2), ("labels", 1, "evaluate")),
        *(("labels", 0, key) for key in ("readable", "color", "instances", "evaluate")),
    ],
}
CONTENT = {"coco": COCO, "mapillary": MAPILLARY}
SWITCHES = {"isthing", "iscrowd", "instances", "evaluate"}
WHOLE = {"id", "category_id"}  # of which no other type may be made


def with_change(name, place, change):
    content = copy.deepcopy(CONTENT[name])
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    change(inner, place[-1])
    return content


def is_sound_otherwise(key, value) -> bool:
    """Whether it makes another data set, and a sound one; null says as much as no entry."""
    if key == "iscrowd" and value is None:
        return True
    return key in SWITCHES and type(value) in (bool, int) and value in (0, 1)


@pytest.mark.parametrize(
    ("name", "place"), [(n, p) for n, places in PLACES.items() for p in places]
)
def test_other_values(sound, tmp_path, name, place):
    write_sound(name, tmp_path)
    for value in VALUES:
        if is_sound_otherwise(place[-1], value):
            continue
        content = with_change(name, place, lambda inner, key, v=value: inner.__setitem__(key, v))
        (tmp_path / JSON[name]).write_text(json.dumps(content))
        found = outcome(name, tmp_path, sound[name])
        if place[-1] in SWITCHES | WHOLE and not (type(value) is int and value == 1):
            assert found == "refused", value


@pytest.mark.parametrize(
    ("name", "place"), [(n, p) for n, places in PLACES.items() for p in places]
)
def test_missing_and_double_entries(sound, tmp_path, name, place):
    def remove(inner, key):
        del inner[key]

    def double(inner, key):
        if isinstance(inner, list):
            inner.append(inner[key])
        else:
            inner[key] = "TWICE"

    write_sound(name, tmp_path)
    path = tmp_path / JSON[name]
    path.write_text(json.dumps(with_change(name, place, remove)))
    outcome(name, tmp_path, sound[name])
    value = CONTENT[name]
    for key in place:
        value = value[key]
    text, key = json.dumps(with_change(name, place, double)), place[-1]
    path.write_text(text.replace('"TWICE"', f'{json.dumps(value)}, "{key}": {json.dumps(value)}'))
    found = outcome(name, tmp_path, sound[name])
    assert found == "refused" or (name, place) == ("mapillary", ("labels", 0))  # one more label


@pytest.mark.parametrize("name", JSON)
@pytest.mark.parametrize("text", ["", "{", "[]", "3", "\0", "[" * 100_000, '{"a":' * 100_000])
def test_other_texts(sound, tmp_path, name, text):
    write_sound(name, tmp_path)
    (tmp_path / JSON[name]).write_text(text)
    assert outcome(name, tmp_path, sound[name]) == "refused"


# Of image and label files: another content, another kind, none.


def huge(content: bytes) -> bytes:
    """A PNG whose header says 100,000 x 100,000, with the right checksum."""
    header = b"IHDR" + struct.pack(">II", 100_000, 100_000) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def other_pixels(change):
    def write(path):
        with Image.open(path) as image:
            array = np.array(image)
        cv2.imwrite(str(path.with_suffix(".png")), change(array))
        path.with_suffix(".png").rename(path)

    return write


def other_bytes(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


def instead(make):
    def replace(path):
        path.unlink()
        make(path)

    return replace


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


DAMAGES = {
    "missing": Path.unlink,
    "folder": instead(os.mkdir),
    "pipe": instead(os.mkfifo),
    "dangling link": instead(lambda path: path.symlink_to("nowhere")),
    "empty": other_bytes(lambda content: b""),
    "cut": other_bytes(lambda content: content[: len(content) // 2]),
    "end cut": other_bytes(lambda content: content[:-5]),
    "text": other_bytes(lambda content: b"<html>404</html>"),
    "flipped": other_bytes(flipped),
    "huge": other_bytes(huge),
    "a pixel": other_pixels(lambda array: array[:1, :1]),
    "a row less": other_pixels(lambda array: array[:-1]),
    "turned": other_pixels(lambda array: np.swapaxes(array, 0, 1)),
    "floats": instead(lambda path: Image.fromarray(np.ones((6, 8), "f")).save(path, "TIFF")),
    "12 bits": other_pixels(lambda array: array.astype(np.uint16) * 15),
    "alpha": other_pixels(lambda array: np.full((6, 8, 4), 255, np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("name", "file"), [(n, f) for n, files in FILES.items() for f in files])
def test_damaged_files(sound, tmp_path, name, file, damage):
    if (damage, file) == ("12 bits", FILES["toy"][1]):
        return  # other ids, and sound ones
    write_sound(name, tmp_path)
    DAMAGES[damage](tmp_path / file)
    if (damage, file) == ("alpha", FILES[name][0]):
        sample = open_dataset(name, tmp_path)[0]  # alpha is dropped from images
        assert (sample.image == 255).all()
    elif (damage, Path(file).suffix) == ("flipped", ".jpg"):  # which has no checksum
        assert outcome(name, tmp_path, sound[name]) in ("accepted", "refused")
    else:
        assert outcome(name, tmp_path, sound[name]) == "refused"
