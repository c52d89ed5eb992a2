"""The fast network and the greedy loop against the plain method of ``benchmarks.plain``."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd

from adaptis.training.stages import InstanceStage
from benchmarks.panoptic_image import make, same_partition
from benchmarks.plain import PlainAdaptIS
from models.build import build_network

PANOPTIC = {"architecture": "panoptic", "backbone": "resnet18_v1b", "classes": 3, "channels": 16}


@pytest.mark.parametrize(
    "description",
    [{"architecture": "toy", "width": 4}, PANOPTIC, {**PANOPTIC, "num_adain": 2}],
    ids=["toy", "panoptic", "two AdaINs"],
)
def test_a_training_step_has_the_same_loss_and_gradients(description):
    rng = np.random.default_rng(0)
    arrays = [
        mx.nd.array(rng.normal(size=(2, 3, 36, 44))),
        mx.nd.array(rng.uniform(0, 35, (2, 3, 2))),
        mx.nd.array(rng.integers(-1, 2, (2, 3, 36, 44))),
        mx.nd.array(rng.integers(2, size=(2, 36, 44))),
    ]
    results = []
    for wrap in (lambda network: network, PlainAdaptIS):
        mx.random.seed(0)
        network = build_network(description)
        network.initialize(mx.init.Xavier())
        network.hybridize(static_alloc=True)
        stage = InstanceStage(wrap(network))
        mx.random.seed(1)  # of dropout
        with autograd.record():
            loss, _ = stage.losses(*arrays)
        loss.backward()
        parameters = stage.parameters()
        gradients = [p.grad().asnumpy() for p in parameters.values() if p.grad_req != "null"]
        results.append((loss.asnumpy(), gradients))
    (loss, gradients), (plain_loss, plain_gradients) = results
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-5)
    scale = max(np.abs(g).max() for g in plain_gradients)
    for ours, plain in zip(gradients, plain_gradients):
        np.testing.assert_allclose(ours, plain, rtol=1e-3, atol=1e-5 * scale)


@pytest.mark.parametrize("flip", [False, True])
def test_a_panoptic_image_is_the_same(flip):
    methods = [make(method, (64, 96), 12, flip, "resnet18_v1b") for method in ("ours", "plain")]
    for warm_up in methods:
        warm_up()
    (ours, ours_confidence), (plain, plain_confidence) = (segment() for segment in methods)
    assert plain.max() == 12
    assert same_partition(ours, plain) == 1
    assert plain_confidence[plain > 0].std() > 1e-2  # within each disc the heads decide
    np.testing.assert_allclose(ours_confidence, plain_confidence, atol=1e-4)


def test_partitions_agree_but_for_their_numbers():
    a = np.array([[1, 1, 2], [-1, -1, 0]])
    assert same_partition(a, np.array([[7, 7, 3], [-1, -1, 0]])) == 1
    assert same_partition(a, np.array([[7, 7, 7], [-1, -1, 0]])) == pytest.approx(5 / 6)
    assert same_partition(a, np.array([[7, 7, 3], [-1, -2, 0]])) == pytest.approx(5 / 6)
