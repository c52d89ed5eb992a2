"""AdaptIS on DeepLabV3+: shapes, hybridization, dilation, ImageNet weights."""

from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from gluoncv.model_zoo import get_model, model_store

from adaptis.weights import CheckpointError, parameters_of, save_arrays
from models.build import build_network
from models.deeplab import DeepLabV3Plus, DilatedResNet

SMALL = {"architecture": "panoptic", "backbone": "resnet18_v1b", "classes": 5, "channels": 16}


def network(**options):
    mx.random.seed(0)
    built = build_network({**SMALL, **options})
    built.initialize(mx.init.Xavier())
    return built


def points(batch, count, seed=0):
    return mx.nd.array(np.random.default_rng(seed).uniform(0, 40, (batch, count, 2)))


def images(batch, height, width, seed=0):
    return mx.nd.array(np.random.default_rng(seed).normal(size=(batch, 3, height, width)))


@pytest.mark.parametrize(
    "options", [{}, {"num_adain": 2}, {"coord_conv": False}, {"relative_radius": 20}]
)
def test_hybridized_and_eager_agree_at_any_size_and_number_of_points(options):
    net = network(**options)
    for hybrid in (False, True):
        net.hybridize(hybrid)
        results = []
        for height, width, count in ((64, 96, 1), (45, 51, 3), (64, 96, 2)):
            x, p = images(2, height, width), points(2, count)
            logits, class_logits = net(x, p)
            assert logits.shape == (2 * count, 1, height, width)
            assert class_logits.shape == (2, 5, height, width)
            assert net.proposals(net.encode(x)).shape == (2, 1, height, width)
            results += [logits.asnumpy(), class_logits.asnumpy()]
        if not hybrid:
            eager = results
    for a, b in zip(eager, results):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("branch", ["paper", "authors"])
def test_the_proposal_branch(branch):
    """The paper's has the semantic branch's layers, with one output; the authors' is narrower, and
    what a description means that says nothing."""
    net = network(proposal_branch=branch)
    semantic, proposal = (
        [
            (type(layer).__name__, [p.shape for p in layer.collect_params().values()])
            for layer in head
        ]
        for head in (net.semantic_head, net.proposal_head)
    )
    if branch == "paper":
        assert proposal[:-1] == semantic[:-1]
        assert proposal[-1] == ("Conv2D", [(1, 12, 1, 1), (1,)])
        assert semantic[-1] == ("Conv2D", [(5, 12, 1, 1), (5,)])
    else:
        assert [kind for kind, _ in proposal] == [
            "SeparableConv",
            "Dropout",
            "SeparableConv",
            "Conv2D",
        ]
        assert proposal[-1] == ("Conv2D", [(1, 8, 1, 1), (1,)])
        assert parameters_of(network()).keys() == parameters_of(net).keys()


def test_coordinates_tell_points_apart():
    """Two points of one feature vector differ by Relative CoordConv alone."""
    for coord_conv in (True, False):
        net = network(coord_conv=coord_conv)
        encoded = net.encode(mx.nd.zeros((1, 3, 64, 64)))
        encoded = encoded._replace(
            code_map=mx.nd.zeros_like(encoded.code_map),
            selection_input=mx.nd.ones_like(encoded.selection_input),
        )
        first, second = net.instances(encoded, mx.nd.array([[[8, 8], [40, 40]]])).asnumpy()
        assert np.allclose(first, second) != coord_conv


def test_coordinates_end_at_the_relative_radius():
    """Beyond R of the point every pixel has the same coordinates, and so the same answer."""
    net = network(relative_radius=8)
    encoded = net.encode(mx.nd.zeros((1, 3, 128, 128)))
    encoded = encoded._replace(selection_input=mx.nd.ones_like(encoded.selection_input))
    logits = net.instances(encoded, mx.nd.array([[[8, 8]]])).asnumpy()[0, 0]
    inner = logits[64:96, 64:96]  # far from the point and from the borders, which convolutions see
    np.testing.assert_allclose(inner, inner[0, 0], rtol=0, atol=1e-6)
    assert np.ptp(logits[:32, :32]) > 1e-3


