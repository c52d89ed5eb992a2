"""Train AdaptIS on own images with a label map each: both stages in one call.

What isn't given is derived from the data and printed with its reason.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import adaptis  # noqa: F401  isort: skip
import numpy as np
from easydict import EasyDict

from adaptis.arguments import DeviceError, positive
from adaptis.checkpoint import CheckpointError
from adaptis.intensity import parse_intensity
from adaptis.trainer import TrainingError
from adaptis.training_script import train, training_parser
from datasets.base import DataError
from datasets.label_maps import LabelMapDataset
from datasets.statistics import Statistics, measure
from datasets.transforms import RandomScaledCrop, instances_augmentation
from datasets.windows import ByArea, FixedWindows
from models.authors import to_our_names
from models.build import build_network

CROP_STEP = 16  # px; the U-Net halves four times

CONFIG = EasyDict(
    dataset="instances",
    learning_rate=1e-3,  # with batches of 4 and a cosine, best on the toy problem on a CPU
    betas=(0.9, 0.999),  # Section 6
    epochs=10,
    schedule="cosine",  # to an end of any length
    drops=(7, 9),  # for --schedule step: the shares of the epochs at which Section 7 drops
    proposal_epochs=1,
    batch_size=4,  # on a CPU as fast an image as larger ones, and learns more of each
    points=8,  # an image
    proposal_points=48,  # of one object, Section 7
    alpha=0.5,  # of the normalised focal loss, authors' code for the toy problem
    width=32,  # authors' code for the toy problem
    mean=(0.5, 0.5, 0.5),  # authors' code for the toy problem
    std=(0.5, 0.5, 0.5),
)


def main(arguments: list[str] | None = None) -> None:
    args = _parser().parse_args(arguments)
    intensity = parse_intensity(args.intensity)
    train_set = LabelMapDataset(args.data, "train", intensity, cache=True)
    validation_set = LabelMapDataset(args.data, "val", intensity, cache=True)
    statistics = measure(train_set)
    args.relative_radius, args.crop, args.min_area = _derived(args, statistics)
    config = EasyDict(
        CONFIG,
        min_area=args.min_area,
        intensity=intensity,
        inference={
            "points": "proposals",
            "greedy": {"mask_threshold": 0.5, "max_overlap": 0.5, "min_area": args.min_area},
            "thing_threshold": 0.5,
            "peak_threshold": 0.1,
            "proposal_blur": 2,
        },
    )
    network = {
        "architecture": "toy",
        "width": args.width,
        "coord_conv": not args.no_coord_conv,
        "distance_map": args.distance_map,
        "relative_radius": args.relative_radius,
    }
    window = (args.crop, args.crop)
    twice = RandomScaledCrop((2 * args.crop, 2 * args.crop), 1, 1, around_objects=1)
    data = (
        ByArea(train_set, statistics.sizes),
        FixedWindows(validation_set, twice),
        instances_augmentation(window),
    )
    for stage in ("instances", "proposals"):
        options = argparse.Namespace(**{**vars(args), "stage": stage})
        if stage == "proposals":
            options.weights = str(Path(args.output) / "instances" / "best.params")
            options.epochs = args.proposal_epochs
            options.resume = args.resume and any(
                (Path(args.output) / "proposals").glob("checkpoint-*.params")
            )
        train(options, config, network, build_network, to_our_names, *data)


def _parser() -> argparse.ArgumentParser:
    parser = training_parser(__doc__, CONFIG, data="data/instances")
    add = parser.add_argument
    add("--proposal-epochs", type=positive, default=CONFIG.proposal_epochs)
    add(
        "--intensity",
        nargs="+",
        metavar="HOW",
        default=["percentile"],
        help="what becomes black and white: percentile (1 and 99.8 of each image), full (the "
        "whole range of the file's type) or two values LOW HIGH",
    )
    add("--crop", type=positive, help="train on windows of N x N pixels; default from the data")
    add("--relative-radius", type=float, help="R in pixels; default from the data")
    add("--min-area", type=positive, help="pixels; smaller objects are no targets")
    add("--width", type=int, default=CONFIG.width, help="channels of the U-Net's first level")
    return parser


def _derived(args: argparse.Namespace, statistics: Statistics) -> tuple[float, int, int]:
    """R, the crop and the size limit in pixels: as given, or from the data, with the reason."""
    extent = float(np.percentile(statistics.extents, 95))
    radius = args.relative_radius or float(math.ceil(extent))
    crop = args.crop or CROP_STEP * math.ceil(1.5 * extent / CROP_STEP)
    min_area = args.min_area or max(1, int(np.percentile(statistics.areas, 1)))
    of = f"{len(statistics.areas)} objects in {len(statistics.sizes)} images"
    for value, option, reason in (
        (radius, "relative-radius", f"19 of 20 extend no further: {extent:g} px; {of}"),
        (crop, "crop", "1.5 times as much holds such an object and what is around it"),
        (min_area, "min-area", "px; 1 of 100 objects is smaller"),
    ):
        given = vars(args)[option.replace("-", "_")]
        print(f"--{option} {value:g}  ({'given' if given else reason})", file=sys.stderr)
    return radius, crop, min_area


if __name__ == "__main__":
    try:
        main()
    except (TrainingError, DataError, CheckpointError, DeviceError) as error:
        sys.exit(f"error: {error}")
