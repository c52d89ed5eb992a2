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
    settings: InferenceSettings, size: Size, areas: np.ndarray
) -> InferenceSettings | None:
    """Settings that scale an image up until its objects have the ``object_diameter``; None where
    that isn't set, or they are nearly as large.

    Parameters:
        settings: by which the image was segmented.
        size: (height, width) in pixels to which they scaled it.
        areas: (N,) of the objects found, in pixels of that size.
    """
    if not settings.object_diameter or not len(areas):
        return None
    room = math.sqrt(MAX_INPUT_PIXELS / (size[0] * size[1]))
    factor = magnification(areas, settings.object_diameter)
    factor = min(factor, room, MAX_SIDE / max(size))
    if factor < LEAST:
        return None
    greedy = settings.greedy
    radius = greedy.max_radius and greedy.max_radius * factor
    return replace(
        settings,
        greedy=replace(greedy, min_area=round(greedy.min_area * factor**2), max_radius=radius),
        object_diameter=None,
        shortest_side=round(factor * min(size)),  # the longest scales down only
        longest_side=None,
    )
