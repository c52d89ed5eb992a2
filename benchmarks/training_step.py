"""A training step (forward, loss, backward, Adam), ours and the plain method: images a second.
With bfloat16 (--amp) too, where the processor computes in it.

python -m benchmarks.training_step
"""

from __future__ import annotations

import json
import os

import numpy as np

from adaptis.arguments import NOTHING_KEPT, run_script
from benchmarks.measure import benchmark_parser, measure, report

TOY, DEEPLAB = {"architecture": "toy"}, {"architecture": "panoptic", "backbone": "resnet50_v1s"}
CASES = {  # network, batch, height, width, points an image
    "toy, width 16, 4 points": ({**TOY, "width": 16}, 8, 96, 96, 4),
    "toy, width 16, 12 points": ({**TOY, "width": 16}, 8, 96, 96, 12),
    "toy, width 32, 4 points": ({**TOY, "width": 32}, 8, 96, 96, 4),
    "toy, width 32, 12 points": ({**TOY, "width": 32}, 8, 96, 96, 12),
    "DeepLabV3+ ResNet-50, 6 points": (DEEPLAB, 1, 400, 800, 6),
}


def make(method: str, network_description: dict, batch: int, height: int, width: int, points: int):
    """A function that does one step and returns the loss.

    Parameters:
        method: "plain", "ours" or "bfloat16", which is ours with --amp.
    """
    from adaptis.training.stages import InstanceStage  # isort: skip  before MXNet
    import mxnet as mx
    from mxnet import autograd, gluon

    from adaptis.network.model import HE_NORMAL
    from adaptis.training import mixed_precision
    from benchmarks.plain import PlainAdaptIS
    from models.build import build_network

    if method == "bfloat16":
        mixed_precision.start([mx.cpu()])
    mx.random.seed(0)
    network = build_network(network_description)
    network.initialize(HE_NORMAL)
    network.hybridize(static_alloc=True)
    stage = InstanceStage(PlainAdaptIS(network) if method == "plain" else network)
    trainer = gluon.Trainer(list(stage.parameters().values()), "adam", {"learning_rate": 1e-5})
    rng = np.random.default_rng(0)
    arrays = [
        mx.nd.array(rng.normal(size=(batch, 3, height, width))),
        mx.nd.array(rng.uniform(0, min(height, width), (batch, points, 2))),
        mx.nd.array(rng.random((batch, points, height, width)) < 0.2),
        mx.nd.array(rng.integers(2, size=(batch, height, width))),
    ]

    def step() -> float:
        with autograd.record():
            loss, _ = stage.losses(*arrays)
        loss.backward()
        trainer.step(batch)
        mx.nd.waitall()
        return float(loss.mean().asscalar())

    return step


def share_of_convolutions(case: tuple) -> float:
    """Of the time of all operators in a step of ours, by MXNet's profiler."""
    import mxnet as mx

    step = make("ours", *case)
    step()
    mx.profiler.set_config(
        profile_imperative=True, profile_symbolic=True, aggregate_stats=True, filename=os.devnull
    )
    mx.profiler.set_state("run")
    step()
    mx.profiler.set_state("stop")
    operators = json.loads(mx.profiler.dumps(reset=True, format="json"))["Time"]["operator"]
    times = {name: stats["Total"] for name, stats in operators.items() if "Delete" not in name}
    return sum(t for name, t in times.items() if "onvolution" in name) / sum(times.values())


def main() -> None:
    args = benchmark_parser("training_step", __doc__, tuple(CASES)).parse_args()
    from adaptis.training.mixed_precision import computes_in_bfloat16  # brings MXNet

    rows, has_bfloat16 = [], computes_in_bfloat16()
    for name in args.cases:
        case = CASES[name]
        plain, ours = (measure(make, m, *case, runs=args.runs) for m in ("plain", "ours"))
        half = measure(make, "bfloat16", *case, runs=args.runs) if has_bfloat16 else None
        rows.append(
            {
                "Training step": name,
                "plain, images/s": case[1] / plain.seconds,
                "ours, images/s": case[1] / ours.seconds,
                "times as fast": plain.seconds / ours.seconds,
                "with bfloat16": ours.seconds / half.seconds if half else None,
                "plain, MB": round(plain.megabytes),
                "ours, MB": round(ours.megabytes),
                "loss differs by": abs(plain.output - ours.output),
                "ours in convolutions": share_of_convolutions(case),
            }
        )
    report("training_step", rows, args.output)


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
