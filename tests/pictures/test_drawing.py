"""Drawing against grids with the answer beside them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from adaptis.inference.greedy import Step
from adaptis.inference.iterations import Frame
from adaptis.pictures.drawing import (
    IGNORED_COLOR,
    VOID_COLOR,
    draw_frame,
    draw_instances,
    draw_iteration,
    draw_panoptic,
    enlarge,
    instance_colors,
    match_ids,
    match_segments,
)

BLACK = np.zeros((5, 6, 3), np.uint8)
IDS = np.array(
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 2, 2],
        [0, 1, 1, 1, 2, 2],
        [0, 1, 1, 1, 2, 2],
        [0, 1, 1, 1, 2, 2],
    ]
)
CONTOURS = np.array(  # beside a lower id only, and not at the border of the image
    [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 1],
        [0, 1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1, 0],
    ],
    bool,
)


def test_colors_are_distinct_and_stable():
    colors = instance_colors(250)
    assert colors.shape == (250, 3)
    assert colors.dtype == np.uint8
    assert len(np.unique(colors, axis=0)) == 250
    np.testing.assert_array_equal(colors[:10], instance_colors(10))
    steps = np.abs(np.diff(colors.astype(int), axis=0)).max(axis=1)
    assert steps.min() > 60  # grey levels


def test_no_colors():
    assert instance_colors(0).shape == (0, 3)


def test_instances_have_their_colors_and_contours():
    picture = draw_instances(BLACK, IDS, alpha=1)
    assert picture.shape == BLACK.shape
    assert picture.dtype == np.uint8
    first, second = instance_colors(2)
    np.testing.assert_array_equal(picture[2, 2], first)
    np.testing.assert_array_equal(picture[3, 5], second)
    assert not picture[IDS == 0].any()
    for instance_id, color in ((1, first), (2, second)):
        mask = instance_id == IDS
        is_area = (picture == color).all(axis=2)
        np.testing.assert_array_equal(is_area, mask & ~CONTOURS)
        contour = picture[mask & CONTOURS].astype(int)
        assert (contour.sum(axis=1) < color.sum() / 2).all()


def test_pictures_taller_than_what_is_drawn_at_once():
    """Contours too are what they are in a picture of a part."""
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 3, (700, 4)).repeat(2, axis=0)[:700]
    image = rng.integers(0, 256, (700, 4, 3)).astype(np.uint8)
    picture = draw_instances(image, ids)
    for top in (200, 255, 256, 400, 511, 512):
        part = slice(top, top + 100)
        expected = draw_instances(image[part], ids[part])
        np.testing.assert_array_equal(picture[part][1:-1], expected[1:-1])


def test_brightness_shows_through():
    red = np.full((5, 6, 3), (255, 0, 0), np.uint8)
    picture = draw_instances(red, IDS, alpha=0.5)
    expected = (instance_colors(1)[0] + 0.299 * 255) / 2  # of red only the brightness
    np.testing.assert_allclose(picture[2, 2], expected, atol=0.5)
    np.testing.assert_array_equal(picture[IDS == 0], red[IDS == 0])


def test_image_without_instances_stays():
    image = np.arange(90, dtype=np.uint8).reshape(5, 6, 3)
    picture = draw_instances(image, np.zeros((5, 6), np.int32))
    np.testing.assert_array_equal(picture, image)
    assert picture is not image


def test_drawing_leaves_its_arguments_alone():
    image, ids = BLACK.copy(), IDS.copy()
    draw_instances(image, ids)
    draw_panoptic(image, ids, {1: ((9, 9, 9), True)})
    draw_iteration(image, ids, ids > 0)
    np.testing.assert_array_equal(image, BLACK)
    np.testing.assert_array_equal(ids, IDS)


def test_panoptic_colors():
    seg = np.repeat([[7, 300, 70000, 0]], 3, axis=0).repeat(4, axis=1)
    car, road = (0, 0, 142), (128, 64, 128)
    segments = {7: (road, False), 300: (car, True), 70000: (car, True)}
    picture = draw_panoptic(np.zeros((3, 16, 3), np.uint8), seg, segments, alpha=1)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[1, 1], road)
    np.testing.assert_array_equal(picture[1, 5], car)
    np.testing.assert_array_equal(picture[1, 13], VOID_COLOR)
    variation = picture[1, 9].astype(int)
    assert np.abs(variation - car).max() > 30
    assert variation.argmax() == 2  # still a blue
    assert (picture[1, 4] < picture[1, 5])[2]  # contour of the car beside the road


def test_many_things_of_a_class_differ():
    seg = np.arange(1, 31)[None].repeat(2, axis=1)
    segments = {i: ((220, 20, 60), True) for i in range(1, 31)}
    picture = draw_panoptic(np.zeros((1, 60, 3), np.uint8), seg, segments, alpha=1)
    assert len(np.unique(picture[0, 1::2], axis=0)) == 30


@pytest.mark.parametrize("color", [(220, 20, 60), (0, 0, 142), (0, 0, 70), (255, 255, 255)])
def test_a_person_can_tell_things_of_a_class_apart(color):
    seg = np.arange(1, 13)[None].repeat(2, axis=1)
    segments = {i: (color, True) for i in range(1, 13)}
    picture = draw_panoptic(np.zeros((1, 24, 3), np.uint8), seg, segments, alpha=1)
    lab = cv2.cvtColor(np.float32(picture / 255), cv2.COLOR_RGB2LAB)[0, 1::2]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    assert distances[~np.eye(12, dtype=bool)].min() > 15  # in CIELAB; one sees 2.3


def test_segments_take_the_ids_of_those_they_match():
    truth = np.array([[1, 1, 1, 2, 2, 2, 3, 3, 3]])
    result = np.array([[4, 4, 4, 5, 5, 5, 6, 7, 7]])
    categories = {4: 9, 5: 9, 6: 9, 7: 8}  # 5 matches 2, a thing of another category
    renumbered, found = match_segments(result, categories, truth, {1: 9, 2: 8, 3: 8})
    np.testing.assert_array_equal(renumbered, [[1, 1, 1, 4, 4, 4, 5, 3, 3]])
    assert found == {1: 9, 2: 8, 3: 8, 4: 9, 5: 9}


def test_iteration_shows_unknown_stuff_and_the_ignored_mask():
    image = np.full((9, 9, 3), 255, np.uint8)
    instance_map = np.zeros((9, 9), np.int32)
    instance_map[:, :3] = 1
    segmented = np.zeros((9, 9), bool)
    segmented[:, :6] = True  # columns: three of an instance, three of stuff, three unknown
    picture = draw_iteration(image, instance_map, segmented).astype(int)
    assert (picture[:, 3:6] > 220).all()
    assert (picture[:, 6:] > 100).all()
    assert (picture[:, 6:] < 190).all()
    assert np.ptp(picture[:, 6:], axis=2).max() == 0  # grey
    assert np.ptp(picture[4, 0]) > 100  # a colour

    ignored = np.zeros((9, 9), bool)
    ignored[1:8, 1:8] = True
    picture = draw_iteration(image, instance_map, segmented, ignored)
    np.testing.assert_array_equal(picture[1, 4], IGNORED_COLOR)
    assert picture[4, 4].min() > 220


@pytest.mark.parametrize("accepted", [True, False])
def test_a_recorded_iteration_on_an_enlarged_image(accepted):
    """Of pixels that are segmented only in the end the instance isn't shown."""
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    segmented = np.arange(6) < np.full((5, 1), 4)
    frame = Frame(1, Step((1, 1), IDS == 1, accepted), IDS, segmented)
    maps = IDS * segmented, segmented, IDS == 1
    for picture, (known, seen, mask) in (
        (image, maps),
        (enlarge(image, 20), [enlarge(a, 20) for a in maps]),
    ):
        expected = draw_iteration(picture, known, seen, None if accepted else mask)
        np.testing.assert_array_equal(draw_frame(picture, frame), expected)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_tiny_images(shape):
    image, ids = np.zeros((*shape, 3), np.uint8), np.ones(shape, np.int32)
    expected = np.broadcast_to(instance_colors(1)[0], image.shape)
    np.testing.assert_array_equal(draw_instances(image, ids, alpha=1), expected)
    assert draw_panoptic(image, ids, {}).shape == image.shape
    assert draw_iteration(image, ids, ids > 0, ids > 0).shape == image.shape


def test_enlarge_repeats_pixels():
    np.testing.assert_array_equal(enlarge(np.array([[1, 2]]), size=4), [[1, 1, 2, 2], [1, 1, 2, 2]])
    assert enlarge(BLACK, size=13).shape == (15, 18, 3)
    np.testing.assert_array_equal(enlarge(IDS, size=3), IDS)


def test_match_ids():
    reference = np.array([[1, 1, 1, 2, 2, 2, 0, 5]])
    result = np.array([[7, 7, 0, 3, 3, 3, 3, 4]])
    np.testing.assert_array_equal(match_ids(result, reference), [[1, 1, 0, 2, 2, 2, 2, 5]])


def test_match_ids_of_half_and_no_overlap():
    reference = np.array([[1, 1, 1, 1, 0, 0]])
    result = np.array([[1, 1, 2, 2, 0, 3]])  # IoU of exactly 0.5, twice, and background
    np.testing.assert_array_equal(match_ids(result, reference), [[2, 2, 3, 3, 0, 4]])
    empty = np.zeros((1, 6), np.int32)
    assert not match_ids(empty, reference).any()
    np.testing.assert_array_equal(match_ids(result, empty), result)
