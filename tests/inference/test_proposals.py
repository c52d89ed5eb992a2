"""Local maxima against hand-drawn maps, a slow version and the authors' results."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numba.core import caching

from adaptis.inference.proposals import compiled, find_local_maxima, proposal_score_map
from tests.paths import SHARED
from tests.strategies import seeds, sides

AUTHORS = SHARED / "reference" / "authors_local_maxima.npz"
AUTHORS_BORDERS = AUTHORS.with_name("authors_local_maxima_borders.npz")


@pytest.mark.skipif(not AUTHORS.exists(), reason=f"the authors' results are not here: {AUTHORS}")
@pytest.mark.parametrize(("threshold", "name"), [(0.35, "thresh035"), (0.10, "thresh010")])
def test_authors_points_and_regions(threshold, name):
    authors = np.load(AUTHORS)
    points_yx, regions = find_local_maxima(authors["score_map"], threshold, return_regions=True)
    np.testing.assert_array_equal(points_yx, authors[f"points_{name}"])
    np.testing.assert_array_equal(regions, authors[f"regions_{name}"])


@pytest.mark.skipif(
    not AUTHORS_BORDERS.exists(), reason=f"the authors' results are not here: {AUTHORS_BORDERS}"
)
@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize(("threshold", "name"), [(0.35, "thresh035"), (0.10, "thresh010")])
def test_authors_points_where_scores_are_low_or_cleared(number, threshold, name):
    authors = np.load(AUTHORS_BORDERS)
    points_yx = find_local_maxima(authors[f"map{number}"], threshold)
    np.testing.assert_array_equal(points_yx, authors[f"points{number}_{name}"])


def slow_local_maxima(score_map, threshold, tolerance):
    """The docstring of find_local_maxima, word by word, with floats of single precision."""
    threshold, level, levels = np.float32(threshold), np.float32(0.99), []
    while level > threshold:
        levels.append(level)
        level = np.float32(level - np.float32(0.025))
    height, width = score_map.shape
    regions = np.full((height, width), -1)
    points_yx = []

    def neighbours(y, x):
        for ny in range(max(y - 1, 0), min(y + 2, height)):
            for nx in range(max(x - 1, 0), min(x + 2, width)):
                if (ny, nx) != (y, x):
                    yield ny, nx

    for level in levels:
        for y, x in np.ndindex(height, width):
            if score_map[y, x] < level or regions[y, x] >= 0:
                continue
            if any(
                score_map[n] > score_map[y, x] or score_map[n] < threshold for n in neighbours(y, x)
            ):
                continue
            regions[y, x] = len(points_yx)
            queue = deque([(y, x)])
            while queue:
                pixel = queue.popleft()
                for n in neighbours(*pixel):
                    rise = np.float32(tolerance)
                    if regions[n] < 0 and score_map[n] < np.float32(score_map[pixel] + rise):
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
    st.sampled_from([0.1, 0.35, 0.8, 0.99]),
    st.sampled_from([0.003, 0.0003, 0.3]),
)
def test_equals_the_slow_version(score_map, threshold, tolerance):
    points_yx, regions = find_local_maxima(score_map, threshold, True, tolerance)
    slow_points_yx, slow_regions = slow_local_maxima(score_map, threshold, tolerance)
    np.testing.assert_array_equal(points_yx, slow_points_yx)
    np.testing.assert_array_equal(regions, slow_regions)


@settings(max_examples=60, deadline=None)
@given(sides, sides, seeds, st.sampled_from([0.1, 0.35, 0.8, 0.99]), st.integers(1, 9))
def test_points_are_peaks_with_a_region_each(height, width, seed, threshold, blur):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 5, (height, width))
    score_map = proposal_score_map(logits, blur, rng.random((height, width)) < rng.random() / 9)
    assert score_map.shape == (height, width)
    assert 0 <= score_map.min() <= score_map.max() <= 1
    points_yx, regions = find_local_maxima(score_map, threshold, return_regions=True)
    for number, (y, x) in enumerate(points_yx):
        around = score_map[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
        assert score_map[y, x] == around.max() >= around.min() >= np.float32(threshold)
        assert regions[y, x] == number
    assert set(np.unique(regions)) - {-1} == set(range(len(points_yx)))


def test_higher_levels_come_first_and_raster_order_within_a_level():
    score_map = np.array([[0.51, 0.4, 0.90, 0.4, 0.91, 0.4, 0.98]])  # .90 and .91 are on one level
    points_yx = find_local_maxima(score_map, 0.35)
    assert points_yx.tolist() == [[0, 6], [0, 2], [0, 4], [0, 0]]
    assert points_yx.dtype == np.int64


def test_beside_a_pixel_under_the_threshold_there_is_no_peak():
    row = [[0.9, 0.5, 0.5, 0.9, 0.4]]
    assert find_local_maxima(np.array([*row, [0.5, 0.5, 0.5, 0.5, 0.4]]), 0.3).tolist() == [
        [0, 0],
        [0, 3],
    ]
    assert find_local_maxima(np.array([*row, [0.5, 0.5, 0.5, 0.5, 0.4]]), 0.45).tolist() == [[0, 0]]
    assert find_local_maxima(np.array([[0.9, 0.2]]), 0.35).size == 0
    assert find_local_maxima(np.array([[0.9]]), 0.35).tolist() == [[0, 0]]  # the image ends there


@pytest.mark.parametrize(("score", "points"), [(0.364, 0), (0.366, 1)])
def test_the_last_level_lies_above_the_threshold(score, points):
    """At a threshold of .35 it is .365 = .99 - 25 * .025."""
    assert len(find_local_maxima(np.full((3, 3), score), 0.35)) == points


def test_above_the_first_level_there_is_none():
    assert len(find_local_maxima(np.ones((3, 3)), 0.98)) == 1
    assert len(find_local_maxima(np.ones((3, 3)), 0.99)) == 0


def test_regions_end_where_the_score_rises():
    score_map = np.array([[0.9, 0.5, 0.4, 0.5, 0.7]])
    _, regions = find_local_maxima(score_map, 0.35, return_regions=True)
    assert regions.tolist() == [[0, 0, 0, 1, 1]]  # the higher peak floods the valley


@pytest.mark.parametrize(("ripple", "points"), [(0.002, 1), (0.004, 2)])
def test_ripples_under_the_tolerance_are_no_peaks_of_their_own(ripple, points):
    score_map = np.array([[0.9, 0.8, 0.8 + ripple, 0.7]])
    assert len(find_local_maxima(score_map, 0.35)) == points


def test_diagonal_pixels_are_neighbours():
    assert find_local_maxima(np.array([[0.9, 0.4], [0.4, 0.8]]), 0.35).tolist() == [[0, 0]]


def test_peaks_of_low_scores_want_a_lower_tolerance():
    """Between two peaks of .05 the map falls and rises by .002."""
    score_map = np.pad([[0.05, 0.048, 0.05]], 1, constant_values=0.04)
    assert find_local_maxima(score_map, 0.03).tolist() == [[1, 1]]
    assert find_local_maxima(score_map, 0.03, tolerance=0.0003).tolist() == [[1, 1], [1, 3]]


def test_a_plateau_gives_its_first_pixel():
    score_map = np.full((5, 5), 0.5)
    score_map[1:4, 1:4] = 0.8
    assert find_local_maxima(score_map, 0.35).tolist() == [[1, 1]]


@pytest.mark.parametrize("threshold", [0.1, 0.35, 0.98])
def test_a_constant_map_gives_one_point(threshold):
    points_yx, regions = find_local_maxima(np.ones((3, 4)), threshold, True)
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
    for threshold in (0, 1, np.nan):
        with pytest.raises(ValueError, match="threshold"):
            find_local_maxima(np.zeros((2, 2)), threshold)


def test_score_is_the_squared_sigmoid():
    logits = np.array([[-200.0, 0.0, np.log(3.0), 200.0]])  # sigmoid 0, 1/2, 3/4, 1
    score_map = proposal_score_map(logits, 1, np.zeros(logits.shape, bool))
    np.testing.assert_allclose(score_map, [[0, 0.25, 0.5625, 1]], atol=1e-6)
    assert score_map.dtype == np.float32


@pytest.mark.parametrize("blur", [2, 5])
def test_blur_is_a_box_after_the_square(blur):
    logits = np.full((11, 11), -200.0)
    logits[5, 5] = 200
    score_map = proposal_score_map(logits, blur, np.zeros(logits.shape, bool))
    assert np.count_nonzero(score_map) == blur**2
    np.testing.assert_allclose(score_map[score_map > 0], 1 / blur**2, rtol=1e-5)


def test_areas_are_cleared_before_the_blur():
    """So the scores at their borders fall off, and no peak is on the border of a plateau."""
    logits = np.full((9, 9), 200.0)
    cleared = np.zeros((9, 9), bool)
    cleared[:, :4] = True
    score_map = proposal_score_map(logits, 3, cleared)
    np.testing.assert_allclose(
        score_map, np.tile([0, 0, 0, 1 / 3, 2 / 3, 1, 1, 1, 1], (9, 1)), atol=1e-6
    )
    assert find_local_maxima(score_map, 0.35).tolist() == [[0, 5]]


def test_a_blur_of_no_pixel_is_an_error():
    with pytest.raises(ValueError, match="blur"):
        proposal_score_map(np.zeros((3, 3)), 0, np.zeros((3, 3), bool))


def test_machine_code_without_a_place_to_keep_it(monkeypatch):
    monkeypatch.setattr(caching.CompileResultCacheImpl, "_locator_classes", [])

    @compiled
    def total(numbers):
        total = 0
        for number in numbers:
            total += number
        return total

    assert total(np.array([1, 2, 3])) == 6
    assert len(total.signatures) == 1  # it was compiled
