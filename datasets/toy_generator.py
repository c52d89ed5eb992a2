"""Makes the toy data set (Section 6 of the paper): overlapping capsules on white.

    python -m datasets.toy_generator --out data/toy --train 10000 --test 2000 --seed 0
    python -m datasets.toy_generator --out data/toy_large --train 0 --test 8 \
        --size 256 --objects 250

Training images are clean, since blur, noise and flips are drawn when they are loaded; test images
are degraded once and for all. The second command makes scenes like those of Figure 3(d).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adaptis.arguments import interrupts_ignored, run_script
from adaptis.progress import progress
from datasets.base import DataError
from datasets.toy import BLUR_RANGE, IDS_SUFFIX, IMAGE_SUFFIX, degrade

LENGTHS = (14.0, 40.0)  # whole objects in the authors' scenes, px with the round caps
WIDTHS = (6.5, 12.0)  # likewise
MIN_VISIBLE = 30  # px: the smallest visible part of 950 objects in the authors' scenes has 31
MAX_TRIES = 1000  # draws of one capsule: at the authors' densities fewer than ten do

# Measured in the authors' scenes, RGB. An outline is blue where it meets the white background and
# purple where it crosses another object: a blue fringe under all objects, and soft edges.
INTERIOR = np.float32((250, 2, 4))
RIM = np.float32((55, 0, 150))
FRINGE = np.float32((15, 8, 225))
BACKGROUND = np.float32((255, 255, 255))
RIM_DEPTH = 3.7  # px from the outline to pure interior: fits the authors' profiles across an edge
EDGE_WIDTH = 1.7  # px over which an object covers what it is painted on, likewise
TEXTURE_STD = 4.0  # grey levels: the authors' even areas aren't quite even

TEST_NOISE_STD = (20.0, 20.0)  # grey levels: what the authors' published samples have

SPLITS = ("train", "test")  # the place in this tuple is part of the seed


class Capsule(NamedTuple):
    """All points within ``width / 2`` of a segment; pixel centres have integer coordinates."""

    y: float  # px, the centre
    x: float
    angle: float  # radians from the x axis towards the y axis
    length: float  # px, with the round caps
    width: float  # px

    def signed_distance(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Distance in px from the points (y, x) to the outline, negative inside."""
        dy, dx = y - self.y, x - self.x
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        along = np.abs(dx * cos + dy * sin) - (self.length - self.width) / 2
        across = dy * cos - dx * sin
        return np.hypot(np.maximum(along, 0), across) - self.width / 2


def draw_capsule(rng: np.random.Generator, size: int) -> Capsule:
    """Draws a capsule whose centre lies in a size x size image; its ends may stick out."""
    y, x = rng.uniform(-0.5, size - 0.5, 2)
    return Capsule(y, x, rng.uniform(0, np.pi), rng.uniform(*LENGTHS), rng.uniform(*WIDTHS))


