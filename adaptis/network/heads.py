"""The branches on top of the backbone (paper, Figures 4, 7 and 8)."""

from __future__ import annotations

import mxnet as mx
from mxnet.gluon import nn

from adaptis.network.layers import AdaIN, PointFeatures, PointStage, RelativeCoordinates, SplitConv


def conv_relu_bn(channels: int, in_channels: int, kernel: int = 3) -> list[nn.HybridBlock]:
    """Convolution with bias -> ReLU -> BatchNorm, the order of Figure 8."""
    return [
        nn.Conv2D(
            channels, kernel, padding=kernel // 2, in_channels=in_channels, activation="relu"
        ),
        nn.BatchNorm(in_channels=channels),
    ]


def sequential(*layers: nn.HybridBlock) -> nn.HybridSequential:
    """The layers as one block."""
    block = nn.HybridSequential()
    block.add(*layers)
    return block


class Controller(nn.Block):
    """Fully connected layers (as 1x1 convolutions) from Q(x, y) to the instance code (Section 3).

    Parameters:
        on_map: run the layers over the whole feature map and pick the code from the result
            (the toy network: BatchNorm sees every pixel, so it works with few points an image);
            otherwise pick Q(x, y) first, as the paper's text says.
    """

    def __init__(
        self,
        channels: int,
        in_channels: int,
        stride: int,
        on_map: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._on_map = on_map
        with self.name_scope():
            self.layers = nn.HybridSequential()
            for i in range(3):  # the authors' code; the paper says "a few"
                self.layers.add(*conv_relu_bn(channels, channels if i else in_channels, 1))
            self.point_features = PointFeatures(stride)

    def hybridize(self, active: bool = True, **kwargs) -> None:
        """Hybridize the layers; picking points is faster where it knows the sizes."""
        self.layers.hybridize(active, **kwargs)

    def prepare(self, features):
        """What can be done once an image: (B, C, h, w) -> the map the codes are picked from."""
        code_map = self.layers(features) if self._on_map else features
        # out of oneDNN's layout once, not at each point; the array's own reshape would leave it
        return mx.nd.reshape(code_map, (0, 0, 0, 0))

    def forward(self, prepared, points_yx):
        """prepared: from :meth:`prepare`; points_yx: (B, K, 2) float32 (row, col) pixels.
        Returns the instance codes, (B * K, channels)."""
        code = self.point_features(prepared, points_yx)
        if not self._on_map:
            code = self.layers(code.reshape((0, 0, 1, 1))).flatten()
        return code


class InstanceSelectionNetwork(nn.Block):
    """Features and an instance code in, instance logits out (Section 3, Figure 4).

    A convolution of features and relative coordinates, then stages of plain layers with one AdaIN
    between each two. Stages are hybridized; what lies between them stays eager (see AdaIN).

    Parameters:
        coordinates: the Relative CoordConv maps, or None to do without (Table 7, row 2).
        channels: (C of the first convolution, C of the features).
        stages: lists of layers, one more than there are AdaINs; the last ends in one channel of
            logits.
        adain_channels: channels of each AdaIN.
        code_size: size of the instance code.
        logit_scale, logit_shift: logits = scale * x + shift.
    """

    def __init__(
        self,
        coordinates: RelativeCoordinates | None,
        channels: tuple[int, int],
        stages: list[list[nn.HybridBlock]],
        adain_channels: list[int],
        code_size: int,
        logit_scale: float = 1.0,
        logit_shift: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._logit_scale, self._logit_shift = logit_scale, logit_shift
        with self.name_scope():
            self.coordinates = coordinates
            coord_channels = coordinates.channels if coordinates else 0
            self.first_conv = SplitConv(channels[0], coord_channels, channels[1])
            self.stages = nn.HybridSequential()
            for i, layers in enumerate(stages):
                after = adain_channels[i - 1] if i else None
                self.stages.add(PointStage(layers, after, before_adain=i < len(adain_channels)))
            self.adains = nn.HybridSequential()
            self.adains.add(*(AdaIN(c, code_size) for c in adain_channels))

    def hybridize(self, active: bool = True, **kwargs) -> None:
        """Hybridize the stages; AdaIN's fast form is eager."""
        for stage in self.stages:
            stage.hybridize(active, **kwargs)

    def prepare(self, features):
        """The first convolution's part that all points share: (B, C, h, w) -> (B, C', h, w)."""
        return self.first_conv.project(features)

    def forward(self, prepared, code, points_yx):
        """prepared: (B, C', h, w), from :meth:`prepare`; code: (B * K, code_size);
        points_yx: (B, K, 2) float32 (row, col) pixels. Returns logits (B * K, 1, h, w)."""
        count = points_yx.shape[1]
        x = prepared  # (K * B, C', h, w): all images' first points, then all second ones
        if count > 1:
            x = mx.nd.concat(*[prepared] * count, dim=0)  # does that on all cores
        code = code.reshape((-4, -1, count, 0)).transpose((1, 0, 2)).reshape((-3, 0))
        if self.coordinates:
            points = points_yx.transpose((1, 0, 2)).reshape((-3, 0))  # (K * B, 2)
            x = self.first_conv(x, self.coordinates(prepared, points))
        for stage, adain in zip(self.stages, self.adains):
            x = adain(stage(x), code)
        x = self.stages[-1](x)  # (K * B, 1, h, w)
        x = x.reshape((-4, count, -1, 0, 0, 0)).transpose((1, 0, 2, 3, 4)).reshape((-3, 0, 0, 0))
        return x * self._logit_scale + self._logit_shift
