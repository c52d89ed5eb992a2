"""Training on own images: what isn't given is derived from them; the network sees windows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from easydict import EasyDict

from adaptis.intensity import READING
from adaptis.json_types import Entry, FormatError
from adaptis.weights import CheckpointError, has_description, load_arrays
from datasets.instances import has_split, open_instances
from datasets.statistics import Defaults, derive_defaults, measure_all
from datasets.transforms import RandomScaledCrop, instances_augmentation
from datasets.views import Cached, FixedWindows, Selection, times_by_area
from models.options import network_description, toy_network_description
from models.training import prepare_sets, train_network

CACHE_BYTES = 2**30  # of decoded images in memory, for each of training and validation
HEAD_WINDOW = 2  # training windows' sides that the head sees at inference, see docs/own_images.md
SCALE = (0.6, 1.5)  # of the random scaling of a window: objects of one kind differ by more

REASONS = {  # of what is derived, by option
    "relative_radius": "19 of 20 objects extend no further",
    "crop": "1.5 times as much, for what is around an object",
    "min_area": "1 of 100 objects is smaller",
}


def train_on_own_images(args: argparse.Namespace, config: EasyDict) -> None:
    """Train as the options say, on windows of the images.

    Parameters:
        args: of train_instances.py; what is derived from the images is set here.
        config: of the network that was chosen.

    Raises DataError, CheckpointError, and what ``train_network`` raises.
    """
    sets = (
        open_instances(args.data, split, **{name: getattr(args, name) for name in READING})
        for split in ("train", "val")
    )
    train_set, validation_set = (
        Cached(dataset, CACHE_BYTES) for dataset in prepare_sets(*sets, args.skip_broken)
    )
    if args.images:
        train_set = Selection(train_set, range(min(args.images, len(train_set))))
    images = measure_all(train_set)
    derived, reasons = derive_defaults(images, args.data), REASONS
    if args.relative_radius is None and (radius := trained_radius(args.weights)):
        derived = derived._replace(relative_radius=radius)
        reasons = {**REASONS, "relative_radius": f"that of {args.weights}"}
    fill_in(args, derived, reasons)
    config = EasyDict(
        config,
        proposal_epochs=args.proposal_epochs,
        intensity=args.intensity,
        evaluated_split="test" if has_split(Path(args.data), "test") else "val",
        inference={
            **config.inference,
            "greedy": {**config.inference.greedy, "min_area": args.min_area},
            "head_window": round(HEAD_WINDOW * args.crop),
            "object_diameter": args.object_diameter,
        },
    )
    look = RandomScaledCrop((2 * args.crop, 2 * args.crop), 1, 1, around_objects=1)
    train_network(
        args,
        config,
        describe_network(args, len(train_set.classes)),
        train_set,
        FixedWindows(validation_set, look),
        instances_augmentation((args.crop, args.crop), SCALE, args.object_diameter),
        times=times_by_area([image.size for image in images]),
        evaluated_set=validation_set,
    )


def trained_radius(weights: str | None) -> float | None:
    """R of the network in a weights file, which training goes on with; None where no file says it.

    Raises CheckpointError for a damaged file.
    """
    if weights is None or not has_description(weights):
        return None
    description = Entry(load_arrays(weights)[1])
    try:
        network = description.entry("network", default=Entry({}))
        return network.number("relative_radius", above=0, default=None)
    except FormatError as error:
        raise CheckpointError(f"{weights}: its description can't be used: {error}") from error


def fill_in(args: argparse.Namespace, derived: Defaults, reasons: dict[str, str]) -> None:
    """Set the options that weren't given to what is derived, and say why on stderr."""
    for name, reason in reasons.items():
        given, from_data = getattr(args, name), getattr(derived, name)
        if given is None:
            setattr(args, name, from_data)
        else:
            reason = f"given; from the data {from_data}"
        option = name.replace("_", "-")
        print(f"--{option} {getattr(args, name):g} px: {reason}", file=sys.stderr)


def describe_network(args: argparse.Namespace, classes: int) -> dict:
    """What ``models.build.build_network`` makes the chosen network from."""
    if args.network == "deeplab":
        return network_description(args, classes)
    own = {"relative_radius": args.relative_radius, "classes": classes}
    return {**toy_network_description(args), **own}
