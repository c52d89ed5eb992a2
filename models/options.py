"""The options that choose a panoptic network. Light: no MXNet and no GluonCV."""

from __future__ import annotations

import argparse

from adaptis.description import MOST_CLASSES
from adaptis.json_types import Entry
from adaptis.values import ABOVE_ZERO, COUNT, between

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
PROPOSAL_BRANCHES = ("paper", "authors")  # as the semantic branch (Section 5), or smaller
RADIUS_FROM = "; default that of --weights trained by this script, else from the data"
RELATIVE_RADIUS = 280  # R, pixels of the input image, Section 7
MOST_CHANNELS = {"toy": 512, "panoptic": 1024}  # the U-Net's widest level; the paper's 256 times 4
LEAST_CHANNELS = {"toy": 2, "panoptic": 8}  # which the branches halve once, and thrice

WIDTHS = between(LEAST_CHANNELS["toy"], MOST_CHANNELS["toy"])
CHANNELS = between(LEAST_CHANNELS["panoptic"], MOST_CHANNELS["panoptic"])

SECTION_7 = {  # what the three panoptic data sets are trained with alike
    "learning_rate": 1e-4,  # Section 7
    "backbone_learning_rate": 5e-5,  # Section 7, of the pre-trained layers
    "betas": (0.9, 0.999),  # Section 7
    "schedule": "step",
    "proposal_epochs": 10,  # Section 7 says so for Cityscapes
    "proposal_learning_rate": 5e-4,  # authors' code, like the next
    "proposal_schedule": "cosine",
    "proposal_points": 48,  # of one object, Section 7
    "alpha": 0.25,  # of the normalised focal loss, authors' code
    "mean": IMAGE_MEAN,
    "std": IMAGE_STD,
    "min_area": 80,  # pixels; smaller objects are ignored, authors' code
}


def section_7_inference(mask_threshold: float, **side: int) -> dict:
    """How the three panoptic data sets are segmented, and with what they differ in.

    Parameters:
        mask_threshold: T of Section 4.
        side: shortest_side or longest_side in pixels, to which images are scaled; none for images
            as they are.
    """
    return {
        "points": "proposals",  # Section 5
        "greedy": {
            "mask_threshold": mask_threshold,
            "max_overlap": 0.5,  # Section 4
            "within_masks": True,  # ours: a missed object's pixels go to no neighbour
        },
        "thing_threshold": 0.6,  # authors' code, of one class; the blur too
        "peak_threshold": 0.1,  # ours, until the proposal stage chooses it
        "proposal_blur": 5,
        "max_proposals": 500,  # authors' code
        "flip": True,  # Section 7
        **side,
    }


def add_crop_option(parser: argparse.ArgumentParser, crop: tuple[int, int]) -> None:
    """``--crop`` of the three panoptic data sets: height and width, by default ``crop``."""
    parser.add_argument(
        "--crop",
        type=COUNT,
        nargs=2,
        default=crop,
        help="height and width of a training window in pixels",
    )


def add_width_option(parser: argparse.ArgumentParser, width: int) -> None:
    """``--width`` of the toy problem's network, by default ``width``."""
    parser.add_argument(
        "--width", type=WIDTHS, default=width, help="channels of the U-Net's first level"
    )


def add_network_options(
    parser: argparse.ArgumentParser, backbone: str, relative_radius: float | None = RELATIVE_RADIUS
) -> None:
    """The options of the training scripts that choose the network, with two of their defaults."""
    add = parser.add_argument
    add("--backbone", choices=BACKBONES, default=backbone, help="a GluonCV network")
    add(
        "--backbone-weights",
        default="imagenet",
        help='"imagenet", a file of GluonCV, weights of this project, or "none"',
    )
    add(
        "--channels",
        type=CHANNELS,
        default=256,
        help="channels of the features that all branches read; the branches' own scale with them",
    )
    add(
        "--relative-radius",
        type=ABOVE_ZERO,
        default=relative_radius,
        help="R of Relative CoordConv, in pixels of the input"
        + ("" if relative_radius else RADIUS_FROM),
    )
    add(
        "--adain-layers",
        type=int,
        choices=(1, 2),
        default=1,
        help="how many AdaIN layers the head has; Figure 4 shows two, the authors' code has one",
    )


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
        "proposal_branch": args.proposal_branch,
    }


def toy_network_description(args: argparse.Namespace) -> dict:
    """What ``models.build.build_network`` makes a toy network from, with the toy problem's R and
    classes."""
    return {
        "architecture": "toy",
        "width": args.width,
        "coord_conv": not args.no_coord_conv,
        "distance_map": args.distance_map,
        "proposal_branch": args.proposal_branch,
    }


def check_network(description: dict) -> None:
    """Raises FormatError for values that no builder can take, before one begins to: the description
    may come from a foreign weights file."""
    network = Entry(description, "network")
    architecture = network.choice("architecture", ("toy", "panoptic"))
    size = "width" if architecture == "toy" else "channels"
    options = ("classes", "coord_conv", "distance_map", "relative_radius", "proposal_branch", size)
    if architecture == "panoptic":
        options += ("backbone", "num_adain")
        network.choice("backbone", BACKBONES, default=None)
        network.choice("num_adain", (1, 2), default=None)
    network.only("architecture", *options)
    network.whole(size, LEAST_CHANNELS[architecture], MOST_CHANNELS[architecture], default=None)
    network.whole("classes", 1, MOST_CLASSES, default=None)
    network.choice("proposal_branch", PROPOSAL_BRANCHES, default=None)
    network.truth("coord_conv", default=None)
    network.truth("distance_map", default=None)
    network.number("relative_radius", above=0, default=None)
