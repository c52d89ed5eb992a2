"""The images and points a predictor takes: checked once, where they come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adaptis.errors import AdaptISError
from adaptis.preprocessing import MAX_SIDE

MAX_INPUT_PIXELS = 100_000_000  # of the network: beyond it the features alone take tens of GB


class ImageError(AdaptISError, ValueError):
    """An image or a point the predictor can't take; says what was given and what is needed."""


def as_image(image) -> np.ndarray:
    """An image as an array (H, W, 3) uint8 of at least a pixel.

    Parameters:
        image: such an array, of numpy, MXNet or Pillow.

    Raises ImageError for anything else.
    """
    if image is None:
        raise ImageError("the image is None: cv2.imread returns it for a file it can't read")
    if isinstance(image, (str, Path)):
        raise ImageError(f"the image is the path {str(image)!r}: read the file to an RGB array")
    array = _as_array(image, "the image")
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise ImageError(
            f"the image has shape {array.shape} and type {array.dtype}; it must be "
            "(height, width, 3) and uint8, RGB, of at least 1 pixel: "
            "adaptis.intensity.to_rgb8(image, predictor.intensity) makes it so"
        )
    return array


def check_pixels(height: int, width: int) -> None:
    """Raise ImageError for more pixels than fit into memory, of an image as given or as scaled."""
    if height * width > MAX_INPUT_PIXELS or max(height, width) > MAX_SIDE:
        raise ImageError(
            f"the image has {height}x{width} pixels, as given or as scaled by the "
            f"settings; it must have at most {MAX_INPUT_PIXELS}, and {MAX_SIDE} on a side: "
            "scale it down, cut it or use tiles"
        )


def as_points(points_xy, height: int, width: int) -> np.ndarray:
    """Points of an image of that size as an array (N, 2) float32, (x, y) in pixels.

    Parameters:
        points_xy: numbers (N, 2), or one point alone; of numpy, MXNet or lists.

    Raises ImageError for another shape, or for a point outside of the image.
    """
    array = np.atleast_2d(_as_array(points_xy, "points", np.float32))
    if not array.size:
        array = array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ImageError(f"points have shape {array.shape}; it must be (N, 2), (x, y) each")
    outside = (array < 0) | (array > (width - 1, height - 1)) | np.isnan(array)
    if outside.any():
        raise ImageError(
            f"point (x, y) = {tuple(array[outside.any(axis=1)][0].tolist())} lies outside "
            f"the image of width {width} and height {height}"
        )
    return array


def _as_array(values, name: str, dtype: type | None = None) -> np.ndarray:
    """A numpy array of what numpy, MXNet, Pillow and others keep their numbers in."""
    try:
        return np.asarray(values.asnumpy() if hasattr(values, "asnumpy") else values, dtype)
    except (TypeError, ValueError) as error:  # text, rows of several lengths, an array on a GPU
        raise ImageError(f"{name} can't be made an array: {error}") from error
