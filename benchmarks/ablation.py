"""Table 7's four rows on the toy problem or on street scenes, each trained at the same cost.

python -m benchmarks.ablation --problem toy|street

Training and evaluation are the commands of docs/training.md with the options of a row;
interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from adaptis.arguments import HelpFormatter, run_script
from benchmarks.measure import report

ROWS = {  # Table 7: loss, Relative CoordConv, options of the training
    "nfl": ("NFL", "+", ()),
    "no-coord-conv": ("NFL", "-", ("--no-coord-conv",)),
    "focal": ("FL", "+", ("--loss", "focal")),
    "bce": ("BCE", "+", ("--loss", "bce")),
}


@dataclass(frozen=True)
class Problem:
    """What is trained and evaluated."""

    script: str  # of the training
    data_set: str  # test_panoptic.py's name for it
    data: str
    options: str  # of the training
    made_by: str  # the command that makes the data
    iou_thresholds: tuple[str, str]  # of the AP shown


PROBLEMS = {  # what a CPU learns most from in a given time, see docs/training.md
    "toy": Problem(
        "train_toy.py",
        "toy",
        "data/toy",
        "--width 16 --points 8 --crop 64",
        "python -m datasets.toy_generator --out data/toy --train 10000 --test 2000 --seed 0",
        ("0.5", "0.9"),
    ),
    "street": Problem(
        "train_cityscapes.py",
        "cityscapes",
        "data/synthetic-cityscapes",
        "--backbone resnet18_v1b --backbone-weights none --channels 64 --relative-radius 64 "
        "--crop 128 160 --scale 0.8 1.2 --points 20 --alpha 0.5",
        "python -m datasets.synthetic --format cityscapes --out data/synthetic-cityscapes "
        "--train 2000 --val 50",
        ("0.5", "0.5:0.95"),
    ),
}
SCHEDULE = "--batch-size 4 --learning-rate 2e-3 --schedule cosine --warmup 0.1 --epochs 1"


def run(row: str, seed: int, args) -> dict:
    """Train and evaluate one row from one seed; returns the metrics of test_panoptic.py."""
    problem = PROBLEMS[args.problem]
    data = args.data or problem.data
    run_name = f"{args.problem}-{Path(data).name}-{row}-{args.images}-{seed}"
    folder = args.runs_folder / (run_name + "-amp" * args.amp)
    best = folder / "instances" / "best.params"
    evaluation = folder / f"evaluation-{args.test_images}"
    if not best.exists():
        options = [*problem.options.split(), *SCHEDULE.split(), *ROWS[row][2]]
        options += ["--amp"] * args.amp
        if any(folder.glob("instances/checkpoint-*")):
            options.append("--resume")
        counts = ["--images", args.images, "--seed", seed]
        _python(problem.script, "--data", data, "--output", folder, *options, *counts)
    if not (evaluation / "metrics.json").exists():
        options = ["--data-root", data, "--weights", best, "--output", evaluation]
        counts = ["--points", "random", "--limit", args.test_images, "--pictures", 1]
        _python("test_panoptic.py", problem.data_set, *options, *counts)
    return json.loads((evaluation / "metrics.json").read_text())


def _python(*arguments) -> None:
    subprocess.run([sys.executable, *map(str, arguments)], check=True)


def spread(values: list[float]) -> str:
    """Mean and, of several, standard deviation of fractions, in percent."""
    mean = f"{100 * statistics.mean(values):.1f}"
    return f"{mean} ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else mean


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("outputs/benchmarks"),
        help="folder of the table, in JSON",
    )
    parser.add_argument(
        "--problem",
        choices=tuple(PROBLEMS),
        default="toy",
        help="what is learnt: the toy problem or street scenes",
    )
    made_by = "; ".join(problem.made_by for problem in PROBLEMS.values())
    parser.add_argument(
        "--data", help=f"folder of the data set; default: what these make: {made_by}"
    )
    parser.add_argument(
        "--images", type=int, default=10000, help="number of training images a run, each once"
    )
    parser.add_argument(
        "--test-images", type=int, default=200, help="evaluate only the first N test images"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="*",
        default=(0, 1, 2),
        help="seeds of a row's runs, of which it shows mean and standard deviation",
    )
    parser.add_argument("--amp", action="store_true", help="train in mixed precision")
    parser.add_argument(
        "--runs-folder",
        type=Path,
        default=Path("runs/ablation"),
        help="folder of the trainings and their evaluations",
    )
    args = parser.parse_args()
    rows = []
    for name, (loss, coord_conv, _) in ROWS.items():
        results = [run(name, seed, args) for seed in args.seeds]
        row = {"Loss": loss, "Relative CoordConv": coord_conv}
        for column, group in (("PQ", "all"), ("PQ_st", "stuff"), ("PQ_th", "things")):
            row[column] = spread([result["pq"][group]["pq"] for result in results])
        for threshold in PROBLEMS[args.problem].iou_thresholds:
            row[f"AP@{threshold}"] = spread([result["ap"][threshold] for result in results])
        rows.append(row)
    report(f"ablation-{args.problem}", rows, args.output)


if __name__ == "__main__":
    run_script(main)
