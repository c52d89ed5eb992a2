"""Panoptic segmentation of images that don't fit into memory: in overlapping tiles, whose instances
are joined where they agree in the overlap. No part of the paper."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from adaptis.inference.fusion import VOID_SEGMENT, resize_panoptic, thing_ids
from adaptis.inference.images import MAX_INPUT_PIXELS, ImageError, as_image
from adaptis.inference.magnify import magnified
from adaptis.inference.predictor import AdaptISPredictor, OnStep
from adaptis.preprocessing import MAX_FILE_PIXELS, MAX_SIDE, resize, resize_labels

OVERLAP = 0.25  # of a tile: on a street scene 1024 px wide, a car nearby
JOIN_IOU = 0.5  # in the overlap; above it at most one instance of each tile fits


class Span(NamedTuple):
    """A tile's place along one axis, in pixels."""

    start: int
    stop: int
    keep_start: int  # of the part nearer to this tile's middle than to any other's
    keep_stop: int


class Tile(NamedTuple):
    """A tile and its panoptic segmentation, see ``fuse_panoptic``."""

    rows: Span
    cols: Span
    panoptic_seg: np.ndarray
    segments: list[dict]
    class_map: np.ndarray


def segment_panoptic(
    predictor: AdaptISPredictor, image: np.ndarray, on_step: OnStep = lambda *_: None
) -> tuple[np.ndarray, list[dict], np.ndarray]:
    """The panoptic segmentation of an image: in tiles where it is larger than the settings'
    ``tile_size``, once more and scaled up where its objects are smaller than ``object_diameter``.

    Parameters:
        image: (H, W, 3) uint8 RGB.
        on_step: called after each iteration of the greedy algorithm, of all tiles.

    Returns panoptic_seg (H, W) int32, its segments (see ``fuse_panoptic``) and the most probable
    class index (H, W) int32.

    Raises ImageError as :meth:`AdaptISPredictor.set_image`, in tiles beyond what a file may have.
    """
    image = as_image(image)
    settings, size = predictor.settings, predictor.scaled_size(*image.shape[:2])
    things = thing_ids(predictor.classes)
    before = predictor.num_proposals, predictor.num_dropped
    predictor.settings = replace(settings, object_diameter=None)  # of the image, not of a tile
    try:
        result = panoptic_seg, segments, _ = _in_tiles(predictor, image, on_step)
        ids = [segment["id"] for segment in segments if segment["category_id"] in things]
        scaled = size[0] * size[1] / panoptic_seg.size
        areas = np.bincount(panoptic_seg.ravel(), minlength=max(ids, default=0) + 1)[ids] * scaled
        in_tiles = settings.tile_size and settings.tile_size**2 <= MAX_INPUT_PIXELS
        most = MAX_FILE_PIXELS if in_tiles else MAX_INPUT_PIXELS
        larger = magnified(settings, size, areas, most)
        if larger is None:
            return result
        predictor.settings = larger
        predictor.num_proposals, predictor.num_dropped = before  # of what is returned
        return _in_tiles(predictor, image, on_step)
    finally:
        predictor.settings = settings


def _in_tiles(
    predictor: AdaptISPredictor, image: np.ndarray, on_step: OnStep
) -> tuple[np.ndarray, list[dict], np.ndarray]:
    """What ``segment_panoptic`` returns, of one scale."""
    tiles = [
        Tile(rows, cols, *predictor.panoptic(on_step=on_step), predictor.class_map())
        for rows, cols in set_tiles(predictor, image)
    ]
    if len(tiles) == 1:
        return tiles[0][2:]
    things = thing_ids(predictor.classes)
    panoptic_seg, segments, class_map = join_tiles(tiles, things)
    size = image.shape[0], image.shape[1]
    if panoptic_seg.shape == size:
        return panoptic_seg, segments, class_map
    return *resize_panoptic(panoptic_seg, segments, size), resize_labels(class_map, size)


def set_tiles(
    predictor: AdaptISPredictor,
    image: np.ndarray,
    wanted: Callable[[Span, Span], bool] = lambda rows, cols: True,
) -> Iterator[tuple[Span, Span]]:
    """Set each tile of an image in turn, or the whole image where it is no larger than the
    settings' ``tile_size``.

    Parameters:
        image: (H, W, 3) uint8 RGB.
        wanted: whether a tile is to be set.

    Yields where the tile that is set lies, rows and columns, in pixels of the image as scaled.

    Raises ImageError as ``segment_panoptic``.
    """
    image = as_image(image)
    settings = predictor.settings
    height, width = size = predictor.scaled_size(*image.shape[:2])
    if not settings.tile_size or max(size) <= settings.tile_size:
        predictor.set_image(image)
        yield Span(0, height, 0, height), Span(0, width, 0, width)
        return
    if height * width > MAX_FILE_PIXELS or max(size) > MAX_SIDE:
        raise ImageError(
            f"the image has {height}x{width} pixels as scaled by the settings; it must have at "
            f"most {MAX_FILE_PIXELS}, and {MAX_SIDE} on a side: cut it"
        )
    scaled = resize(image, size)
    predictor.settings = replace(settings, shortest_side=None, longest_side=None)
    try:
        for rows in spans(height, settings.tile_size):
            for cols in spans(width, settings.tile_size):
                if wanted(rows, cols):
                    predictor.set_image(scaled[rows.start : rows.stop, cols.start : cols.stop])
                    yield rows, cols
    finally:
        predictor.settings = settings
        predictor.reset_image()


