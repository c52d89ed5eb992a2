"""The panoptic network: AdaptIS on DeepLabV3+ (paper, Sections 5 and 7, Figure 8)."""

from __future__ import annotations

import argparse

from mxnet.gluon import nn

from adaptis.network.heads import Controller, InstanceSelectionNetwork, sequential
from adaptis.network.layers import RelativeCoordinates, SeparableConv
from adaptis.network.model import AdaptIS
from models.deeplab import BACKBONES, STRIDE, DeepLabV3Plus

RELATIVE_RADIUS = 280  # pixels of the input image, Section 7


def panoptic_network(
    backbone: str = "resnet50_v1s",
    classes: int = 19,
    num_adain: int = 1,
    coord_conv: bool = True,
    distance_map: bool = False,
    relative_radius: float = RELATIVE_RADIUS,
    channels: int = 256,
) -> AdaptIS:
    """AdaptIS for panoptic segmentation, not initialised; layers from the authors' code.

    Parameters:
        backbone: a GluonCV name, see models.deeplab.BACKBONES.
        classes: of the semantic branch, stuff and things; 19 are Cityscapes'.
        num_adain: 1 as in the authors' code, or 2 as Figure 4 is drawn.
        coord_conv: Relative CoordConv on or off (Table 7).
        distance_map: add the authors' third coordinate map.
        relative_radius: R of Relative CoordConv, pixels of the input image.
        channels: of the features; the branches scale with them. 256 in the paper.
    """
    width = channels // 2  # of controller, instance selection and proposals: 128
    semantic_width = channels * 3 // 4  # 192
    before_adain = [
        nn.Activation("relu"),  # of the first convolution
        nn.BatchNorm(in_channels=width),
        SeparableConv(width, width),
        nn.Conv2D(width, 1, in_channels=width),
        nn.LeakyReLU(0.2),
    ]
    after_adain = [
        SeparableConv(width, width),
        SeparableConv(width // 2, width),
        SeparableConv(width // 4, width // 2),
        nn.Conv2D(1, 1, in_channels=width // 4),
    ]
    if num_adain == 1:
        stages = [before_adain, after_adain]
    else:
        stages = [before_adain, after_adain[:1], after_adain[1:]]
    selection = InstanceSelectionNetwork(
        RelativeCoordinates(relative_radius, STRIDE, distance_map) if coord_conv else None,
        channels=(width, channels),
        stages=stages,
        adain_channels=[width] * num_adain,
        code_size=width,
    )
    semantic_head = sequential(
        SeparableConv(semantic_width, channels),
        SeparableConv(semantic_width, semantic_width),
        nn.Conv2D(classes, 1, in_channels=semantic_width),
    )
    proposal_head = sequential(
        SeparableConv(width, channels),
        nn.Dropout(0.5),
        SeparableConv(width, width),
        nn.Conv2D(1, 1, in_channels=width),
    )
    return AdaptIS(
        DeepLabV3Plus(backbone, channels),
        Controller(width, channels, STRIDE),
        selection,
        semantic_head,
        proposal_head,
        STRIDE,
    )


def add_network_options(
    parser: argparse.ArgumentParser, backbone: str, relative_radius: float | None = RELATIVE_RADIUS
) -> None:
    """The options of the training scripts that choose the network, with two of their defaults."""
    add = parser.add_argument
    add("--backbone", choices=BACKBONES, default=backbone, help="a GluonCV network")
    add("--backbone-weights", default="imagenet", help='"imagenet", a GluonCV file, or "none"')
    add("--channels", type=int, default=256, help="of the features; the branches scale with them")
    add("--relative-radius", type=float, default=relative_radius, help="R, pixels of the input")
    add("--adain-layers", type=int, choices=(1, 2), default=1, help="Figure 4 draws two")


def network_description(args: argparse.Namespace, classes: int) -> dict:
    """What ``models.build.build_network`` makes the chosen network from."""
    return {
        "architecture": "panoptic",
        "backbone": args.backbone,
        "classes": classes,
        "num_adain": args.adain_layers,
        "coord_conv": not args.no_coord_conv,
        "distance_map": args.distance_map,
        "relative_radius": args.relative_radius,
        "channels": args.channels,
    }
