"""The layers the method adds to a network: AdaIN, Relative CoordConv, Q(x, y) (Section 3)."""

from __future__ import annotations

from functools import lru_cache

import mxnet as mx
import numpy as np
from mxnet import autograd
from mxnet.gluon import nn
from mxnet.gluon.contrib.nn import SyncBatchNorm

SMALLEST_EPSILON = 1e-5  # that cuDNN's BatchNorm takes


class AdaIN(nn.HybridBlock):
    """Adaptive instance normalisation: each channel normalised over H x W, then scaled and shifted
    by dense layers of the instance code (paper, Section 3; Huang and Belongie 2017).

    It takes the channels of all points side by side, as if of one image: then on arrays it is a
    BatchNorm, which oneDNN and cuDNN do many times faster than reductions and broadcasts; on
    Symbols it is the plain formula. MXNet 1.9 crashes where that BatchNorm is hybridized, so a
    network stays eager here, between hybridized parts.
    """

    def __init__(self, channels: int, code_size: int, epsilon: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self._epsilon = epsilon  # the authors have none: a constant channel gave NaN
        with self.name_scope():
            self.scale = nn.Dense(channels, in_units=code_size, bias_initializer="ones")
            self.shift = nn.Dense(channels, in_units=code_size)

    def hybrid_forward(self, F, x, code):
        """x: (1, N * C, H, W) float32, see :class:`PointStage`; code: (N, code_size) float32.
        Returns (1, N * C, H, W)."""
        scale, shift = (v.reshape((-1,)) for v in (self.scale(code), self.shift(code)))
        if F is mx.nd:
            if not autograd.is_training():
                x = _less_first_pixel(x)
            unused = mx.nd.zeros_like(shift)  # running statistics, which it must be given
            with autograd.train_mode():  # normalise by this image's statistics at inference too
                return mx.nd.BatchNorm(
                    x, scale, shift, unused, unused.copy(), eps=self._epsilon, fix_gamma=False
                )
        mean = F.mean(x, axis=(2, 3), keepdims=True)
        centred = F.broadcast_sub(x, mean)
        deviation = F.sqrt(F.mean(F.square(centred), axis=(2, 3), keepdims=True) + self._epsilon)
        scale, shift = (v.reshape((1, -1, 1, 1)) for v in (scale, shift))
        return F.broadcast_add(F.broadcast_mul(centred, F.broadcast_div(scale, deviation)), shift)


def _less_first_pixel(x):
    """x (1, C, H, W) less its first pixel, a shift that AdaIN's result doesn't depend on.

    oneDNN's sums are off by 1e-5 of a channel's mean, which would be 3e-3 of a confidence where a
    channel hardly varies. A BatchNorm of given statistics is several times faster than a broadcast.
    """
    mean = mx.nd.slice(x, begin=(0, 0, 0, 0), end=(1, None, 1, 1)).reshape((-1,))
    one, zero = mx.nd.ones_like(mean), mx.nd.zeros_like(mean)
    variance = one - SMALLEST_EPSILON
    return mx.nd.BatchNorm(
        x, one, zero, mean, variance, eps=SMALLEST_EPSILON, fix_gamma=False, use_global_stats=True
    )


class PointStage(nn.HybridSequential):
    """Layers between two AdaINs, which take the channels of all points side by side.

    It is here that (N, C, H, W) becomes (1, N * C, H, W) and back: within a hybridized block that
    is cheapest, in eager mode it would be a tenth of a training step. A single point needs neither,
    so that its maps stay in oneDNN's layout.

    Parameters:
        layers: in order.
        after: channels C of the AdaIN before these layers, None without one.
        before_adain: whether another AdaIN follows.
    """

    def __init__(
        self, layers: list[nn.HybridBlock], after: int | None, before_adain: bool, **kwargs
    ):
        super().__init__(**kwargs)
        self._after, self._before_adain = after, before_adain
        self.add(*layers)
        for_one_point = nn.HybridSequential()
        for_one_point.add(*layers)
        object.__setattr__(self, "_for_one_point", for_one_point)  # not a child: the same layers

    def hybridize(self, active: bool = True, **kwargs) -> None:
        super().hybridize(active, **kwargs)
        self._for_one_point.hybridize(active, **kwargs)

    def forward(self, x):
        """x: (N, C, H, W), or side by side where an AdaIN came before. Returns it side by side
        where another one follows, else (N, C', H, W)."""
        points = x.shape[1] // self._after if self._after else x.shape[0]
        return self._for_one_point(x) if points == 1 else super().forward(x)

    def hybrid_forward(self, F, x):
        if self._after:
            x = x.reshape((-1, self._after, 0, 0))  # (1, N * C, H, W) -> (N, C, H, W)
        x = super().hybrid_forward(F, x)
        return x.reshape((1, -1, 0, 0)) if self._before_adain else x


def indices_like(F, x, axis: int):
    """0, 1, ... along an axis of x. On arrays by its shape: ``arange_like`` walks over all of x."""
    if F is mx.nd:
        return mx.nd.arange(x.shape[axis], ctx=x.context)
    return F.contrib.arange_like(x, axis=axis)


class RelativeCoordinates(nn.HybridBlock):
    """The maps of Relative CoordConv: -1 at ``radius`` pixels before the point, +1 at ``radius``
    after it, clipped to [-1, 1]; rows first, then columns (paper, Section 3).

    Parameters:
        radius: R, in pixels of the input image.
        stride: pixels of the input image a step of the feature map makes.
        distance_map: append a third map, the clipped distance to the point over R (authors' code).
    """

    def __init__(self, radius: float, stride: int, distance_map: bool = False, **kwargs):
        super().__init__(**kwargs)
        self._radius, self._stride, self._distance_map = radius, stride, distance_map

    @property
    def channels(self) -> int:
        return 3 if self._distance_map else 2

    def hybrid_forward(self, F, features, points_yx):
        """features: (B, C, h, w), for their size only; points_yx: (N, 2) float32 (row, col) pixels
        of the input image. Returns (N, 2 or 3, h, w) float32."""
        y = F.slice_axis(points_yx, axis=1, begin=0, end=1).reshape((-1, 1, 1, 1))
        x = F.slice_axis(points_yx, axis=1, begin=1, end=2).reshape((-1, 1, 1, 1))
        rows = indices_like(F, features, axis=2).reshape((1, 1, -1, 1)) * self._stride
        cols = indices_like(F, features, axis=3).reshape((1, 1, 1, -1)) * self._stride
        dy = F.broadcast_sub(rows, y) / self._radius  # (N, 1, h, 1)
        dx = F.broadcast_sub(cols, x) / self._radius  # (N, 1, 1, w)
        maps = [
            F.broadcast_add(dy, F.zeros_like(cols)),
            F.broadcast_add(dx, F.zeros_like(rows)),
        ]
        if self._distance_map:
            maps.append(F.sqrt(F.broadcast_add(F.square(dy), F.square(dx))))
        return F.clip(F.concat(*maps, dim=1), -1, 1)


class PointFeatures(nn.HybridBlock):
    """Q(x, y): the feature vector at a point, by bilinear interpolation (paper, Section 3).

    Feature (i, j) lies at pixel (i * stride, j * stride); points beyond the last feature take it.
    (``upsample`` spreads features corners on corners, so it lays the last one up to stride - 1
    pixels further. Both are the authors'.)
    """

    def __init__(self, stride: int, **kwargs):
        super().__init__(**kwargs)
        self._stride = stride

    def hybrid_forward(self, F, features, points_yx):
        """features: (B, C, h, w); points_yx: (B, K, 2) float32 (row, col) pixels of the input
        image. Returns (B * K, C)."""
        y = F.slice_axis(points_yx, axis=2, begin=0, end=1)  # (B, K, 1)
        x = F.slice_axis(points_yx, axis=2, begin=1, end=2)
        # BilinearSampler wants x, then y; -1 is the first feature, 1 the last
        grid = F.concat(
            self._normalised(F, x, indices_like(F, features, axis=3)),
            self._normalised(F, y, indices_like(F, features, axis=2)),
            dim=2,
        )
        grid = F.clip(grid, -1, 1).transpose((0, 2, 1)).expand_dims(2)  # (B, 2, 1, K)
        sampled = F.BilinearSampler(features, grid)  # (B, C, 1, K)
        return sampled.transpose((0, 3, 1, 2)).reshape((-3, -3))  # (B * K, C)

    def _normalised(self, F, positions, indices):
        last = F.maximum(F.max(indices), 1)  # one single feature: everything falls on it
        return F.broadcast_div(positions * (2 / self._stride), last.reshape((1, 1, 1))) - 1


class SplitConv(nn.HybridBlock):
    """A 3x3 convolution of concat(coordinates, features), computed as the sum of its two parts.

    The feature part is the same for every point of an image: :meth:`project` computes it once.
    One weight (C, coordinates + features, 3, 3) holds both parts.
    """

    def __init__(self, channels: int, coord_channels: int, feature_channels: int, **kwargs):
        super().__init__(**kwargs)
        self._channels, self._coord_channels = channels, coord_channels
        with self.name_scope():
            self.weight = self.params.get(
                "weight", shape=(channels, coord_channels + feature_channels, 3, 3)
            )
            self.bias = self.params.get("bias", shape=(channels,), init="zeros")

    def project(self, features):
        """The feature part: (B, features, h, w) -> (B, C, h, w)."""
        weight, bias = self.weight.data(features.context), self.bias.data(features.context)
        weight = weight.slice_axis(axis=1, begin=self._coord_channels, end=None)
        return mx.nd.Convolution(
            features, weight, bias, num_filter=self._channels, kernel=(3, 3), pad=(1, 1)
        )

    def hybrid_forward(self, F, projected, coordinates, weight, bias):
        """projected: (N, C, h, w), from :meth:`project`; coordinates: (N, coordinates, h, w).
        Returns (N, C, h, w)."""
        weight = F.slice_axis(weight, axis=1, begin=0, end=self._coord_channels)
        from_coordinates = F.Convolution(
            coordinates,
            weight,
            num_filter=self._channels,
            kernel=(3, 3),
            pad=(1, 1),
            no_bias=True,
        )
        return F.elemwise_add(projected, from_coordinates)  # "+" on arrays runs on one core


class SeparableConv(nn.HybridSequential):
    """Depthwise 3x3 -> pointwise 1x1 -> BatchNorm -> ReLU.

    The order of DeepLabV3+, and of the authors' code here though not in its plain convolutions;
    Figure 8 has a ReLU and a BatchNorm after each convolution and says no more.
    """

    def __init__(self, channels: int, in_channels: int, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.add(
                nn.Conv2D(
                    in_channels,
                    3,
                    padding=1,
                    groups=in_channels,
                    in_channels=in_channels,
                    use_bias=False,
                ),
                nn.Conv2D(channels, 1, in_channels=in_channels, use_bias=False),
                nn.BatchNorm(in_channels=channels),
                nn.Activation("relu"),
            )


def upsample(x, height: int, width: int):
    """Bilinear enlargement of maps, corners on corners: (N, C, h, w) -> (N, C, height, width).

    As two products with matrices of interpolation weights, the second one written as a convolution
    whose channels are the rows: forward and backward take a third of ``BilinearResize2D``'s time.
    """
    channels, rows, cols = x.shape[1:]
    across = interpolation_weights(cols, width, x.context)
    down = interpolation_weights(rows, height, x.context).reshape((height, rows, 1, 1))
    x = mx.nd.dot(x.reshape((-1, cols)), across, transpose_b=True)
    x = x.reshape((-1, rows, 1, width))
    x = mx.nd.Convolution(x, down, num_filter=height, kernel=(1, 1), no_bias=True)
    return x.reshape((-1, channels, height, width))


@lru_cache(maxsize=16)
def interpolation_weights(size: int, new_size: int, context: mx.Context) -> mx.nd.NDArray:
    """(new_size, size) float32: what each old position gives to each new one."""
    positions = np.linspace(0, size - 1, new_size)
    weights = np.maximum(0, 1 - abs(positions[:, None] - np.arange(size)))
    return mx.nd.array(weights, ctx=context, dtype="float32")


def synchronize_batch_norm(network: nn.Block, num_devices: int) -> None:
    """Let each BatchNorm of a network in training take its statistics from all devices' images.

    Call it before the network is initialised; parameters and their names stay the same. Nothing
    may wait for such a layer's result on one device before all devices were given their images.
    """
    for name, child in list(network._children.items()):
        if isinstance(child, nn.BatchNorm):
            synchronized = SyncBatchNorm(
                in_channels=child.gamma.shape[0],
                num_devices=num_devices,
                momentum=child._kwargs["momentum"],
                epsilon=child._kwargs["eps"],
                gamma_initializer=child.gamma.init,
                prefix=child.prefix,
                params=child.params,
            )
            setattr(network, name, synchronized)
        else:
            synchronize_batch_norm(child, num_devices)
