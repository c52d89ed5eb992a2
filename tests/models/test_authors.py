"""The authors' parameter files: names, what is inferred of the network, loading."""

from __future__ import annotations

import re

import mxnet as mx
import numpy as np
import pytest

from adaptis.inference.predictor import AdaptISPredictor
from adaptis.weights import CheckpointError, parameters_of
from models.authors import describe_authors, our_name
from models.build import build_network
from train_cityscapes import CONFIG

NETWORK = {
    "architecture": "panoptic",
    "backbone": "resnet50_v1s",
    "classes": 19,
    "num_adain": 1,
    "channels": 16,
    "coord_conv": True,
    "distance_map": True,
}

# The inverse of the renaming, from the attributes of the authors' blocks. The first match counts.
THEIR_NAMES = (
    ("backbone.pretrained.", "feature_extractor.backbone."),
    ("backbone.skip.", "feature_extractor.skip_project.skip_project."),
    ("backbone.aspp.branches.4.", "feature_extractor.aspp.concurent.4.gap."),
    ("backbone.aspp.branches.", "feature_extractor.aspp.concurent."),
    ("backbone.aspp.project.", "feature_extractor.aspp.project."),
    ("backbone.decoder.", "feature_extractor.head.block."),
    *(
        (f"controller.layers.{ours}.", f"adaptis_head.controller_net.fc_net.{theirs}.")
        for ours, theirs in enumerate((0, 2, 3, 5, 6, 8))
    ),
    ("selection.first_conv.", "adaptis_head.block0.0."),
    ("selection.stages.0.", "adaptis_head.block0."),
    ("selection.stages.1.", "adaptis_head.block1."),
    ("selection.adains.0.scale.", "adaptis_head.adain.affine_scale."),
    ("selection.adains.0.shift.", "adaptis_head.adain.affine_bias."),
    ("semantic_head.", "segmentation_head.layers."),
    ("proposal_head.", "proposals_head.layers."),
)


def their_name(name):
    ours, theirs = next(pair for pair in THEIR_NAMES if name.startswith(pair[0]))
    name = theirs + name[len(ours) :]
    return re.sub(r"\.(block\d?|layers)\.(\d)\.(\d)\.", r".\1.\2.body.\3.", name)  # separable


def their_arrays(network):
    """The network's parameters as the authors' code would save them."""
    arrays = {their_name(n): a for n, a in parameters_of(network).items()}
    return {n: a.flatten() if ".fc_net." in n and a.ndim == 4 else a for n, a in arrays.items()}


@pytest.fixture(scope="module")
def network():
    mx.random.seed(0)
    built = build_network(NETWORK)
    built.initialize(mx.init.Xavier())
    return built


def test_a_cityscapes_file_loads(network, tmp_path):
    expected = parameters_of(network)
    arrays = their_arrays(network)
    assert [our_name(name) for name in arrays] == list(expected)
    mx.nd.save(str(tmp_path / "theirs.params"), arrays)

    predictor = AdaptISPredictor.load(tmp_path / "theirs.params")
    for name, array in parameters_of(predictor.backend.network).items():
        np.testing.assert_array_equal(array.asnumpy(), expected[name].asnumpy(), err_msg=name)
    assert predictor.settings.greedy.mask_threshold == CONFIG.inference.greedy.mask_threshold
    predictor.set_image(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    assert predictor.predict([[20, 40]]).masks.shape == (1, 64, 64)
    assert predictor.panoptic()[0].shape == (64, 64)


def test_a_cityscapes_file_with_other_classes_is_refused(network, tmp_path):
    arrays = their_arrays(network)
    for name in ("segmentation_head.layers.2.weight", "segmentation_head.layers.2.bias"):
        arrays[name] = arrays[name][:5]
    mx.nd.save(str(tmp_path / "theirs.params"), arrays)
    with pytest.raises(CheckpointError, match=r"semantic_head\.2\.weight has shape"):
        AdaptISPredictor.load(tmp_path / "theirs.params")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "feature_extractor.backbone.layer3.0.conv1.weight",
            "backbone.pretrained.layer3.0.conv1.weight",
        ),
        ("feature_extractor.aspp.concurent.4.gap.2.gamma", "backbone.aspp.branches.4.2.gamma"),
        ("adaptis_head.controller_net.fc_net.5.beta", "controller.layers.3.beta"),
        ("adaptis_head.block0.0.weight", "selection.first_conv.weight"),
        ("adaptis_head.adain.affine_scale.bias", "selection.adains.0.scale.bias"),
        ("segmentation_head.layers.0.body.1.weight", "semantic_head.0.1.weight"),
        ("proposals_head.layers.3.bias", "proposal_head.3.bias"),
    ],
)
def test_names(theirs, ours):
    assert our_name(theirs) == ours
    assert their_name(ours) == theirs


def few_arrays(channels=16, maps=3, blocks=6):
    """The arrays the description of a Cityscapes network is inferred from."""
    return {
        "feature_extractor.head.block.2.weight": mx.nd.zeros((channels, channels, 1, 1)),
        "adaptis_head.block0.0.weight": mx.nd.zeros((channels // 2, channels + maps, 3, 3)),
        **{
            f"feature_extractor.backbone.layer3.{i}.conv{k}.weight": mx.nd.zeros(1)
            for i in range(blocks)
            for k in (1, 2, 3)
        },
    }


@pytest.mark.parametrize(
    ("options", "differences"),
    [
        ({}, {}),
        ({"channels": 256}, {"channels": 256}),
        ({"maps": 2}, {"distance_map": False}),
        ({"maps": 0}, {"distance_map": False, "coord_conv": False}),
        ({"blocks": 23}, {"backbone": "resnet101_v1s"}),
        ({"blocks": 36}, {"backbone": "resnet152_v1s"}),
    ],
)
def test_the_network_is_inferred(options, differences):
    description = describe_authors(few_arrays(**options))
    assert description["network"] == {**NETWORK, **differences}
    assert len(description["classes"]) == 19


@pytest.mark.parametrize("missing", ["feature_extractor.head", "adaptis_head", "layer3.5"])
def test_other_networks_are_not_described(missing):
    assert describe_authors({n: a for n, a in few_arrays().items() if missing not in n}) == {}
