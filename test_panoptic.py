"""Evaluate a checkpoint: predictions in COCO's panoptic format, PQ, AP and mIoU by the official
evaluators, a table beside the paper's, and pictures; of a split without labels what its server
takes. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

from adaptis.arguments import run_script
from adaptis.evaluation.options import parse_arguments


def main(arguments: list[str] | None = None) -> dict:
    args = parse_arguments(__doc__, arguments)

    # bring MXNet, for which --help needn't wait
    from adaptis.evaluation.script import evaluate, reading_options
    from adaptis.inference.loading import load_predictor
    from adaptis.workers import named_devices
    from datasets.formats import open_dataset

    predictor = None if args.predictions else load_predictor(args, named_devices(args)[0])
    reading = reading_options(args, predictor)
    dataset = open_dataset(args.dataset, args.data_root, args.split, **reading)
    return evaluate(args, dataset, predictor)


if __name__ == "__main__":
    run_script(main)
