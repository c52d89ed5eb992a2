from __future__ import annotations

import numpy as np
import pytest

from adaptis.training import sampling
from adaptis.training.sampling import (
    IGNORED,
    ObjectPixels,
    objects_of,
    sample_object_points,
    sample_points,
)
from datasets.base import PADDING, VOID, Instance, Sample

#: Object 3 has 1 pixel, object 8 has 99.
UNEQUAL = np.full((10, 10), 8)
UNEQUAL[4, 6] = 3

#: Objects 1 (2 pixels), 2 (3 pixels), 5 (4 pixels) on background 0.
SMALL = np.array([[1, 0, 5, 5], [1, 0, 5, 5], [2, 2, 2, 0]])


def rng(seed=0):
    return np.random.default_rng(seed)


def ids_at(instance_map, points_yx):
    rows, cols = points_yx.astype(int).T
    return instance_map[rows, cols]


class TestStratification:
    def test_a_pixel_and_a_large_object_are_drawn_equally_often(self):
        objects = ObjectPixels(UNEQUAL)
        drawn = [ids_at(UNEQUAL, sample_points(objects, 1, rng(i))[0])[0] for i in range(400)]
        assert 150 < drawn.count(3) < 250  # 200 +- 5 standard deviations; by area it would be 4

    def test_no_object_twice_before_each_once(self):
        objects = ObjectPixels(SMALL)
        orders = set()
        for seed in range(50):
            ids = ids_at(SMALL, sample_points(objects, 7, rng(seed))[0]).tolist()
            assert set(ids[:3]) == set(ids[3:6]) == {1, 2, 5}
            orders.add(tuple(ids[:3]))
        assert len(orders) == 6  # every order occurs

    def test_all_pixels_of_an_object_are_drawn(self):
        points = np.concatenate(
            [sample_points(ObjectPixels(SMALL), 9, rng(i))[0] for i in range(20)]
        )
        assert {tuple(p) for p in points.tolist()} == {
            (row, col) for row, col in np.argwhere(SMALL).tolist()
        }

    def test_the_same_generator_state_gives_the_same(self):
        first, second = (sample_points(ObjectPixels(SMALL), 5, rng(3)) for _ in range(2))
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(first[1], second[1])


class TestTouching:
    #: Objects 4 and 9 have a pixel between them, 9 and 2 have two, 6 is far from all.
    ROW = np.array([[4, 4, 0, 9, 9, 0, 0, 2, 0, 0, 0, 6]])

    def test_a_pixel_between_counts_two_do_not(self):
        objects = ObjectPixels(self.ROW)
        ids = np.unique(self.ROW)
        assert ids[objects.touching()].tolist() == [4, 9]

    def test_corners_count(self):
        diagonal = np.diag([5, 0, 3, 0, 0, 1])
        assert np.unique(diagonal)[ObjectPixels(diagonal).touching()].tolist() == [3, 5]

    def test_no_target_is_drawn_but_its_neighbour_is(self):
        objects = ObjectPixels(self.ROW, ignored_ids=[4])
        assert np.unique(self.ROW)[objects.touching()].tolist() == [9]

    def test_points_fall_on_them_as_often_as_asked(self):
        objects = ObjectPixels(self.ROW)
        always = ids_at(self.ROW, sample_points(objects, 50, rng(), touching=1.0)[0])
        assert set(always.tolist()) == {4, 9}
        half = ids_at(self.ROW, sample_points(objects, 400, rng(), touching=0.5)[0])
        assert 260 < np.isin(half, [4, 9]).sum() < 340  # 300: half, and half of the rest

    def test_where_none_touch_points_fall_as_without(self):
        apart = np.array([[1, 0, 0, 0, 7]])
        points = sample_points(ObjectPixels(apart), 6, rng(), touching=1.0)[0]
        assert set(ids_at(apart, points).tolist()) == {1, 7}


