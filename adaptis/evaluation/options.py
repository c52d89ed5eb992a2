"""The options of an evaluation. Light, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse

from adaptis.arguments import HelpFormatter
from adaptis.inference.options import add_inference_options
from adaptis.intensity import READING, add_reading_options
from adaptis.values import COUNT, WHOLE
from adaptis.workers import add_worker_options


def parse_arguments(description: str, arguments: list[str] | None) -> argparse.Namespace:
    """The options of an evaluation and of inference."""
    parser = argparse.ArgumentParser(description=description, formatter_class=HelpFormatter)
    add = parser.add_argument
    add(
        "dataset",
        choices=("toy", "cityscapes", "coco", "mapillary", "instances"),
        help="data set, or the one whose format the data have; instances: own images",
    )
    add("--data-root", help="folder of the data set (default: data/DATASET)")
    add(
        "--split",
        help="part of the data set; default: test of toy and instances, val2017 of coco, else val; "
        "what has no labels (test of cityscapes and mapillary, test-dev2017 of coco) isn't scored, "
        "but written as its server takes it",
    )
    add(
        "--weights",
        help="a .params or .onnx file; default: weights/toy.params for toy; the others need it",
    )
    add("--predictions", help="only score an earlier run's, in its OUTPUT/predictions")
    add(
        "--output",
        help="predictions, metrics, table, pictures (default: outputs/DATASET, and "
        "outputs/DATASET-scored with --predictions)",
    )
    add("--limit", type=COUNT, help="evaluate only the first N images")
    add("--pictures", type=WHOLE, default=6, help="number of images to draw")
    add(
        "--score-only",
        action="store_true",
        help="predict nothing and score the images whose predictions are there, as after --shard",
    )
    add_worker_options(parser)
    own = parser.add_argument_group("own images (instances)")
    add_reading_options(own, default=None)
    add_inference_options(parser)
    args = parser.parse_args(arguments)
    reads_own = any(vars(args).get(option) for option in READING)
    if args.dataset != "instances" and reads_own:
        parser.error("--intensity, --class-agnostic and --crowds-are-objects are for instances")
    if args.shard and (args.score_only or args.predictions):
        parser.error("--shard only predicts; score without it, once all shards are predicted")
    args.data_root = args.data_root or f"data/{args.dataset}"
    scored = "-scored" if args.predictions else ""
    args.output = args.output or f"outputs/{args.dataset}{scored}"
    if args.dataset == "toy":
        args.weights = args.weights or "weights/toy.params"
    if not args.weights and not args.predictions:
        parser.error("give --weights, or --predictions to score a folder")
    return args
