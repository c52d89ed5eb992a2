"""How training by several processes scales on this machine: time and bytes of a step of the toy
network by one process, and by workers that share MXNet's parameter server, each with as large a
batch and one thread of its own.

python -m benchmarks.distributed

The time of a step is the difference between a longer and a shorter training over that of their
iterations. A worker waits for what its step takes longer than that of one process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from adaptis.arguments import NOTHING_KEPT, run_script
from benchmarks.measure import benchmark_parser, report
from datasets.toy_generator import generate

ITERATIONS = (5, 25)  # of the shorter and the longer training
BATCH = 4  # images a worker
OPTIONS = "--stage instances --epochs 1 --crop 64 --points 8 --validation-images 1 --workers 1"


def train(workers: int, iterations: int, data: Path, output: Path) -> tuple[float, int]:
    """Seconds and bytes through the loopback of a whole training."""
    batch = BATCH * workers
    launch = [sys.executable, *f"-m adaptis.launch -n {workers} --".split()]
    script = [sys.executable, "train_toy.py"]
    counts = ["--batch-size", batch, "--images", batch * iterations]
    where = ["--data", data, "--output", output]
    command = [*(launch if workers > 1 else []), *script, *where, *OPTIONS.split(), *counts]
    shutil.rmtree(output, ignore_errors=True)
    start, sent = time.perf_counter(), loopback_bytes()
    subprocess.run(
        [str(part) for part in command],
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return time.perf_counter() - start, loopback_bytes() - sent


def loopback_bytes() -> int:
    """Sent so far, by all processes of the machine."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[9]) for line in lines if line.split()[0] == "lo:")


def step(workers: int, data: Path, output: Path) -> tuple[float, float]:
    """Seconds and bytes of a training step."""
    (short, few), (long, many) = (train(workers, n, data, output) for n in ITERATIONS)
    iterations = ITERATIONS[1] - ITERATIONS[0]
    return (long - short) / iterations, (many - few) / iterations


def main() -> None:
    parser = benchmark_parser("distributed", __doc__)
    parser.add_argument(
        "--processes", type=int, nargs="*", default=(1, 2), help="numbers of processes, a row each"
    )
    args = parser.parse_args()
    folder = args.output / "distributed"
    generate(
        folder / "data",
        train=BATCH * max(args.processes) * ITERATIONS[1],
        test=1,
        seed=0,
        workers=1,
    )
    rows, alone = [], None
    for workers in args.processes:
        runs = sorted(step(workers, folder / "data", folder / "run") for _ in range(args.runs))
        seconds, sent = runs[len(runs) // 2]
        alone = seconds if alone is None else alone
        rows.append(
            {
                "processes": workers,
                "s a step": seconds,
                "images/s": workers * BATCH / seconds,
                "MB a step": sent / 1e6,
                "share of waiting": max(0.0, 1 - alone / seconds),
            }
        )
    report("distributed", rows, args.output)


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