class TestMasks:
    def test_mask_of_each_points_object(self):
        points_yx, masks = sample_points(ObjectPixels(SMALL), 6, rng())
        assert points_yx.dtype == np.float32
        assert points_yx.shape == (6, 2)
        assert masks.dtype == np.int8
        for point_id, mask in zip(ids_at(SMALL, points_yx), masks):
            np.testing.assert_array_equal(mask, point_id == SMALL)

    @pytest.mark.parametrize(
        "options", [{"ignored_ids": [1]}, {"min_area": 3}], ids=["crowd", "too small"]
    )
    def test_no_targets_are_background_in_the_masks_of_others(self, options, monkeypatch):
        monkeypatch.setattr(sampling, "IGNORED_POINT_PROBABILITY", 0)
        points_yx, masks = sample_points(ObjectPixels(SMALL, **options), 40, rng())
        ids = ids_at(SMALL, points_yx)
        assert set(ids) == {2, 5}
        for point_id, mask in zip(ids, masks):
            np.testing.assert_array_equal(mask, point_id == SMALL)

    def test_padding_is_ignored_in_every_mask(self, monkeypatch):
        monkeypatch.setattr(sampling, "IGNORED_POINT_PROBABILITY", 0)
        padding = np.zeros((3, 6), bool)
        padding[:, 4:] = True
        padded = np.pad(SMALL, ((0, 0), (0, 2)))
        points_yx, masks = sample_points(ObjectPixels(padded, padding=padding), 6, rng())
        for point_id, mask in zip(ids_at(padded, points_yx), masks):
            expected = (point_id == SMALL).astype(int)
            np.testing.assert_array_equal(mask[:, :4], expected)
            np.testing.assert_array_equal(mask[:, 4:], IGNORED)

    def test_void_is_background(self):
        """What is no object, unlabelled or not, but no padding: a car's mask on its hood is wrong,
        as the evaluation's."""
        semantic_map = np.full(SMALL.shape, VOID)
        semantic_map[:, 3] = PADDING
        instances = {i: Instance(1) for i in (1, 2, 5)}
        image = np.zeros((*SMALL.shape, 3), np.uint8)
        instance_map = SMALL * (semantic_map != PADDING)
        sample = Sample("a", image, semantic_map, instance_map, instances)
        objects = objects_of(sample, min_area=1)
        masks = [objects.mask(chosen).tolist() for chosen in objects.targets]
        assert masks == [
            [[1, 0, 0, -1], [1, 0, 0, -1], [0, 0, 0, -1]],
            [[0, 0, 0, -1], [0, 0, 0, -1], [1, 1, 1, -1]],
            [[0, 0, 1, -1], [0, 0, 1, -1], [0, 0, 0, -1]],
        ]

    def test_min_area_is_the_smallest_that_counts(self):
        objects = ObjectPixels(SMALL, min_area=3)
        assert len(objects.targets) == 2
        assert len(ObjectPixels(SMALL, min_area=4).targets) == 1
        assert len(ObjectPixels(SMALL, min_area=5).targets) == 0


class TestIgnoredPoints:
    def test_drawn_as_often_as_the_authors_do(self):
        objects = ObjectPixels(SMALL, ignored_ids=[5])
        ids = ids_at(SMALL, sample_points(objects, 4000, rng())[0])
        assert 60 < np.count_nonzero(ids == 5) < 140  # 2.5 % of 4000 +- 4 standard deviations

    def test_their_mask_ignores_the_region(self, monkeypatch):
        monkeypatch.setattr(sampling, "IGNORED_POINT_PROBABILITY", 1)
        points_yx, masks = sample_points(ObjectPixels(SMALL, ignored_ids=[5]), 10, rng())
        assert set(ids_at(SMALL, points_yx)) == {5}
        for mask in masks:
            np.testing.assert_array_equal(mask, np.where(SMALL == 5, IGNORED, 0))

    def test_never_drawn_where_nothing_is_ignored(self, monkeypatch):
        monkeypatch.setattr(sampling, "IGNORED_POINT_PROBABILITY", 1)
        points_yx, masks = sample_points(ObjectPixels(SMALL), 6, rng())
        assert (ids_at(SMALL, points_yx) > 0).all()
        assert (masks >= 0).all()


@pytest.mark.parametrize(
    ("instance_map", "crowds"),
    [(np.zeros((4, 6), int), []), (np.ones((4, 6), int), [1])],
    ids=["empty", "crowd only"],
)
class TestNothingToFind:
    def test_points_count_nowhere(self, instance_map, crowds, monkeypatch):
        monkeypatch.setattr(sampling, "IGNORED_POINT_PROBABILITY", 0)
        points_yx, masks = sample_points(ObjectPixels(instance_map, crowds), 3, rng())
        assert points_yx.shape == (3, 2)
        np.testing.assert_array_equal(masks, np.full((3, 4, 6), IGNORED))

    def test_object_points_count_nowhere(self, instance_map, crowds):
        points_yx, masks = sample_object_points(ObjectPixels(instance_map, crowds), 3, rng())
        assert points_yx.shape == (3, 2)
        np.testing.assert_array_equal(masks, np.full((1, 4, 6), IGNORED))


class TestObjectPoints:
    def test_all_on_one_object(self):
        objects, seen = ObjectPixels(SMALL, ignored_ids=[1]), set()
        for seed in range(30):
            points_yx, masks = sample_object_points(objects, 12, rng(seed))
            (point_id,) = set(ids_at(SMALL, points_yx))
            np.testing.assert_array_equal(masks, (point_id == SMALL)[None])
            seen.add(int(point_id))
        assert seen == {2, 5}

    def test_objects_equally_often(self):
        objects = ObjectPixels(UNEQUAL)
        drawn = [
            ids_at(UNEQUAL, sample_object_points(objects, 1, rng(i))[0])[0] for i in range(400)
        ]
        assert 150 < drawn.count(3) < 250


def test_one_object_covering_all():
    points_yx, masks = sample_points(ObjectPixels(np.full((3, 5), 7)), 50, rng())
    np.testing.assert_array_equal(masks, np.ones((50, 3, 5)))
    assert points_yx.min(axis=0).tolist() == [0, 0]
    assert points_yx.max(axis=0).tolist() == [2, 4]
