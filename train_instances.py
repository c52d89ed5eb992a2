"""Train AdaptIS on own images: a folder of images with label maps, or COCO instances.

Both stages in one call. What isn't given is derived from the training images, and printed with its
reason; python -m datasets.check instances says more about them without training.
"""

from __future__ import annotations

import argparse

from easydict import EasyDict

from adaptis.arguments import RESUME, run_script
from adaptis.intensity import add_reading_options
from adaptis.training.options import training_parser
from adaptis.values import ABOVE_ZERO, COUNT
from models.options import (
    IMAGE_MEAN,
    IMAGE_STD,
    RADIUS_FROM,
    add_network_options,
    add_width_option,
)

SHARED = {
    "dataset": "instances",
    "stage": "both",
    "betas": (0.9, 0.999),  # Section 6
    "epochs": 10,
    "schedule": "cosine",  # ends well after any number of epochs
    "drops": (7, 9),  # for --schedule step, where Section 7's lie
    "proposal_epochs": 1,
    "proposal_learning_rate": 5e-4,  # authors' code, like the next
    "proposal_schedule": "cosine",
    "batch_size": 4,  # on a CPU no slower an image than more, and more updates
    "points": 8,  # an image, Section 7
    "proposal_points": 48,  # of one object, Section 7
}


def _inference(mask_threshold: float) -> dict:
    """How own images are segmented, with T of Section 4."""
    return {
        "points": "proposals",  # Section 5
        "greedy": {
            "mask_threshold": mask_threshold,
            "max_overlap": 0.5,  # Section 4
            "within_masks": True,  # ours: a missed object's pixels go to no neighbour
            "proposal_candidates": 15,  # ours: masks of single objects before those of several
        },
        "thing_threshold": 0.5,  # more object than background
        "peak_threshold": 0.1,  # until the proposal stage chooses it
        "proposal_blur": 2,  # authors' code for the toy problem
    }


CONFIGS = {
    "unet": EasyDict(
        SHARED,
        learning_rate=1e-3,  # with small batches and a cosine; twice Section 6's
        alpha=0.5,  # of the normalised focal loss, authors' code for the toy problem
        mean=(0.5, 0.5, 0.5),  # authors' code for the toy problem
        std=(0.5, 0.5, 0.5),
        width=32,  # authors' code for the toy problem
        inference=_inference(mask_threshold=0.5),
    ),
    "deeplab": EasyDict(
        SHARED,
        learning_rate=1e-4,  # Section 7
        backbone_learning_rate=5e-5,  # Section 7, of the pre-trained layers
        alpha=0.25,  # authors' code for Cityscapes, as is T
        inference=_inference(mask_threshold=0.4),
        mean=IMAGE_MEAN,
        std=IMAGE_STD,
        backbone="resnet50_v1s",  # the smallest of Table 5
    ),
}


def main(arguments: list[str] | None = None) -> None:
    chosen = argparse.ArgumentParser(add_help=False)
    _add_network_choice(chosen)
    config = CONFIGS[chosen.parse_known_args(arguments)[0].network]
    args = _parser(config).parse_args(arguments)

    # this brings MXNet, for which --help needn't wait
    from models.own_images import train_on_own_images

    train_on_own_images(args, config)


def _add_network_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--network",
        choices=tuple(CONFIGS),
        default="unet",
        help="unet: the toy problem's, sharp and fast on small objects; deeplab: DeepLabV3+ with a "
        "pre-trained backbone, for scenes and large objects",
    )


def _parser(config: EasyDict) -> argparse.ArgumentParser:
    parser = training_parser(__doc__, config, data="data/instances")
    _add_network_choice(parser)
    add = parser.add_argument
    if "backbone" in config:
        add_network_options(parser, config.backbone, relative_radius=None)
    else:
        add_width_option(parser, config.width)
        add(
            "--relative-radius",
            type=ABOVE_ZERO,
            help=f"R of Relative CoordConv in pixels{RADIUS_FROM}",
        )
    add("--crop", type=COUNT, help="train on windows of N x N pixels; default from the data")
    add(
        "--object-diameter",
        type=ABOVE_ZERO,
        metavar="PX",
        help="train on images of smaller objects scaled up too, at most twice, until their median "
        "diameter is this, and segment them so; for data whose images differ in magnification",
    )
    add(
        "--proposal-epochs",
        type=COUNT,
        default=config.proposal_epochs,
        help="epochs of the proposals stage; with --stage both, --epochs are those of the other",
    )
    add_reading_options(parser)
    return parser


if __name__ == "__main__":
    run_script(main, RESUME)
