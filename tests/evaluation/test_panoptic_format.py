"""COCO's panoptic PNGs and segment records, written and read."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from adaptis.evaluation.panoptic_quality import segments_info, write_panoptic_png
from adaptis.image_files import read_panoptic_png

CELL, FIELD = 1, 2  # category ids of a thing and of stuff


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
