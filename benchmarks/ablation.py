"""Table 7's four rows on the toy problem, each trained at the same cost from several seeds.

python -m benchmarks.ablation

Training and evaluation are the commands of docs/training.md with the options of a row;
interrupted, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from adaptis.arguments import run_script
from adaptis.evaluation.tables import TOY_IOU_THRESHOLDS
from benchmarks.measure import report

ROWS = {  # Table 7: loss, Relative CoordConv, options of train_toy.py
    "nfl": ("NFL", "+", ()),
    "no-coord-conv": ("NFL", "-", ("--no-coord-conv",)),
    "focal": ("FL", "+", ("--loss", "focal")),
    "bce": ("BCE", "+", ("--loss", "bce")),
}
# what a CPU learns most from in a given time, see docs/training.md
OPTIONS = "--width 16 --points 8 --batch-size 4 --crop 64 --learning-rate 2e-3 --schedule cosine"


def run(row: str, seed: int, args) -> dict:
    """Train and evaluate one row from one seed; returns the metrics of test_panoptic.py."""
    folder = args.runs_folder / f"{row}-{args.images}-{seed}"
    best = folder / "instances" / "best.params"
    evaluation = folder / f"evaluation-{args.test_images}"
    if not best.exists():
        resume = ["--resume"] if any(folder.glob("instances/checkpoint-*")) else []
        counts = ["--images", args.images, "--epochs", 1, "--warmup", 0.1, "--seed", seed]
        _python(
            "train_toy.py",
            "--data",
            args.data,
            "--output",
            folder,
            *OPTIONS.split(),
            *counts,
            *ROWS[row][2],
            *resume,
        )
    if not (evaluation / "metrics.json").exists():
        _python(
            "test_panoptic.py",
            "toy",
            "--data-root",
            args.data,
            "--weights",
            best,
            "--output",
            evaluation,
            "--limit",
            args.test_images,
            "--pictures",
            1,
        )
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
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--data", default="data/toy", help="of datasets.toy_generator")
    parser.add_argument(
        "--images", type=int, default=10000, help="training images a run, each once"
    )
    parser.add_argument("--test-images", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="*", default=(0, 1, 2))
    parser.add_argument("--runs-folder", type=Path, default=Path("runs/ablation"))
    args = parser.parse_args()
    rows = []
    for name, (loss, coord_conv, _) in ROWS.items():
        results = [run(name, seed, args) for seed in args.seeds]
        row = {"Loss": loss, "Relative CoordConv": coord_conv}
        for column, group in (("PQ", "all"), ("PQ_st", "stuff"), ("PQ_th", "things")):
            row[column] = spread([result["pq"][group]["pq"] for result in results])
        for threshold in (TOY_IOU_THRESHOLDS[0], TOY_IOU_THRESHOLDS[-1]):
            row[f"AP@{threshold:g}"] = spread(
                [result["ap"][f"{threshold:g}"] for result in results]
            )
        rows.append(row)
    report("ablation", rows, args.output)


if __name__ == "__main__":
    run_script(main)
