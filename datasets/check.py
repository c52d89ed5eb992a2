"""Read a whole data set, report what it holds and everything that is broken in it.

python -m datasets.check cityscapes|coco|instances|mapillary|toy PATH [--split SPLIT ...]

Of own images (instances) it also says what a training would do with them, of test splits whose
labels aren't public whether their images can be read.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np

from adaptis.arguments import NOTHING_KEPT, HelpFormatter, run_script
from adaptis.intensity import READING, add_reading_options
from adaptis.progress import progress
from adaptis.values import COUNT
from datasets.base import ClassInfo, DataError
from datasets.formats import FORMATS, find_splits, open_dataset
from datasets.statistics import ImageStatistics, measure
from datasets.training_report import CheckedSplit, report_training


def count(dataset: Any, index: int) -> tuple[np.ndarray, ImageStatistics] | DataError:
    """Read one sample and count what it holds.

    Returns (4, classes + 1) int64: images, instances, crowds and pixels of each class, void last;
    and the sizes of its objects. Or the error that reading it raised.
    """
    try:
        sample = dataset[index]
    except DataError as error:
        return error
    classes = len(dataset.classes)
    counts = np.zeros((4, classes + 1), dtype=np.int64)
    _, instances, crowds, pixels = counts
    for record in sample.instances.values():
        (crowds if record.iscrowd else instances)[record.class_index] += 1
    # VOID (-1) counts as index 0 and is moved to the end.
    pixels[:] = np.roll(np.bincount(sample.semantic_map.ravel() + 1, minlength=classes + 1), -1)
    counts[0] = pixels > 0
    return counts, measure(sample)


def format_counts(classes: Sequence[ClassInfo], totals: np.ndarray) -> str:
    """A table of (4, classes + 1) summed counts; pixels become a part of all."""
    width = max(len(info.name) for info in classes)
    rows = [f"{'class':{width}}  kind   images  instances  crowds  pixels"]
    names = [(info.name, "thing" if info.isthing else "stuff") for info in classes]
    for (name, kind), column in zip([*names, ("void", "")], totals.T):
        images, instances, crowds, pixels = column.tolist()
        objects = f"{instances:9d}  {crowds:6d}" if kind == "thing" else " " * 17
        part = pixels / max(1, totals[3].sum())
        rows.append(f"{name:{width}}  {kind:5}  {images:6d}  {objects}  {part:6.2%}")
    return "\n".join(rows)


def check_split(name: str, dataset: Any, split: str) -> tuple[CheckedSplit, list[DataError]]:
    """Read one split, print what it holds and return every error found."""
    problems: list[DataError] = []
    images: list[ImageStatistics] = []
    totals = np.zeros((4, len(dataset.classes) + 1), dtype=np.int64)
    with ThreadPool(os.cpu_count()) as pool:  # decoding and numpy release Python's lock
        results = pool.imap(lambda index: count(dataset, index), range(len(dataset)))
        for result in progress(results, f"{name} {split}", total=len(dataset), unit="image"):
            if isinstance(result, DataError):
                problems.append(result)
            else:
                totals += result[0]
                images.append(result[1])
    told = "" if dataset.labelled else "; the split has no labels"
    print(f"{name} {split}: {len(images)} of {len(dataset)} images are sound{told}")
    if dataset.labelled:
        print(format_counts(dataset.classes, totals))
    return CheckedSplit(dataset, totals[1], images), problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 1 if anything was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m datasets.check", description=__doc__, formatter_class=HelpFormatter
    )
    parser.add_argument(
        "dataset",
        choices=sorted(FORMATS),
        help="data set, or the one whose format the data have; instances: own images",
    )
    parser.add_argument("path", type=Path, help="the data set's root folder")
    parser.add_argument("--split", nargs="+", help="parts of the data set; default: all")
    own = parser.add_argument_group("own images (instances)")
    add_reading_options(own)
    own.add_argument(
        "--min-area",
        type=COUNT,
        help="pixels of the smallest object to train on; default from the data",
    )
    options = parser.parse_args(arguments)
    reading = {}
    if options.dataset == "instances":
        reading = {name: getattr(options, name) for name in READING}
    problems: list[DataError] = []
    checked: dict[str, CheckedSplit] = {}
    try:
        for split in options.split or find_splits(options.dataset, options.path):
            try:
                dataset = open_dataset(options.dataset, options.path, split, **reading)
            except DataError as error:
                problems.append(error)
                continue
            checked[split], broken = check_split(options.dataset, dataset, split)
            problems += broken
        if options.dataset == "instances":
            problems += report_training(options.path, checked, options.min_area)
    except DataError as error:
        problems.append(error)
    told = dict.fromkeys(map(str, problems))  # what two splits have in common once
    for problem in told:
        print(f"BROKEN {problem}")
    print(f"{len(told)} problems found" if told else "no problems found")
    return 1 if told else 0


if __name__ == "__main__":
    run_script(lambda: sys.exit(main()), NOTHING_KEPT)
