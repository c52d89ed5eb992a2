"""Augmentation: aligned maps, known crops, the paper's ranges, nothing but the generator random."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest

from datasets.base import PADDING, Instance, Sample
from datasets.transforms import (
    PADDING_COLOR,
    ColorJitter,
    Compose,
    IntensityJitter,
    RandomFlip,
    RandomOrientation,
    RandomScaledCrop,
    cityscapes_augmentation,
    coco_augmentation,
    instances_augmentation,
    mapillary_augmentation,
)


def rng(seed=0):
    return np.random.default_rng(seed)


def coordinates(height, width):
    """A sample whose maps hold each pixel's own place: row + 1 and column + 1."""
    rows, columns = np.mgrid[1 : height + 1, 1 : width + 1].astype(np.int32)
    image = np.repeat((rows + columns)[..., None] % 256, 3, axis=2).astype(np.uint8)
    return Sample("a", image, rows, columns, {i: Instance(0) for i in range(1, width + 1)})


def blocks(height, width, block=40):
    """A sample of square objects whose red level is ten times their id."""
    rows, columns = np.mgrid[:height, :width] // block
    ids = ((rows + 3 * columns) % 25).astype(np.int32)
    image = np.stack([10 * ids, 0 * ids, 0 * ids], axis=2).astype(np.uint8)
    instances = {i: Instance(i % 3) for i in np.unique(ids).tolist() if i}
    return Sample("b", image, (ids - 1) % 3, ids, instances)


