"""Decoding: every kind of image gives the right pixels or an error that names the file."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tracemalloc
import zlib
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from adaptis import image_files
from adaptis.image_files import read_panoptic_png
from datasets.base import DataError
from datasets.files import Files, inside, read_image, read_json, read_labels, read_rgb_ids

RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


class TestReadImage:
    def test_rgb(self, tmp_path):
        image = read_image(save(tmp_path / "a.png", RGB), (4, 6))
        assert image.dtype == np.uint8
        assert np.array_equal(image, RGB)

    def test_grey_and_alpha(self, tmp_path):
        alpha = np.full((4, 6, 1), 7, np.uint8)
        repeated = np.repeat(GREY[..., None], 3, axis=2)
        for array, expected in (
            (GREY, repeated),
            (np.concatenate([RGB, alpha], 2), RGB),
            (np.concatenate([GREY[..., None], alpha], 2), repeated),
            (GREY.astype(np.uint16) * 257, repeated),
            (GREY > 99, np.where(repeated > 99, 255, 0)),
        ):
            assert np.array_equal(read_image(save(tmp_path / "a.png", array)), expected)

    @pytest.mark.parametrize(
        ("array", "end", "problem"),
        [
            (GREY.astype(np.uint16) * 257 >> 4, "png", "16 bits a channel, .* fill 14 or fewer"),
            (GREY.astype(np.uint16) * 257 >> 2, "png", "16 bits a channel, .* fill 14 or fewer"),
            (GREY.astype(np.uint16), "png", "16 bits a channel, .* fill 14 or fewer"),
            (GREY.astype(np.uint16), "tif", "16 bits a channel, .* fill 14 or fewer"),
            (GREY.astype(np.int32), "tif", "values of 32 bits .*mode I"),
            (GREY.astype(np.float32) / 255, "tif", "values of 32 bits .*mode F"),
        ],
    )
    def test_values_that_do_not_fill_their_type(self, tmp_path, array, end, problem):
        path = save(tmp_path / f"a.{end}", array)
        with pytest.raises(DataError, match=rf"a\.{end}: has {problem}.*8 bits a channel"):
            read_image(path)

    def test_colours_of_16_bits(self, tmp_path):
        """Pillow gives the upper 8 without a word, of 12 bits as of 16."""
        path = str(tmp_path / "a.png")
        cv2.imwrite(path, RGB[..., ::-1].astype(np.uint16) * 257)
        assert np.array_equal(read_image(tmp_path / "a.png"), RGB)
        cv2.imwrite(path, RGB[..., ::-1].astype(np.uint16) * 257 >> 4)
        with pytest.raises(DataError, match=r"a\.png: has 16 bits a channel"):
            read_image(tmp_path / "a.png")

    def test_memory_is_a_few_bytes_a_pixel(self, tmp_path):
        """numpy's share of it; Pillow's own are 4 more."""
        Image.new("RGB", (2000, 1500)).save(tmp_path / "a.png")
        tracemalloc.start()
        read_image(tmp_path / "a.png")
        peak = tracemalloc.get_traced_memory()[1] / (2000 * 1500)
        tracemalloc.stop()
        assert 3 <= peak < 5

    def test_palette(self, tmp_path):
        Image.fromarray(RGB).quantize(24).save(tmp_path / "a.png")
        assert np.array_equal(read_image(tmp_path / "a.png"), RGB)

    @pytest.mark.parametrize(
        ("orientation", "label_size", "expected"),
        [
            (6, (6, 4), np.rot90(RGB, -1)),  # only turned it fits
            (6, (4, 6), RGB),  # as stored it fits
            (3, (4, 6), RGB),  # both fit: as stored
            (6, None, np.rot90(RGB, -1)),  # no label: as viewers show it
            (1, None, RGB),
        ],
    )
    def test_exif_orientation(self, tmp_path, orientation, label_size, expected):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = save(tmp_path / "a.png", RGB, exif=exif)
        assert np.array_equal(read_image(path, label_size), expected)

    def test_size_mismatch(self, tmp_path):
        path = save(tmp_path / "a.png", RGB)
        with pytest.raises(DataError, match=r"a\.png: the image is 4 x 6 .*, its label 6 x 4"):
            read_image(path, (6, 4))

    @pytest.mark.parametrize("end", ["jpg", "png"])
    @pytest.mark.parametrize("part", [0, 0.02, 0.5, 0.95])
    def test_truncated(self, tmp_path, end, part):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        path = save(tmp_path / f"a.{end}", noise)
        path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
        with pytest.raises(DataError, match=rf"a\.{end}: can't be read"):
            read_image(path)

    def test_flipped_bytes_never_escape(self, tmp_path):
        """Whatever the decoder trips over becomes a DataError."""
        rng = np.random.default_rng(0)
        whole = save(tmp_path / "a.png", RGB).read_bytes()
        for _ in range(300):
            broken = bytearray(whole)
            broken[rng.integers(8, len(broken))] ^= int(rng.integers(1, 256))
            (tmp_path / "b.png").write_bytes(bytes(broken))
            with contextlib.suppress(DataError):
                read_image(tmp_path / "b.png")

    def test_missing_and_not_an_image(self, tmp_path):
        with pytest.raises(DataError, match=r"a\.png: can't be read: is missing"):
            read_image(tmp_path / "a.png")
        (tmp_path / "a.png").write_text("hello")
        with pytest.raises(DataError, match=r"a\.png: can't be read: cannot identify"):
            read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("read", "array", "error"),
    [
        (read_image, RGB, DataError),
        (read_labels, GREY, DataError),
        (read_rgb_ids, RGB, DataError),
        (read_panoptic_png, RGB, ValueError),
    ],
)
class TestEveryReader:
    def test_too_large(self, tmp_path, monkeypatch, read, array, error):
        path = save(tmp_path / "a.png", array)
        monkeypatch.setattr(image_files, "MAX_FILE_PIXELS", 20)
        with pytest.raises(error, match=r"a\.png: is 4 x 6 .*, at most 20 pixels .*cut it"):
            read(path)

    def test_a_flipped_bit_in_the_last_pixels(self, tmp_path, read, array, error):
        """The pixels change, and decoding takes them: the checksum tells."""
        whole, wrong = (io.BytesIO(), io.BytesIO())
        Image.fromarray(array).save(whole, format="PNG")
        Image.fromarray(array ^ 1).save(wrong, format="PNG")
        start = whole.getvalue().index(b"IDAT") - 4
        chunk = wrong.getvalue()[wrong.getvalue().index(b"IDAT") - 4 : -12]
        checksum = struct.pack(">I", zlib.crc32(chunk[4:-4]) ^ 1)
        path = tmp_path / "a.png"
        path.write_bytes(whole.getvalue()[:start] + chunk[:-4] + checksum + wrong.getvalue()[-12:])
        with Image.open(path) as image:
            image.load()  # as all did
        with pytest.raises(error, match=r"a\.png: can't be read: .*checksum"):
            read(path)

    @pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
    def test_what_is_no_file_is_not_waited_for(self, tmp_path, read, array, error, make):
        make(tmp_path / "a.png")
        with pytest.raises(error, match=r"a\.png: can't be read: is (a folder|no regular file)"):
            read(tmp_path / "a.png")

    def test_no_memory_is_not_the_files_fault(self, tmp_path, monkeypatch, read, array, error):
        path = save(tmp_path / "a.png", array)
        monkeypatch.setattr(PngImageFile, "load", Mock(side_effect=MemoryError))
        with pytest.raises(MemoryError):
            read(path)


class TestReadLabels:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_values_stay(self, tmp_path, dtype):
        array = np.array([[0, 1, np.iinfo(dtype).max]], dtype)
        labels = read_labels(save(tmp_path / "a.png", array))
        assert labels.tolist() == array.tolist()

    def test_palette_gives_indices(self, tmp_path):
        picture = Image.fromarray(np.array([[0, 2, 5]], np.uint8))
        picture.putpalette([200] * 768)
        picture.save(tmp_path / "a.png")
        assert read_labels(tmp_path / "a.png").tolist() == [[0, 2, 5]]

    def test_one_bit(self, tmp_path):
        labels = read_labels(save(tmp_path / "a.png", np.array([[True, False]])))
        assert labels.tolist() == [[1, 0]]

    def test_colours_are_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"a\.png: is RGB, a label image has one channel"):
            read_labels(save(tmp_path / "a.png", RGB))


def test_rgb_ids(tmp_path):
    ids = read_rgb_ids(save(tmp_path / "a.png", np.array([[[1, 2, 3], [0, 0, 0]]], np.uint8)))
    assert ids.tolist() == [[1 + 2 * 256 + 3 * 65536, 0]]
    assert ids.dtype == np.int32


def test_inside(tmp_path):
    assert inside(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"
    for name in ("../a.png", "a/../../b.png", "/a.png"):
        with pytest.raises(DataError, match="leads out of this folder"):
            inside(tmp_path, name)


@pytest.mark.parametrize(
    ("text", "problem"),
    [('{"a": 1', "Expecting"), ("[1]", "a JSON list"), ("[" * 100000, "nested too deeply")],
    ids=["cut", "list", "deep"],
)
def test_read_json(tmp_path, text, problem):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=rf"a\.json: .*{problem}"):
        read_json(tmp_path / "a.json")


def test_files_from_windows(tmp_path):
    """A byte order mark, backslashes, capital endings; and what macOS leaves beside files."""
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + b'{"file_name": "a\\\\b.png"}')
    name = read_json(tmp_path / "a.json")["file_name"]
    assert inside(tmp_path, name) == tmp_path / "a" / "b.png"
    with pytest.raises(DataError, match="leads out of this folder"):
        inside(tmp_path, "..\\secret.png")
    (tmp_path / "in").mkdir()
    for path in ("in/a.JPG", "in/b.jpg", "in/._b.jpg", "in/c.png"):
        (tmp_path / path).touch()
    files = Files(tmp_path, "*/*", ".jpg")
    assert sorted(files.names) == ["in/a", "in/b"]
    assert files.path("in/a") == tmp_path / "in" / "a.JPG"
    assert files.path("in/z") == tmp_path / "in" / "z.jpg"
    (tmp_path / "in" / "a.jpg").touch()
    with pytest.raises(DataError, match=r"in/a\.(JPG|jpg): has the name of a\.(jpg|JPG)"):
        Files(tmp_path, "*/*", ".jpg")
