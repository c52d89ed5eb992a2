"""Images of small objects, segmented once more scaled up. No part of the paper: Cellpose does the
like with the diameter it estimates."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from adaptis.inference.images import MAX_INPUT_PIXELS
from adaptis.inference.settings import InferenceSettings
from adaptis.preprocessing import MAX_SIDE, Size, magnification

LEAST = 4 / 3  # times: less scaling shows the network nothing new


def magnified(
    settings: InferenceSettings,
    size: Size,
    areas: np.ndarray,
    max_pixels: int = MAX_INPUT_PIXELS,
) -> InferenceSettings | None:
    """Settings that scale an image up until its objects have the ``object_diameter``; None where
    that isn't set, or they are nearly as large.

    Parameters:
        settings: by which the image was segmented.
        size: (height, width) in pixels to which they scaled it.
        areas: (N,) of the objects found, in pixels of that size.
        max_pixels: of the image scaled up; at most MAX_SIDE on a side.
    """
    if not settings.object_diameter or not len(areas):
        return None
    shortest = min(size)
    most = min(math.sqrt(max_pixels / (size[0] * size[1])), MAX_SIDE / max(size))
    wanted = magnification(areas, settings.object_diameter)
    # half a pixel less, as the other side may be rounded up
    larger = min(round(wanted * shortest), math.floor(most * shortest - 0.5))
    factor = larger / shortest
    if factor < LEAST:
        return None
    greedy = settings.greedy
    radius = greedy.max_radius and min(greedy.max_radius * factor, MAX_SIDE)
    return replace(
        settings,
        greedy=replace(greedy, min_area=round(greedy.min_area * factor**2), max_radius=radius),
        object_diameter=None,
        shortest_side=larger,  # the longest scales down only
        longest_side=None,
    )
