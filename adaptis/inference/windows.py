"""Windows around points, which the head sees instead of the whole image. Arrays only."""

from __future__ import annotations

import numpy as np

from adaptis.preprocessing import Size


def windows_around(
    points_yx: np.ndarray, window: int, image_size: Size, stride: int
) -> tuple[Size, list[tuple[int, int]]]:
    """Squares with points in their middle, moved as far as they lay outside of the image.

    Parameters:
        points_yx: (N, 2) (row, col) pixels.
        window: their side in pixels.
        image_size: (height, width) in pixels; a window is no longer than that.
        stride: pixels of the image a step of the feature map makes.

    Returns their (height, width) and N top left corners (row, col), multiples of the stride.
    """
    lengths = [-(-length // stride) * stride for length in image_size]  # that features cover
    size = tuple(min(-(-window // stride) * stride, length) for length in lengths)
    middle = np.rint((points_yx - np.array(size) / 2) / stride).astype(int) * stride
    corners_yx = np.clip(middle, 0, np.subtract(lengths, size))
    return size, [(row, col) for row, col in corners_yx.tolist()]


def placed(parts: np.ndarray, corners_yx: list[tuple[int, int]], image_size: Size) -> np.ndarray:
    """Maps of the whole image, (N, H, W) float32, from those of windows, (N, h, w), at the windows'
    top left corners; 0 elsewhere. Features, and windows with them, end up to a stride later."""
    whole = np.zeros((len(parts), *image_size), np.float32)
    for one, (row, col), part in zip(whole, corners_yx, parts):
        target = one[row : row + part.shape[0], col : col + part.shape[1]]
        target[:] = part[: target.shape[0], : target.shape[1]]
    return whole
