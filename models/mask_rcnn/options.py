"""The options of the comparison. Light, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse

from adaptis.arguments import HelpFormatter
from adaptis.values import ABOVE_ZERO, COUNT, WHOLE, between

NETWORKS = ("fpn", "c4")  # a feature pyramid, or the stride 16 features of the fourth stage alone
FULL_SIDE = 384  # px, Section 6
SMALLEST_SIDE = 96  # px; smaller images have fewer anchors than GluonCV wants proposals
EPOCHS = 55  # Section 6, like the learning rate
LEARNING_RATE = 0.001


def parse_arguments(description: str, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=HelpFormatter)
    add = parser.add_argument
    add("--data", default="data/toy", help="folder of the data set")
    add("--images", type=COUNT, help="use only the first N training images")
    add(
        "--epochs",
        type=COUNT,
        default=EPOCHS,
        help="passes over the images; the rate drops at 35/55 and 45/55 of them",
    )
    add("--learning-rate", type=ABOVE_ZERO, default=LEARNING_RATE, help="of SGD, before it drops")
    side = between(SMALLEST_SIDE, FULL_SIDE)
    add(
        "--short-side",
        type=side,
        default=FULL_SIDE,
        help="px to which images are enlarged, by the shorter side",
    )
    add(
        "--network",
        choices=NETWORKS,
        default="fpn",
        help="fpn: a feature pyramid; c4: features of the fourth stage alone",
    )
    add("--backbone-weights", default="imagenet", help='"imagenet", "none" or a GluonCV file')
    add("--resume", action="store_true", help="go on from the checkpoint of --output")
    add("--output", default="runs/compare", help="checkpoint, metrics, table and pictures")
    add("--weights", default="weights/toy.params", help="of AdaptIS, which is compared")
    add("--limit", type=COUNT, help="evaluate only the first N test images")
    add(
        "--pictures",
        type=WHOLE,
        default=3,
        help="number of images to draw; 0 for no pictures at all",
    )
    add(
        "--seed",
        type=WHOLE,
        default=0,
        help="seed of all that is random: weights, order, augmentation",
    )
    add("--ctx", default="cpu", help='"cpu" or a GPU id')
    return parser.parse_args(arguments)
