"""Reading image, label and JSON files so that a broken file is an error that names it.

Pillow decodes here rather than cv2 or mx.image: those return a truncated JPEG half grey and without
a word, Pillow raises. Pillow also refuses images of more than 179 megapixels (twice its
``Image.MAX_IMAGE_PIXELS``), far above the 24 of Mapillary's largest, so that a small file can't ask
for all memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps

from datasets.base import DataError

COPY_AGAIN = "copy or download it again"
LABEL_MODES = ("1", "L", "P", "I", "I;16", "I;16B")
"""Pillow's modes of one whole number a pixel; of a palette image ("P") the indices are meant."""


def inside(folder: Path, name: str) -> Path:
    """Join a file name that was read from a data set's file to its folder.

    Raises:
        DataError: the name would leave the folder. Links within it are followed: data sets are
            often spread over disks.
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        problem = f"file name {name!r} leads out of this folder"
        raise DataError(folder, problem, "name files relative to it")
    return folder / relative


def read_json(path: Path) -> dict:
    """Read a JSON file that holds one object.

    Raises:
        DataError: it is missing, not JSON or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: bad JSON or bad UTF-8
        raise DataError(path, _reason(error), COPY_AGAIN) from error
    if not isinstance(content, dict):
        problem = f"holds a JSON {type(content).__name__}, an object was expected"
        raise DataError(path, problem, "is it another file?")
    return content


def read_image(path: Path, label_size: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image as RGB: grey is repeated, alpha dropped, 16-bit grey scaled to 8 bits.

    An EXIF orientation says that the stored pixels are to be turned for display, and a label can
    have been drawn over either. The label's size decides: the stored pixels where they fit it,
    else the turned ones. Where both fit (a half turn, a square) it is the stored pixels, which is
    what the browsers COCO was annotated in showed. Without a label the image is turned, as every
    viewer does.

    Args:
        path: the image file.
        label_size: (height, width) of the image's label, if there is one.

    Returns:
        (H, W, 3) uint8.

    Raises:
        DataError: the file is missing, truncated, too large or doesn't fit the label's size.
    """
    with decoded(path) as image:
        image = upright(image, path, label_size)
        if image.mode.startswith("I"):  # Pillow would clip 16 bits to 8
            grey = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        return np.array(image.convert("RGB"))


def upright(image: Image.Image, path: Path, label_size: tuple[int, int] | None) -> Image.Image:
    """The image turned so that it fits its label, see :func:`read_image`."""
    stored_size = image.height, image.width
    if label_size is not None and stored_size == tuple(label_size):
        return image
    image = ImageOps.exif_transpose(image)
    if label_size is not None and (image.height, image.width) != tuple(label_size):
        raise DataError(
            path,
            f"the image is {stored_size[0]} x {stored_size[1]} (height x width), "
            f"its label {label_size[0]} x {label_size[1]}",
            "replace the one that is wrong",
        )
    return image


def read_labels(path: Path) -> np.ndarray:
    """Read a label image of one channel, its values unchanged.

    Returns:
        (H, W) uint8, uint16 or int32, as stored.

    Raises:
        DataError: the file is missing, truncated, too large or has several channels.
    """
    with decoded(path) as image:
        if image.mode not in LABEL_MODES:
            problem = f"is {image.mode}, a label image has one channel of numbers"
            raise DataError(path, problem, "save the numbers as grey levels of 8 or 16 bits")
        labels = np.array(image)
    return labels.astype(np.uint8) if labels.dtype == bool else labels


def read_rgb_ids(path: Path) -> np.ndarray:
    """Read a COCO panoptic PNG: id = R + 256 G + 65536 B (cocodataset.org, format-data).

    Returns:
        (H, W) int32 ids of 24 bits, 0 = void.

    Raises:
        DataError: the file is missing, truncated, too large or not RGB.
    """
    with decoded(path) as image:
        if image.mode != "RGB":
            problem = f"is {image.mode}, a panoptic label is RGB"
            raise DataError(path, problem, "save id = R + 256 G + 65536 B, without alpha")
        red, green, blue = np.moveaxis(np.asarray(image, dtype=np.int32), 2, 0)
        return red + (green << 8) + (blue << 16)


def _reason(error: Exception) -> str:
    """What went wrong, without the path that DataError puts in front."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def decoded(path: Path) -> Iterator[Image.Image]:
    """Open and decode an image by Pillow. Raises DataError whatever is wrong with it."""
    try:
        with Image.open(path) as image:
            image.load()
            yield image
    except (DataError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on broken files
        raise DataError(path, f"can't be read: {_reason(error)}", COPY_AGAIN) from error
