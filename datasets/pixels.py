"""Reading own images and label maps of any depth, see ``adaptis.own_images``, as a data set's
files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adaptis import own_images
from adaptis.image_files import CHANGES_NUMBERS, SAVE_NUMBERS
from adaptis.own_images import JPEG_ENDINGS, TIFF_ENDINGS, read_tiff
from datasets.base import DataError
from datasets.files import as_data_error, read_labels

MAX_ID = 2**16 - 1  # of a label map as it is kept; larger ids are numbered anew


def read_pixels(path: Path, label_size: tuple[int, int] | None = None) -> np.ndarray:
    """``adaptis.own_images.read_pixels``.

    Raises DataError where the file is missing, broken, too large or of a kind that can't be read.
    """
    with as_data_error(path):
        return own_images.read_pixels(path, label_size)


def read_rgb8(
    path: Path,
    intensity: str | list[float],
    label_size: tuple[int, int] | None = None,
    drawn_over_turned: bool = False,
) -> np.ndarray:
    """``adaptis.own_images.read_rgb8``.

    Raises DataError where the file is missing, broken, holds no finite numbers or has another size.
    """
    with as_data_error(path):
        return own_images.read_rgb8(
            path, intensity, label_size, drawn_over_turned=drawn_over_turned
        )


def read_label_map(path: Path) -> np.ndarray:
    """Read a label map: 0 background, 1, 2, ... the objects.

    Returns (H, W) int32; ids beyond MAX_ID are numbered anew.

    Raises DataError as :func:`read_pixels`, and for anything but whole numbers from 0 on.
    """
    if path.suffix.lower() in JPEG_ENDINGS:
        raise DataError(path, f"is JPEG{CHANGES_NUMBERS}", SAVE_NUMBERS)
    if path.suffix.lower() in TIFF_ENDINGS:
        with as_data_error(path):
            labels, _ = read_tiff(path, as_numbers=True)  # as stored, like the others
    else:
        labels = read_labels(path)
    if labels.ndim != 2:
        problem = f"has shape {labels.shape}, a label map has one channel of numbers"
        raise DataError(path, problem, "save the numbers as grey levels of 8 or 16 bits")
    if labels.dtype.kind not in "buif":
        problem = f"has {labels.dtype} numbers, a label map has whole ones"
        raise DataError(path, problem, "is it an image?")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise DataError(
            path, "a label map has whole numbers, not NaN or infinity", "set these to 0"
        )
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.rint(labels)):
        raise DataError(path, "a label map has whole numbers", "is it an image?")
    if labels.min() < 0:
        problem = f"a label map has no negative numbers, as {labels.min()}"
        raise DataError(path, problem, "set them to 0, which is background")
    if labels.max() > MAX_ID:
        ids, places = np.unique(labels, return_inverse=True)
        labels = places.reshape(labels.shape) + (ids[0] > 0)
    return labels.astype(np.int32)