class TestScaledCrop:
    def test_without_scaling_it_is_a_slice(self):
        sample = coordinates(30, 50)
        crop = RandomScaledCrop((8, 20), 1, 1)(sample, rng())
        top, left = crop.semantic_map[0, 0] - 1, crop.instance_map[0, 0] - 1
        window = slice(top, top + 8), slice(left, left + 20)
        assert np.array_equal(crop.image, sample.image[window])
        assert np.array_equal(crop.semantic_map, sample.semantic_map[window])
        assert np.array_equal(crop.instance_map, sample.instance_map[window])
        assert list(crop.instances) == list(range(left + 1, left + 21))

    def test_every_place_is_reached(self):
        sample, crop = coordinates(6, 5), RandomScaledCrop((4, 4), 1, 1)
        corners = {
            (cut.semantic_map[0, 0], cut.instance_map[0, 0])
            for cut in (crop(sample, rng(seed)) for seed in range(60))
        }
        assert corners == {(row, column) for row in (1, 2, 3) for column in (1, 2)}

    @pytest.mark.parametrize(("scale", "step"), [(0.5, 2), (0.25, 4)])
    def test_shrinks_as_the_whole_image_would(self, scale, step):
        """A window that starts on a whole output pixel equals a slice of the resized whole."""
        image = rng().integers(0, 256, (40, 80, 3), dtype=np.uint8)
        sample = coordinates(40, 80)
        sample = Sample("a", image, sample.semantic_map, sample.instance_map, sample.instances)
        whole = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        compared = 0
        for seed in range(200):
            crop = RandomScaledCrop((5, 8), scale, scale)(sample, rng(seed))
            top, left = crop.semantic_map[0, 0] - 1, crop.instance_map[0, 0] - 1
            top, left = top - step // 2, left - step // 2  # the pixel at the centre was taken
            assert (np.diff(crop.semantic_map[:, 0]) == step).all()
            if top % step == 0 and left % step == 0:
                top, left = top // step, left // step
                assert np.array_equal(crop.image, whole[top : top + 5, left : left + 8])
                compared += 1
        assert compared > 5

    def test_enlarges_between_pixels(self):
        crop = RandomScaledCrop((8, 8), 2, 2)(coordinates(4, 4), rng())
        assert crop.semantic_map[:, 0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
        assert crop.image[0, :, 0].tolist() == [2, 2, 3, 3, 4, 4, 5, 5]  # 2.25, 2.75, ... rounded

    def test_smaller_images_are_surrounded_by_padding(self):
        tops = set()
        for seed in range(40):
            crop = RandomScaledCrop((7, 9), 1, 1)(coordinates(4, 9), rng(seed))
            rows = np.flatnonzero((crop.semantic_map != PADDING).any(axis=1))
            assert crop.semantic_map[rows].tolist() == coordinates(4, 9).semantic_map.tolist()
            outside = np.setdiff1d(np.arange(7), rows)
            assert (crop.instance_map[outside] == 0).all()
            assert (crop.image[outside] == PADDING_COLOR).all()
            tops.add(int(rows[0]))
        assert tops == {0, 1, 2, 3}

    @pytest.mark.parametrize(
        ("side", "low", "high", "length"),
        [(None, 0.2, 1.2, 1), (min, 350, 700, 300), (max, 500, 2200, 400)],
    )
    def test_ranges(self, side, low, high, length):
        sample = coordinates(300, 400)
        crop = RandomScaledCrop((1700, 4), low, high, side)  # taller than any scaled image
        content = [
            (crop(sample, rng(seed)).semantic_map[:, 0] != PADDING).sum() for seed in range(99)
        ]
        factors = np.array(content) / 300
        low, high = low / length, high / length
        assert low - 1 / 300 < factors.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < factors.max() < high + 1 / 300
        assert abs(factors.mean() - (low + high) / 2) < 0.1 * (high - low)

    def test_mapillarys_images_are_never_enlarged(self):
        """An image of 300 x 400 pixels: longest sides of 500 to 2200 would all be larger."""
        crop = mapillary_augmentation((400, 800)).transforms[0]
        for seed in range(9):
            content = crop(coordinates(300, 400), rng(seed)).semantic_map != PADDING
            assert (content.any(axis=1).sum(), content.any(axis=0).sum()) == (300, 400)
        crop, sample = mapillary_augmentation((1500, 2000)).transforms[0], coordinates(1500, 2000)
        large = [crop(sample, rng(i)) for i in range(25)]
        widths = [(c.semantic_map != PADDING).any(axis=0).sum() for c in large]
        assert max(widths) == 2000
        assert 500 <= min(widths) < 700

    def test_hidden_instances_are_dropped(self):
        sample = blocks(120, 200)
        crop = RandomScaledCrop((30, 30), 1, 1)(sample, rng())
        visible = set(np.unique(crop.instance_map).tolist()) - {0}
        assert set(crop.instances) == visible
        assert 0 < len(visible) <= 4 < len(sample.instances)
        assert all(crop.instances[i] == sample.instances[i] for i in visible)

    @pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2000, 2), (399, 801)])
    def test_odd_sizes(self, size):
        for make in (cityscapes_augmentation, mapillary_augmentation):
            out = make()(coordinates(*size), rng())
            assert out.image.shape == (400, 800, 3)
        assert coco_augmentation()(coordinates(*size), rng()).semantic_map.shape == (544, 544)


@pytest.mark.parametrize(
    "augmentation",
    [
        mapillary_augmentation((60, 90)),
        coco_augmentation((60, 90)),
        cityscapes_augmentation((60, 90)),
    ],
)
def test_image_and_maps_stay_aligned(augmentation):
    geometry = Compose(*augmentation.transforms[:2])  # colours would change the red level
    for seed in range(20):
        sample = blocks(240, 400)
        out = geometry(sample, rng(seed))
        inside = out.semantic_map != PADDING
        # Away from borders between objects, the red level is ten times the id.
        flat = np.abs(cv2.Laplacian(out.instance_map.astype(np.float32), -1, ksize=5)) < 1e-3
        flat = cv2.erode(flat.astype(np.uint8), np.ones((5, 5))).astype(bool) & inside
        assert np.array_equal(out.image[flat][:, 0], 10 * out.instance_map[flat])
        assert np.array_equal(out.semantic_map[inside], (out.instance_map[inside] - 1) % 3)
        assert set(np.unique(out.instance_map)) - {0} == set(out.instances)


