"""The options of an evaluation. Light, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse

from adaptis.arguments import positive


def parse_arguments(description: str, arguments: list[str] | None) -> argparse.Namespace:
    """The options of an evaluation; without their defaults where these are the weights'."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("dataset", choices=("toy", "cityscapes", "coco", "mapillary"))
    add("--data-root", help="folder of the data set (default: data/DATASET)")
    add("--split", help="default: test of toy, val2017 of coco, val of the others")
    add("--weights", help="default: weights/toy.params for toy; the others need it")
    add("--predictions", help="only score an earlier run's, in its OUTPUT/predictions")
    add(
        "--output",
        help="predictions, metrics, table, pictures (default: outputs/DATASET, and "
        "outputs/DATASET-scored with --predictions)",
    )
    add("--limit", type=positive, help="evaluate only the first N images")
    add("--points", choices=("random", "proposals"), help="default: what the weights say")
    add("--flip", action=argparse.BooleanOptionalAction, help="default: what the weights say")
    add("--mask-threshold", type=float, help="T of Section 4; default: what the weights say")
    add(
        "--peak-threshold",
        type=float,
        help="lowest proposal score of a point; default: what the weights say",
    )
    add("--max-radius", type=float, help="pixels around the point; masks are cut beyond")
    add(
        "--within-masks",
        action=argparse.BooleanOptionalAction,
        help="objects get the pixels of their masks only, not all of the things; for images with "
        "crowds and missed objects; default: what the weights say",
    )
    add("--tile-size", type=positive, help="segment larger images in tiles of N x N pixels")
    add("--pictures", type=int, default=6, help="images to draw")
    add("--ctx", default="cpu", help='"cpu" or a GPU id')
    args = parser.parse_args(arguments)
    args.data_root = args.data_root or f"data/{args.dataset}"
    scored = "-scored" if args.predictions else ""
    args.output = args.output or f"outputs/{args.dataset}{scored}"
    if args.dataset == "toy":
        args.weights = args.weights or "weights/toy.params"
    if not args.weights and not args.predictions:
        parser.error("give --weights, or --predictions to score a folder")
    return args
