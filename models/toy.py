"""The toy problem's network: AdaptIS on a U-Net (Section 6; layers from the authors' code)."""

from __future__ import annotations

import mxnet as mx
from mxnet import initializer
from mxnet.gluon import nn

from adaptis.network.heads import (
    Controller,
    InstanceSelectionNetwork,
    conv_relu_bn,
    sequential,
)
from adaptis.network.layers import RelativeCoordinates
from adaptis.network.model import AdaptIS

RELATIVE_RADIUS = 42  # R in pixels for 96x96 images, authors' code; about the longest object
SMALLEST_IMAGE = 9  # px; below it MXNet's fourth pooling refuses the single pixel it is left
PROPOSAL_CONVOLUTIONS = {"paper": 3, "authors": 2}  # as the semantic branch has; one less
HEAD_CHANNELS = 32  # of the semantic and proposal branches, at every width


def conv_block(channels: int, in_channels: int, kernel: int = 3) -> nn.HybridSequential:
    """Convolution without bias -> ReLU -> BatchNorm."""
    return sequential(
        nn.Conv2D(channels, kernel, padding=kernel // 2, in_channels=in_channels, use_bias=False),
        nn.Activation("relu"),
        nn.BatchNorm(in_channels=channels),
    )


class Up(nn.HybridBlock):
    """Bilinear x2, 1x1 convolution, concat with the skip connection, two 3x3 convolutions."""

    def __init__(self, channels: int, in_channels: int, out_channels: int, **kwargs):
        super().__init__(**kwargs)
        with self.name_scope():
            self.upsampler = nn.Conv2DTranspose(
                channels,
                4,
                strides=2,
                padding=1,
                in_channels=in_channels,
                groups=channels,  # where in_channels is twice that, a group sums two of them
                use_bias=False,
                weight_initializer=initializer.Bilinear(),
            )
            self.upsampler.weight.grad_req = "null"  # fixed bilinear interpolation
            self.conv1 = conv_block(channels, channels, 1)
            self.conv3_0 = conv_block(channels, 2 * channels)
            self.conv3_1 = conv_block(out_channels, channels)

    def hybrid_forward(self, F, x, skip):
        """x: (B, in_channels, h, w); skip: (B, channels, H, W) with h = ceil(H / 2)."""
        x = F.Activation(self.conv1(self.upsampler(x)), act_type="relu")
        x = F.slice_like(x, skip, axes=(2, 3))  # pooling rounded odd sizes up
        return self.conv3_1(self.conv3_0(F.concat(skip, x, dim=1)))


class UNet(nn.HybridBlock):
    """U-Net with four poolings; features of ``width`` channels at image resolution."""

    smallest_image = SMALLEST_IMAGE

    def __init__(self, width: int, **kwargs):
        super().__init__(**kwargs)
        w = [min(width * 2**i, 512) for i in range(5)]
        with self.name_scope():
            self.image_bn = nn.BatchNorm(in_channels=3)
            for i in range(5):
                convs = [conv_block(w[i], w[i - 1] if i else 3), conv_block(w[i], w[i])]
                pool = nn.MaxPool2D(2, 2, ceil_mode=True)
                down = sequential(pool, sequential(*convs)) if i else sequential(*convs)
                setattr(self, f"d{i}", down)
            for i in range(3, -1, -1):
                in_channels = w[4] if i == 3 else w[i]
                setattr(self, f"u{i}", Up(w[i], in_channels, w[i - 1] if i else w[0]))
            self.fe = sequential(*conv_relu_bn(width, width), *conv_relu_bn(width, width))

    def forward(self, x, *args):
        """Images too small to pool four times continue beyond their border, as far as needed."""
        if not isinstance(x, mx.nd.NDArray) or min(x.shape[2:]) >= SMALLEST_IMAGE:
            return super().forward(x, *args)
        height, width = x.shape[2:]
        below, right = (max(0, SMALLEST_IMAGE - n) for n in (height, width))
        x = mx.nd.pad(x, mode="edge", pad_width=(0, 0, 0, 0, 0, below, 0, right))
        return super().forward(x, *args)[:, :, :height, :width]

    def hybrid_forward(self, F, x):
        """x: (B, 3, H, W) -> (B, width, H, W)."""
        down0 = self.d0(self.image_bn(x))
        down1 = self.d1(down0)
        down2 = self.d2(down1)
        down3 = self.d3(down2)
        x = self.u3(self.d4(down3), down3)
        x = self.u2(x, down2)
        x = self.u1(x, down1)
        return self.fe(self.u0(x, down0))


def toy_network(
    width: int = 32,
    coord_conv: bool = True,
    distance_map: bool = False,
    relative_radius: float = RELATIVE_RADIUS,
    classes: int = 2,
    proposal_branch: str = "authors",
) -> AdaptIS:
    """AdaptIS for the toy problem, not initialised.

    Parameters:
        width: channels of the U-Net's first level, of the features, and of the instance head.
        coord_conv: Relative CoordConv on or off (Table 7).
        distance_map: add the authors' third coordinate map.
        relative_radius: R of Relative CoordConv, pixels.
        classes: of the semantic branch; background and object in the toy problem.
        proposal_branch: "paper" for one like the semantic branch (Section 5), "authors" for one
            with a layer less, which descriptions without this entry mean.
    """
    selection = InstanceSelectionNetwork(
        RelativeCoordinates(relative_radius, 1, distance_map) if coord_conv else None,
        channels=(width, width),
        stages=[
            [
                nn.Activation("relu"),  # of the first convolution
                nn.BatchNorm(in_channels=width),
                *conv_relu_bn(width, width),
                *conv_relu_bn(width, width),
            ],
            [*conv_relu_bn(width // 2, width), nn.Conv2D(1, 1, in_channels=width // 2)],
        ],
        adain_channels=[width],
        code_size=width,
        logit_scale=0.2,  # with the shift: starts from "mostly background", authors' code
        logit_shift=-1.7,
    )
    return AdaptIS(
        UNet(width),
        Controller(width, width, stride=1, on_map=True),
        selection,
        semantic_head=_branch(width, 3, classes),
        proposal_head=_branch(width, PROPOSAL_CONVOLUTIONS[proposal_branch], 1),
        stride=1,
    )


def _branch(width: int, convolutions: int, outputs: int) -> nn.HybridSequential:
    """3x3 convolutions on the features, then the logits: semantic and proposal branch."""
    inputs = [width, *[HEAD_CHANNELS] * (convolutions - 1)]
    hidden = [layer for channels in inputs for layer in conv_relu_bn(HEAD_CHANNELS, channels)]
    return sequential(*hidden, nn.Conv2D(outputs, 1, in_channels=HEAD_CHANNELS))
