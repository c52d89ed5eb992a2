"""Damaged data sets: the reader, python -m datasets.check and the scoring name file and value."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

import test_panoptic
from datasets.base import DataError
from datasets.check import main as check
from datasets.formats import open_dataset
from datasets.synthetic import main as synthesize
from datasets.toy_generator import generate

SPLITS = {"toy": "test", "cityscapes": "val", "coco": "val2017", "mapillary": "val"}
IMAGES = {  # of the second image in each data set
    "toy": "test/00001_rgb.png",
    "cityscapes": "leftImg8bit/val/syntheticval/syntheticval_000001_000019_leftImg8bit.png",
    "coco": "val2017/000000000001.jpg",
    "mapillary": "validation/images/000000000001.jpg",
}
CITYSCAPES_LABELS = "gtFine/val/syntheticval/syntheticval_000001_000019_gtFine_"
COCO_LABEL = "annotations/panoptic_val2017/000000000001.png"
COCO_JSON = "annotations/panoptic_val2017.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Per data set the folder of three images."""
    folder = tmp_path_factory.mktemp("sound")
    generate(folder / "toy", train=0, test=3, workers=1)
    for name in ("cityscapes", "coco", "mapillary"):
        out = str(folder / name)
        synthesize(["--format", name, "--out", out, "--train", "0", "--val", "3"])
    return folder


@pytest.fixture
def copy(sound, tmp_path):
    """A function: name -> a copy of the data set, to damage."""
    return lambda name: shutil.copytree(sound / name, tmp_path / name)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shrink(path):
    """One pixel less in height and width, values kept."""
    with Image.open(path) as image:
        smaller = image.crop((0, 0, image.width - 1, image.height - 1))
    smaller.save(path)


def set_pixel(value):
    def change(path):
        with Image.open(path) as image:
            image.load()
        image.putpixel((0, 0), value)
        image.save(path)

    return change


def add_alpha(path):
    with Image.open(path) as image:
        image.convert("RGBA").save(path)


def edit_segments(change):
    """Change the second image's segments in COCO's JSON file."""

    def edit(path):
        content = json.loads(path.read_text())
        change(content["annotations"][1]["segments_info"])
        path.write_text(json.dumps(content))

    return edit


DAMAGES = [
    *((name, path, cut, path, "can't be read: .*copy or") for name, path in IMAGES.items()),
    ("toy", "test/00001_im.png", cut, "test/00001_im.png", "can't be read: .*copy or"),
    ("toy", "test/00001_im.png", shrink, "test/00001_rgb.png", "is 96 x 96 .* 95 x 95 .replace"),
    ("toy", "test/00001_im.png", add_alpha, "test/00001_im.png", "is RGBA, .* one channel"),
    *(
        (name, IMAGES[name], shrink, IMAGES[name], "is 127 x 255 .* label 128 x 256 .replace")
        for name in ("cityscapes", "coco", "mapillary")
    ),
    *(
        ("cityscapes", f"{CITYSCAPES_LABELS}{which}Ids.png", change, path, problem)
        for which, change, path, problem in (
            ("label", cut, f"{CITYSCAPES_LABELS}labelIds.png", "can't be read: .*copy or"),
            ("instance", cut, f"{CITYSCAPES_LABELS}instanceIds.png", "can't be read: .*copy or"),
            ("label", shrink, f"{CITYSCAPES_LABELS}instanceIds.png", r"\(127, 255\) .remake"),
            ("label", set_pixel(99), f"{CITYSCAPES_LABELS}labelIds.png", r"labels \[99\] .remake"),
            ("instance", set_pixel(26007), f"{CITYSCAPES_LABELS}instanceIds.png", "1 pixels .*rem"),
        )
    ),
    ("coco", COCO_LABEL, cut, COCO_LABEL, "can't be read: .*copy or"),
    ("coco", COCO_LABEL, add_alpha, COCO_LABEL, "mode RGBA, .* without alpha"),
    ("coco", COCO_LABEL, set_pixel((5, 0, 0)), COCO_LABEL, r"in the PNG .*: \[5\] .correct"),
    *(
        ("coco", COCO_JSON, edit_segments(change), COCO_LABEL, problem)
        for change, problem in (
            (lambda s: s.pop(), r"1 ids in the PNG but not in the JSON file: \[\d+\] .correct"),
            (lambda s: s.append({**s[0], "id": 9}), r"not in the PNG: \[9\].*correct"),
            (lambda s: s[0].update(category_id=77), r"unknown categories \[77\] .correct"),
        )
    ),
    *(
        ("mapillary", f"validation/{folder}/000000000001.png", change, path, problem)
        for folder, change, path, problem in (
            ("labels", cut, "validation/labels/000000000001.png", "can't be read: .*copy or"),
            ("labels", set_pixel(99), "validation/labels/000000000001.png", "label 99, .* 66 .use"),
            ("instances", shrink, "validation/instances/000000000001.png", r"\(128, 256\) .repl"),
            ("instances", set_pixel(9), "validation/instances/000000000001.png", r"\[9\] .*repl"),
        )
    ),
]


@pytest.mark.parametrize(("name", "path", "damage", "named", "problem"), DAMAGES)
def test_damage(copy, predict_perfectly, tmp_path, capsys, name, path, damage, named, problem):
    root = copy(name)
    predict_perfectly(open_dataset(name, root), tmp_path / "predictions")
    damage(root / path)
    message = rf"{re.escape(str(root / named))}: .*{problem}"
    with pytest.raises(DataError, match=message):
        open_dataset(name, root)[1]

    assert check([name, str(root), "--split", SPLITS[name]]) == 1
    printed = capsys.readouterr().out
    assert "2 of 3 images are sound" in printed
    (broken,) = (line for line in printed.splitlines() if line.startswith("BROKEN"))
    assert re.search(message, broken)

    where = ("--data-root", str(root), "--output", str(tmp_path / "results"))
    with pytest.raises(DataError, match=message):
        test_panoptic.main([name, *where, "--predictions", str(tmp_path / "predictions")])


def assert_sound(name, root):
    assert check([name, str(root), "--split", SPLITS[name]]) == 0
    return open_dataset(name, root)[1].image


@pytest.mark.parametrize("name", IMAGES)
def test_gray_images_are_repeated(copy, name):
    root = copy(name)
    path = root / IMAGES[name]
    with Image.open(path) as image:
        image.convert("L").save(path, quality=95)
    image = assert_sound(name, root)
    assert (image == image[..., :1]).all()


@pytest.mark.parametrize("name", ["toy", "cityscapes"])  # JPEGs have no alpha
def test_alpha_is_dropped(copy, name):
    root = copy(name)
    before = open_dataset(name, root)[1].image
    add_alpha(root / IMAGES[name])
    assert np.array_equal(assert_sound(name, root), before)


@pytest.mark.parametrize("name", ["cityscapes", "coco", "mapillary"])
def test_a_turned_image_is_turned_back_to_fit_its_label(copy, name):
    root = copy(name)
    before = open_dataset(name, root)[1].image
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise for display
    with Image.open(root / IMAGES[name]) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(root / IMAGES[name], exif=exif, quality=95)
    after = assert_sound(name, root)
    assert np.abs(after.astype(int) - before).mean() < 5  # the JPEG is encoded anew