def test_flip():
    sample = coordinates(2, 3)
    outs = [RandomFlip()(sample, rng(seed)) for seed in range(50)]
    flipped = [out for out in outs if out.instance_map[0, 0] == 3]
    assert 10 < len(flipped) < 40
    assert sum(out is sample for out in outs) == 50 - len(flipped)
    assert flipped[0].image[:, :, 1].tolist() == [[4, 3, 2], [5, 4, 3]]
    assert flipped[0].instance_map.tolist() == [[3, 2, 1], [3, 2, 1]]
    assert flipped[0].semantic_map.tolist() == [[1, 1, 1], [2, 2, 2]]
    assert flipped[0].image.flags.c_contiguous


class TestColorJitter:
    def image(self, *levels):
        return Sample("a", np.full((1, 1, 3), levels, np.uint8), np.zeros((1, 1), int), None, {})

    def test_no_chance_no_change(self):
        assert ColorJitter(probability=0)(self.image(1, 2, 3), rng()).image.tolist() == [
            [[1, 2, 3]]
        ]

    def test_contrast_by_hand(self):
        jitter = ColorJitter(brightness=0, contrast=(0.4, 0.4), shift=0, probability=1)
        out = jitter(self.image(20, 130, 250), rng()).image
        assert out.tolist() == [[[0, 131, 255]]]  # -23, 127.5 + 2.5 * 1.4 = 131, 299

    def test_channels_shift_apart_and_within_limits(self):
        jitter = ColorJitter(brightness=0, contrast=(0, 0), shift=10, probability=1)
        levels = np.array(
            [jitter(self.image(100, 100, 100), rng(i)).image[0, 0] for i in range(200)]
        )
        assert levels.min() >= 90
        assert levels.max() <= 110
        assert np.ptp(levels) > 15
        assert (levels[:, 0] != levels[:, 1]).mean() > 0.8

    def test_brightness_shifts_all_alike(self):
        jitter = ColorJitter(brightness=0.25, contrast=(0, 0), shift=0, probability=1)
        levels = np.array(
            [jitter(self.image(100, 100, 100), rng(i)).image[0, 0] for i in range(200)]
        )
        assert np.array_equal(levels[:, 0], levels[:, 2])
        assert 100 - 64 <= levels.min() < 50
        assert 150 < levels.max() <= 100 + 64


@pytest.mark.parametrize(
    "make", [cityscapes_augmentation, mapillary_augmentation, coco_augmentation]
)
def test_pipelines(make):
    sample = blocks(240, 400)
    before = pickle.dumps(sample)
    augmentation = pickle.loads(pickle.dumps(make((64, 96))))  # loader processes may be spawned
    first, again, other = (augmentation(sample, rng(seed)) for seed in (1, 1, 2))
    assert pickle.dumps(first) == pickle.dumps(again)
    assert not np.array_equal(first.image, other.image)
    assert pickle.dumps(sample) == before
    assert (first.image.shape, first.image.dtype) == ((64, 96, 3), np.uint8)
    assert first.semantic_map.dtype == first.instance_map.dtype == np.int32


class TestWindowsAroundObjects:
    def test_a_window_holds_an_object(self):
        """One object in a corner of an empty image, of which random windows rarely see anything."""
        ids = np.zeros((200, 300), np.int32)
        ids[190:195, 5:9] = 7
        sample = Sample("a", np.zeros((200, 300, 3), np.uint8), ids, ids, {7: Instance(1)})
        around, anywhere = (
            [
                RandomScaledCrop((32, 32), 0.8, 1.2, around_objects=share)(sample, rng(i))
                for i in range(50)
            ]
            for share in (1, 0)
        )
        assert all(crop.instances for crop in around)
        assert sum(bool(crop.instances) for crop in anywhere) < 10
        corners = {tuple(np.argwhere(crop.instance_map)[0]) for crop in around}
        assert len(corners) > 10  # it lies anywhere in them

    def test_without_objects_anywhere(self):
        sample = coordinates(50, 60)
        sample = Sample("a", sample.image, sample.semantic_map, 0 * sample.instance_map, {})
        crop = RandomScaledCrop((20, 20), 1, 1, around_objects=1)
        assert len({crop(sample, rng(i)).semantic_map[0, 0] for i in range(20)}) > 5


