"""The greedy algorithm of Section 4, against hand-drawn confidences and a slow plain version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptis.inference.greedy import (
    Aggregation,
    cut_beyond,
    segment_proposals,
    segment_random_points,
)
from adaptis.inference.settings import GreedySettings
from tests.strategies import seeds, sides

PLAIN = GreedySettings(mask_threshold=0.5, max_overlap=0.5, min_area=1)


def drawn(*rows: str) -> np.ndarray:
    """Confidences from digits: 9 is .9, 0 is 0."""
    return np.array([[int(c) / 10 for c in row] for row in rows], np.float32)


def nothing(shape) -> np.ndarray:
    return np.zeros(shape, bool)


class FromObjects:
    """Predicts, for a point, the confidences of the object drawn there; counts the points."""

    def __init__(self, owner: np.ndarray, confidences: np.ndarray):
        self.owner, self.confidences, self.points = owner, confidences, 0

    def __call__(self, points_yx):
        self.points += len(points_yx)
        return np.stack([self.confidences[self.owner[y, x]] for y, x in np.asarray(points_yx)])


def test_each_pixel_goes_to_the_most_confident_object():
    aggregation = Aggregation(nothing((1, 6)), PLAIN)
    assert aggregation.add((0, 0), drawn("999600")).accepted
    assert aggregation.add((0, 4), drawn("000877")).accepted  # 1 of its 3 pixels is segmented
    assert aggregation.instance_map.tolist() == [[1, 1, 1, 2, 2, 2]]
    np.testing.assert_allclose(aggregation.confidence, drawn("999877"))


def test_a_pixel_in_no_mask_goes_to_the_most_confident_object_unless_it_is_stuff():
    aggregation = Aggregation(np.array([[False] * 5 + [True]]), PLAIN)
    aggregation.add((0, 0), drawn("994210"))
    aggregation.add((0, 4), drawn("031899"))  # the last .9 on stuff
    assert aggregation.instance_map.tolist() == [[1, 1, 1, 2, 2, 0]]
    assert aggregation.segmented.tolist() == [[True, True, False, True, True, True]]
    np.testing.assert_allclose(aggregation.scores, [0.9, 2.6 / 3])  # of the masks alone


def test_half_an_overlap_is_too_much():
    aggregation = Aggregation(nothing((1, 4)), PLAIN)
    aggregation.add((0, 0), drawn("9900"))
    assert not aggregation.add((0, 2), drawn("0990")).accepted  # 1 of 2 pixels
    assert aggregation.instance_map.tolist() == [[1, 1, 0, 0]]
    assert aggregation.points_yx == [(0, 0)]


def test_an_empty_mask_is_ignored():
    aggregation = Aggregation(nothing((2, 2)), PLAIN)
    assert not aggregation.add((0, 0), drawn("11", "11")).accepted
    assert not aggregation.segmented.any()


def test_confidence_equal_to_the_threshold_is_background():
    step = Aggregation(nothing((1, 2)), PLAIN).add((0, 0), drawn("59"))
    assert step.mask.tolist() == [[False, True]]


def test_stuff_counts_as_segmented_and_stays_stuff():
    stuff = np.array([[True, False, False]])
    aggregation = Aggregation(stuff, PLAIN)
    assert aggregation.add((0, 1), drawn("999")).accepted  # 1 of 3 pixels
    assert aggregation.instance_map.tolist() == [[0, 1, 1]]
    assert (
        not Aggregation(np.array([[True, True, False]]), PLAIN).add((0, 2), drawn("999")).accepted
    )


@pytest.mark.parametrize(
    ("within_masks", "expected"), [(False, [0, 1, 1, 0, 1]), (True, [0, 1, 1, 0, 0])]
)
def test_stuff_may_take_part_in_the_arg_max(within_masks, expected):
    """An object gets what it is surer of than the semantic branch of stuff, and nothing else."""
    stuff = drawn("96270")
    segmented = np.array([[True, True, False, True, False]])
    settings_ = replace(PLAIN, max_overlap=1, within_masks=within_masks)
    aggregation = Aggregation(segmented, settings_, stuff_probability=stuff)
    aggregation.add((0, 2), drawn("67731"))
    aggregation.add((0, 0), drawn("11111"))  # an empty mask is no object
    assert aggregation.instance_map.tolist() == [expected]


def test_class_probabilities_are_summed_over_the_mask():
    probabilities = np.array([[[0.5, 0.5, 1, 1]], [[0.25, 0.5, 0, 0]]], np.float32)
    aggregation = Aggregation(nothing((1, 4)), PLAIN, probabilities)
    aggregation.add((0, 0), drawn("9930"))  # gets the third pixel too
    aggregation.add((0, 0), drawn("9900"))  # ignored
    assert aggregation.instance_map.tolist() == [[1, 1, 1, 0]]
    np.testing.assert_array_equal(aggregation.class_sums, [[1, 0.75]])


@pytest.mark.parametrize(
    ("within_masks", "expected"), [(False, [1, 1, 2, 2]), (True, [1, 0, 0, 2])]
)
def test_pixels_in_no_mask(within_masks, expected):
    aggregation = Aggregation(nothing((1, 4)), replace(PLAIN, within_masks=within_masks))
    aggregation.add((0, 0), drawn("9410"))
    aggregation.add((0, 3), drawn("0129"))
    assert aggregation.instance_map.tolist() == [expected]


@pytest.mark.parametrize(
    ("radius", "first", "second"),
    [
        (1, ["990", "900", "000"], ["099", "009", "000"]),
        (1.5, ["990", "990", "000"], ["099", "099", "000"]),
        (None, ["999"] * 3, ["999"] * 3),
    ],
)
def test_confidences_are_cut_beyond_a_radius(radius, first, second):
    confidences = np.stack([drawn("999", "999", "999")] * 2)
    cut_beyond(radius, np.array([[0, 0], [0, 2]]), confidences)
    np.testing.assert_array_equal(confidences, [drawn(*first), drawn(*second)])


def test_proposals_already_segmented_are_removed():
    owner = np.array([[0, 0, 1]])
    predict = FromObjects(owner, np.stack([drawn("990"), drawn("009")]))
    aggregation = Aggregation(nothing((1, 3)), PLAIN)
    steps = list(segment_proposals(predict, aggregation, np.array([[0, 0], [0, 1], [0, 2]]), 1))
    assert [step.point_yx for step in steps] == [(0, 0), (0, 2)]
    assert predict.points == 2


@settings(max_examples=60, deadline=None)
@given(
    height=sides,
    width=sides,
    seed=seeds,
    batch=st.integers(1, 9),
    candidates=st.integers(1, 5),
    within_masks=st.booleans(),
)
def test_batches_of_points_change_nothing(height, width, seed, batch, candidates, within_masks):
    """Against the plain loop: one point a call, every confidence map kept, arg max at the end."""
    rng = np.random.default_rng(seed)
    count = min(rng.integers(1, 12), height * width)
    confidences = rng.random((count, height, width), np.float32)
    pixels = rng.choice(height * width, count, replace=False)
    points = np.stack(np.divmod(pixels, width), axis=1)
    stuff = rng.random((height, width)) < rng.random() / 2
    by_point = {tuple(p): c for p, c in zip(points.tolist(), confidences)}
    means = {p: c[c > 0.5].mean() if (c > 0.5).any() else 0 for p, c in by_point.items()}

    segmented, kept, remaining = stuff.copy(), [], list(by_point)
    while remaining := [point for point in remaining if not segmented[point]]:
        best = max(remaining[:candidates], key=means.get)
        remaining.remove(best)
        mask = by_point[best] > 0.5
        if mask.any() and (mask & segmented).sum() / mask.sum() < 0.5:
            kept.append(by_point[best])
            segmented |= mask
    expected = np.zeros((height, width), int)
    if kept:
        expected = (np.argmax(kept, axis=0) + 1) * ~stuff
        if within_masks:
            expected *= np.max(kept, axis=0) > 0.5

    plain = replace(PLAIN, within_masks=within_masks, proposal_candidates=candidates)
    aggregation = Aggregation(stuff, plain)
    predicted: list[tuple[int, int]] = []

    def predict(points_yx):
        predicted.extend(map(tuple, points_yx.tolist()))
        return np.stack([by_point[tuple(point)] for point in points_yx.tolist()])

    list(segment_proposals(predict, aggregation, points, batch))
    assert aggregation.instance_map.tolist() == expected.tolist()
    assert len(set(predicted)) == len(predicted)  # each at most once


@pytest.mark.parametrize(("candidates", "first"), [(1, (0, 0)), (2, (0, 1)), (3, (0, 2))])
def test_the_most_confident_of_the_next_proposals_is_taken(candidates, first):
    owner = np.array([[0, 1, 2, 3]])
    predict = FromObjects(owner, np.stack([drawn(row) for row in ("6660", "0700", "0080", "0009")]))
    aggregation = Aggregation(nothing((1, 4)), replace(PLAIN, proposal_candidates=candidates))
    points = np.array([[0, 0], [0, 1], [0, 2], [0, 3]])
    step = next(segment_proposals(predict, aggregation, points, 1))
    assert step.point_yx == first
    assert predict.points == candidates


def test_random_points_find_every_object_and_end():
    owner = np.repeat(np.arange(4), 3)[None].repeat(2, axis=0)  # four objects of 2 x 3 pixels
    confidences = np.stack([np.where(owner == i, 0.9, 0.1) for i in range(4)]).astype(np.float32)
    aggregation = Aggregation(nothing(owner.shape), PLAIN)
    rng = np.random.default_rng(0)
    steps = list(segment_random_points(FromObjects(owner, confidences), aggregation, rng))
    assert len(steps) == 4
    assert all(step.accepted for step in steps)
    found = aggregation.instance_map
    assert len({(a, b) for a, b in zip(owner.ravel().tolist(), found.ravel().tolist())}) == 4


def test_random_points_take_the_highest_average_confidence():
    owner = np.array([[0, 1]])
    confidences = np.stack([drawn("60"), drawn("09")])
    steps = segment_random_points(
        FromObjects(owner, confidences),
        Aggregation(nothing((1, 2)), PLAIN),
        np.random.default_rng(0),
    )
    assert next(steps).point_yx == (0, 1)


def test_random_points_end_when_no_mask_is_good():
    aggregation = Aggregation(nothing((5, 5)), PLAIN)
    predict = FromObjects(np.zeros((5, 5), int), np.zeros((1, 5, 5), np.float32))
    assert not any(
        step.accepted
        for step in segment_random_points(predict, aggregation, np.random.default_rng(0))
    )
    assert predict.points == 25


def test_random_points_end_after_fruitless_iterations_in_succession():
    """Objects are met in the 3rd and the 5th iteration; then 4 without one are too many."""
    found, empty = drawn("9900000000" * 3), drawn("0000000000" * 3)
    other = drawn("0099000000" * 3)
    confidences = iter([empty, empty, found, empty, other] + 10 * [empty])
    steps = list(
        segment_random_points(
            lambda points_yx: next(confidences)[None],
            Aggregation(nothing((1, 30)), replace(PLAIN, candidates=1, max_fruitless=4)),
            np.random.default_rng(0),
        )
    )
    assert [step.accepted for step in steps] == [False] * 2 + [True, False, True] + [False] * 4


@pytest.mark.parametrize("points", [np.zeros((0, 2), int), np.array([[0, 0]])])
def test_nothing_to_segment(points):
    """All pixels segmented from the start, or no proposals: no step, no prediction."""
    stuff = np.ones((2, 2), bool)
    aggregation = Aggregation(stuff, PLAIN)
    assert not list(segment_proposals(FromObjects(stuff.astype(int), None), aggregation, points, 4))
    random_steps = segment_random_points(None, aggregation, np.random.default_rng(0))
    assert not list(random_steps)


def test_one_object_covering_everything():
    owner = np.zeros((3, 4), int)
    predict = FromObjects(owner, np.full((1, 3, 4), 0.9, np.float32))
    aggregation = Aggregation(nothing((3, 4)), PLAIN)
    assert len(list(segment_random_points(predict, aggregation, np.random.default_rng(0)))) == 1
    assert (aggregation.instance_map == 1).all()
