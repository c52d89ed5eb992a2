"""A widened network computes what the narrow one did."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest

from adaptis.weights import (
    PARAMETER,
    CheckpointError,
    join_groups,
    parameters_of,
    save_arrays,
    set_parameters,
)
from models.build import build_network
from models.widen import widen


@pytest.fixture
def narrow(toy, tmp_path):
    """A toy network of width 4 with trained-looking statistics, and its file."""
    network = toy(width=4, seed=1)
    rng = np.random.default_rng(0)
    for parameter in network.collect_params().values():
        if "running" in parameter.name or "gamma" in parameter.name:
            parameter.set_data(mx.nd.array(rng.uniform(0.5, 1.5, parameter.shape)))
    path = tmp_path / "narrow.params"
    description = {"network": {"architecture": "toy", "width": 4}}
    save_arrays(path, parameters_of(network), description)
    return network, path


def test_outputs_stay_the_same(narrow):
    network, path = narrow
    arrays, description = widen(path, 8)
    assert description["network"]["width"] == 8
    wide = build_network(description["network"])
    wide.initialize()
    set_parameters(wide, arrays, path)
    images = mx.nd.array(np.random.default_rng(1).normal(size=(2, 3, 24, 20)))
    points_yx = mx.nd.array([[[3, 4], [10, 11]], [[0, 0], [23, 19]]])
    results = []
    for net in (network, wide):
        encoded = net.encode(images)
        outputs = (
            net.instances(encoded, points_yx),
            net.semantics(encoded),
            net.proposals(encoded),
        )
        results.append([output.asnumpy() for output in outputs])
    for ours, theirs in zip(*results):
        assert np.abs(theirs).max() > 1e-3
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_gives_its_weights(narrow, tmp_path):
    network, path = narrow
    groups = {PARAMETER: parameters_of(network), "optimizer": {"m": mx.nd.ones(2)}}
    checkpoint = tmp_path / "checkpoint.params"
    description = {"network": {"architecture": "toy", "width": 4}, "state": {"iteration": 3}}
    save_arrays(checkpoint, join_groups(groups), description)
    mx.random.seed(0)
    expected, _ = widen(path, 8)
    mx.random.seed(0)
    arrays, described = widen(checkpoint, 8)
    assert "state" not in described
    assert set(arrays) == set(expected)
    for name, array in arrays.items():
        np.testing.assert_array_equal(array.asnumpy(), expected[name].asnumpy())


@pytest.mark.parametrize(("width", "message"), [(4, "narrower than 4"), (64, "to 32, not 64")])
def test_other_widths_are_refused(narrow, width, message):
    with pytest.raises(CheckpointError, match=message):
        widen(narrow[1], width)
