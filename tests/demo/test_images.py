"""An own image is read alike by a data set, by ``segment.py`` and by the demo, from a file or an
upload: the same array, or the same refusal."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from adaptis.demo.images import find_images, read_image, read_upload
from adaptis.errors import AdaptISError
from adaptis.preprocessing import MAX_FILE_PIXELS
from datasets.pixels import read_rgb8
from datasets.plain_images import PlainImages

GREY16 = (np.arange(30 * 20).reshape(30, 20) * 6).astype(np.uint16)
RGB16 = np.dstack([GREY16, GREY16 // 2, GREY16 // 3])
RGB8 = (RGB16 >> 4).astype(np.uint8)
STACK = np.stack([RGB8[..., channel] for channel in range(3)])  # (3, 30, 20)
TURNED = Image.Exif()
TURNED[0x0112] = 6


def tiff(pixels, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def by_pillow(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png16(pixels) -> bytes:
    """By cv2, which keeps 16 bits of colours; (H, W, 3) BGR or (H, W, 4) BGRA."""
    return cv2.imencode(".png", pixels)[1].tobytes()


READ = {
    "grey of 16 bits.png": by_pillow(Image.fromarray(GREY16), "PNG"),
    "colours of 16 bits.png": png16(RGB16),
    "16 bits with alpha.png": png16(np.dstack([RGB16, GREY16])),
    "palette.png": by_pillow(Image.fromarray(RGB8).quantize(16), "PNG"),
    "bits.png": by_pillow(Image.fromarray(GREY16 > 999), "PNG"),
    "grey and alpha.png": by_pillow(Image.fromarray(RGB8).convert("LA"), "PNG"),
    "cmyk.jpg": by_pillow(Image.fromarray(RGB8).convert("CMYK"), "JPEG"),
    "on its side.JPEG": by_pillow(Image.fromarray(RGB8), "JPEG", exif=TURNED),
    "grey.tif": tiff(GREY16),
    "floats.TIFF": tiff(GREY16 / 2**12),
    "lzw.tif": by_pillow(Image.fromarray(GREY16), "TIFF", compression="tiff_lzw"),
    "channels apart.tif": tiff(STACK, photometric="rgb", planarconfig="separate"),
    "one plane.tif": tiff(GREY16[None], photometric="minisblack", imagej=True),
    "tiff.png": tiff(GREY16),
    "png.tif": by_pillow(Image.fromarray(RGB8), "PNG"),
    "jpeg.TIFF": by_pillow(Image.fromarray(RGB8), "JPEG"),
    "no ending": by_pillow(Image.fromarray(RGB8), "BMP"),
}
REFUSED = {
    "stack.tif": (tiff(STACK, imagej=True), "holds several planes: (3, 30, 20)"),
    "pages.tiff": (tiff(STACK, photometric="minisblack"), "holds several planes: (3, 30, 20)"),
    "stack.png": (tiff(STACK, imagej=True), "holds several planes: (3, 30, 20)"),
    "stack": (tiff(STACK, imagej=True), "holds several planes: (3, 30, 20)"),
    "five channels.tif": (
        tiff(np.zeros((30, 20, 5), np.uint8), photometric="rgb"),
        "pixels of shape (30, 20, 5)",
    ),
    "not finite.tif": (tiff(np.float32([[1, np.nan]])), "1 values are no finite numbers"),
    "cut.png": (png16(RGB16)[:600], "can't be read"),
    "cut.tif": (tiff(RGB16, photometric="rgb")[:600], "can't be read"),
    "text.jpg": (b"no image", "can't be read: cannot identify image file"),
    "empty.tif": (b"", "can't be read"),
}


def what_each_reads(path, intensity, max_pixels=MAX_FILE_PIXELS) -> list:
    """Of each way to open the file the pixels, or what is said of it by its name."""
    results = []
    for read in (
        lambda: read_rgb8(path, intensity),
        lambda: PlainImages([path]).read(0, intensity),
        lambda: read_image(path, path.name, intensity, max_pixels),
        lambda: read_upload(path.read_bytes(), path.name, intensity, max_pixels),
    ):
        try:
            results.append(read())
        except AdaptISError as error:
            results.append(str(error).replace(str(path), path.name))
    return results


@pytest.mark.parametrize("intensity", ["percentile", "full", [0, 3000]], ids=str)
@pytest.mark.parametrize("name", READ)
def test_strange_files_that_are_read(tmp_path, name, intensity):
    (tmp_path / name).write_bytes(READ[name])
    first, *others = what_each_reads(tmp_path / name, intensity)
    assert first.shape == ((20, 30, 3) if "side" in name else (30, 20, 3))
    assert first.dtype == np.uint8
    assert first.any() or intensity != "percentile"
    for other in others:
        np.testing.assert_array_equal(other, first)


@pytest.mark.parametrize("name", REFUSED)
def test_strange_files_that_are_refused(tmp_path, name):
    content, problem = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    said = what_each_reads(tmp_path / name, "percentile")
    assert said[0].startswith(f"{name}: {problem}")
    assert set(said) == {said[0]}


@pytest.mark.parametrize("name", ["grey of 16 bits.png", "grey.tif", "lzw.tif", "tiff.png"])
def test_the_demo_opens_no_more_pixels_than_it_should(tmp_path, name):
    (tmp_path / name).write_bytes(READ[name])
    *_, given, uploaded = what_each_reads(tmp_path / name, "full", max_pixels=599)
    assert given.startswith(f"{name}: is 30 x 20 (height x width), at most 599 pixels")
    assert uploaded == given


def test_a_folder_s_images_are_those_that_are_segmented(tmp_path):
    """Without what macOS leaves beside files."""
    for name in ("b.PNG", "a.tif", "._a.tif", "notes.txt"):
        (tmp_path / name).write_bytes(READ["grey.tif"])
    assert find_images([tmp_path]) == PlainImages([tmp_path]).paths
