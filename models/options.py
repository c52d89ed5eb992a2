"""The options that choose a panoptic network. Light: no MXNet and no GluonCV."""

from __future__ import annotations

import argparse

# GluonCV's names. The last two are no part of the paper: they train from scratch on a CPU.
BACKBONES = (
    "resnet50_v1s",
    "resnet101_v1s",
    "resnext101_64x4d",
    "resnext101_32x4d",
    "resnet18_v1b",
    "resnet34_v1b",
)
IMAGE_MEAN = (0.485, 0.456, 0.406)  # of ImageNet's RGB in [0, 1], for backbones trained on it
IMAGE_STD = (0.229, 0.224, 0.225)
RELATIVE_RADIUS = 280  # R, pixels of the input image, Section 7


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
