from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from adaptis.network.layers import (
    AdaIN,
    PointFeatures,
    PointStage,
    RelativeCoordinates,
    SplitConv,
    upsample,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rows(*values):
    """A map of the given rows, the same in each of 4 columns."""
    return np.repeat(np.array(values, np.float32)[:, None], 4, axis=1)


def columns(*values):
    """A map of the given columns, the same in each of 3 rows."""
    return np.repeat(np.array(values, np.float32)[None], 3, axis=0)


class SideBySide(mx.gluon.HybridBlock):
    """An AdaIN of (N, C, H, W): the reshapes that a network's PointStages do."""

    def __init__(self, adain, channels):
        super().__init__()
        self.adain, self._channels = adain, channels

    def hybrid_forward(self, F, x, code):
        return self.adain(x.reshape((1, -1, 0, 0)), code).reshape((-1, self._channels, 0, 0))


class TestAdaIN:
    @staticmethod
    def layer(channels, code_size, seed=0):
        layer = AdaIN(channels, code_size)
        layer.initialize()
        for i, parameter in enumerate(layer.collect_params().values()):
            parameter.set_data(mx.nd.array(normal(*parameter.shape, seed=seed + i)))
        return SideBySide(layer, channels)

    @staticmethod
    def plain(layer, x, code):
        """The formula, in numpy float64 and without epsilon."""
        layer = layer.adain
        x, code = x.astype(np.float64), code.astype(np.float64)
        scale, shift = (
            code @ dense.weight.data().asnumpy().T + dense.bias.data().asnumpy()
            for dense in (layer.scale, layer.shift)
        )
        mean, std = x.mean(axis=(2, 3), keepdims=True), x.std(axis=(2, 3), keepdims=True)
        return (x - mean) / std * scale[:, :, None, None] + shift[:, :, None, None]

    @pytest.mark.parametrize("hybrid", [False, True])
    @pytest.mark.parametrize(("n", "c", "h", "w", "code"), [(3, 4, 6, 5, 7), (1, 2, 9, 1, 3)])
    def test_is_the_formula(self, n, c, h, w, code, hybrid):
        layer = self.layer(c, code)
        layer.hybridize(hybrid)
        x, codes = 3 * normal(n, c, h, w) + 5, normal(n, code, seed=9)
        ours = layer(mx.nd.array(x), mx.nd.array(codes)).asnumpy()
        np.testing.assert_allclose(ours, self.plain(layer, x, codes), rtol=1e-4, atol=1e-4)

    def test_starts_as_plain_instance_normalisation(self):
        layer = SideBySide(AdaIN(2, 3), 2)
        layer.initialize()
        x = normal(1, 2, 8, 8)
        y = layer(mx.nd.array(x), mx.nd.zeros((1, 3))).asnumpy()
        np.testing.assert_allclose(y.mean(axis=(2, 3)), 0, atol=1e-5)
        np.testing.assert_allclose(y.std(axis=(2, 3)), 1, atol=1e-3)

    @pytest.mark.parametrize("hybrid", [False, True])
    def test_a_constant_channel_becomes_its_shift(self, hybrid):
        layer = self.layer(2, 3)
        layer.hybridize(hybrid)
        x, code = normal(1, 2, 4, 4), normal(1, 3)
        x[0, 1] = 7
        x = mx.nd.array(x)
        x.attach_grad()
        with autograd.record():
            y = layer(x, mx.nd.array(code))
        y.backward()
        dense = layer.adain.shift
        shift = (code @ dense.weight.data().asnumpy().T + dense.bias.data().asnumpy())[0]
        np.testing.assert_allclose(y.asnumpy()[0, 1], shift[1], rtol=1e-5)
        assert np.isfinite(x.grad.asnumpy()).all()

    @pytest.mark.parametrize("train_mode", [False, True])
    def test_normalises_by_its_own_statistics_in_both_modes(self, train_mode):
        layer, x, code = self.layer(3, 2), normal(2, 3, 5, 5) * 4 + 2, normal(2, 2)
        with autograd.record(train_mode=train_mode):
            y = layer(mx.nd.array(x), mx.nd.array(code))
        np.testing.assert_allclose(y.asnumpy(), self.plain(layer, x, code), rtol=1e-4, atol=1e-4)

    def test_gradients_are_the_formulas(self):
        layer, weights = self.layer(4, 6), mx.nd.array(normal(2, 4, 5, 7, seed=5))
        grads = []
        for hybrid in (False, True):  # fused BatchNorm, plain formula
            layer.hybridize(hybrid)
            x, code = mx.nd.array(normal(2, 4, 5, 7) + 3), mx.nd.array(normal(2, 6, seed=3))
            x.attach_grad()
            code.attach_grad()
            with autograd.record():
                loss = (layer(x, code) * weights).sum()
            loss.backward()
            parameters = [p.grad().asnumpy() for p in layer.collect_params().values()]
            grads.append([x.grad.asnumpy(), code.grad.asnumpy(), *parameters])
        for fused, plain in zip(*grads):
            assert np.abs(plain).max() > 0.1
            np.testing.assert_allclose(fused, plain, rtol=1e-3, atol=1e-4)

    def test_gradient_by_finite_differences(self):
        """Against numbers that no autograd made."""
        layer, x, code = self.layer(2, 3), normal(1, 2, 3, 4), normal(1, 3, seed=2)
        weights = normal(1, 2, 3, 4, seed=4)
        array = mx.nd.array(x)
        array.attach_grad()
        with autograd.record():
            loss = (layer(array, mx.nd.array(code)) * mx.nd.array(weights)).sum()
        loss.backward()
        for place in ((0, 0, 0, 0), (0, 1, 2, 3), (0, 1, 0, 2)):
            step = np.zeros_like(x, dtype=np.float64)
            step[place] = 1e-4
            up, down = (
                (self.plain(layer, x.astype(np.float64) + s, code) * weights).sum()
                for s in (step, -step)
            )
            expected = (up - down) / 2e-4
            assert array.grad.asnumpy()[place] == pytest.approx(expected, rel=1e-2, abs=1e-3)


@pytest.mark.parametrize("hybrid", [False, True])
class TestRelativeCoordinates:
    @staticmethod
    def maps(hybrid, points_yx, size=(3, 4), **options):
        layer = RelativeCoordinates(**options)
        layer.hybridize(hybrid)
        features = mx.nd.zeros((1, 5, *size))
        return layer(features, mx.nd.array(points_yx, dtype="float32")).asnumpy()

    def test_rows_first_then_columns(self, hybrid):
        (maps,) = self.maps(hybrid, [[1, 2]], radius=2, stride=1)  # row 1, column 2
        np.testing.assert_allclose(maps[0], rows(-0.5, 0, 0.5))
        np.testing.assert_allclose(maps[1], columns(-1, -0.5, 0, 0.5))
        assert len(maps) == 2

    def test_clipped_beyond_the_radius(self, hybrid):
        (maps,) = self.maps(hybrid, [[2, 0]], radius=1, stride=1)
        np.testing.assert_allclose(maps[0], rows(-1, -1, 0))
        np.testing.assert_allclose(maps[1], columns(0, 1, 1, 1))

    def test_stride_counts_image_pixels(self, hybrid):
        """Feature (i, j) is image pixel (4 i, 4 j); the point is one too."""
        (maps,) = self.maps(hybrid, [[4, 6]], radius=16, stride=4)
        np.testing.assert_allclose(maps[0], rows(-0.25, 0, 0.25))
        np.testing.assert_allclose(maps[1], columns(-6 / 16, -2 / 16, 2 / 16, 6 / 16))

    def test_distance_map(self, hybrid):
        """The authors' third map: 3-4-5 triangles, clipped at 1."""
        (maps,) = self.maps(hybrid, [[0, 0]], size=(5, 4), radius=5, stride=1, distance_map=True)
        assert maps.shape == (3, 5, 4)
        assert maps[2, 4, 3] == pytest.approx(1)  # 5 px away
        assert maps[2, 0, 2] == pytest.approx(2 / 5)
        assert maps[2, 3, 0] == pytest.approx(3 / 5)
        (maps,) = self.maps(hybrid, [[0, 0]], size=(5, 4), radius=4, stride=1, distance_map=True)
        assert maps[2, 4, 3] == 1
        assert maps[2, 0, 2] == pytest.approx(2 / 4)

    def test_points_have_maps_of_their_own(self, hybrid):
        maps = self.maps(hybrid, [[0, 0], [2, 3], [1.5, 0]], radius=4, stride=1)
        assert maps.shape == (3, 2, 3, 4)
        np.testing.assert_allclose(maps[:, 0, 0, 0], [0, -0.5, -0.375])
        np.testing.assert_allclose(maps[:, 1, 0, 0], [0, -0.75, 0])


@pytest.mark.parametrize("hybrid", [False, True])
class TestPointFeatures:
    @staticmethod
    def at(hybrid, features, points_yx, stride=1):
        layer = PointFeatures(stride)
        layer.hybridize(hybrid)
        features = mx.nd.array(np.array(features, np.float32))
        return layer(features, mx.nd.array([points_yx], dtype="float32")).asnumpy()

    # value = 10 * row + column
    ramp = (10 * np.arange(3)[:, None] + np.arange(4)).reshape(1, 1, 3, 4)

    @pytest.mark.parametrize(
        ("point_yx", "value"),
        [
            ((0, 0), 0),
            ((2, 3), 23),
            ((1, 2), 12),
            ((0.5, 0), 5),
            ((1, 2.25), 12.25),
            ((1.5, 0.5), 15.5),
            ((2.9, 3), 23),  # beyond the last row: the last row
            ((1, -1), 10),
            ((1, 99), 13),
        ],
    )
    def test_bilinear_row_then_column(self, hybrid, point_yx, value):
        assert self.at(hybrid, self.ramp, [point_yx])[0, 0] == pytest.approx(value, abs=1e-4)

    @pytest.mark.parametrize(
        ("point_yx", "value"), [((4, 8), 12), ((2, 0), 5), ((6, 5), 16.25), ((11, 15), 23)]
    )
    def test_stride_four(self, hybrid, point_yx, value):
        found = self.at(hybrid, self.ramp, [point_yx], stride=4)
        assert found[0, 0] == pytest.approx(value, abs=1e-4)

    @pytest.mark.parametrize("stride", [1, 4])
    def test_single_feature(self, hybrid, stride):
        found = self.at(hybrid, [[[[5]], [[6]]]], [(0, 0), (3, 2)], stride)
        np.testing.assert_allclose(found, [[5, 6], [5, 6]])

    def test_single_row(self, hybrid):
        found = self.at(hybrid, [[[[1, 3]]]], [(0, 0.5), (0, 1), (1, 0)])
        np.testing.assert_allclose(found, [[2], [3], [1]], atol=1e-6)

    def test_each_image_has_its_own_points_in_order(self, hybrid):
        layer = PointFeatures(stride=1)
        layer.hybridize(hybrid)
        features = np.concatenate([self.ramp, 100 + self.ramp]).repeat(2, axis=1)
        features[:, 1] *= -1
        points = mx.nd.array([[[0, 1], [2, 2]], [[1, 0], [0, 3]]])
        found = layer(mx.nd.array(features, dtype="float32"), points).asnumpy()
        expected = [[1, -1], [22, -22], [110, -110], [103, -103]]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


class TestSplitConv:
    def test_is_the_convolution_of_the_concatenation(self):
        layer = SplitConv(5, coord_channels=2, feature_channels=3)
        layer.initialize(mx.init.Normal(0.5))
        layer.bias.set_data(mx.nd.array(normal(5, seed=8)))
        weights = mx.nd.array(normal(6, 5, 6, 7, seed=3))
        results = []
        for split in (True, False):
            features, coords = mx.nd.array(normal(2, 3, 6, 7)), mx.nd.array(normal(6, 2, 6, 7))
            features.attach_grad()
            with autograd.record():
                if split:
                    y = layer(layer.project(features).repeat(3, axis=0), coords)
                else:
                    both = mx.nd.concat(coords, features.repeat(3, axis=0), dim=1)
                    y = mx.nd.Convolution(
                        both,
                        layer.weight.data(),
                        layer.bias.data(),
                        num_filter=5,
                        kernel=(3, 3),
                        pad=(1, 1),
                    )
                (y * weights).sum().backward()
            grads = (features.grad, layer.weight.grad(), layer.bias.grad())
            results.append([y.asnumpy(), *(g.asnumpy() for g in grads)])
        for ours, plain in zip(*results):
            assert np.abs(plain).max() > 1
            np.testing.assert_allclose(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("hybrid", [False, True])
def test_point_stages_hand_over_channels_side_by_side(hybrid):
    first = PointStage([mx.gluon.nn.Activation("relu")], after=None, before_adain=True)
    second = PointStage([mx.gluon.nn.Activation("relu")], after=3, before_adain=False)
    for stage in (first, second):
        stage.hybridize(hybrid)
    for shape in ((4, 3, 5, 6), (2, 3, 7, 2)):
        x = normal(*shape)
        between = first(mx.nd.array(x))
        assert between.shape == (1, shape[0] * 3, *shape[2:])
        np.testing.assert_array_equal(second(between).asnumpy(), np.maximum(x, 0))


class TestUpsample:
    def test_by_hand(self):
        x = mx.nd.array([[[[0, 2], [4, 6]]]])
        expected = [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
        np.testing.assert_array_equal(upsample(x, 3, 3).asnumpy()[0, 0], expected)

    @pytest.mark.parametrize(
        ("shape", "height", "width"),
        [((2, 3, 5, 4), 17, 16), ((1, 2, 1, 3), 4, 9), ((3, 1, 2, 1), 5, 1), ((1, 1, 1, 1), 1, 1)],
    )
    def test_is_mxnets_resize_with_its_gradient(self, shape, height, width):
        results = []
        weight = mx.nd.array(normal(*shape[:2], height, width, seed=1))
        for resize in (
            upsample,
            lambda x, h, w: mx.nd.contrib.BilinearResize2D(x, height=h, width=w),
        ):
            x = mx.nd.array(normal(*shape))
            x.attach_grad()
            with autograd.record():
                y = resize(x, height, width)
                loss = (y * weight).sum()
            loss.backward()
            results.append((y.asnumpy(), x.grad.asnumpy()))
        for ours, theirs in zip(*results):
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
