"""Images of files and folders, and what they are called."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from datasets.base import DataError
from datasets.plain_images import PlainImages


@pytest.fixture
def folder(tmp_path):
    """A function: relative paths -> a folder with images there, or what else they are."""

    def make(*files: str):
        for file in files:
            path = tmp_path / "in" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (3, 2), len(file)).save(path, format="PNG")
        return tmp_path / "in"

    return make


def test_a_folder_in_order_without_what_is_no_image(folder):
    root = folder("b.PNG", "a.tif", ".hidden.png", "notes.txt", "sub/c.png")
    images = PlainImages([root])
    assert images.files == ["a.tif", "b.PNG"]
    assert images.names == ["a", "b"]
    assert images.paths == [root / "a.tif", root / "b.PNG"]
    assert len(images) == 2


def test_folders_below(folder):
    root = folder("a.png", "sub/a.png", "sub/deep/b.png", ".trash/c.png", "out/labels/a.png")
    images = PlainImages([root], recursive=True, apart_from=[root / "out"])
    assert images.names == ["a", "sub/a", "sub/deep/b"]


def test_results_beside_the_images(folder):
    root = folder("a.png", "labels/a.png", "overlay/a.png", "more/b.png")
    results = [root / "labels", root / "overlay"]
    assert PlainImages([root], apart_from=results).names == ["a"]
    assert PlainImages([root], recursive=True, apart_from=results).names == ["a", "more/b"]
    with pytest.raises(DataError, match=r"labels: holds no images but where .* another --output"):
        PlainImages([root / "labels"], apart_from=results)


def test_a_file_among_the_results_is_none_to_segment(folder):
    root = folder("a.png", "overlay/a.png")
    with pytest.raises(DataError, match=r"overlay/a\.png: lies where .* another --output"):
        PlainImages([root / "a.png", root / "overlay" / "a.png"], apart_from=[root / "overlay"])


def test_names_that_differ_by_their_ending_keep_it(folder):
    images = PlainImages([folder("a.png", "a.jpg", "b.png")])
    assert images.names == ["a.jpg", "a.png", "b"]


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.jpg", "a.png", "a.png.png"], ["a.jpg", "a.png", "a.png.png"]),
        (["a.png", "a.png.png", "a.png.png.png"], ["a", "a.png.png", "a.png.png.png"]),
        (["a.png.jpg", "a.png.png"], ["a.png.jpg", "a.png.png"]),
    ],
)
def test_names_that_are_others_files(folder, files, names):
    images = PlainImages([folder(*files)])
    assert (images.files, images.names) == (files, names)


def test_files_and_folders_together(folder):
    root = folder("a.png", "sub/b.png")
    images = PlainImages([root / "sub", root / "a.png", root / "sub" / "b.png"])
    assert images.names == ["b", "a"]


def test_two_images_of_one_name(folder):
    root = folder("one/a.png", "two/a.png")
    with pytest.raises(
        DataError, match=r"two/a\.png: has the same name as .*one/a\.png.*--recursive"
    ):
        PlainImages([root / "one", root / "two"])
    assert PlainImages([root], recursive=True).names == ["one/a", "two/a"]


@pytest.mark.parametrize(
    ("path", "recursive", "problem"),
    [
        ("missing", False, "no such file or folder"),
        ("sub", False, r"holds no images \(.png, .*--recursive"),
        ("sub/empty", True, r"holds no images \(.*\)$"),
    ],
)
def test_nothing_to_segment(folder, path, recursive, problem):
    root = folder("sub/deep/a.png")
    (root / "sub" / "empty").mkdir()
    with pytest.raises(DataError, match=problem):
        PlainImages([root / path], recursive)


def test_deep_images_become_8_bits(folder, tmp_path):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, np.array([[0, 4095]], np.uint16))
    images = PlainImages([path])
    assert images.read(0, [0, 4095]).tolist() == [[[0] * 3, [255] * 3]]
    assert images.read(0, "full").tolist() == [[[0] * 3, [16] * 3]]
