"""Train AdaptIS on own images: a folder of images with label maps, or COCO instances.

Both stages in one call. What isn't given is derived from the training images, and printed with its
reason; python -m datasets.check instances says more about them without training.
"""

from __future__ import annotations

import argparse
import sys

from easydict import EasyDict

from adaptis.arguments import RESUME, run_script
from adaptis.intensity import add_intensity_option
from adaptis.training.options import training_parser
from adaptis.values import ABOVE_ZERO, COUNT
from models.options import (
    IMAGE_MEAN,
    IMAGE_STD,
    WIDTHS,
    add_network_options,
    network_description,
    toy_network_description,
)

CACHE_BYTES = 2**30  # of decoded images in memory, for each of training and validation
HEAD_WINDOW = 2  # training windows' sides that the head sees at inference, see docs
SCALE = (0.6, 1.5)  # of the random scaling of a window: objects of one kind differ by more

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
    "inference": {
        "points": "proposals",  # Section 5
        "greedy": {
            "mask_threshold": 0.5,
            "max_overlap": 0.5,  # Section 4
            "within_masks": True,  # ours: a missed object's pixels go to no neighbour
        },
        "thing_threshold": 0.5,  # more object than background
        "peak_threshold": 0.1,  # until the proposal stage chooses it
        "proposal_blur": 2,  # authors' code for the toy problem
    },
}
CONFIGS = {
    "unet": EasyDict(
        SHARED,
        learning_rate=1e-3,  # with small batches and a cosine; twice Section 6's
        alpha=0.5,  # of the normalised focal loss, authors' code for the toy problem
        mean=(0.5, 0.5, 0.5),  # authors' code for the toy problem
        std=(0.5, 0.5, 0.5),
        width=32,  # authors' code for the toy problem
    ),
    "deeplab": EasyDict(
        SHARED,
        learning_rate=1e-4,  # Section 7
        backbone_learning_rate=5e-5,  # Section 7, of the pre-trained layers
        alpha=0.25,  # authors' code for Cityscapes
        mean=IMAGE_MEAN,
        std=IMAGE_STD,
        backbone="resnet50_v1s",  # the smallest of Table 5
    ),
}


def main(arguments: list[str] | None = None) -> None:
    chosen = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_network_choice(chosen)
    config = CONFIGS[chosen.parse_known_args(arguments)[0].network]
    args = _parser(config).parse_args(arguments)

    # these bring MXNet, for which --help needn't wait
    from adaptis.evaluation.script import evaluate_briefly
    from adaptis.training.script import train
    from adaptis.training.stage_run import Task
    from datasets.instances import open_instances
    from datasets.matched_classes import in_classes_of
    from datasets.skip_broken import SkipBroken
    from datasets.statistics import derive_defaults, measure_all
    from datasets.transforms import RandomScaledCrop, instances_augmentation
    from datasets.views import ByArea, Cached, FixedWindows
    from models.authors import to_our_names
    from models.build import build_network

    train_set, validation_set = (
        open_instances(
            args.data,
            split,
            args.intensity,
            args.class_agnostic,
            crowds_are_objects=args.crowds_are_objects,
        )
        for split in ("train", "val")
    )
    validation_set = in_classes_of(train_set, validation_set)
    if args.skip_broken:
        train_set, validation_set = SkipBroken(train_set), SkipBroken(validation_set)
    train_set, validation_set = (Cached(d, CACHE_BYTES) for d in (train_set, validation_set))
    images = measure_all(train_set)
    _fill_in(args, derive_defaults(images, args.data))
    config = EasyDict(
        config,
        proposal_epochs=args.proposal_epochs,
        intensity=args.intensity,
        inference={
            **config.inference,
            "greedy": {**config.inference.greedy, "min_area": args.min_area},
            "head_window": round(HEAD_WINDOW * args.crop),
        },
    )
    look = RandomScaledCrop((2 * args.crop, 2 * args.crop), 1, 1, around_objects=1)
    task = Task(
        _network(args, len(train_set.classes)),
        build_network,
        to_our_names,
        ByArea(train_set, [image.size for image in images]),
        FixedWindows(validation_set, look),
        instances_augmentation((args.crop, args.crop), SCALE),
    )
    best = train(args, config, task)
    if args.dry_run:
        evaluate_briefly(args, "instances", validation_set, best)


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
        add(
            "--width", type=WIDTHS, default=config.width, help="channels of the U-Net's first level"
        )
        add(
            "--relative-radius",
            type=ABOVE_ZERO,
            help="R of Relative CoordConv, in pixels; default from the data",
        )
    add("--crop", type=COUNT, help="train on windows of N x N pixels; default from the data")
    add(
        "--proposal-epochs",
        type=COUNT,
        default=config.proposal_epochs,
        help="epochs of the proposals stage; with --stage both, --epochs are those of the other",
    )
    add("--class-agnostic", action="store_true", help='of COCO files: one class, "object"')
    add(
        "--crowds-are-objects",
        action="store_true",
        help='of COCO files: those with "iscrowd": 1 are objects too, as CVAT exports masks',
    )
    add_intensity_option(parser)
    return parser


def _fill_in(args: argparse.Namespace, derived) -> None:
    """Set what wasn't given to what follows from the data, and say why.

    Parameters:
        derived: datasets.statistics.Defaults.
    """
    for name, reason in (
        ("relative_radius", "19 of 20 objects extend no further"),
        ("crop", "1.5 times as much, for what is around an object"),
        ("min_area", "1 of 100 objects is smaller"),
    ):
        given = getattr(args, name)
        if given is None:
            setattr(args, name, getattr(derived, name))
        option = name.replace("_", "-")
        reason = reason if given is None else f"given; from the data {getattr(derived, name)}"
        print(f"--{option} {getattr(args, name):g}  px: {reason}", file=sys.stderr)


def _network(args: argparse.Namespace, classes: int) -> dict:
    """What ``models.build.build_network`` makes the network from."""
    if args.network == "deeplab":
        return network_description(args, classes)
    own = {"relative_radius": args.relative_radius, "classes": classes}
    return {**toy_network_description(args), **own}


if __name__ == "__main__":
    run_script(main, RESUME)
