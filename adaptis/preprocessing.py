"""From an RGB image to the network's input, and sizes back and forth."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

# (height, width) in pixels; the type of numpy's shapes leaves the length open
Size = tuple[int, ...]

# of an image file, and of an image in tiles, 16384 x 16384: decoding takes 2 GB, 7 bytes a pixel
MAX_FILE_PIXELS = 2**28
STRIP = 256  # rows: in floats a whole large image would take tens of bytes a pixel
MAX_SIDE = 2**15 - 1  # pixels: MXNet's resizing counts rows and columns in 16 bits
MAX_MAGNIFICATION = 2.0  # times: beyond it objects are specks without a shape


def strips(height: int) -> Iterator[slice]:
    """The rows of an image, a few at a time, for what takes memory."""
    for top in range(0, height, STRIP):
        yield slice(top, min(top + STRIP, height))


def normalize_image(image: np.ndarray, mean, std) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32, (image / 255 - mean) / std a channel.

    Parameters:
        mean, std: three numbers each, of an image scaled to [0, 1].
    """
    scale = 1 / (255 * np.asarray(std, np.float32))
    offset = np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    return np.ascontiguousarray((image * scale - offset).transpose(2, 0, 1))


def check_normalization(mean, std) -> None:
    """Raise ValueError for what :func:`normalize_image` can't use: not three numbers each, or a std
    that is not above 0."""
    for name, values, low in (("mean", mean, -np.inf), ("std", std, 0)):
        try:
            array = np.asarray(values, np.float32)
        except (TypeError, ValueError):
            array = np.full(1, np.nan, np.float32)
        if array.shape != (3,) or not ((low < array) & (array < np.inf)).all():
            raise ValueError(
                f"{name} is {values}; it must be three finite numbers"
                + (" above 0" if low == 0 else "")
            )


def scaled_size(size: Size, shortest_side: int | None, longest_side: int | None) -> tuple[int, int]:
    """The (height, width) in pixels at which one side is as long as asked; ``size`` if none is.
    By the longest side images are only scaled down (Section 7, Mapillary)."""
    factor = 1.0
    if shortest_side:
        factor = shortest_side / min(size)
    elif longest_side:
        factor = min(1.0, longest_side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def object_areas(instance_map: np.ndarray) -> np.ndarray:
    """(N,) int64, pixels of each object that an instance map (ids above 0, 0 elsewhere) shows."""
    areas = np.bincount(instance_map.ravel())[1:]
    return areas[areas > 0]


def magnification(areas: np.ndarray, object_diameter: float) -> float:
    """The factor that makes the median diameter of objects ``object_diameter`` pixels, between 1
    and MAX_MAGNIFICATION.

    Parameters:
        areas: (N,) in pixels, of one object at least; a diameter is that of a disc of this area.
    """
    diameter = 2 * math.sqrt(np.median(areas) / math.pi)
    return min(max(1.0, object_diameter / diameter), MAX_MAGNIFICATION)


def scale_points(points_yx, size: Size, new_size: Size) -> np.ndarray:
    """Where points (..., 2) (row, col) of an image of ``size`` (height, width) lie once it is
    resized to ``new_size``: pixel centres are whole numbers, none leaves the image."""
    scaled = (np.asarray(points_yx) + 0.5) * np.divide(new_size, size) - 0.5
    return np.clip(scaled, 0, np.subtract(new_size, 1))


def resize(array: np.ndarray, size: Size) -> np.ndarray:
    """An image or a confidence map at (height, width); the same array where that is its size."""
    if array.shape[:2] == size:
        return array
    import cv2  # --help of what reads files needn't wait for it

    method = cv2.INTER_AREA if size[0] < array.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(array, size[::-1], interpolation=method)


def resize_labels(labels: np.ndarray, size: Size) -> np.ndarray:
    """A map of ids or a mask at (height, width), each pixel the one at its centre; cv2's
    INTER_NEAREST takes the one at its corner."""
    rows, cols = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, labels.shape)
    )
    return labels[rows[:, None], cols]
