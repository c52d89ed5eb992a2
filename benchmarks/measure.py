"""Time and memory of a function in a process of its own, and the report of a benchmark."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from adaptis.arguments import HelpFormatter, interrupts_ignored
from adaptis.evaluation.tables import markdown_table


class Measurement(NamedTuple):
    """Of several calls of a function.

    Attributes:
        seconds: the median.
        megabytes: resident memory at its highest, beyond what was there before the first call.
        output: of the last call.
    """

    seconds: float
    megabytes: float
    output: Any


def measure(make: Callable[..., Callable[[], Any]], *arguments: Any, runs: int = 5) -> Measurement:
    """Time ``make(*arguments)()`` in a fresh process, where nothing else has used memory.

    Parameters:
        make: a function of a module; what it returns is called, and returns something picklable.
        runs: calls that are timed, after one that isn't.
    """
    with interrupts_ignored():
        pool = multiprocessing.get_context("spawn").Pool(1)
    with pool:
        return pool.apply(_measure_here, (make, arguments, runs))


def _measure_here(make, arguments, runs: int) -> Measurement:
    function = make(*arguments)
    forget_highest_memory()
    before = memory_megabytes("VmRSS")
    seconds, output = median_seconds(function, runs)
    return Measurement(seconds, memory_megabytes("VmHWM") - before, output)


def median_seconds(function: Callable[[], Any], runs: int) -> tuple[float, Any]:
    """Of ``runs`` calls after one that isn't timed, and the output of the last."""
    output, seconds = None, []
    for _ in range(runs + 1):
        start = time.perf_counter()
        output = function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:]), output


def memory_megabytes(field: str) -> float:
    """Of this process, field "VmRSS": resident now; "VmHWM": at its highest."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def forget_highest_memory() -> None:
    """Let "VmHWM" start anew from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def benchmark_parser(
    name: str, description: str, cases: tuple[str, ...] = ()
) -> argparse.ArgumentParser:
    """Options that every benchmark has, and ``--cases`` where there are several."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--runs", type=int, default=5, help="number of timed calls, of which the median is taken"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("outputs/benchmarks"),
        help="folder of the table, in JSON",
    )
    if cases:
        parser.add_argument(
            "--cases", nargs="*", choices=cases, default=cases, help="what is timed, a row each"
        )
    return parser


def report(name: str, rows: list[dict[str, Any]], output: Path) -> None:
    """Print rows with the same keys as a table; write them to ``<output>/<name>.json``."""
    header = list(rows[0])
    cells = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in r.values()] for r in rows]
    print(markdown_table(header, cells))
    machine = f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}"
    content = {"date": str(date.today()), "machine": machine, "rows": rows}
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}.json").write_text(json.dumps(content, indent=1))
