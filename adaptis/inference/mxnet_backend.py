"""The network computed by MXNet."""

from __future__ import annotations

from pathlib import Path

import adaptis.network  # noqa: F401  isort: skip  says what is missing without MXNet
import mxnet as mx
import numpy as np

from adaptis.arguments import Device, mxnet_context
from adaptis.compat import explain_import_error
from adaptis.network.model import AdaptIS, EncodedImage
from adaptis.weights import CheckpointError, load_weights, set_parameters


class MXNetBackend:
    """See :class:`adaptis.inference.backend.Backend`.

    Parameters:
        network: AdaptIS with its parameters, on ``context``; it is hybridized.
        context: device.
    """

    def __init__(self, network: AdaptIS, context: mx.Context):
        self.network, self._context = network, context
        on_cpu = context.device_type == "cpu"
        self.device = Device("cpu" if on_cpu else "cuda", context.device_id)
        # what runs once an image gives its memory back; what runs for each point keeps it
        network.hybridize()
        if on_cpu:  # BatchNorm, ReLU and sums within convolutions
            network.backbone.hybridize(backend="MKLDNN")
        network.selection.hybridize(static_alloc=True)

    @classmethod
    def load(cls, weights: Path | str, device: Device) -> tuple[MXNetBackend, dict, str]:
        """The network of a weights file of this project or of the authors', its description and
        its sha256.

        Raises CheckpointError when the file is damaged or isn't one of these, DeviceError where
        MXNet can't compute on the device.
        """
        try:  # the one place where adaptis imports from models
            from models.authors import describe_authors, to_our_names
            from models.build import build_network
        except ModuleNotFoundError as error:
            raise ImportError(explain_import_error(error)) from error

        arrays, description, sha256 = load_weights(weights)
        description = description or describe_authors(arrays)
        if "network" not in description:
            raise CheckpointError(
                f"{weights}: doesn't say which network it is for; train it with this project"
            )
        context = mxnet_context(device)
        network = build_network(description["network"])
        network.initialize(ctx=context)
        set_parameters(network, to_our_names(arrays), weights)
        return cls(network, context), description, sha256

    def encode(self, image: np.ndarray) -> EncodedImage:
        return self.network.encode(mx.nd.array(image[None], ctx=self._context))

    def confidences(
        self, encoded: EncodedImage, points_yx: np.ndarray, window: int | None = None
    ) -> np.ndarray:
        points = mx.nd.array(points_yx[None], ctx=self._context, dtype="float32")
        height, width = encoded.image_size
        if window is None or window >= max(height, width):
            return self.network.instances(encoded, points).sigmoid().asnumpy()[:, 0]
        size, corners_yx = windows_around(
            points_yx, window, encoded.image_size, self.network.stride
        )
        logits = self.network.instances_in_windows(encoded, points, corners_yx, size)
        confidences = np.zeros((len(points_yx), height, width), np.float32)
        for whole, (row, col), part in zip(
            confidences, corners_yx, logits.sigmoid().asnumpy()[:, 0]
        ):
            target = whole[row : row + size[0], col : col + size[1]]
            target[:] = part[: target.shape[0], : target.shape[1]]  # features end a stride later
        return confidences

    def class_probabilities(self, encoded: EncodedImage) -> np.ndarray:
        return self.network.semantics(encoded).softmax(axis=1).asnumpy()[0]

    def proposal_logits(self, encoded: EncodedImage) -> np.ndarray:
        return self.network.proposals(encoded).asnumpy()[0, 0]


def windows_around(
    points_yx: np.ndarray, window: int, image_size: tuple[int, int], stride: int
) -> tuple[tuple[int, int], list[tuple[int, int]]]:
    """Squares with points in their middle, moved as far as they lay outside of the image.

    Parameters:
        points_yx: (N, 2) (row, col) pixels.
        window: their side in pixels.
        image_size: (height, width) in pixels; a window is no longer than that.
        stride: pixels of the image a step of the feature map makes.

    Returns their (height, width) and N top left corners (row, col), multiples of the stride.
    """
    lengths = [-(-length // stride) * stride for length in image_size]  # that features cover
    size = tuple(min(-(-window // stride) * stride, length) for length in lengths)
    middle = np.rint((points_yx - np.array(size) / 2) / stride).astype(int) * stride
    corners_yx = np.clip(middle, 0, np.subtract(lengths, size))
    return size, [tuple(corner) for corner in corners_yx.tolist()]
