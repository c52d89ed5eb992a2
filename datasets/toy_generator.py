"""Makes the toy data set (Section 6 of the paper): overlapping capsules on white.

    python -m datasets.toy_generator --out data/toy --train 10000 --test 2000 --seed 0
    python -m datasets.toy_generator --out data/toy-large --train 0 --test 20 \
        --size 256 --objects 250 --degradation hardest

Training images are clean, since blur, noise and flips are drawn when they are loaded; test images
are degraded once and for all. The second command makes scenes like that of Figure 3(d).
``datasets.toy_statistics`` compares what comes out with the authors' scenes.
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
from adaptis.values import COUNT, WHOLE
from datasets.base import DataError
from datasets.toy import (
    GENERATOR_VERSION,
    HARDEST,
    IDS_SUFFIX,
    IMAGE_SUFFIX,
    PARAMETERS_FILE,
    Degradation,
    degrade,
    draw_degradation,
    read_parameters,
)

# From capsules fitted to all masks of the authors' scene of 700 objects, and adjusted to the areas
# of the visible parts in both of their scenes. Lengths and widths in px, with the round caps.
LENGTHS = (20.5, 44.0)
WIDTHS = (6.6, 9.4)
MARGIN = 16.0  # px from the image's border to the centres

# Likewise. "Many overlapping objects that have very similar bounding boxes" come in pairs: in the
# scene of 250 objects a third of consecutive ids lie within 15 px of each other, by chance 1 %.
PAIR_PROBABILITY = 0.8  # of trying to lay an object on the one painted before it
PAIR_TRIES = 3  # draws that leave too little visible, then a place of its own
PAIR_OFFSET = 4.0  # px a coordinate: the most between the centres
PARALLEL_PROBABILITY = 0.1  # in a pair; otherwise the angle is free
PARALLEL_STD = np.radians(8)

# Likewise: each piece that others leave visible of an object has a quarter of its area or more.
MIN_PIECE_SHARE = 0.25
MIN_PIECE_AREA = 30  # px: the smallest piece in both scenes
MAX_PIECES = 2  # likewise the most
MAX_TRIES = 1000  # draws of one capsule: at the authors' densities the most seen was 135

# The colour across an edge in the authors' clear scene: depth inside the outline in px, RGB.
DARK_RIM = np.float32(
    [
        (-1.2, 120, 0, 240),
        (-0.4, 110, 0, 200),
        (0.0, 80, 0, 125),
        (0.4, 84, 3, 98),
        (0.8, 138, 8, 95),
        (1.2, 180, 13, 84),
        (1.6, 205, 12, 66),
        (2.0, 221, 8, 43),
        (2.4, 236, 5, 22),
        (2.8, 243, 3, 11),
        (3.4, 248, 2, 5),
        (4.0, 250, 2, 4),
    ]
)
BLUE_RIM = np.float32(
    [
        (-1.2, 0, 0, 255),
        (-0.4, 22, 0, 240),
        (0.0, 30, 0, 180),
        (0.4, 36, 1, 150),
        (0.8, 48, 1, 144),
        (1.2, 72, 1, 132),
        (1.6, 116, 4, 120),
        (2.0, 173, 12, 99),
        (2.4, 198, 12, 78),
        (2.8, 223, 8, 43),
        (3.2, 236, 6, 23),
        (3.8, 245, 2, 8),
        (4.4, 250, 2, 4),
    ]
)
BLUE_SHARE = 0.25  # of the objects
BLUE_WIDTH = 0.9  # px that such a rim adds all around
RIM_SHIFT_STD = 0.3  # px, between objects: their rims differ in width
EDGE = (1.05, -0.4)  # signed distances in px between which an object comes to cover its ground
TEXTURE_STD = 3.0  # grey levels: the authors' even areas aren't quite even

SPLITS = ("train", "test")  # the place in this tuple is part of the seed
DEGRADATIONS = ("random", "hardest")  # of test images


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

    def lies_within(self, size: int) -> bool:
        """Whether a size x size image holds all of it."""
        straight = (self.length - self.width) / 2
        for center, extent in ((self.y, np.sin(self.angle)), (self.x, np.cos(self.angle))):
            reach = straight * abs(extent) + self.width / 2
            if not reach - 0.5 <= center <= size - 0.5 - reach:
                return False
        return True


class _Placed(NamedTuple):
    """Where an object lies and how large it was, to see what others leave visible of it."""

    window: tuple[slice, slice]  # rows and columns that hold it
    area: int  # px, of the whole object


def draw_capsule(
    rng: np.random.Generator, size: int, below: Capsule | None, rim_width: float
) -> Capsule:
    """Draws an object of a size x size image; it may stick out.

    Args:
        below: the object it is laid on; None: it has a place of its own.
        rim_width: px that its rim adds all around.
    """
    length, width = (rng.uniform(*sizes) + 2 * rim_width for sizes in (LENGTHS, WIDTHS))
    angle = rng.uniform(0, np.pi)
    if below is None:
        y, x = rng.uniform(MARGIN - 0.5, size - 0.5 - MARGIN, 2)
    else:
        y, x = (below.y, below.x) + rng.uniform(-PAIR_OFFSET, PAIR_OFFSET, 2)
        if rng.random() < PARALLEL_PROBABILITY:
            angle = rng.normal(below.angle, PARALLEL_STD)
    return Capsule(y, x, angle, length, width)


def generate_scene(
    rng: np.random.Generator, size: int = 96, min_objects: int = 8, max_objects: int = 22
) -> tuple[np.ndarray, np.ndarray]:
    """Draws one clean scene.

    Returns:
        image: (size, size, 3) uint8, RGB.
        instance_map: (size, size) int32, the visible parts: 0 background, ids 1..N in the order
            of painting, so that a higher id lies on top. Objects lie whole within the image, and
            what others leave visible of one is a piece or two, each of at least MIN_PIECE_AREA
            pixels and MIN_PIECE_SHARE of the object.

    Raises:
        ValueError: the objects don't fit, or the numbers make no sense.
    """
    if size < 1 or not 0 <= min_objects <= max_objects:
        raise ValueError(f"no scene of size {size} with {min_objects} to {max_objects} objects")
    if max_objects and size < 2 * MARGIN:
        raise ValueError(f"no object lies within {size}x{size} px: {2 * MARGIN:.0f} is the least")
    count = int(rng.integers(min_objects, max_objects, endpoint=True))
    image = np.full((size, size, 3), 255, np.float32)
    instance_map = np.zeros((size, size), np.int32)
    placed: dict[int, _Placed] = {}
    capsule = None
    for instance_id in range(1, count + 1):
        below = capsule if rng.random() < PAIR_PROBABILITY else None
        rim, rim_width = (BLUE_RIM, BLUE_WIDTH) if rng.random() < BLUE_SHARE else (DARK_RIM, 0.0)
        for attempt in range(MAX_TRIES):
            capsule = draw_capsule(rng, size, below if attempt < PAIR_TRIES else None, rim_width)
            if not capsule.lies_within(size):
                continue
            window = _window(capsule)
            distance = _distance(capsule, window, size)
            if _place(distance < 0, window, instance_id, instance_map, placed):
                break
        else:
            raise ValueError(
                f"object {instance_id} of {count} finds no place in an image of {size}x{size} px "
                "that leaves enough of each visible: ask for fewer or a larger image"
            )
        _paint(distance, rim, rng, image[window])
    return degrade(image, Degradation(1, TEXTURE_STD), rng), instance_map


def _window(capsule: Capsule) -> tuple[slice, slice]:
    """Rows and columns that hold the capsule and its soft edge."""
    reach = capsule.length / 2 + EDGE[0]
    return tuple(
        slice(max(int(center - reach), 0), int(np.ceil(center + reach)) + 1)
        for center in (capsule.y, capsule.x)
    )


def _distance(capsule: Capsule, window: tuple[slice, slice], size: int) -> np.ndarray:
    """Signed distance in px from the window's pixels to the outline, (H, W) float32."""
    rows, columns = (np.arange(size, dtype=np.float32)[part] for part in window)
    return capsule.signed_distance(rows[:, None], columns)


