"""Tiles that cover an image, and instances joined across them, on hand-drawn maps."""

from __future__ import annotations

from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptis.inference.mxnet_backend import MXNetBackend
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.inference.tiles import Span, Tile, join_tiles, segment_panoptic, spans
from tests.strategies import STUFF, THINGS, SeesWhatIsDrawn, assert_same_segments, scenes

CAR, ROAD = 20, 10  # category ids


def tile(rows, cols, drawn: list[str], **category_ids) -> Tile:
    """Segment ids from digits; scores .5 for segment 1, .25 for 2."""
    panoptic_seg = np.array([[int(c) for c in row] for row in drawn], np.int32)
    segments = [
        {"id": int(name[1:]), "category_id": category, "score": 0.5 / int(name[1:])}
        for name, category in category_ids.items()
    ]
    return Tile(Span(*rows), Span(*cols), panoptic_seg, segments, panoptic_seg)


ROWS = (0, 1, 0, 1)
LEFT, RIGHT = (0, 6, 0, 4), (2, 8, 4, 8)  # columns 2 to 5 are in both


def test_spans_by_hand():
    assert spans(8, 10) == [Span(0, 8, 0, 8)]
    assert spans(10, 10) == [Span(0, 10, 0, 10)]
    assert spans(16, 8) == [Span(0, 8, 0, 6), Span(4, 12, 6, 10), Span(8, 16, 10, 16)]


@given(length=st.integers(1, 3000), tile_size=st.integers(1, 900))
def test_spans_cover_everything_once_and_overlap(length, tile_size):
    tiles = spans(length, tile_size)
    kept = [i for span in tiles for i in range(span.keep_start, span.keep_stop)]
    assert kept == list(range(length))
    for span in tiles:
        assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= length
        assert span.stop - span.start == min(length, tile_size)
    for a, b in zip(tiles, tiles[1:]):
        assert a.stop - b.start >= int(0.25 * tile_size)


def test_an_instance_that_agrees_in_the_overlap_is_one():
    left = tile(ROWS, LEFT, ["001111"], s1=CAR)  # 4 px of the overlap
    right = tile(ROWS, RIGHT, ["011111"], s1=CAR)  # 3 px of it: IoU .75
    panoptic_seg, segments, _ = join_tiles([left, right], {CAR})
    assert panoptic_seg.tolist() == [[0, 0, 1, 1, 1, 1, 1, 1]]
    assert segments == [{"id": 1, "category_id": CAR, "score": 0.5}]


def test_half_of_the_overlap_is_not_enough():
    left = tile(ROWS, LEFT, ["001111"], s1=CAR)
    right = tile(ROWS, RIGHT, ["002222"], s2=CAR)  # IoU .5
    panoptic_seg, segments, _ = join_tiles([left, right], {CAR})
    assert panoptic_seg.tolist() == [[0, 0, 1, 1, 2, 2, 2, 2]]
    assert [s["score"] for s in segments] == [0.5, 0.25]


def test_another_class_is_another_instance_and_stuff_is_one_segment():
    left = tile(ROWS, LEFT, ["221111"], s1=CAR, s2=ROAD)
    right = tile(ROWS, RIGHT, ["111122"], s1=CAR + 1, s2=ROAD)
    panoptic_seg, segments, _ = join_tiles([left, right], {CAR, CAR + 1})
    assert panoptic_seg.tolist() == [[2, 2, 1, 1, 3, 3, 2, 2]]
    assert {s["id"]: s["category_id"] for s in segments} == {1: CAR, 2: ROAD, 3: CAR + 1}


def test_scores_are_averages_over_pixels():
    left = tile(ROWS, LEFT, ["111111"], s1=CAR)  # 4 kept px of score .5
    right = tile(ROWS, RIGHT, ["222220"], s2=CAR)  # 3 of .25
    _, segments, _ = join_tiles([left, right], {CAR})
    assert segments[0]["score"] == pytest.approx((4 * 0.5 + 3 * 0.25) / 7)


def test_an_instance_across_four_tiles_is_one():
    tiles = [
        tile(rows, cols, ["111111"] * 6, s1=CAR) for rows in (LEFT, RIGHT) for cols in (LEFT, RIGHT)
    ]
    panoptic_seg, segments, _ = join_tiles(tiles, {CAR})
    assert (panoptic_seg == 1).all()
    assert len(segments) == 1


def test_a_segment_outside_every_kept_part_is_gone():
    left = tile(ROWS, LEFT, ["000001"], s1=CAR)  # column 5 is the right tile's
    right = tile(ROWS, RIGHT, ["000000"])
    panoptic_seg, segments, _ = join_tiles([left, right], {CAR})
    assert not panoptic_seg.any()
    assert segments == []


@pytest.fixture
def predictor(toy):
    classes = [
        {"name": "background", "category_id": 1, "isthing": False},
        {"name": "object", "category_id": 2, "isthing": True},
    ]
    description = {"mean": [0.5] * 3, "std": [0.5] * 3, "classes": classes}
    return AdaptISPredictor(MXNetBackend(toy(width=4, seed=3), mx.cpu()), description)


@pytest.mark.parametrize("scale", [{}, {"shortest_side": 30}])
def test_large_images_are_segmented_in_tiles(predictor, scale, monkeypatch):
    predictor.settings = replace(predictor.settings, tile_size=20, **scale)
    sizes, set_image = [], predictor.set_image
    monkeypatch.setattr(
        predictor, "set_image", lambda image: sizes.append(image.shape[:2]) or set_image(image)
    )
    image = np.random.default_rng(0).integers(0, 256, (25, 40, 3), np.uint8)
    panoptic_seg, segments, class_map = segment_panoptic(predictor, image)
    assert set(sizes) == {(20, 20)}
    assert panoptic_seg.shape == class_map.shape == (25, 40)
    assert set(np.unique(panoptic_seg)) - {0} == {segment["id"] for segment in segments}
    assert predictor.settings.tile_size == 20
    assert predictor.settings.shortest_side == scale.get("shortest_side")


@settings(max_examples=40, deadline=None)
@given(
    scene=scenes(classes=(*STUFF, *THINGS), pixels=0),
    tile_size=st.integers(8, 200),
    flip=st.booleans(),
)
def test_rectangles_are_whole_across_tiles(scene, tile_size, flip):
    description = SeesWhatIsDrawn.description(tile_size=tile_size, flip=flip)
    predictor = AdaptISPredictor(SeesWhatIsDrawn(), description)
    image = SeesWhatIsDrawn.image_of(scene)
    panoptic_seg, segments, class_map = segment_panoptic(predictor, image)
    assert_same_segments(scene, panoptic_seg, segments)
    np.testing.assert_array_equal(class_map, scene.class_map)


def test_small_images_are_segmented_whole(predictor):
    image = np.random.default_rng(0).integers(0, 256, (18, 20, 3), np.uint8)
    whole, *_ = segment_panoptic(predictor, image)
    predictor.settings = replace(predictor.settings, tile_size=20)
    in_tiles, *_ = segment_panoptic(predictor, image)
    np.testing.assert_array_equal(whole, in_tiles)