def spans(length: int, tile_size: int) -> list[Span]:
    """Tiles of ``tile_size`` that cover ``length`` pixels evenly, at least OVERLAP in common."""
    tile_size = min(length, tile_size)
    overlap = int(OVERLAP * tile_size)
    count = 1 + math.ceil((length - tile_size) / (tile_size - overlap))
    starts = np.linspace(0, length - tile_size, count).round().astype(int).tolist()
    middles = [
        (start + end) // 2 for start, end in zip(starts[1:], (s + tile_size for s in starts))
    ]
    borders = [0, *middles, length]
    return [
        Span(start, start + tile_size, *keep)
        for start, keep in zip(starts, zip(borders, borders[1:]))
    ]


def join_tiles(tiles: list[Tile], things: set[int]) -> tuple[np.ndarray, list[dict], np.ndarray]:
    """One panoptic map of all tiles.

    Stuff is one segment a class. Instances of two tiles are one if they have the same class and
    their IoU in the overlap exceeds JOIN_IOU. Each pixel comes from the tile whose middle is
    nearest.

    Parameters:
        things: category ids of things.

    Returns panoptic_seg (H, W) int32, segments, class_map (H, W) int32. The score of a segment is
    the average over its pixels of its parts' scores.
    """
    numbers = _joined_numbers(tiles, things)
    size = tuple(
        max(span.stop for span in axis) for axis in zip(*((t.rows, t.cols) for t in tiles))
    )
    panoptic_seg, class_map = np.zeros(size, np.int32), np.zeros(size, np.int32)
    merged: dict[int, dict] = {}
    for place, tile in enumerate(tiles):
        target, source = (
            np.s_[
                tile.rows.keep_start - top : tile.rows.keep_stop - top,
                tile.cols.keep_start - left : tile.cols.keep_stop - left,
            ]
            for top, left in ((0, 0), (tile.rows.start, tile.cols.start))
        )
        kept = tile.panoptic_seg[source]
        count = 1 + max((segment["id"] for segment in tile.segments), default=VOID_SEGMENT)
        areas = np.bincount(kept.ravel(), minlength=count)
        number_of_segment = np.zeros(count, np.int32)
        for segment in tile.segments:
            number = numbers[place, segment["id"]]
            number_of_segment[segment["id"]] = number
            record = merged.setdefault(
                number, {"id": number, "category_id": segment["category_id"], "score": 0, "area": 0}
            )
            area = int(areas[segment["id"]])
            record["score"] += segment["score"] * area
            record["area"] += area
        panoptic_seg[target] = number_of_segment[kept]
        class_map[target] = tile.class_map[source]
    segments = [
        {"id": r["id"], "category_id": r["category_id"], "score": r["score"] / r["area"]}
        for r in merged.values()
        if r["area"]
    ]
    return panoptic_seg, segments, class_map


def _joined_numbers(tiles: list[Tile], things: set[int]) -> dict[tuple[int, int], int]:
    """(place of a tile, segment id) -> number from 1, the same for what is one segment."""
    root: dict[tuple, tuple] = {}

    def find(key: tuple) -> tuple:
        while root.setdefault(key, key) != key:
            key = root[key]
        return key

    category_ids = [{s["id"]: s["category_id"] for s in tile.segments} for tile in tiles]
    for j, tile in enumerate(tiles):
        for id_, category_id in category_ids[j].items():
            if category_id not in things:
                root[find((j, id_))] = find(("stuff", category_id))
        for i, earlier in enumerate(tiles[:j]):
            for ours, theirs in _matches(tile, earlier):
                category_id = category_ids[j][ours]
                if category_id in things and category_id == category_ids[i][theirs]:
                    root[find((j, ours))] = find((i, theirs))
    numbers: dict[tuple, int] = {}
    return {
        (place, id_): numbers.setdefault(find((place, id_)), len(numbers) + 1)
        for place, ids in enumerate(category_ids)
        for id_ in ids
    }


def _matches(a: Tile, b: Tile) -> list[tuple[int, int]]:
    """Pairs of segment ids whose IoU in the overlap of two tiles exceeds JOIN_IOU."""
    top, left = max(a.rows.start, b.rows.start), max(a.cols.start, b.cols.start)
    bottom, right = min(a.rows.stop, b.rows.stop), min(a.cols.stop, b.cols.stop)
    if top >= bottom or left >= right:
        return []
    ours, theirs = (
        tile.panoptic_seg[
            top - tile.rows.start : bottom - tile.rows.start,
            left - tile.cols.start : right - tile.cols.start,
        ].ravel()
        for tile in (a, b)
    )
    our_areas, their_areas = np.bincount(ours), np.bincount(theirs)
    pairs, common = np.unique(np.stack([ours, theirs]), axis=1, return_counts=True)
    return [
        (i, j)
        for (i, j), area in zip(pairs.T.tolist(), common.tolist())
        if VOID_SEGMENT not in (i, j) and area > JOIN_IOU * (our_areas[i] + their_areas[j] - area)
    ]
