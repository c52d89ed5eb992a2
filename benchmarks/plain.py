"""The plain method, which the fast one is measured against and must equal.

Written as the paper is read: each point gets its own copy of the features, concatenated with its
coordinates; AdaIN takes means and broadcasts; points are evaluated one a call; every confidence map
is kept until the end. It shares a network's parameters.
"""

from __future__ import annotations

import mxnet as mx
import numpy as np

from adaptis.arguments import Device
from adaptis.inference.backend import Backend
from adaptis.inference.mxnet_backend import MXNetBackend
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.inference.settings import GreedySettings
from adaptis.network.model import AdaptIS, EncodedImage
from adaptis.preprocessing import normalize_image


class PlainAdaptIS:
    """An AdaptIS whose instance selection is computed plainly; trains and infers like it."""

    def __init__(self, network: AdaptIS):
        self._network = network
        self._collect_params_with_prefix = network._collect_params_with_prefix

    def __call__(self, images, points_yx):
        """As :meth:`AdaptIS.forward`."""
        encoded = self._network.encode(images)
        logits = self.instances(encoded.features, encoded.image_size, points_yx)
        return logits, self._network.semantics(encoded)

    def instances(self, features, image_size: tuple[int, int], points_yx):
        """features: (B, C, h, w); image_size: (height, width); points_yx: (B, K, 2) float32
        (row, col) pixels. Returns logits (B * K, 1, height, width)."""
        network, selection = self._network, self._network.selection
        code = network.controller(network.controller.prepare(features), points_yx)
        x = features.repeat(points_yx.shape[1], axis=0)  # (B * K, C, h, w)
        if selection.coordinates:
            maps = selection.coordinates(features, points_yx.reshape((-3, 0)))
            x = mx.nd.concat(maps, x, dim=1)
        convolution = selection.first_conv
        weight, bias = (p.data(x.context) for p in (convolution.weight, convolution.bias))
        x = mx.nd.Convolution(
            x, weight, bias, kernel=(3, 3), pad=(1, 1), num_filter=weight.shape[0]
        )
        for stage, adain in zip(selection.stages, selection.adains):
            for layer in stage:
                x = layer(x)
            x = plain_adain(x, adain.scale(code), adain.shift(code), adain._epsilon)
        for layer in selection.stages[-1]:
            x = layer(x)
        x = x * selection._logit_scale + selection._logit_shift
        return network._to_image_size(x, image_size)


def plain_adain(x, scale, shift, epsilon: float):
    """x: (N, C, H, W); scale, shift: (N, C)."""
    mean = x.mean(axis=(2, 3), keepdims=True)
    variance = (x - mean).square().mean(axis=(2, 3), keepdims=True)
    normalised = (x - mean) / (variance + epsilon).sqrt()
    return normalised * scale.expand_dims(2).expand_dims(3) + shift.expand_dims(2).expand_dims(3)


class GridProposals(AdaptISPredictor):
    """A predictor whose point proposals are given, each in a place for an object, and which keeps
    the last Aggregation."""

    points_yx: np.ndarray  # (N, 2) (row, col)

    def aggregate(self, *arguments):
        self.aggregation = super().aggregate(*arguments)
        return self.aggregation

    def proposals(self):
        return None, self.points_yx[:, ::-1]

    def stuff_mask(self):
        return np.zeros(self.working_image.shape[:2], bool)


def plain_panoptic(
    predictor: AdaptISPredictor, image: np.ndarray, points_yx: np.ndarray, stuff: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Instances, then the stuff around them, for an image at its own size.

    Parameters:
        image: (H, W, 3) uint8 RGB.
        points_yx: (N, 2) (row, col) proposals in order.
        stuff: (H, W) bool, segmented from the start.

    Returns (H, W) int32: number of the instance, minus the class index (from 1) of stuff, 0 void;
    and (H, W) float32: the highest confidence of an instance.
    """
    network, settings = predictor.backend.network, predictor.settings
    plain, greedy = PlainAdaptIS(network), settings.greedy
    views = [image, image[:, ::-1]] if settings.flip else [image]
    views = [
        network.encode(mx.nd.array(normalize_image(v, *predictor.normalization)[None]))
        for v in views
    ]
    probabilities = _average([network.semantics(v).softmax(axis=1).asnumpy()[0] for v in views])
    is_thing = np.array([info["isthing"] for info in predictor.classes])

    segmented, confidences = stuff.copy(), []
    for y, x in points_yx:
        if segmented[y, x]:
            continue
        points = [(y, x), (y, image.shape[1] - 1 - x)]
        maps = [
            plain.instances(v.features, v.image_size, mx.nd.array([[point]])).sigmoid().asnumpy()
            for v, point in zip(views, points)
        ]
        confidence = plain_radius(_average(maps)[0, 0], (y, x), greedy)
        mask = confidence > greedy.mask_threshold
        if mask.sum() < greedy.min_area:
            continue
        if (mask & segmented).sum() < greedy.max_overlap * mask.sum():
            confidences.append(confidence)
            segmented |= mask

    best = probabilities.argmax(axis=0)
    result = np.where(is_thing[best], 0, -1 - best).astype(np.int32)
    highest = np.zeros(result.shape, np.float32)
    if confidences:
        stacked = np.stack(confidences)
        highest = np.where(stuff, 0, stacked.max(axis=0))
        instance_map = np.where(highest > 0, stacked.argmax(axis=0) + 1, 0)
        for number in range(1, len(confidences) + 1):
            mask = instance_map == number
            if mask.sum() >= greedy.min_area:
                result[mask] = number
    return result, highest


def plain_radius(confidence: np.ndarray, point_yx, greedy: GreedySettings) -> np.ndarray:
    """The confidence (H, W), 0 beyond the largest radius."""
    if greedy.max_radius is None:
        return confidence
    rows, cols = np.indices(confidence.shape)
    distance = np.hypot(rows - point_yx[0], cols - point_yx[1])
    return np.where(distance <= greedy.max_radius, confidence, 0)


def _average(views: list[np.ndarray]) -> np.ndarray:
    """Of the image's result and the mirrored one's, (..., W)."""
    return views[0] if len(views) == 1 else (views[0] + views[1][..., ::-1]) / 2


class PlainBackend(MXNetBackend):
    """A backend whose confidences are computed plainly, a point a call, always on whole images."""

    def confidences(
        self, encoded: EncodedImage, points_yx: np.ndarray, window: None = None
    ) -> np.ndarray:
        plain = PlainAdaptIS(self.network)
        maps = (
            plain.instances(encoded.features, encoded.image_size, mx.nd.array([[point]])).sigmoid()
            for point in points_yx
        )
        return np.concatenate([one.asnumpy()[:, 0] for one in maps])


def make_backend(method: str, network: AdaptIS, description: dict) -> Backend:
    """What computes a network: "ours" and "plain" with MXNet, "onnx" with ONNX Runtime."""
    if method == "onnx":
        from adaptis.export import onnx_file
        from adaptis.inference.onnx_backend import ONNXBackend

        return ONNXBackend(onnx_file(network, description, half=False), Device("cpu"))
    return {"ours": MXNetBackend, "plain": PlainBackend}[method](network, mx.cpu())
