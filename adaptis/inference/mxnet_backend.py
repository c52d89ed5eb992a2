"""The network computed by MXNet."""

from __future__ import annotations

from pathlib import Path

import adaptis.network  # noqa: F401  isort: skip  says what is missing without MXNet
import mxnet as mx
import numpy as np

from adaptis.arguments import Device, mxnet_context
from adaptis.compat import explain_import_error
from adaptis.description import TO_SEGMENT
from adaptis.inference.windows import placed, windows_around
from adaptis.json_types import FormatError
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
        if missing := [key for key in TO_SEGMENT if key not in description]:
            raise CheckpointError(
                f"{weights}: doesn't say which network it is for ({', '.join(missing)}); train it "
                "with this project"
            )
        context = mxnet_context(device)
        try:
            network = build_network(description["network"])
        except FormatError as error:
            raise CheckpointError(f"{weights}: its description can't be used: {error}") from error
        network.initialize(ctx=context)
        set_parameters(network, to_our_names(arrays), weights)
        return cls(network, context), description, sha256

    def encode(self, image: np.ndarray) -> EncodedImage:
        return self.network.encode(mx.nd.array(image[None], ctx=self._context))

    def confidences(
        self, encoded: EncodedImage, points_yx: np.ndarray, window: int | None = None
    ) -> np.ndarray:
        points = mx.nd.array(points_yx[None], ctx=self._context, dtype="float32")
        if window is None or window >= max(encoded.image_size):
            return self.network.instances(encoded, points).sigmoid().asnumpy()[:, 0]
        size, corners_yx = windows_around(
            points_yx, window, encoded.image_size, self.network.stride
        )
        logits = self.network.instances_in_windows(encoded, points, corners_yx, size)
        return placed(logits.sigmoid().asnumpy()[:, 0], corners_yx, encoded.image_size)

    def class_probabilities(self, encoded: EncodedImage) -> np.ndarray:
        return self.network.semantics(encoded).softmax(axis=1).asnumpy()[0]

    def proposal_logits(self, encoded: EncodedImage) -> np.ndarray:
        return self.network.proposals(encoded).asnumpy()[0, 0]
