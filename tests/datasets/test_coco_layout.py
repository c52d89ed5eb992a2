"""Which of COCO's files make a split, and its images without labels."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from datasets.base import VOID, DataError
from datasets.coco_layout import open_coco, splits_of

CATEGORIES = [
    {"id": 5, "name": "cat", "isthing": 1, "color": [10, 20, 30]},
    {"id": 900, "name": "grass", "isthing": 0, "color": [0, 255, 0]},
]
THINGS = [{"id": 5, "name": "cat", "supercategory": "animal"}]  # as in COCO's image_info files
IMAGE = {"id": 3, "file_name": "a.png", "height": 2, "width": 4}


def write_info(root, split, folder, images=(IMAGE,), categories=THINGS):
    (root / "annotations").mkdir(exist_ok=True)
    (root / folder).mkdir(exist_ok=True)
    content = {"images": list(images), "categories": categories}
    (root / "annotations" / f"image_info_{split}.json").write_text(json.dumps(content))
    Image.new("RGB", (4, 2)).save(root / folder / "a.png")


def write_panoptic(root, split, **changes):
    (root / "annotations").mkdir(exist_ok=True)
    content = {"images": [IMAGE], "annotations": [], "categories": CATEGORIES, **changes}
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(content))


@pytest.mark.parametrize("split", ["test-dev2017", "test"])
def test_test_dev(tmp_path, split):
    """Its images are in test2017, its categories those of val2017."""
    write_info(tmp_path, "test-dev2017", "test2017")
    write_panoptic(tmp_path, "val2017")
    dataset = open_coco(tmp_path, split)
    assert (dataset.labelled, dataset.split) == (False, "test-dev2017")
    assert [(c.name, c.category_id, c.isthing) for c in dataset.classes] == [
        ("grass", 900, False),
        ("cat", 5, True),
    ]
    assert (dataset.names, dataset.image_ids) == (["a"], [3])
    assert dataset.image_path(0) == tmp_path / "test2017" / "a.png"
    sample = dataset[0]
    assert sample.semantic_map.tolist() == [[VOID] * 4] * 2
    assert not sample.instance_map.any()
    assert sample.instances == {}


def test_a_split_with_labels_is_opened_with_them(tmp_path):
    write_info(tmp_path, "test", "test", categories=CATEGORIES)
    write_info(tmp_path, "test-dev2017", "test2017")
    assert open_coco(tmp_path, "test").split == "test"  # it is called so
    write_panoptic(tmp_path, "test")
    dataset = open_coco(tmp_path, "test")
    assert dataset.labelled
    with pytest.raises(DataError, match="annotations has no entry of image 3"):
        dataset[0]


def test_own_images_have_their_own_categories(tmp_path):
    write_info(tmp_path, "mine", "mine", categories=CATEGORIES)
    dataset = open_coco(tmp_path, "mine")
    assert [info.name for info in dataset.classes] == ["grass", "cat"]
    assert dataset[0].image.shape == (2, 4, 3)


def test_missing_categories(tmp_path):
    write_info(tmp_path, "test-dev2017", "test2017")
    problem = r"image_info_test-dev2017\.json: .*isthing is missing.*in panoptic_val2017\.json: put"
    with pytest.raises(DataError, match=problem):
        open_coco(tmp_path, "test-dev2017")
    write_panoptic(tmp_path, "val2017", categories=THINGS)
    with pytest.raises(DataError, match=r"panoptic_val2017\.json: .*isthing is missing"):
        open_coco(tmp_path, "test-dev2017")


@pytest.mark.parametrize(("size", "red_is_left"), [((2, 4), True), ((4, 2), False)])
def test_an_image_turned_by_exif_has_the_size_of_its_entry(tmp_path, size, red_is_left):
    """The server's labels have that size, and refuse another."""
    image = {**IMAGE, "height": size[0], "width": size[1]}
    write_info(tmp_path, "mine", "mine", [image], CATEGORIES)
    pixels = np.zeros((2, 4, 3), np.uint8)
    pixels[:, 0] = 255, 0, 0
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(pixels).save(tmp_path / "mine" / "a.png", exif=exif)
    shown = open_coco(tmp_path, "mine")[0].image
    assert shown.shape[:2] == size
    assert (shown[:, 0, 0] == 255).all() == red_is_left


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ({"id": 3, "file_name": "a.png"}, r"images\[0\]\.height is missing"),
        ({**IMAGE, "width": 0}, r"images\[0\]\.width is 0, a whole number from 1"),
        ({**IMAGE, "width": 5}, r"a\.png: the image is 2 x 4 .* 2 x 5"),
        ({**IMAGE, "file_name": "../a.png"}, r"'\.\./a\.png' leads out"),
        ({**IMAGE, "file_name": "b.png"}, r"b\.png: can't be read: is missing"),
        ({**IMAGE, "id": None}, r"images\[0\]\.id is null"),
    ],
)
def test_broken_entries_fail_when_they_are_read(tmp_path, image, problem):
    write_info(
        tmp_path, "mine", "mine", [image, {**IMAGE, "id": 4, "file_name": "c.png"}], CATEGORIES
    )
    dataset = open_coco(tmp_path, "mine")
    assert len(dataset) == 2
    index = dataset.image_ids.index(4)
    with pytest.raises(DataError, match=problem):
        dataset[1 - index]
    assert dataset.image_path(index) == tmp_path / "mine" / "c.png"


def test_no_such_split(tmp_path):
    write_panoptic(tmp_path, "val2017")
    problem = r"annotations: holds no panoptic_test\.json, nor image_info_test\.json"
    with pytest.raises(DataError, match=problem):
        open_coco(tmp_path, "test")


def test_splits(tmp_path):
    """The list of the test images comes for two splits at once, and before the images."""
    write_panoptic(tmp_path, "val2017")
    write_info(tmp_path, "test-dev2017", "test2017")
    write_info(tmp_path, "unlabeled2017", "elsewhere")
    assert splits_of(tmp_path) == ["val2017", "test-dev2017"]