def _place(
    inside: np.ndarray,
    window: tuple[slice, slice],
    instance_id: int,
    instance_map: np.ndarray,
    placed: dict[int, _Placed],
) -> bool:
    """Writes an object into the map; leaves all as it was and says False if it hides too much.

    Args:
        inside: (H, W) bool, the object in its window.
    """
    ids = instance_map[window]  # a view
    before = ids.copy()
    ids[inside] = instance_id
    for covered in np.unique(before[inside]):
        if covered and not _is_visible(instance_map, covered, *placed[covered]):
            ids[:] = before
            return False
    placed[instance_id] = _Placed(window, int(inside.sum()))
    return True


def _is_visible(
    instance_map: np.ndarray, instance_id: int, window: tuple[slice, slice], area: int
) -> bool:
    """Whether an object's pieces, whose pixels may meet at corners, are few and large enough."""
    import cv2

    mask = (instance_map[window] == instance_id).astype(np.uint8)
    pieces = cv2.connectedComponentsWithStats(mask)[2][1:, cv2.CC_STAT_AREA]  # 0: the rest
    smallest = max(MIN_PIECE_AREA, MIN_PIECE_SHARE * area)
    return 1 <= len(pieces) <= MAX_PIECES and pieces.min() >= smallest


def _paint(
    distance: np.ndarray, rim: np.ndarray, rng: np.random.Generator, image: np.ndarray
) -> None:
    """Paints an object over its window of the image, (H, W, 3) float32, in place."""
    depth = rng.normal(0, RIM_SHIFT_STD) - distance
    color = np.stack([np.interp(depth, rim[:, 0], channel) for channel in rim.T[1:]], axis=-1)
    outside, inside = EDGE
    coverage = np.clip((outside - distance) / (outside - inside), 0, 1)
    image += coverage[..., None] * (color - image)


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
    """Writes ``<out>/<split>/<name>_rgb.png`` and ``<name>_im.png``, and ``<out>/toy.json``.

    The files hold the same bytes whatever the number of workers. Called again with the same
    parameters, it writes only what is missing.

    Args:
        objects: lowest and highest number of objects in an image.
        degradation: of the test images: "random", as in training, or "hardest", the most of both
            blur and noise, as in the authors' large scenes.
        workers: processes, by default one for each core.

    Raises:
        DataError: the folder holds other data.
        ValueError: the objects don't fit into the images.
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
    """Writes toy.json, or checks that the one there says the same."""
    remedy = "choose another --out or delete the folder"
    found = read_parameters(out)
    if not found:
        if any((out / split).exists() for split in SPLITS):
            problem = f"holds images but no {PARAMETERS_FILE}, so not this generator's"
            raise DataError(out, problem, remedy)
        out.mkdir(parents=True, exist_ok=True)
        _write(out / PARAMETERS_FILE, (json.dumps(parameters, indent=2) + "\n").encode())
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
        drawn = HARDEST if degradation == "hardest" else draw_degradation(rng)
        image = degrade(image, drawn, rng)
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
    parser.add_argument("--train", type=WHOLE, default=10000, help="clean training images")
    parser.add_argument("--test", type=WHOLE, default=2000, help="degraded test images")
    parser.add_argument("--seed", type=WHOLE, default=0)
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
        help="of test images: drawn as in training, or the most of both, as in Figure 3(d)",
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
