"""Segmenting toy images with the shipped weights: ours, and with the plain method's head.

python -m benchmarks.toy_images
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from adaptis.arguments import NOTHING_KEPT, Device, run_script
from adaptis.inference.settings import DENSE_SCENES
from benchmarks.measure import benchmark_parser, measure, report

SMALL = 96  # px; larger ones are scenes as in Figure 3(d)
CASES = {  # images, size in px, fewest and most objects, sampling, settings of the greedy algorithm
    "96x96, 8 to 22 objects, random points": (10, 96, 8, 22, "random", {}),
    "96x96, 8 to 22 objects, proposals": (10, 96, 8, 22, "proposals", {}),
    "256x256, 250 objects, proposals": (1, 256, 250, 250, "proposals", DENSE_SCENES),
}


def make_images(count: int, size: int, fewest: int, most: int) -> list[np.ndarray]:
    """Toy images (size, size, 3) uint8 of a number of objects, degraded as test images are: small
    ones at random, large scenes as the authors' published ones."""
    from datasets.toy import HARDEST, degrade, draw_degradation
    from datasets.toy_scenes import generate_scene

    rng = np.random.default_rng(0)
    scenes = [generate_scene(rng, size, fewest, most)[0] for _ in range(count)]
    kinds = [HARDEST if size > SMALL else draw_degradation(rng) for _ in scenes]
    return [degrade(scene, kind, rng) for scene, kind in zip(scenes, kinds)]


def make(method: str, weights: str, count: int, size: int, fewest: int, most: int, points, greedy):
    """A function that segments the images and returns the sorted areas of all instances."""
    from adaptis.inference.mxnet_backend import MXNetBackend
    from adaptis.inference.predictor import AdaptISPredictor
    from benchmarks.plain import make_backend

    loaded, description, _ = MXNetBackend.load(weights, Device("cpu"))
    predictor = AdaptISPredictor(make_backend(method, loaded.network, description), description)
    predictor.settings = replace(
        predictor.settings, points=points, greedy=replace(predictor.settings.greedy, **greedy)
    )
    images = make_images(count, size, fewest, most)

    def segment_all() -> list[int]:
        areas = []
        for image in images:
            predictor.set_image(image)
            areas += [record["area"] for record in predictor.segment()]
        return sorted(areas)

    return segment_all


def main() -> None:
    parser = benchmark_parser("toy_images", __doc__, tuple(CASES))
    parser.add_argument("--weights", default="weights/toy.params", help="to segment with")
    args = parser.parse_args()
    rows = []
    for name in args.cases:
        count, *_ = case = CASES[name]
        plain, ours = (
            measure(make, method, args.weights, *case, runs=args.runs)
            for method in ("plain", "ours")
        )
        rows.append(
            {
                "Toy images": name,
                "plain, images/s": count / plain.seconds,
                "ours, images/s": count / ours.seconds,
                "times as fast": plain.seconds / ours.seconds,
                "plain, MB": round(plain.megabytes),
                "ours, MB": round(ours.megabytes),
                "objects, plain": len(plain.output),
                "objects, ours": len(ours.output),
                "equal areas": sum((Counter(plain.output) & Counter(ours.output)).values()),
            }
        )
    report("toy_images", rows, args.output)


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
