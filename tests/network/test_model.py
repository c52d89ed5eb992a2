from __future__ import annotations

import mxnet as mx
import numpy as np
import pytest
from easydict import EasyDict
from mxnet import autograd

from adaptis.network.layers import AdaIN
from adaptis.training.distributed import Workers
from adaptis.training.stages import InstanceStage, ProposalStage
from adaptis.training.trainer import Trainer
from adaptis.training.updates import GluonUpdates
from adaptis.training.validation import Validation
from adaptis.weights import load_arrays, parameters_of, set_parameters
from models.authors import to_our_names
from models.build import build_network


def picture(*shape, seed=0):
    return mx.nd.array(np.random.default_rng(seed).normal(size=shape), dtype="float32")


def some_points(batch, count, height, width, seed=0):
    """(batch, count, 2) float32 (row, col) within the image, off the pixel grid."""
    places = np.random.default_rng(seed).uniform(size=(batch, count, 2))
    return mx.nd.array(places * (height - 1, width - 1), dtype="float32")


def everything(network, images, points_yx):
    """All four outputs, as numpy arrays."""
    encoded = network.encode(images)
    outputs = (
        encoded.features,
        network.instances(encoded, points_yx),
        network.semantics(encoded),
        network.proposals(encoded),
    )
    return [output.asnumpy() for output in outputs]


def numpy_parameters(network):
    return {k: v.asnumpy() for k, v in parameters_of(network).items()}


def plain_adain(self, F, x, code):
    """The authors' formula, which has no epsilon."""
    mean = x.mean(axis=(2, 3), keepdims=True)
    variance = (x - mean).square().mean(axis=(2, 3), keepdims=True)
    scale, shift = (dense(code).reshape((1, -1, 1, 1)) for dense in (self.scale, self.shift))
    return (x - mean) / variance.sqrt() * scale + shift


class TestAuthorsVectors:
    @pytest.fixture
    def vectors(self, reference):
        return np.load(reference / "authors_toy_width8.npz")

    @pytest.fixture
    def network(self, reference):
        path = reference / "authors_toy_width8.params"
        arrays, description = load_arrays(path)
        assert description == {}
        network = build_network({"architecture": "toy", "width": 8, "distance_map": True})
        network.initialize()
        set_parameters(network, to_our_names(arrays), path)
        return network

    @pytest.mark.parametrize("hybrid", [False, True])
    def test_outputs(self, network, vectors, hybrid):
        network.hybridize(hybrid)
        images, points_yx = mx.nd.array(vectors["image"]), mx.nd.array(vectors["points_row_col"])
        features, instances, semantic, proposals = everything(network, images, points_yx)
        rows, cols = vectors["points_row_col"].astype(int).reshape(-1, 2).T
        proposals = proposals[[0, 0, 0, 1, 1, 1], :, rows, cols]
        for ours, name in (
            (features, "features"),
            (semantic, "semantic"),
            (proposals, "proposals"),
        ):
            np.testing.assert_allclose(ours, vectors[name], rtol=1e-4, atol=1e-4, err_msg=name)
        # oneDNN's BatchNorm, which AdaIN runs as, errs by 2e-5 of the logits' range of 70
        error = np.abs(instances - vectors["instances"]).max()
        assert error < 1e-4 * np.abs(vectors["instances"]).max()

    def test_instances_with_the_plain_formula(self, network, vectors, monkeypatch):
        monkeypatch.setattr(AdaIN, "hybrid_forward", plain_adain)
        images, points_yx = mx.nd.array(vectors["image"]), mx.nd.array(vectors["points_row_col"])
        instances = network.instances(network.encode(images), points_yx).asnumpy()
        np.testing.assert_allclose(instances, vectors["instances"], rtol=1e-4, atol=1e-4)

    def test_our_names_are_not_theirs(self, network):
        assert to_our_names(numpy_parameters(network)).keys() == numpy_parameters(network).keys()


