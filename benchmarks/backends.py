"""MXNet and ONNX Runtime on the same network and processor: all that is computed once an image, the
head a point, a whole panoptic image, and toy images; on one core and on all.

python -m benchmarks.backends
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from adaptis.arguments import NOTHING_KEPT, run_script
from benchmarks import panoptic_image, toy_images
from benchmarks.measure import Measurement, benchmark_parser, measure, report
from models.options import IMAGE_MEAN, IMAGE_STD

LIBRARIES = {"ours": "MXNet", "onnx": "ONNX Runtime"}  # by the benchmarks' names of methods
POINTS = 8  # different ones, one a call
TOY = "96x96, 8 to 22 objects, proposals"  # of toy_images
PARTS = ("image", "point", "whole", "toy")


def make_part(method: str, part: str, size: tuple[int, int], backbone: str):
    """A function that computes a part of the panoptic network with random weights, of 19 classes,
    and returns its output: all that is known of an image, or the confidences of POINTS points."""
    from benchmarks.plain import make_backend  # isort: skip  before MXNet
    import mxnet as mx

    from adaptis.network.model import HE_NORMAL
    from adaptis.preprocessing import normalize_image
    from models.build import build_network

    mx.random.seed(0)
    network = build_network({"architecture": "panoptic", "backbone": backbone, "classes": 19})
    network.initialize(HE_NORMAL)
    backend = make_backend(method, network, {})
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    normalised = normalize_image(image, IMAGE_MEAN, IMAGE_STD)

    def once_an_image() -> tuple[np.ndarray, np.ndarray]:
        encoded = backend.encode(normalised)
        return backend.class_probabilities(encoded), backend.proposal_logits(encoded)

    if part == "image":
        return once_an_image
    encoded = backend.encode(normalised)
    points_yx = rng.uniform(0, size, (POINTS, 1, 2)).astype(np.float32)
    return lambda: [backend.confidences(encoded, point) for point in points_yx]


def largest_difference(ours, theirs) -> str:
    """Of arrays, in words."""
    return f"differs by {max(np.abs(a - b).max() for a, b in zip(ours, theirs)):.1e}"


def equal_pixels(ours, theirs) -> str:
    """Of what ``panoptic_image.make`` returns, in words."""
    return f"{100 * panoptic_image.same_partition(ours[0], theirs[0]):.3f} % of pixels equal"


def equal_areas(ours, theirs) -> str:
    """Of what ``toy_images.make`` returns, in words."""
    equal = sum((Counter(ours) & Counter(theirs)).values())
    return f"{equal} of {len(ours)} objects have the same area"


class Case(NamedTuple):
    """A part of the work that is timed."""

    name: str
    make: Callable  # (method, *arguments) -> a function that does it
    arguments: tuple
    count: int  # of points or images that the function works on
    compare: Callable  # the outputs of two methods -> how equal they are, in words


def cases(args: argparse.Namespace) -> dict[str, Case]:
    """Those of all PARTS."""
    size = tuple(args.size)
    pixels = "{}x{}".format(*size)
    image, point = ((part, size, args.backbone) for part in ("image", "point"))
    whole = (size, args.proposals, False, args.backbone)
    toy = toy_images.CASES[TOY]
    in_whole = f"{pixels}, {args.proposals} proposals"
    return {
        "image": Case(f"once an image, {pixels}", make_part, image, 1, largest_difference),
        "point": Case(f"a point, {pixels}", make_part, point, POINTS, largest_difference),
        "whole": Case(in_whole, panoptic_image.make, whole, 1, equal_pixels),
        "toy": Case(
            f"toy image, {TOY}", toy_images.make, (args.weights, *toy), toy[0], equal_areas
        ),
    }


def row_of(case: Case, threads: int, runs: int) -> dict:
    """The table's row: seconds and megabytes of both libraries."""
    results: list[Measurement] = [
        measure(case.make, method, *case.arguments, runs=runs) for method in LIBRARIES
    ]
    seconds = [result.seconds / case.count for result in results]
    row = {"Part": case.name, "threads": threads}
    for library, second, result in zip(LIBRARIES.values(), seconds, results):
        row |= {f"{library}, s": second, f"{library}, MB": round(result.megabytes)}
    row |= {"times as fast": seconds[0] / seconds[1]}
    return row | {"Outputs": case.compare(*(result.output for result in results))}


def main() -> None:
    parser = benchmark_parser("backends", __doc__)
    add = parser.add_argument
    add("--size", type=int, nargs=2, default=(1024, 2048), help="px, height, width")
    add("--proposals", type=int, default=100, help="number of points proposed in the whole image")
    add("--backbone", default="resnet50_v1s", help="of the panoptic network")
    add("--weights", default="weights/toy.params", help="for the toy images")
    add(
        "--parts",
        nargs="*",
        choices=PARTS,
        default=PARTS,
        help="what is timed: all that is computed once an image, the head a point, a whole "
        "panoptic image, toy images",
    )
    add(
        "--threads",
        type=int,
        nargs="*",
        default=sorted({1, len(os.sched_getaffinity(0))}),
        help="numbers of threads, a row each",
    )
    args = parser.parse_args()
    rows = []
    for threads in args.threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)  # of the processes that measure
        rows += [row_of(cases(args)[part], threads, args.runs) for part in args.parts]
    report("backends", rows, args.output)


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
