"""Files of every depth, written here, give back their values; broken ones are named."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from datasets.base import DataError
from datasets.pixels import read_label_map, read_pixels, read_rgb8

GREY16 = (np.arange(30 * 20).reshape(30, 20) * 6).astype(np.uint16)  # 12 bits: up to 3594
RGB16 = np.dstack([GREY16, GREY16 // 2, GREY16 // 3])
SLOW_FIXTURE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
GREY8 = (GREY16 >> 4).astype(np.uint8)


def write_png(path, pixels):
    """By cv2, which keeps 16 bits of colours."""
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)


class TestDepths:
    @pytest.mark.parametrize("pixels", [GREY8, GREY16, RGB16, np.dstack([GREY8] * 3)])
    def test_png(self, tmp_path, pixels):
        write_png(tmp_path / "a.png", pixels)
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), pixels)

    def test_png_with_alpha(self, tmp_path):
        rgba = np.dstack([RGB16, GREY16])
        cv2.imwrite(str(tmp_path / "a.png"), cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.png"), rgba)
        rgba = np.dstack([GREY8] * 4)
        Image.fromarray(rgba, "RGBA").save(tmp_path / "b.png")
        np.testing.assert_array_equal(read_pixels(tmp_path / "b.png"), rgba)

    @pytest.mark.parametrize(
        "pixels",
        [
            *(GREY8, GREY16, RGB16, GREY16.astype(np.int32), GREY16.astype(np.uint32)),
            *(GREY16.astype(np.float32) / 1e4, GREY16.astype(np.float64)),
        ],
        ids=lambda p: f"{p.dtype}-{p.ndim}",
    )
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_tiff(self, tmp_path, pixels, compression):
        photometric = "rgb" if pixels.ndim == 3 else "minisblack"
        tifffile.imwrite(
            tmp_path / "a.tif", pixels, photometric=photometric, compression=compression
        )
        read = read_pixels(tmp_path / "a.tif")
        assert read.dtype == pixels.dtype
        np.testing.assert_array_equal(read, pixels)

    def test_lzw_which_tifffile_lacks(self, tmp_path):
        Image.fromarray(GREY16).save(tmp_path / "a.tif", compression="tiff_lzw")
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), GREY16)
        colours = np.ascontiguousarray(RGB16[..., ::-1])
        lzw = [cv2.IMWRITE_TIFF_COMPRESSION, 5]
        assert cv2.imwrite(str(tmp_path / "b.tif"), colours, lzw)
        np.testing.assert_array_equal(read_pixels(tmp_path / "b.tif"), RGB16)

    @pytest.mark.parametrize("pixels", [GREY8, GREY16])
    def test_zero_is_white(self, tmp_path, pixels):
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="miniswhite")
        expected = np.iinfo(pixels.dtype).max - pixels
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), expected)

    def test_planes_of_colour_and_axes_of_one(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", GREY8[..., None])
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), GREY8)
        planar = np.moveaxis(RGB16, 2, 0)
        tifffile.imwrite(tmp_path / "a.tif", planar, photometric="rgb", planarconfig="separate")
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), RGB16)
        tifffile.imwrite(tmp_path / "b.tif", GREY16[None, None], photometric="minisblack")
        np.testing.assert_array_equal(read_pixels(tmp_path / "b.tif"), GREY16)

    @pytest.mark.parametrize("compression", ["zlib", "tiff_lzw"])
    def test_a_turned_tiff(self, tmp_path, compression):
        """Alike whoever decodes it: turned where no label fits it as stored; labels never."""
        path = tmp_path / "a.tif"
        if compression == "zlib":
            tags = [(0x0112, "H", 1, 6, True)]
            tifffile.imwrite(path, GREY8, compression=compression, extratags=tags)
        else:
            Image.fromarray(GREY8).save(path, compression=compression, tiffinfo={0x0112: 6})
        np.testing.assert_array_equal(read_pixels(path), np.rot90(GREY8, -1))
        np.testing.assert_array_equal(read_pixels(path, (20, 30)), np.rot90(GREY8, -1))
        np.testing.assert_array_equal(read_pixels(path, (30, 20)), GREY8)
        np.testing.assert_array_equal(read_label_map(path), GREY8)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_turned_png_of_sixteen_bit_colours(self, tmp_path, orientation):
        """Pillow, which turns by itself, gives its upper 8 bits."""
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray((RGB16 >> 8).astype(np.uint8)).save(tmp_path / "8.png", exif=exif)
        with Image.open(tmp_path / "8.png") as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        write_png(tmp_path / "a.png", RGB16)
        content, tag = (tmp_path / "a.png").read_bytes(), b"eXIf" + exif.tobytes()[6:]
        chunk = struct.pack(">I", len(tag) - 4) + tag + struct.pack(">I", zlib.crc32(tag))
        at = content.index(b"IDAT") - 4
        (tmp_path / "a.png").write_bytes(content[:at] + chunk + content[at:])
        np.testing.assert_array_equal(read_pixels(tmp_path / "a.png") >> 8, expected)

    def test_palettes_and_bits(self, tmp_path):
        palette = Image.fromarray(np.uint8([[0, 1], [1, 0]]), "P")
        palette.putpalette([9, 8, 7, 200, 100, 50])
        palette.save(tmp_path / "p.png")
        assert read_pixels(tmp_path / "p.png")[0].tolist() == [[9, 8, 7], [200, 100, 50]]
        Image.fromarray(np.array([[True, False]])).save(tmp_path / "b.png")
        assert read_pixels(tmp_path / "b.png").tolist() == [[255, 0]]

    def test_jpeg(self, tmp_path):
        Image.new("RGB", (20, 30), (200, 100, 50)).save(tmp_path / "a.jpg")
        assert read_pixels(tmp_path / "a.jpg").shape == (30, 20, 3)


class TestNeverBlack:
    """12 bits in 16 would be 1/16 of the range of 8 bits, floats less than 1 of 255."""

    @pytest.mark.parametrize("ending", ["png", "tif"])
    def test_twelve_in_sixteen(self, tmp_path, ending):
        path = tmp_path / f"a.{ending}"
        write_png(path, GREY16) if ending == "png" else tifffile.imwrite(path, GREY16)
        image = read_rgb8(path, "percentile")
        assert (image.min(), image.max()) == (0, 255)
        assert read_rgb8(path, [0, 4095]).max() == round(3594 / 4095 * 255)

    def test_sixteen_bit_colours(self, tmp_path):
        write_png(tmp_path / "a.png", RGB16)
        image = read_rgb8(tmp_path / "a.png", "percentile")
        assert image[..., 0].max() == 255
        assert image[..., 1].max() == pytest.approx(127, abs=2)

    def test_floats(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", (GREY16 / 1e6).astype(np.float32))
        assert read_rgb8(tmp_path / "a.tif", "percentile").max() == 255


class TestLabelMap:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
    def test_tiff(self, tmp_path, dtype):
        tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 3], [3, 200]], dtype))
        labels = read_label_map(tmp_path / "a.tif")
        assert labels.tolist() == [[0, 3], [3, 200]]
        assert labels.dtype == np.int32

    @pytest.mark.parametrize("photometric", ["minisblack", "miniswhite", "palette"])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_the_numbers_of_a_tiff_are_meant(self, tmp_path, photometric, compression):
        """Not how it says to show them."""
        labels = np.uint8([[0, 0, 3], [7, 9, 0]])
        colors = {"colormap": np.zeros((3, 256), np.uint16)} if photometric == "palette" else {}
        path = tmp_path / "a.tif"
        options = {"photometric": photometric, "compression": compression, **colors}
        tifffile.imwrite(path, labels, **options)
        np.testing.assert_array_equal(read_label_map(path), labels)

    def test_a_mask_of_bits(self, tmp_path):
        mask = np.zeros((9, 12), bool)
        mask[2:5, 3:9] = True
        tifffile.imwrite(tmp_path / "a.tif", mask)
        np.testing.assert_array_equal(read_label_map(tmp_path / "a.tif"), mask)

    def test_large_ids_are_numbered_anew(self, tmp_path):
        """A list as long as 2 billion would be made of them."""
        tifffile.imwrite(tmp_path / "a.tif", np.array([[0, 2_000_000_000], [7, 7]], np.int32))
        assert read_label_map(tmp_path / "a.tif").tolist() == [[0, 2], [1, 1]]
        tifffile.imwrite(tmp_path / "b.tif", np.array([[5, 2_000_000_000]], np.int32))
        assert read_label_map(tmp_path / "b.tif").tolist() == [[1, 2]]

    @pytest.mark.parametrize(
        ("labels", "problem"),
        [
            (np.float32([[0, 0.5]]), "whole numbers"),
            (np.float32([[0, np.nan]]), "whole numbers"),
            (np.complex64([[0, 1j]]), "complex64 numbers"),
            (np.int32([[0, -1]]), "no negative numbers, as -1"),
            (np.zeros((4, 5, 3), np.uint8), "one channel"),
        ],
    )
    def test_no_labels(self, tmp_path, labels, problem):
        photometric = "rgb" if labels.ndim == 3 else "minisblack"
        tifffile.imwrite(tmp_path / "a.tif", labels, photometric=photometric)
        with pytest.raises(DataError, match=rf"a\.tif: .*{problem}"):
            read_label_map(tmp_path / "a.tif")

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("a.jpg", {}),
            ("a.png", {"format": "JPEG"}),
            ("a.png", {"format": "WEBP"}),
            ("a.tif", {"compression": "jpeg"}),
            ("a.png", {"format": "TIFF", "compression": "jpeg"}),
        ],
    )
    def test_jpeg_changes_numbers(self, tmp_path, name, options):
        """Whatever the file is called."""
        Image.new("L", (16, 16)).save(tmp_path / name, **options)
        with pytest.raises(DataError, match=rf"{name}: .*changes the numbers.*PNG, or as TIFF"):
            read_label_map(tmp_path / name)


class TestFaults:
    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg"])
    def test_missing(self, tmp_path, name):
        with pytest.raises(DataError, match="is missing"):
            read_pixels(tmp_path / name)

    def test_a_page_a_call_is_a_stack_too(self, tmp_path):
        with tifffile.TiffWriter(tmp_path / "a.tif") as file:
            for _ in range(3):
                file.write(GREY8)
        for read in (read_pixels, read_label_map):
            with pytest.raises(DataError, match=r"several planes: 3 images of \(30, 20\)"):
                read(tmp_path / "a.tif")

    @pytest.mark.parametrize("channels", [2, 4])
    def test_channels_without_a_name(self, tmp_path, channels):
        pixels = np.dstack([GREY8] * channels)
        tifffile.imwrite(
            tmp_path / "a.tif", pixels, photometric="minisblack", planarconfig="contig"
        )
        with pytest.raises(DataError, match=f"{channels} channels that aren't named as colours"):
            read_pixels(tmp_path / "a.tif")

    def test_a_stack_of_planes(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 9), np.uint8), imagej=True)
        with pytest.raises(DataError, match=r"several planes: \(5, 8, 9\).*one plane a file"):
            read_pixels(tmp_path / "a.tif")

    def test_too_many_pixels_are_refused_before_they_take_memory(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 4), np.uint8))
        content = bytearray((tmp_path / "a.tif").read_bytes())
        for tag in (256, 257):  # width, height
            at = content.index(struct.pack("<H", tag), 8)
            content[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 1_000_000)
        (tmp_path / "a.tif").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.tif"):
            read_pixels(tmp_path / "a.tif")

    def test_a_codec_that_nobody_here_has(self, tmp_path):
        """OpenCV's colours of floats: the file is sound, to copy it again wouldn't help."""
        assert cv2.imwrite(str(tmp_path / "a.tif"), (RGB16 / 4096).astype(np.float32))
        with pytest.raises(DataError, match=r"a\.tif: can't be read.*without compression"):
            read_pixels(tmp_path / "a.tif")

    def test_no_finite_numbers(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.float32([[1, np.inf]]))
        with pytest.raises(DataError, match=r"a\.tif: 1 values are no finite numbers"):
            read_rgb8(tmp_path / "a.tif", "percentile")

    @pytest.mark.parametrize("ending", ["png", "tif", "jpg"])
    def test_another_size_than_its_label(self, tmp_path, ending):
        path = tmp_path / f"a.{ending}"
        tifffile.imwrite(path, GREY8) if ending == "tif" else Image.fromarray(GREY8).save(path)
        with pytest.raises(DataError, match=rf"a\.{ending}: the image is 30 x 20 .* 20 x 31"):
            read_rgb8(path, "percentile", (20, 31))

    @settings(max_examples=60, suppress_health_check=SLOW_FIXTURE)
    @given(
        ending=st.sampled_from(["png", "tif", "jpg"]),
        cut=st.floats(0, 1),
        at=st.floats(0, 1),
        value=st.integers(0, 255),
    )
    @example(ending="tif", cut=0.15625, at=0.140625, value=1)  # of height 0
    def test_broken_files_are_named(self, tmp_path, ending, cut, at, value):
        """Cut short and with a changed byte: an array or a DataError, nothing else."""
        path = tmp_path / f"a.{ending}"
        if ending == "tif":
            tifffile.imwrite(path, GREY16, compression="zlib")
        else:
            Image.fromarray(GREY8).save(path)
        content = bytearray(path.read_bytes())
        content = content[: round(cut * len(content))]
        if content:
            content[int(at * (len(content) - 1))] = value
        path.write_bytes(content)
        for read in (read_pixels, read_label_map):
            try:
                pixels = read(path)
            except DataError as error:
                named = str(error)
            else:
                named = f"{path} {pixels.shape}"
            assert path.name in named

    def test_a_png_whose_data_ends_early(self, tmp_path):
        write_png(tmp_path / "a.png", RGB16)
        content = (tmp_path / "a.png").read_bytes()
        (tmp_path / "a.png").write_bytes(content[: len(content) * 2 // 3])
        with pytest.raises(DataError, match=r"a\.png: can't be read"):
            read_pixels(tmp_path / "a.png")


def test_content_that_is_called_tiff(tmp_path):
    for kind, suffix in (("PNG", "tif"), ("JPEG", "tiff")):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(GREY8).save(path, kind)
        assert read_pixels(path).shape == GREY8.shape
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.tif"), GREY8)


def test_a_thumbnail_before_the_image(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(GREY8[::4, ::4], subfiletype=1)
        file.write(GREY8)
    with pytest.raises(DataError, match=r"a\.tif: begins with a reduced image.*full image alone"):
        read_pixels(path)


@pytest.mark.parametrize(
    ("orientation", "label_size", "turned"),
    [
        (3, (30, 20), lambda a: a[::-1, ::-1]),  # both fit: as annotation tools show it
        (6, (20, 30), lambda a: np.rot90(a, -1)),
        (6, (30, 20), lambda a: a),  # only as stored it fits
    ],
)
def test_labels_drawn_over_the_turned_image(tmp_path, orientation, label_size, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY8).save(tmp_path / "a.png", exif=exif)
    read = read_rgb8(tmp_path / "a.png", "full", label_size, drawn_over_turned=True)
    np.testing.assert_array_equal(read[..., 0], turned(GREY8))
