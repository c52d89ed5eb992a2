"""A whole panoptic image, from its pixels to the panoptic map: ours and the plain method.

The weights are random, so the points and what decides are made up: proposals on a grid, each of
which gives an object of some radius around it. All else is what an evaluation does, and what
the heads say is compared where it decides: the confidence of each pixel's instance.

python -m benchmarks.panoptic_image
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from adaptis.arguments import NOTHING_KEPT, run_script
from adaptis.inference.settings import GreedySettings
from benchmarks.measure import benchmark_parser, measure, report
from models.options import IMAGE_MEAN, IMAGE_STD

CONTRAST = 50  # of the confidences, which without training are all about one half


def grid(height: int, width: int, count: int) -> tuple[np.ndarray, float]:
    """About ``count`` points (row, col) in a grid, and a radius at which their discs are apart."""
    step = int(np.sqrt(height * width / count))
    rows, cols = np.mgrid[step // 2 : height : step, step // 2 : width : step]
    return np.stack([rows.ravel(), cols.ravel()], axis=1), 0.4 * step


def make(method: str, size: tuple[int, int], proposals: int, flip: bool, backbone: str):
    """A function that segments an image and returns what ``plain_panoptic`` does; the first call,
    which no benchmark times, has but two proposals."""
    from benchmarks.plain import GridProposals, make_backend, plain_panoptic  # isort: skip
    import mxnet as mx

    from adaptis.network.model import HE_NORMAL
    from datasets.cityscapes import CityscapesDataset
    from models.build import build_network

    height, width = size
    mx.random.seed(0)
    network = build_network({"architecture": "panoptic", "backbone": backbone, "classes": 19})
    network.initialize(HE_NORMAL)
    *_, last_layer = network.selection.collect_params(".*weight").values()
    last_layer.set_data(CONTRAST * last_layer.data())
    classes = [info._asdict() for info in CityscapesDataset.classes]
    description = {"mean": IMAGE_MEAN, "std": IMAGE_STD, "classes": classes}
    predictor = GridProposals(make_backend(method, network, description), description)
    predictor.points_yx, radius = grid(height, width, proposals)
    # any confidence is above T, so each object is a disc
    greedy = GreedySettings(mask_threshold=1e-6, max_radius=radius)
    predictor.settings = replace(predictor.settings, greedy=greedy, flip=flip)
    if method == "plain":  # instead of the predictor's fused backbone
        network.hybridize(static_alloc=True)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)

    def ours() -> tuple[np.ndarray, np.ndarray]:
        predictor.set_image(image)
        panoptic_seg, segments = predictor.panoptic()
        class_of_category = {info["category_id"]: i for i, info in enumerate(classes)}
        result = np.zeros(len(segments) + 1, np.int32)
        for segment in segments:
            index = class_of_category[segment["category_id"]]
            result[segment["id"]] = segment["id"] if classes[index]["isthing"] else -1 - index
        return result[panoptic_seg], predictor.aggregation.confidence

    def plain() -> tuple[np.ndarray, np.ndarray]:
        return plain_panoptic(predictor, image, predictor.points_yx, np.zeros(size, bool))

    points_yx, counts = predictor.points_yx, iter([2])

    def segment() -> tuple[np.ndarray, np.ndarray]:
        predictor.points_yx = points_yx[: next(counts, None)]  # two in the first call, to warm up
        return plain() if method == "plain" else ours()

    return segment


def same_partition(a: np.ndarray, b: np.ndarray) -> float:
    """The share of pixels on which two maps agree, instances under whatever numbers."""
    return float(np.mean(_numbered_by_place(a) == _numbered_by_place(b)))


def _numbered_by_place(result: np.ndarray) -> np.ndarray:
    """Each instance numbered by its first pixel; other values as they are."""
    values, first, inverse = np.unique(result, return_index=True, return_inverse=True)
    return np.where(values > 0, first + 1, values)[inverse].reshape(result.shape)


def main() -> None:
    parser = benchmark_parser("panoptic_image", __doc__)
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), help="px, height, width")
    parser.add_argument(
        "--proposals",
        type=int,
        nargs="*",
        default=[100],
        help="numbers of points proposed, two rows each",
    )
    parser.add_argument("--backbone", default="resnet50_v1s", help="of the network")
    parser.add_argument(
        "--methods",
        nargs="*",
        choices=("plain", "ours"),
        default=["plain", "ours"],
        help="methods to compare",
    )
    args = parser.parse_args()
    rows = []
    for proposals in args.proposals:
        for flip in (False, True):
            case = (tuple(args.size), proposals, flip, args.backbone)
            row = {"Image": "{}x{}".format(*args.size), "proposals": proposals, "flip": flip}
            results = {m: measure(make, m, *case, runs=args.runs) for m in args.methods}
            for method, result in results.items():
                row[f"{method}, s"] = result.seconds
                row[f"{method}, MB"] = round(result.megabytes)
            if len(results) == 2:
                row["times as fast"] = results["plain"].seconds / results["ours"].seconds
                maps, confidences = zip(*(result.output for result in results.values()))
                row["equal pixels, %"] = 100 * same_partition(*maps)
                row["confidence differs by"] = float(np.abs(np.subtract(*confidences)).max())
            rows.append(row)
    report("panoptic_image", rows, args.output)


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