@pytest.mark.parametrize("backbone", ["resnet18_v1b", "resnext50_32x4d"])
def test_output_strides_and_names(backbone):
    """Stride 4 and 8 where the plain network has 4 and 32; parameters named as in GluonCV."""
    dilated = DilatedResNet(backbone)
    dilated.initialize()
    first, last = dilated(mx.nd.zeros((1, 3, 64, 72)))
    assert (first.shape[2:], last.shape[2:]) == ((16, 18), (8, 9))
    plain = get_model(backbone)._collect_params_with_prefix()
    assert set(dilated._collect_params_with_prefix()) <= set(plain)


def test_a_dilated_resnext_computes_what_the_plain_one_does():
    """At the pixels the plain network keeps, up to the end of the first stage that strode."""
    mx.random.seed(0)
    plain = get_model("resnext50_32x4d")
    plain.initialize(mx.init.Xavier())
    x = images(1, 64, 64)
    plain(x)
    dilated = DilatedResNet("resnext50_32x4d")
    dilated.initialize()
    dilated(x)
    arrays = plain._collect_params_with_prefix()
    for name, parameter in dilated._collect_params_with_prefix().items():
        parameter.set_data(arrays[name].data())
    for layers in (plain.features, dilated.features):
        y = x
        for layer in layers[:7]:
            y = layer(y)
        if layers is plain.features:
            expected = y.asnumpy()
    np.testing.assert_allclose(y.asnumpy()[:, :, ::2, ::2], expected, atol=1e-4)


def test_backbone_weights_from_a_file(tmp_path, capsys):
    source = get_model("resnet18_v1b")
    source.initialize(mx.init.Xavier())
    source(mx.nd.zeros((1, 3, 32, 32)))
    path = str(tmp_path / "resnet18_v1b.params")
    source.save_parameters(path)
    net = DeepLabV3Plus("resnet18_v1b", 16)
    net.initialize()
    before = net.pretrained.conv1.weight.data().asnumpy()
    net.load_pretrained("none")
    np.testing.assert_array_equal(net.pretrained.conv1.weight.data().asnumpy(), before)
    net.load_pretrained(path)
    assert f"{path}: is a plain MXNet file" in capsys.readouterr().err
    np.testing.assert_array_equal(
        net.pretrained.conv1.weight.data().asnumpy(), source.conv1.weight.data().asnumpy()
    )
    whole = (tmp_path / "resnet18_v1b.params").read_bytes()
    huge = whole[:24] + b"\xff" * 8 + whole[32:]  # in place of the number of arrays or a size
    for damaged in (b"", b"nothing of the kind", whole[:-1000], whole[:5000], huge):
        (tmp_path / "broken.params").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"broken\.params: is damaged"):
            net.load_pretrained(str(tmp_path / "broken.params"))
    with pytest.raises(CheckpointError, match=r"missing\.params: can't be read: No such file"):
        net.load_pretrained(str(tmp_path / "missing.params"))


def test_backbone_weights_of_this_project(tmp_path, capsys):
    """All of a backbone of the same channels; of other channels ImageNet's part, which is told."""
    trained = network()
    description = {"network": {**SMALL}}
    save_arrays(tmp_path / "some.params", parameters_of(trained), description)
    expected = {n: a.asnumpy() for n, a in parameters_of(trained.backbone).items()}
    for channels, said in ((16, ""), (8, "some.params: aspp and decoder begin anew\n")):
        net = DeepLabV3Plus("resnet18_v1b", channels)
        net.initialize()
        net.load_pretrained(str(tmp_path / "some.params"))
        for name, array in parameters_of(net).items():
            if channels == 16 or name.startswith(("pretrained.", "skip.")):
                np.testing.assert_array_equal(array.asnumpy(), expected[name], err_msg=name)
        assert capsys.readouterr().err.endswith(said)
    other = DeepLabV3Plus("resnet34_v1b", 16)
    with pytest.raises(CheckpointError, match="its backbone is resnet18_v1b, not resnet34_v1b"):
        other.load_pretrained(str(tmp_path / "some.params"))


def test_a_failed_download_says_what_to_do(monkeypatch):
    def fail(name):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(model_store, "get_model_file", fail)
    net = DeepLabV3Plus("resnet18_v1b", 16)
    with pytest.raises(CheckpointError, match=r"no route(.|\n)*--backbone-weights FILE"):
        net.load_pretrained("imagenet")