@pytest.mark.parametrize(
    "options",
    [{}, {"coord_conv": False}, {"distance_map": True}],
    ids=["paper", "no coord_conv", "distance map"],
)
def test_hybridized_and_eager_agree(toy, options):
    """One hybridized network, used at several sizes, batch sizes and point counts in turn."""
    eager, hybrid = toy(**options), toy(**options)
    hybrid.hybridize(static_alloc=True)
    cases = [(1, 24, 32, 2), (2, 13, 9, 3), (2, 24, 32, 1), (1, 5, 18, 4), (1, 1, 1, 2)]
    for batch, height, width, count in cases:
        images = picture(batch, 3, height, width)
        points_yx = some_points(batch, count, height, width)
        for ours, theirs in zip(
            everything(hybrid, images, points_yx), everything(eager, images, points_yx)
        ):
            assert ours.shape[2:] == (height, width)
            assert np.isfinite(ours).all()
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_output_shapes(toy):
    network = toy()
    instances, classes = network(picture(2, 3, 16, 20), some_points(2, 3, 16, 20))
    assert instances.shape == (6, 1, 16, 20)
    assert classes.shape == (2, 2, 16, 20)
    assert network.proposals(network.encode(picture(2, 3, 16, 20))).shape == (2, 1, 16, 20)


class TestPoints:
    def test_results_are_image_by_image_point_by_point(self, toy):
        """Result i * K + k is that of image i's point k alone."""
        network, images, points_yx = toy(), picture(2, 3, 16, 20), some_points(2, 3, 16, 20)
        together = network(images, points_yx)[0].asnumpy()
        for i in range(2):
            for k in range(3):
                alone = network(images[i : i + 1], points_yx[i : i + 1, k : k + 1])[0].asnumpy()
                np.testing.assert_allclose(together[3 * i + k], alone[0], rtol=1e-3, atol=1e-4)

    def test_a_point_changes_its_own_mask_only(self, toy):
        network, images, points_yx = toy(), picture(2, 3, 16, 20), some_points(2, 2, 16, 20)
        before = network(images, points_yx)[0].asnumpy()
        points_yx[1, 0] = mx.nd.array([15, 0])
        after = network(images, points_yx)[0].asnumpy()
        changed = np.abs(after - before).max(axis=(1, 2, 3))
        assert changed[2] > 1e-2
        assert changed[[0, 1, 3]].max() < 1e-5

    @pytest.mark.parametrize(("coord_conv", "differ"), [(True, True), (False, False)])
    def test_without_coord_conv_a_point_is_known_by_its_code_alone(self, toy, coord_conv, differ):
        """On an image of one colour, codes are the same wherever the border isn't felt."""
        network = toy(coord_conv=coord_conv)
        images = mx.nd.ones((1, 3, 160, 160))
        points_yx = mx.nd.array([[[72, 72], [88, 88]]])
        first, second = network(images, points_yx)[0].asnumpy()
        assert (np.abs(first - second).max() > 1e-2) == differ


class TestModes:
    @staticmethod
    def run(network, train_mode):
        """Instance logits; in training mode also a backward pass, where MXNet's BatchNorm moves
        its running statistics."""
        with autograd.record(train_mode=train_mode):
            logits, classes = network(2 * picture(2, 3, 32, 32) + 1, some_points(2, 2, 32, 32))
            loss = logits.sum() + classes.sum()
        if train_mode:
            loss.backward()
        return logits.asnumpy()

    @pytest.mark.parametrize("hybrid", [False, True])
    def test_inference_changes_nothing_and_repeats_itself(self, toy, hybrid):
        network = toy()
        network.hybridize(hybrid)
        before = numpy_parameters(network)
        first, second = self.run(network, train_mode=False), self.run(network, train_mode=False)
        np.testing.assert_array_equal(first, second)
        assert changed(network, before) == set()

    @pytest.mark.parametrize("hybrid", [False, True])
    def test_training_uses_batch_statistics_and_moves_the_running_ones(self, toy, hybrid):
        network = toy()
        network.hybridize(hybrid)
        before, predicted = numpy_parameters(network), self.run(network, train_mode=False)
        assert np.abs(self.run(network, train_mode=True) - predicted).max() > 1e-2
        assert changed(network, before) == {
            name for name in before if "running_" in name and not name.startswith("proposal_head.")
        }


