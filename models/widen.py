r"""Widen a trained toy network without changing what it computes, to train it further.

    python -m models.widen --weights runs/toy-16/instances/best.params --width 32 \
        --out runs/toy-wide.params

A narrow network learns several times faster on a CPU, a wide one learns more. Each trained channel
keeps its place and its weights; new channels are initialised at random and nothing reads them yet
(Net2Net, Chen et al. 2016, where copies of trained channels take the place of random ones).
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from adaptis.arguments import NOTHING_KEPT, HelpFormatter, run_script
from adaptis.values import COUNT

if TYPE_CHECKING:
    import mxnet as mx

WIDEST = 32  # where the U-Net's deepest level reaches its 512 channels


def widen(weights: str, width: int) -> tuple[dict[str, mx.nd.NDArray], dict]:
    """The arrays and the description of a network of ``width`` that computes the same.

    Raises CheckpointError where the file is no toy network of a smaller width.
    """
    from adaptis.weights import CheckpointError, load_weights  # isort: skip  before MXNet
    import mxnet as mx

    from adaptis.network.model import HE_NORMAL
    from models.build import build_network

    narrow, description, _ = load_weights(weights)
    description.pop("state", None)  # a checkpoint's
    network = description.get("network", {})
    if network.get("architecture") != "toy" or network["width"] >= width:
        raise CheckpointError(f"{weights}: holds no toy network narrower than {width}")
    if width > WIDEST:
        raise CheckpointError(
            f"{weights}: can be widened to {WIDEST}, not {width}: beyond it the deepest level, of "
            "at most 512 channels, is another network"
        )
    description["network"] = {**network, "width": width}
    wide = build_network(description["network"])
    wide.initialize(HE_NORMAL)
    arrays = {}
    for name, parameter in wide._collect_params_with_prefix().items():
        array, trained = parameter.data().asnumpy(), narrow[name].asnumpy()
        outputs = np.arange(trained.shape[0])
        if trained.ndim == 1 or "upsampler" in name:  # one group of channels an output
            array[outputs] = trained
        else:
            array[outputs] = 0  # nothing trained reads a new channel
            inputs = np.arange(trained.shape[1])
            if "conv3_0" in name:  # reads concat(skip, x), where x begins later now
                half = len(inputs) // 2
                inputs[half:] += array.shape[1] // 2 - half
            array[np.ix_(outputs, inputs)] = trained
        arrays[name] = mx.nd.array(array)
    return arrays, description


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m models.widen",
        description="Widen a trained toy network.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--weights", required=True, help="the narrow network's file")
    parser.add_argument(
        "--width", type=COUNT, default=32, help="channels of the U-Net's first level"
    )
    parser.add_argument("--out", required=True, help="file to write")
    args = parser.parse_args(arguments)

    from adaptis.weights import save_arrays  # isort: skip  brings MXNet
    import mxnet as mx

    mx.random.seed(0)
    save_arrays(args.out, *widen(args.weights, args.width))


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
