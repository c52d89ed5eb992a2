from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from mxnet import gluon

from adaptis.training.samples import EpochBatches, Repeated, TrainingSamples
from adaptis.training.sampling import IGNORED, sample_points
from datasets.base import Instance, Sample
from datasets.toy import ToyAugmentation
from datasets.transforms import RandomScaledCrop


class Drawn:
    """Six images of noise with three objects: 1, 2 (a crowd) and 3 (6 pixels)."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        instance_map = np.zeros((16, 16), np.int32)
        instance_map[:8], instance_map[10:, :8], instance_map[14:, 12:15] = 1, 2, 3
        return Sample(
            name=str(index),
            image=np.random.default_rng(index).integers(256, size=(16, 16, 3), dtype=np.uint8),
            semantic_map=(instance_map > 0).astype(np.int32),
            instance_map=instance_map,
            instances={1: Instance(1), 2: Instance(1, iscrowd=True), 3: Instance(1)},
        )


def samples(seed=0, min_area=1, augmentation=None, num_points=3):
    return TrainingSamples(
        Drawn(),
        augmentation or ToyAugmentation(),
        partial(sample_points, num_points=num_points),
        seed,
        (0.5, 0.5, 0.5),
        (0.5, 0.5, 0.5),
        min_area,
    )


def same(first, second):
    return [np.array_equal(a, b) for a, b in zip(first, second)]


class TestEpochBatches:
    def test_each_epoch_is_a_permutation_of_its_own(self):
        batches = list(EpochBatches(num_samples=12, batch_size=3, epochs=5, seed=0))
        assert len(batches) == 20
        orders = []
        for epoch in range(5):
            keys = [key for batch in batches[4 * epoch : 4 * epoch + 4] for key in batch]
            assert {e for e, _ in keys} == {epoch}
            orders.append([index for _, index in keys])
            assert sorted(orders[-1]) == list(range(12))
        assert len({tuple(order) for order in orders}) == 5

    def test_a_remainder_is_left_out_and_another_one_each_epoch(self):
        batches = EpochBatches(num_samples=7, batch_size=2, epochs=99, seed=0)
        assert batches.per_epoch == 3
        assert [len(batch) for batch in batches] == [2] * 297
        left_out = set()
        for epoch in range(99):
            left_out |= set(range(7)) - {i for batch in batches for e, i in batch if e == epoch}
        assert left_out == set(range(7))

    @pytest.mark.parametrize("start", range(10))
    def test_resumed_at_any_batch_it_is_the_rest(self, start):
        whole = EpochBatches(num_samples=7, batch_size=2, epochs=3, seed=4)
        rest = EpochBatches(num_samples=7, batch_size=2, epochs=3, seed=4, start=start)
        assert len(whole) == 9
        assert len(rest) == 9 - start
        assert list(rest) == list(whole)[start:]

    def test_seed(self):
        first, again, other = (list(EpochBatches(20, 4, 1, seed)) for seed in (0, 0, 1))
        assert first == again
        assert first != other

    @pytest.mark.parametrize("start", [0, 2])
    def test_workers_share_each_batch(self, start):
        whole = list(EpochBatches(20, 5, 2, 0, start))
        parts = [list(EpochBatches(20, 5, 2, 0, start, rank, count=3)) for rank in range(3)]
        for batch, *shares in zip(whole, *parts):
            assert sorted(key for share in shares for key in share) == sorted(batch)
            assert [len(share) for share in shares] == [2, 2, 1]
        assert {len(part) for part in parts} == {len(whole)}

    def test_more_workers_than_images_in_a_batch(self):
        with pytest.raises(ValueError, match="batch of 2 for 3 workers"):
            EpochBatches(8, 2, 1, 0, count=3)

    def test_a_batch_larger_than_the_data(self):
        with pytest.raises(ValueError, match="batch of 9 from 8 images"):
            EpochBatches(8, 9, 1, 0)


class TestTrainingSamples:
    def test_the_same_key_gives_the_same_arrays(self):
        assert all(same(samples()[3, 2], samples()[3, 2]))

    @pytest.mark.parametrize("other", [(4, 2), (3, 1)], ids=["epoch", "index"])
    def test_another_epoch_or_index_draws_anew(self, other):
        image, points = same(samples()[3, 2], samples()[other])[:2]
        assert not image
        assert not points

    def test_another_seed_draws_anew(self):
        assert same(samples(0)[3, 2], samples(1)[3, 2])[:2] == [False, False]

    def test_a_sample_does_not_depend_on_those_before_it(self):
        alone, used = samples(), samples()
        for index in range(6):
            used[0, index]
        assert all(same(alone[1, 4], used[1, 4]))

    def test_what_a_sample_is(self):
        """Without augmentation: image normalised, labels kept, crowd and small no targets."""
        untouched = samples(min_area=7, augmentation=lambda sample, rng: sample, num_points=2)
        image, points_yx, masks, labels, index = untouched[0, 5]
        drawn = Drawn()[5]
        expected = drawn.image.transpose(2, 0, 1) / 127.5 - 1
        np.testing.assert_allclose(image, expected, atol=1e-6)
        assert image.dtype == points_yx.dtype == np.float32
        np.testing.assert_array_equal(labels, drawn.semantic_map)
        assert index == 5
        for (row, col), mask in zip(points_yx.astype(int), masks):
            point_id = drawn.instance_map[row, col]
            value = IGNORED if point_id > 1 else 1  # a point may lie on a crowd
            np.testing.assert_array_equal(mask, value * (drawn.instance_map == point_id))

    def test_most_crops_without_an_object_are_drawn_again(self):
        """Of crops of a pixel, 122 of 256 miss the objects; 5 % of those are kept, so 1 in 23."""
        crops = samples(augmentation=ToyAugmentation(crop_size=1))
        empty = [(crops[epoch, 0][2] == IGNORED).all() for epoch in range(1000)]
        share = 122 * 0.05 / (134 + 122 * 0.05)
        assert sum(empty) / 1000 == pytest.approx(share, abs=4 * np.sqrt(share / 1000))

    def test_small_objects_are_as_none(self):
        crops = samples(augmentation=ToyAugmentation(crop_size=4), min_area=16)
        masks = [crops[epoch, 0][2] for epoch in range(50)]
        assert sum((m == 1).all() for m in masks) > 40

    def test_an_image_without_objects_is_drawn_once(self):
        calls = []

        def of_a_crowd(sample, rng):
            calls.append(rng)
            return sample

        class Crowds(Drawn):
            def __getitem__(self, index):
                sample = super().__getitem__(index)
                return replace(sample, instances={i: Instance(1, iscrowd=True) for i in (1, 2, 3)})

        points = partial(sample_points, num_points=2)
        ones = (1, 1, 1)
        assert (TrainingSamples(Crowds(), of_a_crowd, points, 0, ones, ones, 1)[0, 0][2] != 1).all()
        assert len(calls) == 1

    def test_padding_has_no_label(self):
        crop = RandomScaledCrop((20, 16), 1, 1)
        _, _, masks, labels, _ = samples(augmentation=crop)[0, 0]
        padding = (labels == IGNORED).all(axis=1)
        assert padding.sum() == 4
        assert (masks[:, padding] == IGNORED).all()
        assert (labels[~padding] >= 0).all()

    def test_points_fit_the_augmented_masks(self):
        every = samples(augmentation=ToyAugmentation(crop_size=10))
        shapes = set()
        for epoch in range(10):
            image, points_yx, masks, labels, _ = every[epoch, 0]
            shapes.add((image.shape, masks.shape, labels.shape))
            for (row, col), mask in zip(points_yx.astype(int), masks):
                assert mask[row, col] != 0
                assert ((labels == 0) <= (mask == 0)).all()
        assert shapes == {((3, 10, 10), (3, 10, 10), (10, 10))}


@pytest.mark.parametrize("threads", [False, True], ids=["processes", "threads"])
def test_loader_workers_change_nothing(threads):
    """Batches of two workers are those of none, in order."""

    def load(workers):
        batches = EpochBatches(num_samples=6, batch_size=2, epochs=2, seed=0, start=1)
        loader = gluon.data.DataLoader(
            samples(), batch_sampler=batches, num_workers=workers, thread_pool=threads
        )
        return [[array.asnumpy() for array in batch] for batch in loader]

    expected, found = load(0), load(2)
    assert len(expected) == len(found) == 5
    for ours, theirs in zip(found, expected):
        assert all(same(ours, theirs))
        assert [a.dtype for a in ours] == [a.dtype for a in theirs]
        assert ours[0].shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("images", "times", "expected"),
    [
        (None, None, ["a", "b", "c"] * 2),
        (2, None, ["a", "b"] * 2),
        (9, None, ["a", "b", "c"] * 2),
        (2, [1, 3, 2], ["a", "b", "b", "b"] * 2),
    ],
)
def test_repeated_shows_the_first_images_several_times(images, times, expected):
    class Letters(list):
        names = ("a", "b", "c")

        def image_path(self, index):
            return self[index]

    repeated = Repeated(Letters("abc"), images, repeats=2, times=times)
    assert [repeated[i] for i in range(len(repeated))] == expected
    assert [repeated.image_path(i) for i in range(len(repeated))] == expected
    assert list(repeated.names) == expected
