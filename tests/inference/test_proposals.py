"""Local maxima against hand-drawn maps, a slow version and the authors' results."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from adaptis.inference.proposals import find_local_maxima, proposal_score_map
from tests.paths import SHARED
from tests.strategies import seeds, sides

AUTHORS = SHARED / "reference" / "authors_local_maxima.npz"


@pytest.mark.skipif(not AUTHORS.exists(), reason=f"the authors' results are not here: {AUTHORS}")
@pytest.mark.parametrize(("threshold", "name"), [(0.35, "thresh035"), (0.10, "thresh010")])
def test_authors_points_and_regions(threshold, name):
    authors = np.load(AUTHORS)
    points_yx, regions = find_local_maxima(authors["score_map"], threshold, return_regions=True)
    np.testing.assert_array_equal(points_yx, authors[f"points_{name}"])
    np.testing.assert_array_equal(regions, authors[f"regions_{name}"])


def slow_local_maxima(score_map, threshold):
    """The docstring of find_local_maxima, word by word."""
    height, width = score_map.shape
    regions = np.full((height, width), -1)
    points_yx = []

    def neighbours(y, x):
        for ny in range(max(y - 1, 0), min(y + 2, height)):
            for nx in range(max(x - 1, 0), min(x + 2, width)):
                if (ny, nx) != (y, x):
                    yield ny, nx

    for level in np.float32([*np.arange(0.99, threshold, -0.025), threshold]):
        for y, x in np.ndindex(height, width):
            if score_map[y, x] < level or regions[y, x] >= 0:
                continue
            if any(score_map[n] > score_map[y, x] for n in neighbours(y, x)):
                continue
            regions[y, x] = len(points_yx)
            queue = deque([(y, x)])
            while queue:
                pixel = queue.popleft()
                for n in neighbours(*pixel):
                    if regions[n] < 0 and float(score_map[n]) <= float(score_map[pixel]) + 0.003:
                        regions[n] = len(points_yx)
                        queue.append(n)
            points_yx.append((y, x))
    return np.array(points_yx, np.int64).reshape(-1, 2), regions


scores = st.one_of(
    st.floats(0, 1, width=32),
    st.integers(0, 4).map(lambda i: i / 4),  # plateaus
    st.integers(0, 8).map(
        lambda i: float(np.float32(0.8 + i / 1000))
    ),  # steps on both sides of the tolerance
)


strips = st.tuples(sides, st.integers(1, 3)).flatmap(st.permutations).map(tuple)


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(array_shapes(min_dims=2, max_dims=2, max_side=9), strips).flatmap(
        lambda shape: arrays(np.float32, shape, elements=scores)
    ),
    st.sampled_from([0.1, 0.35, 0.8, 1.0]),
)
def test_equals_the_slow_version(score_map, threshold):
    points_yx, regions = find_local_maxima(score_map, threshold, return_regions=True)
    slow_points_yx, slow_regions = slow_local_maxima(score_map, threshold)
    np.testing.assert_array_equal(points_yx, slow_points_yx)
    np.testing.assert_array_equal(regions, slow_regions)


@settings(max_examples=60, deadline=None)
@given(sides, sides, seeds, st.sampled_from([0.1, 0.35, 0.8, 1.0]), st.integers(0, 9))
def test_points_are_peaks_with_a_region_each(height, width, seed, threshold, blur):
    logits = np.random.default_rng(seed).normal(0, 5, (height, width))
    score_map = proposal_score_map(logits, blur)
    assert score_map.shape == (height, width)
    assert 0 <= score_map.min() <= score_map.max() <= 1
    points_yx, regions = find_local_maxima(score_map, threshold, return_regions=True)
    assert (len(points_yx) > 0) == (score_map.max() >= np.float32(threshold))
    for number, (y, x) in enumerate(points_yx):
        around = score_map[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        assert score_map[y, x] == around.max() >= np.float32(threshold)
        assert regions[y, x] == number
    assert set(np.unique(regions)) - {-1} == set(range(len(points_yx)))


def test_higher_levels_come_first_and_raster_order_within_a_level():
    score_map = np.array([[0.50, 0, 0.90, 0, 0.91, 0, 0.98]])  # .90 and .91 are on one level
    points_yx = find_local_maxima(score_map, 0.35)
    assert points_yx.tolist() == [[0, 6], [0, 2], [0, 4], [0, 0]]
    assert points_yx.dtype == np.int64


def test_regions_end_where_the_score_rises():
    score_map = np.array([[0.9, 0.5, 0.2, 0.5, 0.7]])
    _, regions = find_local_maxima(score_map, 0.35, return_regions=True)
    assert regions.tolist() == [[0, 0, 0, 1, 1]]  # the higher peak floods the valley


@pytest.mark.parametrize(("ripple", "points"), [(0.002, 1), (0.004, 2)])
def test_ripples_up_to_the_tolerance_are_no_peaks_of_their_own(ripple, points):
    score_map = np.array([[0.9, 0.8, 0.8 + ripple, 0.7]])
    assert len(find_local_maxima(score_map, 0.35)) == points


def test_diagonal_pixels_are_neighbours():
    assert find_local_maxima(np.array([[0.9, 0.1], [0.1, 0.8]]), 0.35).tolist() == [[0, 0]]


def test_a_plateau_gives_its_first_pixel():
    score_map = np.zeros((5, 5))
    score_map[1:4, 1:4] = 0.8
    assert find_local_maxima(score_map, 0.35).tolist() == [[1, 1]]


@pytest.mark.parametrize("threshold", [0.1, 0.35, 0.99, 1.0])
def test_a_constant_map_at_the_threshold_gives_one_point(threshold):
    points_yx, regions = find_local_maxima(np.full((3, 4), threshold), threshold, True)
    assert points_yx.tolist() == [[0, 0]]
    assert (regions == 0).all()


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (4, 6)])
def test_nothing_to_find(shape):
    points_yx, regions = find_local_maxima(np.zeros(shape), 0.1, return_regions=True)
    assert points_yx.shape == (0, 2)
    assert regions.shape == shape
    assert (regions == -1).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_scores_are_an_error(bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        find_local_maxima(np.array([[0.5, bad]]), 0.35)


def test_wrong_shape_and_threshold_are_errors():
    with pytest.raises(ValueError, match=r"must be \(H, W\)"):
        find_local_maxima(np.zeros((1, 2, 2)), 0.35)
    for threshold in (0, 1.1, np.nan):
        with pytest.raises(ValueError, match="threshold"):
            find_local_maxima(np.zeros((2, 2)), threshold)


@pytest.mark.parametrize("blur", [0, 1])
def test_score_is_the_squared_sigmoid(blur):
    logits = np.array([[-200.0, 0.0, np.log(3.0), 200.0]])  # sigmoid 0, 1/2, 3/4, 1
    score_map = proposal_score_map(logits, blur)
    np.testing.assert_allclose(score_map, [[0, 0.25, 0.5625, 1]], atol=1e-6)
    assert score_map.dtype == np.float32


@pytest.mark.parametrize("blur", [2, 5])
def test_blur_is_a_box_after_the_square(blur):
    logits = np.full((11, 11), -200.0)
    logits[5, 5] = 200
    score_map = proposal_score_map(logits, blur)
    assert np.count_nonzero(score_map) == blur**2
    np.testing.assert_allclose(score_map[score_map > 0], 1 / blur**2, rtol=1e-5)


def test_negative_blur_is_an_error():
    with pytest.raises(ValueError, match="blur"):
        proposal_score_map(np.zeros((3, 3)), -1)
