"""The head on windows around the points instead of the whole image."""

from __future__ import annotations

from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest

from adaptis.inference.mxnet_backend import MXNetBackend
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.inference.windows import windows_around
from adaptis.network.model import HE_NORMAL
from models.build import build_network

CLASSES = [{"category_id": 1, "isthing": False}, {"category_id": 2, "isthing": True}]
DESCRIPTION = {"mean": [0.5] * 3, "std": [0.5] * 3, "classes": CLASSES}
PANOPTIC = {"architecture": "panoptic", "backbone": "resnet18_v1b", "classes": 2, "channels": 16}
IMAGE = np.random.default_rng(0).integers(0, 256, (45, 70, 3), np.uint8)
POINTS_XY = np.float32([[0, 0], [35, 22], [69, 44], [10.5, 30]])


class TestWindowsAround:
    def corners(self, points_yx, window=20, image_size=(50, 100), stride=1):
        return windows_around(np.array(points_yx), window, image_size, stride)

    def test_the_point_is_in_the_middle_or_the_window_at_the_border(self):
        size, corners_yx = self.corners([(30, 40), (0, 0), (49, 99), (3, 95)])
        assert size == (20, 20)
        assert corners_yx == [(20, 30), (0, 0), (30, 80), (0, 80)]

    def test_a_window_is_no_longer_than_the_image(self):
        assert self.corners([(30, 40)], window=80) == ((50, 80), [(0, 0)])

    def test_strides(self):
        """Features of 45 px reach to 48."""
        size, corners_yx = self.corners([(44, 21)], window=18, image_size=(45, 99), stride=4)
        assert size == (20, 20)
        assert corners_yx == [(28, 12)]


def predictor(network, **settings):
    mx.random.seed(3)
    network = build_network(network)
    network.initialize(HE_NORMAL)
    predictor = AdaptISPredictor(MXNetBackend(network, mx.cpu()), DESCRIPTION)
    predictor.settings = predictor.settings.with_options(**settings)
    return predictor


@pytest.mark.parametrize("network", [{"architecture": "toy", "width": 4}, PANOPTIC])
class TestConfidences:
    def test_outside_of_the_window_is_nothing(self, network):
        made = predictor(network, head_window=24)
        made.set_image(IMAGE)
        confidences = made.predict(POINTS_XY).confidences
        assert confidences.shape == (4, 45, 70)
        stride = made.backend.network.stride
        size, corners_yx = windows_around(POINTS_XY[:, ::-1], 24, (45, 70), stride)
        for confidence, (row, col) in zip(confidences, corners_yx):
            inside = np.zeros((45, 70), bool)
            inside[row : row + size[0], col : col + size[1]] = True
            assert (confidence[inside] > 0).all()
            assert not confidence[~inside].any()

    def test_points_together_are_points_one_by_one(self, network):
        made = predictor(network, head_window=24)
        made.set_image(IMAGE)
        points_yx = POINTS_XY[:, ::-1].copy()
        encoded = made._views.encoded[0]
        together = made.backend.confidences(encoded, points_yx, 24)
        for confidence, point in zip(together, points_yx):
            alone = made.backend.confidences(encoded, point[None], 24)[0]
            np.testing.assert_allclose(confidence, alone, atol=1e-5)

    def test_a_window_of_the_whole_image_changes_nothing(self, network):
        made = predictor(network)
        made.set_image(IMAGE)
        whole = made.predict(POINTS_XY).confidences
        made.settings = replace(made.settings, head_window=70)
        np.testing.assert_array_equal(made.predict(POINTS_XY).confidences, whole)


def test_it_is_the_head_on_an_image_of_that_size():
    """With features that don't depend on what is outside, the window's confidences are those of the
    cut image: as in training on crops."""
    made = predictor({"architecture": "toy", "width": 4}, head_window=24)
    made.set_image(IMAGE)
    encoded = made._views.encoded[0]
    point = np.float32([[22, 35]])  # the window's top left corner is (10, 23)
    seen = made.backend.confidences(encoded, point, 24)[0, 10:34, 23:47]
    cut = {
        name: getattr(encoded, name)[:, :, 10:34, 23:47]
        for name in ("features", "code_map", "selection_input")
    }
    small = encoded._replace(**cut, image_size=(24, 24))
    expected = made.backend.confidences(small, point - np.float32([10, 23]))[0]
    np.testing.assert_allclose(seen, expected, atol=1e-5)
