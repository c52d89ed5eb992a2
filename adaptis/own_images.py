"""Reading own images of any depth: 8, 16 and 32 bits, floats; PNG, TIFF and JPEG. The one reader of
training, ``segment.py`` and the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from adaptis.disk import beginning_of, check_regular
from adaptis.image_files import (
    CHANGES_NUMBERS,
    COPY_AGAIN,
    ORIENTATION,
    SAVE_NUMBERS,
    ImageFileError,
    array_of,
    bits_per_channel,
    check_size,
    decoded,
    orientation_of,
    turned_back,
    upright,
)
from adaptis.intensity import to_rgb8
from adaptis.preprocessing import MAX_FILE_PIXELS

TIFF_ENDINGS = (".tif", ".tiff")
JPEG_ENDINGS = (".jpg", ".jpeg")
IMAGE_ENDINGS = (".png", *TIFF_ENDINGS, *JPEG_ENDINGS)  # of a folder's files, in small letters
SINGLE_CHANNEL_MODES = ("L", "I", "I;16", "I;16B", "F")  # of Pillow, whose values are the file's

# of TIFF; the values of the others, such as CMYK, are left to Pillow
GREY: tuple[int, ...] = (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
PLAIN_COLORS = (*GREY, tifffile.PHOTOMETRIC.RGB)
LOSSY = {
    tifffile.COMPRESSION.OJPEG,
    tifffile.COMPRESSION.JPEG,
    tifffile.COMPRESSION.JPEG_LOSSY,
    tifffile.COMPRESSION.ALT_JPEG,
}
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"  # what such a file begins with
ALPHA = {tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA}


def read_rgb8(
    path: Path,
    intensity: str | list[float],
    label_size: tuple[int, int] | None = None,
    max_pixels: int | None = None,
    drawn_over_turned: bool = False,
) -> np.ndarray:
    """Read an image of any depth as a network sees it.

    Parameters:
        path, label_size, max_pixels, drawn_over_turned: see :func:`read_pixels`.
        intensity: see ``adaptis.intensity.to_rgb8``.

    Returns (H, W, 3) uint8 RGB.

    Raises ImageFileError where the file is missing, broken, holds no finite numbers or has another
    size than its label.
    """
    pixels = read_pixels(path, label_size, max_pixels, drawn_over_turned)
    try:
        return to_rgb8(pixels, intensity)
    except ValueError as error:
        raise ImageFileError(path, str(error), remedy="") from error


def read_pixels(
    path: Path,
    label_size: tuple[int, int] | None = None,
    max_pixels: int | None = None,
    drawn_over_turned: bool = False,
) -> np.ndarray:
    """Read an image's values as they are stored; palettes and CMYK become RGB.

    Parameters:
        path: a PNG, TIFF or JPEG file. A TIFF with several planes, or channels that aren't named,
            is refused rather than guessed at.
        label_size, drawn_over_turned: (height, width) of the image's label, to fit which an image
            stored on its side is turned, and what it was drawn over, see
            ``adaptis.image_files.upright``.
        max_pixels: the most that is read, by default MAX_FILE_PIXELS.

    Returns (H, W) grey, or (H, W, 2 to 4) with alpha or colours, of the file's type.

    Raises ImageFileError where the file is missing, broken, too large, of another size than its
    label or of a kind that can't be read.
    """
    is_called_tiff = path.suffix.lower() in TIFF_ENDINGS
    if not is_called_tiff or beginning_of(path, len(PNG)).startswith((PNG, JPEG)):
        with decoded(path, max_pixels) as image:
            if not isinstance(image, TiffImageFile):
                deep = bits_per_channel(image, path) == 16 and image.mode != "I;16"
                stored, orientation = _stored_values(image, path, deep), orientation_of(image)
                return upright(stored, orientation, path, label_size, drawn_over_turned)
    # a TIFF, of another ending perhaps; Pillow gives its first plane
    return upright(*read_tiff(path, max_pixels), path, label_size, drawn_over_turned)


def read_tiff(
    path: Path, max_pixels: int | None = None, as_numbers: bool = False
) -> tuple[np.ndarray, int]:
    """Read a TIFF's values as they are stored: by tifffile; by Pillow what needs a codec that
    tifffile lacks, such as LZW.

    Parameters:
        as_numbers: the stored numbers of a label map, whatever they look like: a palette's indices,
            and 0 is not turned to white where the file says so.

    Returns what :func:`read_pixels` does, but for its orientation, see ``image_files.upright``.
    """
    colors = (*PLAIN_COLORS, tifffile.PHOTOMETRIC.PALETTE) if as_numbers else PLAIN_COLORS
    try:
        check_regular(path)
        with tifffile.TiffFile(path) as file:
            page, series = file.pages.first, file.series[0]
            orientation = page.tags.valueof(ORIENTATION, 1)
            if page.is_reduced:
                problem = "begins with a reduced image, a thumbnail"
                raise ImageFileError(path, problem, "save the full image alone")
            _check_single_plane(path, file.series)
            if as_numbers and page.compression in LOSSY:
                raise ImageFileError(path, "is compressed by JPEG" + CHANGES_NUMBERS, SAVE_NUMBERS)
            if (
                page.photometric in GREY
                and page.samplesperpixel > 1
                and not ALPHA & set(page.extrasamples)
            ):
                problem = f"holds {page.samplesperpixel} channels that aren't named as colours"
                raise ImageFileError(path, problem, "save one channel a file, or RGB")
            if not all(series.shape):  # a height cut off, for example
                raise ImageFileError(path, f"holds no pixels: {series.shape}")
            check_size(path, *_size_of(series), max_pixels)
            most_values = 4 * (max_pixels or MAX_FILE_PIXELS)  # of 4 channels
            if np.prod(series.shape, dtype=float) > most_values:
                raise ImageFileError(path, f"{series.shape} are too many pixels", "cut it")
            if (
                page.photometric in colors
                and page.compression in tifffile.TIFF.DECOMPRESSORS
                and page.predictor in tifffile.TIFF.UNPREDICTORS
            ):
                pixels = _channels_last(series)
                zero_is_white = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
                pixels = _inverted(pixels) if zero_is_white and not as_numbers else pixels
                return pixels, orientation
            deep = page.bitspersample == 16 and page.samplesperpixel > 1
    except (ImageFileError, MemoryError):
        raise
    except Exception as error:  # tifffile raises what struct, zlib and numpy do
        missing = isinstance(error, FileNotFoundError)
        raise ImageFileError(
            path, "is missing" if missing else f"can't be read: {error}"
        ) from error
    try:
        with decoded(path, max_pixels) as image:
            if as_numbers and image.mode in ("1", "L", "P"):
                pixels = array_of(image)
                if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
                    pixels = _inverted(pixels)  # as Pillow has inverted it
            else:
                pixels = _stored_values(image, path, deep)
    except ImageFileError as error:  # tifffile opens it: it may be sound, and of a rare codec
        remedy = f"save it as grey or RGB without compression, or {COPY_AGAIN}"
        raise ImageFileError(path, error.problem, remedy) from error
    return turned_back(pixels, orientation), orientation  # Pillow and OpenCV turn a TIFF


def _inverted(pixels: np.ndarray) -> np.ndarray:
    """Black for white, of a type of whole numbers from 0 on or bool; others as they are."""
    if pixels.dtype == bool:
        return ~pixels
    return np.iinfo(pixels.dtype).max - pixels if pixels.dtype.kind == "u" else pixels


def _check_single_plane(path: Path, all_series: list[tifffile.TiffPageSeries]) -> None:
    series = all_series[0]
    same = [other for other in all_series if other.shape == series.shape]
    if len(same) > 1:  # a page a call of tifffile's write
        problem = f"holds several planes: {len(same)} images of {series.shape}"
        raise ImageFileError(path, problem, "save one plane a file, or RGB")
    planes = {a: n for a, n in zip(series.axes, series.shape) if a not in "YXS" and n > 1}
    if planes or not {"Y", "X"} <= set(series.axes):
        problem = f"holds several planes: {series.shape} along {series.axes}"
        raise ImageFileError(path, problem, "save one plane a file, or RGB")


def _size_of(series: tifffile.TiffPageSeries) -> tuple[int, int]:
    """(height, width) in pixels."""
    height, width = (series.shape[series.axes.index(axis)] for axis in "YX")
    return height, width


def _channels_last(series: tifffile.TiffPageSeries) -> np.ndarray:
    """(H, W) or (H, W, channels)."""
    pixels = series.asarray()
    if "S" in series.axes:
        pixels = np.moveaxis(pixels, series.axes.index("S"), -1)
        return pixels.reshape(*_size_of(series), -1)
    return pixels.reshape(_size_of(series))


def _stored_values(image: Image.Image, path: Path, deep: bool) -> np.ndarray:
    """What :func:`read_pixels` returns, of a decoded image, as stored.

    Parameters:
        deep: it has colours or alpha of 16 bits, of which Pillow keeps 8.
    """
    if not deep:
        if image.mode in (*SINGLE_CHANNEL_MODES, "LA", "RGB", "RGBA"):
            return array_of(image)
        return array_of(image, "L" if image.mode == "1" else "RGB")
    import cv2  # --help of what reads files needn't wait for it

    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ImageFileError(path, "can't be read")
    return cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGBA if pixels.shape[2] == 4 else cv2.COLOR_BGR2RGB)
