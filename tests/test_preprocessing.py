"""Sizes, and maps of ids at other sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptis.preprocessing import (
    normalize_image,
    resize,
    resize_labels,
    scale_points,
    scaled_size,
)
from tests.strategies import seeds, sides

sizes = st.tuples(sides, sides)


@settings(deadline=None)
@given(size=sizes, new_size=sizes, seed=seeds)
def test_a_label_is_the_one_at_its_centre(size, new_size, seed):
    labels = np.random.default_rng(seed).integers(0, 2**24, size)
    resized = resize_labels(labels, new_size)
    assert resized.shape == new_size
    for new_row, new_col in (
        (0, 0),
        (new_size[0] - 1, new_size[1] - 1),
        (i // 2 for i in new_size),
    ):
        row = (2 * new_row + 1) * size[0] // (2 * new_size[0])
        col = (2 * new_col + 1) * size[1] // (2 * new_size[1])
        assert resized[new_row, new_col] == labels[row, col]
    np.testing.assert_array_equal(resize_labels(labels, size), labels)


def test_points_follow_the_pixels_they_are_in():
    points = [(0, 0), (1, 3), (0.5, 1.5)]  # of two rows and four columns
    doubled = scale_points(points, (2, 4), (4, 8))
    np.testing.assert_allclose(doubled, [(0.5, 0.5), (2.5, 6.5), (1.5, 3.5)])
    np.testing.assert_allclose(scale_points(doubled, (4, 8), (2, 4)), points)


@settings(deadline=None)
@given(size=sizes, factor=st.integers(2, 4), seed=seeds)
def test_a_bright_pixel_stays_where_its_point_goes(size, factor, seed):
    point = np.random.default_rng(seed).integers(size)
    image = np.zeros(size, np.float32)
    image[tuple(point)] = 1
    new_size = (size[0] * factor, size[1] * factor)
    weights = resize(image, new_size)
    centre = (np.argwhere(weights == 1) if factor % 2 else np.argwhere(weights > 0.5)).mean(axis=0)
    np.testing.assert_allclose(scale_points(point, size, new_size), centre, atol=0.5)


@settings(deadline=None)
@given(size=sizes, new_size=sizes, seed=seeds)
def test_no_point_leaves_the_image(size, new_size, seed):
    corners = [(0, 0), np.subtract(size, 1)]
    scaled = scale_points(corners, size, new_size)
    assert (scaled >= 0).all()
    assert (scaled <= np.subtract(new_size, 1)).all()


@given(size=sizes, shortest=st.one_of(st.none(), sides), longest=sides)
def test_one_side_is_as_long_as_asked(size, shortest, longest):
    scaled = scaled_size(size, shortest, None if shortest else longest)
    assert (min(scaled) == shortest) if shortest else (max(scaled) == min(longest, max(size)))
    assert scaled_size(size, None, None) == size
    factor = scaled[np.argmax(size)] / max(size)
    assert min(scaled) >= 1
    for before, after in zip(size, scaled):
        assert after == 1 or abs(after - before * factor) <= 0.5 + 0.5 * before / max(size) + 1e-9


@pytest.mark.parametrize(
    ("sides", "scaled"),
    [
        ((None, 2000), (1500, 2000)),  # of a 3 x 4 photograph of 12 megapixels
        ((None, 6000), (3000, 4000)),
        ((600, None), (600, 800)),
        ((3300, None), (3300, 4400)),
    ],
)
def test_by_the_longest_side_images_are_only_scaled_down(sides, scaled):
    assert scaled_size((3000, 4000), *sides) == scaled


@settings(deadline=None)
@given(size=sizes, new_size=sizes, seed=seeds)
def test_confidences_stay_within_their_range(size, new_size, seed):
    confidences = np.random.default_rng(seed).random(size, np.float32)
    resized = resize(confidences, new_size)
    assert resized.shape == new_size
    assert confidences.min() - 1e-6 <= resized.min() <= resized.max() <= confidences.max() + 1e-6


@settings(deadline=None)
@given(size=sizes, seed=seeds)
def test_normalising_is_per_channel(size, seed):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    mean, std = (0.1, 0.4, 0.7), (0.2, 0.5, 1.0)
    normalised = normalize_image(image, mean, std)
    assert (normalised.shape, normalised.dtype) == ((3, *size), np.float32)
    for channel in range(3):
        expected = (image[..., channel] / 255 - mean[channel]) / std[channel]
        np.testing.assert_allclose(normalised[channel], expected, atol=1e-5)