def changed(network, before):
    """Names of the parameters that differ from what they were."""
    return {k for k, v in numpy_parameters(network).items() if not np.array_equal(v, before[k])}


class TestFreezing:
    """One update by each stage, as adaptis.training.trainer makes it."""

    @staticmethod
    def train(network, make_stage, num_masks, tmp_path):
        """Returns the names of all parameters that changed, running statistics included."""
        stage = make_stage(network)
        config = EasyDict(
            learning_rate=1e-2,
            backbone_factor=1,
            betas=(0.9, 0.999),
            schedule="constant",
            epochs=1,
            drops=(),
            warmup=0,
            seed=0,
            workers=0,
            amp=False,
            ema=None,
        )
        masks = np.zeros((2, num_masks, 16, 16), np.int8)
        masks[..., 3:12, 5:14] = 1
        points_yx = some_points(2, 3, 16, 16).asnumpy()
        images = picture(2, 3, 16, 16).asnumpy()
        samples = [(images[i], points_yx[i], masks[i], masks[i, 0], np.array(i)) for i in (0, 1)]
        batches = type("Batches", (list,), {"per_epoch": 1})([[0, 1]])
        before = numpy_parameters(network)
        trainer = Trainer(
            network,
            stage,
            GluonUpdates(network, stage, config, [mx.cpu()], Workers()),
            samples,
            lambda start: batches,
            config,
            {},
            tmp_path,
            lambda *_: Validation({"score": 0.0}, np.zeros((2, 2, 3), np.uint8), {}),
            Workers(),
        )
        trainer.fit()
        return changed(network, before), set(before)

    @pytest.mark.parametrize("hybrid", [False, True])
    def test_proposal_stage_changes_the_proposal_head_only(self, toy, tmp_path, hybrid):
        network = toy()
        network.hybridize(hybrid)
        moved, every = self.train(network, ProposalStage, 1, tmp_path)
        assert moved == {name for name in every if name.startswith("proposal_head.")}

    def test_instance_stage_changes_all_but_the_proposal_head_and_the_upsamplers(
        self, toy, tmp_path
    ):
        network = toy()
        network.hybridize()
        moved, every = self.train(network, InstanceStage, 3, tmp_path)
        assert moved == {
            name
            for name in every
            if not name.startswith("proposal_head.") and "upsampler" not in name
        }

    def test_upsampler_is_bilinear_interpolation(self, toy):
        """Kernel 4, stride 2: 1 D weights 1/4, 3/4, 3/4, 1/4."""
        weights = {k: v for k, v in numpy_parameters(toy()).items() if "upsampler" in k}
        line = np.array([0.25, 0.75, 0.75, 0.25])
        assert len(weights) == 4
        for kernel in weights.values():
            expected = np.broadcast_to(np.outer(line, line), kernel.shape)
            np.testing.assert_allclose(kernel, expected)


@pytest.mark.parametrize(("branch", "convolutions"), [("paper", 3), ("authors", 2)])
def test_the_toy_networks_proposal_branch(toy, branch, convolutions):
    """The paper's has the semantic branch's layers (Section 5), the authors' a convolution less."""
    net = toy(proposal_branch=branch)
    assert [type(layer) for layer in net.proposal_head[:-1]] == [
        type(layer) for layer in net.semantic_head[: 2 * convolutions]
    ]
    assert net.proposal_head[-1].weight.shape == (1, 32, 1, 1)
    by_default = parameters_of(toy()).keys()
    assert (by_default == parameters_of(net).keys()) == (branch == "authors")
