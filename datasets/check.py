"""Read a whole data set, report what it holds and everything that is broken in it.

python -m datasets.check cityscapes|coco|mapillary|toy PATH [--split SPLIT ...]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from datasets.base import ClassInfo, DataError
from datasets.cityscapes import CityscapesDataset
from datasets.coco import COCOPanopticDataset
from datasets.mapillary import MapillaryDataset
from datasets.toy import ToyDataset

OPENERS = {
    "cityscapes": CityscapesDataset,
    "coco": COCOPanopticDataset.from_root,
    "mapillary": MapillaryDataset,
    "toy": ToyDataset,
}
SPLITS = {"cityscapes": ("train", "val"), "mapillary": ("train", "val"), "toy": ("train", "test")}


class Counts(NamedTuple):
    """What one image holds, as (classes,) int64 arrays in class order."""

    pixels: np.ndarray
    instances: np.ndarray
    crowds: np.ndarray
    size: int  # pixels with void


def count(dataset: Any, index: int) -> Counts | DataError:
    """Read one sample and count its classes.

    Returns:
        The counts, or the error that reading it raised.
    """
    try:
        sample = dataset[index]
    except DataError as error:
        return error
    classes = len(dataset.classes)
    records = sample.instances.values()

    def by_class(indices: Sequence[int]) -> np.ndarray:
        return np.bincount(np.asarray(indices, dtype=np.int64), minlength=classes)

    return Counts(
        pixels=np.bincount(sample.semantic_map.ravel() + 1, minlength=classes + 1)[1:],  # no void
        instances=by_class([record.class_index for record in records if not record.iscrowd]),
        crowds=by_class([record.class_index for record in records if record.iscrowd]),
        size=sample.semantic_map.size,
    )


def format_counts(classes: list[ClassInfo], counts: list[Counts]) -> str:
    """A table of images, instances, crowds and part of all pixels for each class, then void."""
    pixels, instances, crowds = (
        np.array([getattr(one, field) for one in counts], dtype=np.int64).reshape(-1, len(classes))
        for field in ("pixels", "instances", "crowds")
    )
    total = max(1, sum(one.size for one in counts))
    width = max(len(info.name) for info in classes)
    rows = [f"{'class':{width}}  kind   images  instances  crowds  pixels"]
    for i, info in enumerate(classes):
        images = np.count_nonzero(pixels[:, i])
        objects = (
            f"{instances[:, i].sum():9d}  {crowds[:, i].sum():6d}" if info.isthing else " " * 17
        )
        kind = "thing" if info.isthing else "stuff"
        part = pixels[:, i].sum() / total
        rows.append(f"{info.name:{width}}  {kind}  {images:6d}  {objects}  {part:6.2%}")
    void = total - pixels.sum()
    rows.append(f"{'void':{width}}  {'':5}  {'':6}  {'':9}  {'':6}  {void / total:6.2%}")
    return "\n".join(rows)


def check_split(name: str, path: Path, split: str) -> list[DataError]:
    """Read one split, print what it holds and return every error found."""
    try:
        dataset = OPENERS[name](path, split)
    except DataError as error:
        return [error]
    with ThreadPool(os.cpu_count()) as pool:  # decoding and numpy release Python's lock
        results = list(
            tqdm(
                pool.imap(lambda index: count(dataset, index), range(len(dataset))),
                desc=f"{name} {split}",
                total=len(dataset),
                unit="image",
            )
        )
    counts = [result for result in results if isinstance(result, Counts)]
    print(f"{name} {split}: {len(counts)} of {len(dataset)} images are sound")
    print(format_counts(dataset.classes, counts))
    return [result for result in results if isinstance(result, DataError)]


def find_splits(name: str, path: Path) -> list[str]:
    """The splits to check when none is named: COCO's are those that have an annotation file."""
    if name != "coco":
        return list(SPLITS[name])
    start = "panoptic_"
    files = sorted((path / "annotations").glob(f"{start}*.json"))
    if not files:
        raise DataError(path / "annotations", f"holds no {start}*.json")
    return [file.stem[len(start) :] for file in files]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 1 if anything was broken."""
    parser = argparse.ArgumentParser(prog="python -m datasets.check", description=__doc__)
    parser.add_argument("dataset", choices=sorted(OPENERS))
    parser.add_argument("path", type=Path, help="the data set's root folder")
    parser.add_argument("--split", nargs="+", help="default: all splits")
    options = parser.parse_args(arguments)
    problems: list[DataError] = []
    try:
        for split in options.split or find_splits(options.dataset, options.path):
            problems += check_split(options.dataset, options.path, split)
    except ValueError as error:  # a split that the data set doesn't have
        parser.error(str(error))
    except DataError as error:
        problems.append(error)
    for problem in problems:
        print(f"BROKEN {problem}")
    print(f"{len(problems)} problems found" if problems else "no problems found")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
