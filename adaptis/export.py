"""Export a network to ONNX, for ONNX Runtime: on GPUs and systems that MXNet can't reach.

    python -m adaptis.export weights/toy.params outputs/toy.onnx

The file is an ONNX model: image (1, 3, H, W) float32, normalised RGB -> code_map, selection_input,
class_probabilities, proposal_logits. Its metadata has, under "adaptis", the weights' description
(JSON), under "adaptis_head" the model that runs for points, in base64 (see head_model in
adaptis/network/onnx_graphs.py), under "adaptis_stride" the pixels a step of the features makes, and
last the sha256 of all before.
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

from adaptis.arguments import NOTHING_KEPT, Device, HelpFormatter, run_script
from adaptis.disk import check_regular, errors_named, write_atomically
from adaptis.errors import AdaptISError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from adaptis.inference.backend import Backend
    from adaptis.network.model import AdaptIS

SIZES = ((64, 96), (75, 53))  # px, of the images both libraries are compared on, even and odd
COUNTS = (1, 3)  # of points
BLOB = 8  # px between the random values that the images are interpolated from
NOTHING_WRITTEN = "nothing was written"
MOST_DIFFERENCE = {"float32": 1e-4, "float16": 0.2}  # beyond: broken, not rounded
BY_ROUNDING = 10  # times what the image's last bits change, in a network that makes more of them
MOST_BY_ROUNDING = 1e-2  # but no more
KEPT_IN_FLOAT32 = {  # by a float16 network: sums over a whole map, positions in pixels
    "InstanceNormalization",
    "GridSample",
    "Range",
}


class ExportError(AdaptISError):
    """A network can't be exported to that file, or computes something else than the original."""


def export(weights: Path | str, path: Path | str, half: bool = False) -> float:
    """Write a weights file's network as ONNX; returns the largest difference between what MXNet and
    ONNX Runtime compute.

    Parameters:
        weights: a file of this project, or one of the authors'.
        path: of the .onnx file; it ends so, as what reads it goes by that.
        half: compute in float16, but for what needs more.

    Raises CheckpointError for weights that can't be read, ExportError where the libraries disagree
    and for another ending, DiskError where the file can't be written.
    """
    weights, path = Path(weights), Path(path)
    _check_target(weights, path)
    from adaptis.inference.mxnet_backend import MXNetBackend
    from adaptis.inference.onnx_backend import ONNXBackend

    original, description, _ = MXNetBackend.load(weights, Device("cpu"))
    content = onnx_file(original.network, description, half)
    exported = ONNXBackend(content, Device("cpu"))
    normalization = description["mean"], description["std"]
    difference = largest_difference(original, exported, *normalization)
    most = MOST_DIFFERENCE["float16" if half else "float32"]
    if difference > most:
        of_last_bits = largest_difference(original, LastBitsChanged(original), *normalization)
        most = max(most, min(MOST_BY_ROUNDING, BY_ROUNDING * of_last_bits))
    if not difference <= most:
        raise ExportError(
            f"{weights}: the exported network differs from MXNet's by {difference:.1e}, more than "
            f"{most:.0e}; {path} was not written"
        )
    write_atomically(path, content, durable=True, kept=NOTHING_WRITTEN)
    return difference


def _check_target(weights: Path, path: Path) -> None:
    """Raises ExportError and DiskError for what could not be written or would overwrite the
    weights, before minutes are spent."""
    if path.suffix.lower() != ".onnx":
        raise ExportError(f"OUT.onnx: {path} must end in .onnx")
    with errors_named(path, NOTHING_WRITTEN):
        check_regular(path)
        if path.exists() and weights.exists() and path.samefile(weights):
            raise ExportError(f"{path}: is the file of the weights; give another name")


def onnx_file(network: AdaptIS, description: dict, half: bool) -> bytes:
    """What a file holds, see above."""
    from onnx import helper

    from adaptis.inference.onnx_backend import DESCRIPTION, HEAD, STRIDE, sha256_entry
    from adaptis.network.onnx_graphs import head_model, image_model

    models = image_model(network), head_model(network)
    image, head = (in_float16(model) if half else model for model in models)
    metadata = {
        DESCRIPTION: json.dumps(description),
        HEAD: base64.b64encode(head.SerializeToString()).decode(),
        STRIDE: str(network.stride),
    }
    helper.set_model_props(image, metadata)
    content = image.SerializeToString()
    return content + sha256_entry(content)


def in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with weights and most operators in float16; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    blocked = [*DEFAULT_OP_BLOCK_LIST, *KEPT_IN_FLOAT32]
    return convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)


def largest_difference(original: Backend, exported: Backend, mean, std) -> float:
    """The largest difference of two backends' class probabilities, confidences and, over their
    largest value if that is over 1, proposal logits: on random smooth light grey images of two
    sizes, at two numbers of points. (In what a network has never seen, coloured noise or for toy
    images large dark areas, logits of thousands turn float32's rounding into differences of 1e-3,
    see LastBitsChanged.)

    Parameters:
        mean, std: of the network's images, see ``normalize_image``.
    """
    import numpy as np

    from adaptis.preprocessing import normalize_image, resize

    rng = np.random.default_rng(0)
    difference = 0.0
    for size, count in zip(SIZES, COUNTS):
        coarse = rng.integers(200, 256, (size[0] // BLOB, size[1] // BLOB, 1), np.uint8)
        image = normalize_image(resize(coarse.repeat(3, axis=2), size), mean, std)
        points_yx = rng.uniform(0, np.subtract(size, 1), (count, 2)).astype(np.float32)
        expected, given = (outputs(b, image, points_yx) for b in (original, exported))
        for ours, theirs in zip(expected, given):
            scale = max(1, np.abs(ours).max())
            difference = np.maximum(difference, np.abs(ours - theirs).max() / scale)  # keeps NaN
    return float(difference)


class LastBitsChanged:
    """A backend that sees each value of an image a bit larger or smaller, at random: it differs
    from the one itself as much as rounding makes of its results.

    Parameters:
        backend: the one itself.
    """

    def __init__(self, backend: Backend):
        self._backend = backend

    def __getattr__(self, name: str):
        return getattr(self._backend, name)

    def encode(self, image: np.ndarray):
        """See Backend."""
        import numpy as np

        directions = np.random.default_rng(0).choice((-np.inf, np.inf), image.shape)
        return self._backend.encode(np.nextafter(image, directions.astype(np.float32)))


def outputs(
    backend: Backend, image: np.ndarray, points_yx: np.ndarray, window: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All that a backend computes of an image and points, see Backend."""
    encoded = backend.encode(image)
    return (
        backend.class_probabilities(encoded),
        backend.proposal_logits(encoded),
        backend.confidences(encoded, points_yx, window),
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m adaptis.export",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    parser.add_argument("weights", help="a .params file")
    parser.add_argument("onnx", metavar="OUT.onnx", help="file to write")
    parser.add_argument(
        "--fp16", action="store_true", help="compute in float16: half the size, for GPUs"
    )
    args = parser.parse_args(arguments)
    difference = export(args.weights, args.onnx, args.fp16)
    print(f"{args.onnx}: written; differs from MXNet by at most {difference:.1e}")


if __name__ == "__main__":
    run_script(main, NOTHING_KEPT)
