"""Images a second that one core reads and augments, at the paper's crops, of drawn scenes as large
as each data set's images: what the loader gives a training run for each of its threads.

python -m benchmarks.loader
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from adaptis.arguments import NOTHING_KEPT, run_script
from benchmarks.measure import (
    benchmark_parser,
    forget_highest_memory,
    median_seconds,
    memory_megabytes,
    report,
)
from datasets.formats import open_dataset

IMAGES = 12  # of each data set, read in turn: the operating system keeps their files in memory
SIZES = {  # height and width in pixels
    "toy": (96, 96),
    "cityscapes": (1024, 2048),
    "coco": (480, 640),  # the most frequent one
    "mapillary": (2448, 3264),  # 8 megapixels, a telephone's camera
}


def augmentation(name: str) -> Callable:
    """Of a data set's training, with its defaults: the paper's, Section 7."""
    from datasets import toy, transforms

    makers = {
        "toy": toy.ToyAugmentation,
        "cityscapes": transforms.cityscapes_augmentation,
        "coco": transforms.coco_augmentation,
        "mapillary": transforms.mapillary_augmentation,
    }
    return makers[name]()


def write_dataset(name: str, folder: Path) -> None:
    """IMAGES training images in the data set's own format."""
    from datasets.synthetic import main as synthesize
    from datasets.toy_generator import generate

    height, width = SIZES[name]
    if name == "toy":
        generate(folder, train=IMAGES, test=0, size=height)
        return
    counts = ("--train", str(IMAGES), "--val", "0", "--size", str(height), str(width))
    synthesize(["--format", name, "--out", str(folder), *counts])


def measure(name: str, root: Path, runs: int) -> dict:
    """One row: images a second of the reader alone, and with the augmentation, and the memory that
    one at a time takes at its highest."""
    dataset = open_dataset(name, root, "train2017" if name == "coco" else "train")
    augment = augmentation(name)

    def read() -> None:
        for index in range(IMAGES):
            dataset[index]

    def read_and_augment() -> None:
        for index in range(IMAGES):
            augment(dataset[index], np.random.default_rng(index))

    crop = augment(dataset[0], np.random.default_rng(0)).semantic_map.shape
    forget_highest_memory()
    before = memory_megabytes("VmRSS")
    return {
        "dataset": name,
        "image": "x".join(map(str, SIZES[name])),
        "crop": "x".join(map(str, crop)),
        "images/s read": IMAGES / median_seconds(read, runs)[0],
        "images/s read and augmented": IMAGES / median_seconds(read_and_augment, runs)[0],
        "MB": round(memory_megabytes("VmHWM") - before),
    }


def main(arguments: list[str] | None = None) -> None:
    args = benchmark_parser("loader", __doc__).parse_args(arguments)

    import cv2  # --help needn't wait for it

    cv2.setNumThreads(1)  # one core
    rows = []
    for name in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(name, Path(folder) / name)
            rows.append(measure(name, Path(folder) / name, args.runs))
    report("loader", rows, args.output)


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
