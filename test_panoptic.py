"""Evaluate a checkpoint: predictions in COCO's panoptic format, PQ, AP and mIoU by the official
evaluators, a table beside the paper's, and pictures. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

from adaptis.arguments import run_script
from adaptis.evaluation.options import parse_arguments


def main(arguments: list[str] | None = None) -> dict:
    args = parse_arguments(__doc__, arguments)

    from adaptis.evaluation.script import evaluate  # brings MXNet, for which --help needn't wait
    from datasets.formats import open_dataset

    return evaluate(args, open_dataset(args.dataset, args.data_root, args.split))


if __name__ == "__main__":
    run_script(main)