def generate_scene(
    rng: np.random.Generator, size: int = 96, min_objects: int = 8, max_objects: int = 22
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one clean scene.

    Returns:
        image: (size, size, 3) uint8, RGB.
        instance_map: (size, size) int32, the visible parts: 0 background, ids 1..N in the order
            of painting, so that a higher id lies on top. Every id has at least MIN_VISIBLE pixels;
            an object that another crosses keeps both pieces.

    Raises:
        ValueError: the objects don't fit, or the numbers make no sense.
    """
    if size < 1 or not 0 <= min_objects <= max_objects:
        raise ValueError(f"no scene of size {size} with {min_objects} to {max_objects} objects")
    count = int(rng.integers(min_objects, max_objects, endpoint=True))
    instance_map = np.zeros((size, size), np.int32)
    paint = np.zeros((size, size, 4), np.float32)  # RGB, and how much of the ground shows through
    paint[..., 3] = 1
    nearest = np.full((size, size), 1.0, np.float32)  # px to the next object, cut off beyond 1
    for instance_id in range(1, count + 1):
        for _ in range(MAX_TRIES):
            if _paint(draw_capsule(rng, size), instance_id, instance_map, paint, nearest):
                break
        else:
            raise ValueError(
                f"object {instance_id} of {count} finds no place in an image of {size}x{size} px "
                f"that leaves {MIN_VISIBLE} px of each visible: ask for fewer or a larger image"
            )
    ground = BACKGROUND + _coverage(nearest, 1)[..., None] * (FRINGE - BACKGROUND)
    image = paint[..., :3] + paint[..., 3:] * ground
    texture = (TEXTURE_STD, TEXTURE_STD)
    return degrade(image, rng, blur_range=(1, 1), noise_std_range=texture), instance_map


def _paint(
    capsule: Capsule,
    instance_id: int,
    instance_map: np.ndarray,
    paint: np.ndarray,
    nearest: np.ndarray,
) -> bool:
    """Paints over the arrays in place; leaves them alone and says False if that hides too much.

    Args:
        instance_map: (H, W) int32 with the ids 0..instance_id - 1.
        paint: (H, W, 4) float32: RGB of 0..255, and the share of the ground of 0..1.
        nearest: (H, W) float32, px to the nearest outline.
    """
    reach = capsule.length / 2 + 1  # px, 1 for the anti-aliased outline
    top, left = (max(int(c - reach), 0) for c in (capsule.y, capsule.x))
    bottom, right = (int(np.ceil(c + reach)) + 1 for c in (capsule.y, capsule.x))
    window = np.s_[top:bottom, left:right]
    ids = instance_map[window]  # a view
    rows, columns = ids.shape
    distance = capsule.signed_distance(
        np.arange(top, top + rows, dtype=np.float32)[:, None],
        np.arange(left, left + columns, dtype=np.float32),
    )
    inside = distance < 0
    before = np.bincount(instance_map.ravel(), minlength=instance_id)
    covered = np.bincount(ids[inside], minlength=instance_id)
    if covered.sum() < MIN_VISIBLE or (before - covered)[1:].min(initial=MIN_VISIBLE) < MIN_VISIBLE:
        return False

    depth = np.clip(-distance / RIM_DEPTH, 0, 1)
    redness = depth * depth * (3 - 2 * depth)  # smoothstep: no crease where the rim ends
    color = np.zeros((rows, columns, 4), np.float32)  # opaque: nothing of the ground
    color[..., :3] = RIM + redness[..., None] * (INTERIOR - RIM)
    paint[window] += _coverage(distance, EDGE_WIDTH)[..., None] * (color - paint[window])
    nearest[window] = np.minimum(nearest[window], distance)
    ids[inside] = instance_id
    return True


def _coverage(distance: np.ndarray, edge_width: float) -> np.ndarray:
    """From 0 half a pixel outside the outline to 1 ``edge_width`` px further in."""
    return np.clip((0.5 - distance) / edge_width, 0, 1)


def generate(
    out: Path | str,
    train: int = 10000,
    test: int = 2000,
    seed: int = 0,
    size: int = 96,
    objects: tuple[int, int] = (8, 22),
    workers: int | None = None,
) -> None:
    """Writes ``<out>/<split>/<name>_rgb.png`` and ``<name>_im.png``, and ``<out>/toy.json``.

    The files hold the same bytes whatever the number of workers. Called again with the same
    parameters, it writes only what is missing.

    Args:
        objects: lowest and highest number of objects in an image.
        workers: processes, by default one for each core.

    Raises:
        DataError: the folder holds other data.
        ValueError: the objects don't fit into the images.
    """
    out = Path(out)
    parameters = dict(train=train, test=test, seed=seed, size=size, objects=list(objects))
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
    write = partial(_write_sample, out, seed, size, tuple(objects))
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
    """Writes toy.json, or checks that the one there says the same."""
    path = out / "toy.json"
    remedy = "choose another --out or delete the folder"
    if path.exists():
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise DataError(path, f"not readable as JSON: {error}", remedy) from error
        if found != parameters:
            problem = f"made with other parameters: {found} instead of {parameters}"
            raise DataError(out, problem, remedy)
    elif any((out / split).exists() for split in SPLITS):
        raise DataError(out, "holds images but no toy.json, so not this generator's", remedy)
    else:
        out.mkdir(parents=True, exist_ok=True)
        _write(path, (json.dumps(parameters, indent=2) + "\n").encode())
    for split in SPLITS:
        if parameters[split]:
            (out / split).mkdir(exist_ok=True)


def _paths(out: Path, split: str, index: int) -> tuple[Path, Path]:
    return tuple(out / split / f"{index:05d}{suffix}" for suffix in (IMAGE_SUFFIX, IDS_SUFFIX))


def _write_sample(
    out: Path, seed: int, size: int, objects: tuple[int, int], task: tuple[str, int]
) -> None:
    import cv2

    split, index = task
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    image, instance_map = generate_scene(rng, size, *objects)
    if split == "test":
        image = degrade(image, rng, BLUR_RANGE, TEST_NOISE_STD)
    ids = instance_map.astype(np.uint8 if instance_map.max() < 256 else np.uint16)
    for path, array in zip(_paths(out, split, index), (image[..., ::-1], ids)):  # OpenCV: BGR
        _write(path, cv2.imencode(".png", array)[1].tobytes())


def _write(path: Path, data: bytes) -> None:
    """A file under its own name is always complete, whenever the process is stopped."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Make the toy data set of Section 6.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=int, default=10000, help="clean training images")
    parser.add_argument("--test", type=int, default=2000, help="degraded test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=96, help="px, height and width")
    parser.add_argument(
        "--objects",
        type=int,
        nargs="+",
        default=(8, 22),
        help="objects in an image: a number, or the lowest and the highest",
    )
    parser.add_argument("--workers", type=int, help="processes, by default one for each core")
    args = parser.parse_args()
    if len(args.objects) > 2:
        parser.error("--objects takes one number or two")
    if min(args.train, args.test, args.seed) < 0 or (args.workers is not None and args.workers < 1):
        parser.error("--train, --test and --seed can't be negative, --workers starts at 1")
    objects = (args.objects[0], args.objects[-1])
    try:
        generate(args.out, args.train, args.test, args.seed, args.size, objects, args.workers)
    except ValueError as error:  # objects that don't fit
        parser.error(str(error))


if __name__ == "__main__":
    run_script(main)
