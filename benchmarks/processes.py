"""Toy images a second by one process with all cores, and by several that divide them, as
test_panoptic.py --processes and segment.py --processes do.

python -m benchmarks.processes

All begin together, and it counts from when each process has segmented an image.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from adaptis.arguments import NOTHING_KEPT, run_script
from adaptis.compat import threads_each
from adaptis.values import COUNT
from adaptis.workers import in_processes
from benchmarks.measure import benchmark_parser, memory_megabytes, report
from benchmarks.toy_images import CASES, make_images

SAMPLINGS = ("96x96, 8 to 22 objects, random points", "96x96, 8 to 22 objects, proposals")


class Segmented(NamedTuple):
    """What a process says of an image."""

    process: int
    megabytes: float  # resident memory at its highest so far
    areas: list[int]


def make(
    weights: str, case: str, count: int, processes: int, meeting: str
) -> Callable[[int], Segmented]:
    """A function that segments the image of a number below ``count``, once all processes are so
    far: each leaves a file in the folder ``meeting``."""
    from adaptis.inference.predictor import AdaptISPredictor

    _, size, fewest, most, points, _ = CASES[case]
    predictor = AdaptISPredictor.load(weights)
    predictor.settings = replace(predictor.settings, points=points)
    images = make_images(count, size, fewest, most)

    Path(meeting, str(os.getpid())).touch()
    while len(os.listdir(meeting)) < processes:
        time.sleep(0.01)

    def segment(number: int) -> Segmented:
        areas = [record["area"] for record in predictor.segment(images[number])]
        return Segmented(os.getpid(), memory_megabytes("VmHWM"), areas)

    return segment


def measure(processes: int, weights: str, case: str, count: int) -> tuple[float, float, list[int]]:
    """Images a second, the MB of a process, and the areas of all objects."""
    begun, ends, megabytes, areas = set(), [], 0.0, []
    with tempfile.TemporaryDirectory() as meeting:
        makers = [partial(make, weights, case, count, processes, meeting)] * processes
        with closing(in_processes(makers, range(count))) as results:
            for _, of_image in results:
                begun.add(of_image.process)
                if len(begun) == processes:
                    ends.append(time.perf_counter())
                megabytes = max(megabytes, of_image.megabytes)
                areas += of_image.areas
    return (len(ends) - 1) / (ends[-1] - ends[0]), megabytes, areas


def main(arguments: list[str] | None = None) -> None:
    parser = benchmark_parser("processes", __doc__, tuple(CASES))
    parser.set_defaults(runs=3, cases=SAMPLINGS)
    add = parser.add_argument
    cores = len(os.sched_getaffinity(0))
    add("--weights", default="weights/toy.params", help="to segment with")
    add("--images", type=COUNT, default=40, help="number of images to segment")
    add(
        "--processes",
        type=COUNT,
        nargs="*",
        default=sorted({1, cores}),
        help="numbers of processes, a row each",
    )
    args = parser.parse_args(arguments)
    rows = []
    for case in args.cases:
        first = None
        for processes in args.processes:
            runs = [measure(processes, args.weights, case, args.images) for _ in range(args.runs)]
            images_per_second = statistics.median(run[0] for run in runs)
            _, megabytes, areas = runs[-1]
            first = first or (images_per_second, areas)
            rows.append(
                {
                    "Toy images": case,
                    "processes": processes,
                    "threads each": threads_each(processes),
                    "images/s": images_per_second,
                    "times as fast": images_per_second / first[0],
                    "MB each": round(megabytes),
                    "objects": len(areas),
                    "equal areas": sum((Counter(areas) & Counter(first[1])).values()),
                }
            )
    report("processes", rows, args.output)


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
