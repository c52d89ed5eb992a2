"""The predictor has MXNet fuse the backbone's layers, which must change nothing, at any size."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest

from adaptis.inference.mxnet_backend import MXNetBackend
from models.build import build_network

SIZES = ((40, 64), (64, 40), (97, 33), (40, 64), (9, 128))  # some twice: what is kept must fit


@pytest.mark.parametrize(
    "network_description",
    [
        {"architecture": "toy", "width": 4},
        {"architecture": "panoptic", "backbone": "resnet18_v1b", "classes": 3, "channels": 32},
    ],
    ids=["toy", "panoptic"],
)
def test_the_fused_backbone_is_the_plain_one(network_description):
    mx.random.seed(0)
    rng = np.random.default_rng(0)
    network = build_network(network_description)
    network.initialize(mx.init.Xavier(magnitude=3))
    for parameter in network.backbone.collect_params(".*(gamma|running_var)").values():
        parameter.set_data(mx.nd.array(rng.uniform(0.5, 1.5, parameter.shape)))
    for parameter in network.backbone.collect_params(".*(beta|running_mean)").values():
        parameter.set_data(mx.nd.array(rng.normal(0, 0.1, parameter.shape)))
    images = [mx.nd.array(rng.standard_normal((1, 3, *size))) for size in SIZES]
    plain = [network.backbone(image).asnumpy() for image in images]

    MXNetBackend(network, mx.cpu())
    for image, expected in zip(images, plain):
        np.testing.assert_allclose(
            network.backbone(image).asnumpy(), expected, atol=1e-5 * np.abs(expected).max()
        )
