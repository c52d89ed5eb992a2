"""The head's time a point once the backbone has run: ours and the plain method, and ours with the
candidates of one and of several iterations of random sampling in one pass.

python -m benchmarks.head
"""

from __future__ import annotations

import numpy as np

from adaptis.arguments import NOTHING_KEPT, run_script
from benchmarks.measure import benchmark_parser, measure, report

POINTS = 8  # different ones, one a call
A_PASS = (1, 7, 14, 28)  # points of a toy image in one call: Section 6's candidates, and multiples
# network, height and width of the image, channels and stride of the features
TOY = ({"architecture": "toy", "width": 32}, 96, 96, 32, 1)
PANOPTIC = ({"architecture": "panoptic", "backbone": "resnet18_v1b"}, 1024, 2048, 256, 4)
CASES = {"toy, width 32, 96x96": TOY, "panoptic, 1024x2048": PANOPTIC}


def make(
    method: str,
    description: dict,
    height: int,
    width: int,
    channels: int,
    stride: int,
    count: int = POINTS,
    a_pass: int = 1,
):
    """A function that returns the confidences of ``count`` points, (count, H, W)."""
    from adaptis.network.model import HE_NORMAL, EncodedImage  # isort: skip  before MXNet
    import mxnet as mx

    from benchmarks.plain import PlainAdaptIS
    from models.build import build_network

    mx.random.seed(0)
    network = build_network(description)
    network.initialize(HE_NORMAL)
    network.hybridize(static_alloc=True)
    features = mx.nd.random.normal(shape=(1, channels, height // stride, width // stride))
    # as a backbone leaves them: in the layout of a convolution
    identity = mx.nd.eye(channels).reshape((channels, channels, 1, 1))
    features = mx.nd.Convolution(
        features, identity, kernel=(1, 1), num_filter=channels, no_bias=True
    )
    encoded = EncodedImage(
        features,
        network.controller.prepare(features),
        network.selection.prepare(features),
        (height, width),
    )
    mx.nd.waitall()
    rng = np.random.default_rng(0)
    points_yx = rng.uniform(0, (height, width), (count, 2))
    points = [mx.nd.array(a_call[None]) for a_call in np.split(points_yx, count // a_pass)]
    plain = PlainAdaptIS(network)

    def run() -> np.ndarray:
        if method == "ours":
            logits = (network.instances(encoded, point) for point in points)
        else:
            logits = (plain.instances(features, (height, width), point) for point in points)
        return np.concatenate([x.sigmoid().asnumpy()[:, 0] for x in logits])

    return run


def main() -> None:
    parser = benchmark_parser("head", __doc__)
    args = parser.parse_args()
    rows = []
    for name, case in CASES.items():
        plain, ours = (measure(make, m, *case, runs=args.runs) for m in ("plain", "ours"))
        rows.append(
            {
                "Head": name,
                "plain, ms a point": 1000 * plain.seconds / POINTS,
                "ours, ms a point": 1000 * ours.seconds / POINTS,
                "times as fast": plain.seconds / ours.seconds,
                "plain, MB": round(plain.megabytes),
                "ours, MB": round(ours.megabytes),
                "confidences differ by": float(np.abs(plain.output - ours.output).max()),
            }
        )
    report("head", rows, args.output)
    count = max(A_PASS)
    passes = [measure(make, "ours", *TOY, count, n, runs=args.runs) for n in A_PASS]
    report(
        "head-passes",
        [
            {"points a pass": n, "ms a point": 1000 * measured.seconds / count}
            for n, measured in zip(A_PASS, passes)
        ],
        args.output,
    )


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
