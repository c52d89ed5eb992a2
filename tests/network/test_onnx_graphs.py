"""Every network as ONNX, computed by ONNX Runtime, against MXNet: at any size and number of
points."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest

from adaptis.arguments import Device
from adaptis.export import onnx_file, outputs
from adaptis.inference.mxnet_backend import MXNetBackend
from adaptis.inference.onnx_backend import ONNXBackend
from models.build import build_network
from models.options import BACKBONES

TOY = {"architecture": "toy", "width": 8}
PANOPTIC = {"architecture": "panoptic", "backbone": "resnet18_v1b", "classes": 3, "channels": 32}
NETWORKS = {
    "toy": TOY,
    "toy without coordinates": {**TOY, "coord_conv": False},
    "toy with distances": {**TOY, "distance_map": True},
    "two AdaINs": {**PANOPTIC, "num_adain": 2},
    "without coordinates": {**PANOPTIC, "coord_conv": False},
    "with distances": {**PANOPTIC, "distance_map": True},
    **{backbone: {**PANOPTIC, "backbone": backbone} for backbone in BACKBONES},
}
CASES = (  # size in pixels, points, window
    ((40, 64), 1, None),
    ((53, 37), 3, None),  # poolings round up, the upsampled are cropped
    ((45, 70), 2, 24),
    ((20, 5), 2, None),  # too small for the U-Net's poolings
    ((1, 1), 1, None),
)


def randomised(description: dict):
    """A network none of whose parameters can be left out unnoticed."""
    mx.random.seed(0)
    rng = np.random.default_rng(0)
    network = build_network(description)
    network.initialize(mx.init.Xavier("gaussian", "in", magnitude=2))
    for name, parameter in network.collect_params().items():
        if name.endswith(("gamma", "running_var")):
            parameter.set_data(mx.nd.array(rng.uniform(0.3, 1.1, parameter.shape)))
        elif name.endswith(("beta", "bias", "running_mean")):
            parameter.set_data(mx.nd.array(rng.normal(0, 0.1, parameter.shape)))
    if description["architecture"] == "panoptic":  # blocks add up to values in the thousands
        *_, last = network.backbone.decoder
        features = network.backbone(mx.nd.random.normal(shape=(1, 3, 64, 64))).asnumpy()
        for parameter in (last.weight, last.bias):
            parameter.set_data(parameter.data() / float(features.std()))
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_runtime_computes_what_mxnet_does(name):
    network = randomised(NETWORKS[name])
    theirs = ONNXBackend(onnx_file(network, {}, half=False), Device("cpu"))
    ours = MXNetBackend(network, mx.cpu())
    rng = np.random.default_rng(1)
    for size, count, window in CASES:
        image = rng.standard_normal((3, *size), np.float32)
        points_yx = rng.uniform(0, np.subtract(size, 1), (count, 2)).astype(np.float32)
        expected = outputs(ours, image, points_yx, window)
        assert expected[-1].shape == (count, *size)
        for given, wanted in zip(outputs(theirs, image, points_yx, window), expected):
            assert given.dtype == wanted.dtype == np.float32
            scale = max(1, np.abs(wanted).max())
            np.testing.assert_allclose(given, wanted, atol=2e-4 * scale, rtol=0)


def test_coordinates_and_code_are_the_points():
    """Another point gives other confidences, by its coordinates and by its code."""
    for network in (TOY, {**TOY, "coord_conv": False}):
        backend = ONNXBackend(onnx_file(randomised(network), {}, half=False), Device("cpu"))
        rng = np.random.default_rng(1)
        encoded = backend.encode(rng.standard_normal((3, 40, 40), np.float32))
        one, two = backend.confidences(encoded, np.float32([[3, 4], [30, 35]]))
        assert np.abs(one - two).max() > 1e-3
