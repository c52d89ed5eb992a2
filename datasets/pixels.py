"""Reading images and label maps of any depth: 8, 16 and 32 bits, floats, TIFF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from adaptis.disk import check_regular
from adaptis.image_files import bits_per_channel, stored_values
from adaptis.intensity import to_rgb8
from adaptis.preprocessing import MAX_PIXELS
from datasets.base import DataError
from datasets.files import COPY_AGAIN, decoded, read_labels, upright

TIFF_ENDINGS = (".tif", ".tiff")
IMAGE_ENDINGS = (".png", *TIFF_ENDINGS, ".jpg", ".jpeg")
MAX_ID = 2**16 - 1  # of a label map as it is kept; larger ids are numbered anew


def read_pixels(path: Path, label_size: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image's values as they are stored; palettes and CMYK become RGB.

    Parameters:
        path: a PNG, TIFF or JPEG file. A TIFF with several planes is refused rather than guessed
            at.
        label_size: (height, width) of the image's label; an image stored on its side is turned to
            fit it, see ``datasets.files.read_image``.

    Returns (H, W) grey, or (H, W, 2 to 4) with alpha or colours, of the file's type.

    Raises DataError where the file is missing, broken, too large or of a kind that can't be read.
    """
    if path.suffix.lower() in TIFF_ENDINGS:
        return _read_tiff(path)
    with decoded(path) as image:
        deep = bits_per_channel(image, path) == 16 and image.mode != "I;16"
        return stored_values(upright(image, path, label_size), path, deep)


def read_rgb8(
    path: Path, intensity: str | list[float], label_size: tuple[int, int] | None = None
) -> np.ndarray:
    """Read an image of any depth as a network sees it.

    Parameters:
        path, label_size: see :func:`read_pixels`.
        intensity: see ``adaptis.intensity.to_rgb8``.

    Returns (H, W, 3) uint8.

    Raises DataError where the file is missing, broken, holds no finite numbers or has another size.
    """
    pixels = read_pixels(path, label_size)
    if label_size is not None and pixels.shape[:2] != tuple(label_size):
        sizes = ["x".join(map(str, size)) for size in (pixels.shape[:2], label_size)]
        problem = f"{sizes[0]} px, but its label has {sizes[1]} (height x width)"
        raise DataError(path, problem, "replace the one that is wrong")
    try:
        return to_rgb8(pixels, intensity)
    except ValueError as error:
        raise DataError(path, str(error), "save it as grey or RGB") from error


def read_label_map(path: Path) -> np.ndarray:
    """Read a label map: 0 background, 1, 2, ... the objects.

    Returns (H, W) int32; ids beyond MAX_ID are numbered anew.

    Raises DataError as :func:`read_pixels`, and for anything but whole numbers from 0 on.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise DataError(path, "JPEG changes the numbers of a label map", "save it as PNG or TIFF")
    labels = _read_tiff(path) if path.suffix.lower() in TIFF_ENDINGS else read_labels(path)
    if labels.ndim != 2:
        problem = f"has shape {labels.shape}, a label map has one channel of numbers"
        raise DataError(path, problem, "save the numbers as grey levels of 8 or 16 bits")
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels)):
        raise DataError(path, "a label map has whole numbers", "is it an image?")
    if labels.min() < 0:
        raise DataError(path, f"a label map has no negative numbers, as {labels.min()}")
    if labels.max() > MAX_ID:
        ids, places = np.unique(labels, return_inverse=True)
        labels = places.reshape(labels.shape) + (ids[0] > 0)
    return labels.astype(np.int32)


def _read_tiff(path: Path) -> np.ndarray:
    """By tifffile; by Pillow what needs a codec that tifffile lacks, such as LZW."""
    try:
        check_regular(path)
        with tifffile.TiffFile(path) as file:
            page, series = file.pages[0], file.series[0]
            if np.prod(series.shape, dtype=float) > 4 * MAX_PIXELS:  # of 4 channels
                raise DataError(path, f"{series.shape} are too many pixels", "cut it")
            _check_single_plane(path, series)
            if (
                page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.RGB)
                and page.compression in tifffile.TIFF.DECOMPRESSORS
                and page.predictor in tifffile.TIFF.UNPREDICTORS
            ):
                return _channels_last(series)
            deep = page.bitspersample == 16 and page.samplesperpixel > 1
    except (DataError, MemoryError):
        raise
    except Exception as error:  # tifffile raises what struct, zlib and numpy do
        missing = isinstance(error, FileNotFoundError)
        problem = "is missing" if missing else f"can't be read: {error}"
        raise DataError(path, problem, COPY_AGAIN) from error
    with decoded(path) as image:
        return stored_values(image, path, deep)


def _check_single_plane(path: Path, series: tifffile.TiffPageSeries) -> None:
    planes = {a: n for a, n in zip(series.axes, series.shape) if a not in "YXS" and n > 1}
    if planes or not {"Y", "X"} <= set(series.axes):
        problem = f"holds several planes: {series.shape} along {series.axes}"
        raise DataError(path, problem, "save one plane a file, or RGB")


def _channels_last(series: tifffile.TiffPageSeries) -> np.ndarray:
    """(H, W) or (H, W, channels)."""
    pixels = series.asarray()
    if "S" in series.axes:
        pixels = np.moveaxis(pixels, series.axes.index("S"), -1)
        return pixels.reshape(*pixels.shape[-3:])
    return pixels.reshape(pixels.shape[-2:])
