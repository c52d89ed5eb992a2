"""Make the toy data set (Section 6 of the paper), of the scenes in ``datasets.toy_scenes``.

    python -m datasets.toy_generator --out data/toy --train 10000 --test 2000 --seed 0
    python -m datasets.toy_generator --out data/toy-large --train 0 --test 20 \
        --size 256 --objects 250 --degradation hardest

Training images are clean, since blur, noise and flips are drawn when they are loaded; test images
are degraded once and for all. The second command makes scenes like that of Figure 3(d).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from functools import partial
from pathlib import Path

import numpy as np

from adaptis.arguments import HelpFormatter, interrupts_ignored, run_script
from adaptis.disk import write_atomically
from adaptis.progress import progress
from adaptis.values import COUNT, WHOLE
from datasets.base import DataError
from datasets.toy import (
    GENERATOR_VERSION,
    HARDEST,
    IDS_SUFFIX,
    IMAGE_SUFFIX,
    PARAMETERS_FILE,
    PUBLISHED_QUALITY,
    as_jpeg,
    degrade,
    draw_degradation,
    read_parameters,
)
from datasets.toy_scenes import generate_scene

SPLITS = ("train", "test")  # the place in this tuple is part of the seed
DEGRADATIONS = ("random", "hardest", "published")  # of test images


def generate(
    out: Path | str,
    train: int = 10000,
    test: int = 2000,
    seed: int = 0,
    size: int = 96,
    objects: tuple[int, int] = (8, 22),
    degradation: str = "random",
    workers: int | None = None,
) -> None:
    """Write ``<out>/<split>/<name>_rgb.png`` and ``<name>_im.png``, and ``<out>/toy.json``.

    The files hold the same bytes whatever the number of workers. Called again with the same
    parameters, it writes only what is missing.

    Parameters:
        objects: lowest and highest number of objects in an image.
        degradation: of the test images: "random", as in training; "hardest", the most of both
            blur and noise, as in the authors' large scenes; or "published", with the traces of
            JPEG that are in their files too.
        workers: processes, by default one for each core.

    Raises DataError where the folder holds other data, DiskError where it can't be written, and
    ValueError where the objects don't fit into the images.
    """
    out = Path(out)
    parameters = dict(
        generator=GENERATOR_VERSION,
        train=train,
        test=test,
        seed=seed,
        size=size,
        objects=list(objects),
        degradation=degradation,
    )
    _claim_folder(out, parameters)
    tasks = [
        (split, index)
        for split, count in zip(SPLITS, (train, test))
        for index in range(count)
        if not all(path.exists() for path in _paths(out, split, index))
    ]
    if not tasks:
        print(f"{out}: complete, nothing to do")
        return
    write = partial(_write_sample, out, seed, size, tuple(objects), degradation)
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    shown = partial(progress, total=len(tasks), desc=str(out), unit="image")
    if workers == 1:
        for _ in shown(map(write, tasks)):
            pass
        return
    import cv2  # here and below: --help needn't wait for it

    # spawn: forking a process that runs OpenCV's threads can hang
    with interrupts_ignored():
        pool = multiprocessing.get_context("spawn").Pool(workers, cv2.setNumThreads, (1,))
    with pool:
        for _ in shown(pool.imap_unordered(write, tasks, chunksize=16)):
            pass


def _claim_folder(out: Path, parameters: dict) -> None:
    """Write toy.json, or check that the one there says the same."""
    remedy = "choose another --out or delete the folder"
    found = read_parameters(out)
    if not found:
        if any((out / split).exists() for split in SPLITS):
            problem = f"holds images but no {PARAMETERS_FILE}, so not this generator's"
            raise DataError(out, problem, remedy)
        write_atomically(out / PARAMETERS_FILE, (json.dumps(parameters, indent=2) + "\n").encode())
    elif found != parameters:
        problem = f"made with other parameters: {found} instead of {parameters}"
        raise DataError(out, problem, remedy)
    for split in SPLITS:
        if parameters[split]:
            (out / split).mkdir(exist_ok=True)


def _paths(out: Path, split: str, index: int) -> tuple[Path, Path]:
    return tuple(out / split / f"{index:05d}{suffix}" for suffix in (IMAGE_SUFFIX, IDS_SUFFIX))


def _write_sample(
    out: Path,
    seed: int,
    size: int,
    objects: tuple[int, int],
    degradation: str,
    task: tuple[str, int],
) -> None:
    import cv2

    split, index = task
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    image, instance_map = generate_scene(rng, size, *objects)
    if split == "test":
        drawn = draw_degradation(rng) if degradation == "random" else HARDEST
        image = degrade(image, drawn, rng)
        if degradation == "published":
            image = as_jpeg(image, PUBLISHED_QUALITY)
    ids = instance_map.astype(np.uint8 if instance_map.max() < 256 else np.uint16)
    for path, array in zip(_paths(out, split, index), (image[..., ::-1], ids)):  # OpenCV: BGR
        write_atomically(path, cv2.imencode(".png", array)[1].tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m datasets.toy_generator",
        description="Make the toy data set of Section 6.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--train", type=WHOLE, default=10000, help="number of clean training images"
    )
    parser.add_argument("--test", type=WHOLE, default=2000, help="number of degraded test images")
    parser.add_argument("--seed", type=WHOLE, default=0, help="the same seed gives the same files")
    parser.add_argument("--size", type=COUNT, default=96, help="px, height and width")
    parser.add_argument(
        "--objects",
        type=COUNT,
        nargs="+",
        default=(8, 22),
        help="objects in an image: a number, or the lowest and the highest",
    )
    parser.add_argument(
        "--degradation",
        choices=DEGRADATIONS,
        default="random",
        help="of test images: drawn as in training; the most of both, as in Figure 3(d); the same "
        "after JPEG, as the authors published it",
    )
    parser.add_argument("--workers", type=COUNT, help="processes, by default one for each core")
    args = parser.parse_args()
    if len(args.objects) > 2:
        parser.error("--objects takes one number or two")
    objects = (args.objects[0], args.objects[-1])
    try:
        generate(
            args.out,
            args.train,
            args.test,
            args.seed,
            args.size,
            objects,
            args.degradation,
            args.workers,
        )
    except ValueError as error:  # objects that don't fit
        parser.error(str(error))


if __name__ == "__main__":
    run_script(main)
