"""Point proposals: local maxima of the proposal score map (Section 5 and Figure 9 of the paper).

The paper finds the maxima by "a standard method based on breadth-first search" and leaves the
details to the authors' code, whose results this module reproduces: a peak claims every pixel that
a non-rising path from it reaches, and peaks inside the claim of a higher one are not proposed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, overload

import cv2
import numpy as np
from numba import njit

# authors' code, in single precision like their arithmetic, which decides at exact steps
FIRST_LEVEL = np.float32(0.99)  # peaks above it are visited first
LEVEL_STEP = np.float32(0.025)  # peaks this close in score are visited in raster order
AUTHORS_TOLERANCE = 0.003  # a flood climbs smaller rises from pixel to pixel: ripples
UNCLAIMED = -1  # in the regions map: reached by no peak's flood


def proposal_score_map(logits: np.ndarray, blur: int, cleared: np.ndarray) -> np.ndarray:
    """Turn the output of the proposal branch into scores: sigmoid squared, 0 where no point is
    wanted, then blurred.

    Squaring, clearing and blurring, in this order, are the authors' (the paper names none). The
    blur is a box filter: the authors' width on the toy problem is 2, which a centred Gaussian
    kernel cannot have.

    Parameters:
        logits: (H, W) float, output of the proposal branch.
        blur: width of the box in pixels; 1 leaves the map as it is.
        cleared: (H, W) bool, pixels whose score is set to 0; the blur still spills into them.

    Returns (H, W) float32 in [0, 1].
    """
    if blur < 1:
        raise ValueError(f"blur is a width in pixels, at least 1, not {blur}")
    # sigmoid(x) = (1 + tanh(x / 2)) / 2 does not overflow for large negative logits
    scores = np.square(0.5 + 0.5 * np.tanh(0.5 * np.asarray(logits, np.float32)))
    scores[cleared] = 0
    return cv2.blur(scores, (blur, blur)) if blur > 1 and scores.size else scores


@overload
def find_local_maxima(
    score_map: np.ndarray,
    threshold: float,
    return_regions: Literal[False] = False,
    tolerance: float = AUTHORS_TOLERANCE,
) -> np.ndarray: ...


@overload
def find_local_maxima(
    score_map: np.ndarray,
    threshold: float,
    return_regions: Literal[True],
    tolerance: float = AUTHORS_TOLERANCE,
) -> tuple[np.ndarray, np.ndarray]: ...


def find_local_maxima(
    score_map: np.ndarray,
    threshold: float,
    return_regions: bool = False,
    tolerance: float = AUTHORS_TOLERANCE,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Find the peaks of a score map, highest level first.

    A peak is a pixel that none of its 8 neighbours exceeds, and of which all have at least
    ``threshold``. Levels go down from .99 in steps of .025 and stay above ``threshold``. On each,
    the peaks that reach it are visited in raster order; one that lies in no region yet becomes a
    point and floods its own region: all unclaimed pixels reachable by steps to 8-neighbours that
    rise by less than ``tolerance``. A plateau so gives one point, its first pixel in raster order.

    Parameters:
        score_map: (H, W) float in [0, 1].
        threshold: score that every level exceeds, in (0, 1). So a peak reaches the next level above
            it: .04 for thresholds from .015 to .04, and .015 for all below.
        return_regions: return the flooded regions too.
        tolerance: the rise, of a score, below which two neighbours are one peak's ripples; at least
            0. It has to fit what good points score: see the setting ``flood_tolerance``.

    Returns points_yx, (N, 2) int64 (row, column) in pixels, in the order of the visits; with
    ``return_regions`` also regions, (H, W) int32, the index of the point whose flood claimed the
    pixel, -1 where none did.

    Raises ValueError where the map is not 2-D or holds NaN or infinity, or the threshold is outside
    (0, 1).
    """
    score_map = np.asarray(score_map, np.float32)
    if score_map.ndim != 2:
        raise ValueError(f"score_map must be (H, W), not {score_map.shape}")
    if not np.isfinite(score_map).all():
        raise ValueError("score_map holds NaN or infinity: look at the network that made it")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be in (0, 1), not {threshold}")

    peaks_yx = _peaks(score_map, np.float32(threshold))
    # A border that no flood enters saves the kernel its bounds checks.
    padded = np.pad(score_map, 1, constant_values=np.inf)
    regions = np.full(padded.shape, UNCLAIMED, np.int32)
    starts = np.ravel_multi_index(tuple((peaks_yx + 1).T), padded.shape)
    rise = np.float32(tolerance)
    is_point = _flood(padded.ravel(), padded.shape[1], starts, regions.ravel(), rise)
    points_yx = peaks_yx[is_point]
    return (points_yx, regions[1:-1, 1:-1]) if return_regions else points_yx


def _peaks(score_map: np.ndarray, threshold: np.float32) -> np.ndarray:
    """(N, 2) int64 peaks, by level and then in raster order."""
    levels = []
    level = FIRST_LEVEL
    while level > threshold:
        levels.append(level)
        level -= LEVEL_STEP
    if not score_map.size or not levels:  # OpenCV refuses empty arrays
        return np.empty((0, 2), np.int64)
    around = np.ones((3, 3), np.uint8)
    is_peak = score_map == cv2.dilate(score_map, around)
    is_peak &= (score_map >= levels[-1]) & (cv2.erode(score_map, around) >= threshold)
    peaks_yx = np.argwhere(is_peak)
    scores = score_map[tuple(peaks_yx.T)]
    first_level_reached = np.searchsorted(-np.array(levels), -scores)
    return peaks_yx[np.argsort(first_level_reached, kind="stable")]


def compiled(function: Callable) -> Callable:
    """The function as machine code, kept for later processes where there is a place for it: in a
    read-only installation used by someone without a home there is none."""
    try:
        return njit(cache=True)(function)
    except RuntimeError:  # numba's "no locator available"
        return njit(function)


@compiled
def _flood(
    scores: np.ndarray, width: int, starts: np.ndarray, regions: np.ndarray, tolerance: np.float32
) -> np.ndarray:
    """Flood from each start that is still unclaimed, writing point indices into ``regions``.

    Parameters:
        scores: (H * W,) float32 with a border of +inf.
        width: W, the length of a row.
        starts: (N,) int64 flat indices, in the order of the visits.
        regions: (H * W,) int32, UNCLAIMED everywhere; changed in place.
        tolerance: see ``find_local_maxima``.

    Returns (N,) bool, whether the start became a point.
    """
    neighbours = np.array(
        [-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1], np.int64
    )
    is_point = np.zeros(len(starts), np.bool_)
    queue = np.empty(len(scores), np.int64)  # a pixel enters it once at most
    head = tail = 0
    points = 0
    for i, start in enumerate(starts):
        if regions[start] != UNCLAIMED:
            continue
        is_point[i] = True
        regions[start] = points
        queue[tail] = start
        tail += 1
        while head < tail:
            pixel = queue[head]
            head += 1
            highest = scores[pixel] + tolerance
            for offset in neighbours:
                neighbour = pixel + offset
                if regions[neighbour] == UNCLAIMED and scores[neighbour] < highest:
                    regions[neighbour] = points
                    queue[tail] = neighbour
                    tail += 1
        points += 1
    return is_point