def test_orientations_are_eight_and_aligned():
    sample = coordinates(3, 5)
    turned = [RandomOrientation()(sample, rng(i)) for i in range(100)]
    assert len({(t.semantic_map[0, 0], t.instance_map[0, 0], t.image.shape) for t in turned}) == 8
    for result in turned:
        places = result.semantic_map - 1, result.instance_map - 1
        assert np.array_equal(result.image, sample.image[places])
        assert result.instances == sample.instances


class TestIntensityJitter:
    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)

    def jitter(self, seed=0, **limits):
        nothing = {"gamma": (1, 1), "contrast": (1, 1), "brightness": 0, "blur": 0.01, "noise": 0}
        sample = Sample("a", self.image, self.image[..., 0], self.image[..., 0], {})
        return IntensityJitter(**{**nothing, **limits})(sample, rng(seed)).image

    def test_nothing_changes_nothing(self):
        assert np.array_equal(self.jitter(), self.image)

    def test_by_hand(self):
        assert self.jitter(gamma=(2, 2)).ravel()[3 * 128] == round(255 * (128 / 255) ** 2)
        assert self.jitter(contrast=(0.5, 0.5)).max() == round(255 / 2)
        # of all levels alike: 128 is level 128 of the image, which isn't clipped
        shifts = [
            int(self.jitter(seed, brightness=0.1).ravel()[3 * 128]) - 128 for seed in range(40)
        ]
        assert -26 <= min(shifts) < -13
        assert 13 < max(shifts) <= 26

    def test_noise_is_grey(self):
        noisy = [self.jitter(seed, noise=20).astype(int) for seed in range(8)]
        assert any((n != self.image).any() for n in noisy)
        assert all((n == n[..., :1]).all() for n in noisy)


def test_own_images_keep_windows_of_one_size():
    augmentation = instances_augmentation((48, 48), (0.75, 1.3))
    for height, width in ((30, 200), (100, 100)):
        result = augmentation(blocks(height, width, 10), rng())
        assert result.image.shape == (48, 48, 3)
        assert set(np.unique(result.instance_map)) - {0} == set(result.instances)


def test_small_objects_are_scaled_up_in_half_of_the_windows():
    """A square of 16 px: the disc of its area has a diameter of 4.51 px, 9.03 / 4.51 = 2."""
    ids = np.zeros((40, 40), np.int32)
    ids[18:22, 18:22] = 1
    sample = Sample("a", np.zeros((40, 40, 3), np.uint8), ids, ids, {1: Instance(1)})

    def areas(object_diameter):
        crop = RandomScaledCrop((40, 40), 1, 1, None, 1, object_diameter=object_diameter)
        return [int(crop(sample, rng(i)).instance_map.sum()) for i in range(60)]

    assert set(areas(None)) == set(areas(4.0)) == {16}  # larger ones are not scaled down
    larger = areas(6.77)  # 1.5 times
    assert set(larger) == {16, 36}
    assert 15 < larger.count(36) < 45
    assert max(areas(50.0)) == 64  # at most twice


def test_crowds_have_no_diameter():
    """A crowd that alone is too large to be scaled up, and one that is alone."""
    ids = np.zeros((40, 40), np.int32)
    ids[:18] = 2
    ids[20:24, 18:22] = 1
    crowd, image = Instance(1, iscrowd=True), np.zeros((40, 40, 3), np.uint8)
    beside = Sample("a", image, ids, ids, {1: Instance(1), 2: crowd})
    alone = Sample("b", image, ids, np.where(ids == 2, 2, 0), {2: crowd})
    crop = RandomScaledCrop((40, 40), 1, 1, object_diameter=9.03)
    counts = [
        [int((crop(sample, rng(i)).instance_map == id_).sum()) for i in range(40)]
        for sample, id_ in ((beside, 1), (alone, 2))
    ]
    assert max(counts[0]) == 64
    assert set(counts[1]) == {18 * 40}
