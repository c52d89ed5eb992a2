"""Training by PyTorch: the same network, losses, updates and files as by Gluon."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import cv2
import mxnet as mx
import numpy as np
import pytest
from easydict import EasyDict

from adaptis.training import losses, stage_run
from adaptis.training.checkpoints import TrainingError
from adaptis.training.distributed import Workers
from adaptis.training.sampling import IGNORED
from adaptis.training.stages import InstanceStage, mask_iou, mask_logit
from adaptis.training.targets import Targets
from adaptis.training.updates import GluonUpdates
from datasets.base import DataError
from models.training import build_torch_network
from tests.training.test_losses import random_example, value_and_gradient
from tests.training_runs import (
    assert_same_end,
    checkpoints,
    final_state,
    stop_at,
    train,
)

CPU = ("--torch", "cpu")


class TestWhereItCanNotBe:
    def test_without_pytorch(self, data, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.delitem(sys.modules, "models.toy_torch", raising=False)
        with pytest.raises(TrainingError, match=r"--torch: .*torch.*pip install torch"):
            train(data, tmp_path, *CPU)

    def test_of_a_panoptic_network(self):
        with pytest.raises(TrainingError, match="only the toy problem's network"):
            build_torch_network({"architecture": "panoptic"})

    def test_a_device_that_is_not_there(self, data, tmp_path):
        pytest.importorskip("torch")
        with pytest.raises(TrainingError, match=r"--torch cuda:99: PyTorch can't use it \("):
            train(data, tmp_path, "--torch", "cuda:99")


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch is no requirement")


@pytest.fixture
def as_torch(torch):
    """A function: a toy network and how it was made -> the same in PyTorch."""

    def convert(network, **options):
        module = build_torch_network({"architecture": "toy", "width": 4, **options})
        own = module.state_dict()
        for name, parameter in network._collect_params_with_prefix().items():
            if name in own:
                array = torch.from_numpy(parameter.data().asnumpy())
                own[name].copy_(array.reshape(own[name].shape))
        return module

    return convert


def some_batch(rng, size=(32, 32), batch=2, points=3):
    """images, points_yx, masks, labels."""
    height, width = size
    masks = rng.integers(IGNORED, 2, (batch, points, height, width), dtype=np.int8)
    return (
        rng.normal(0, 1, (batch, 3, height, width)).astype(np.float32),
        np.floor(rng.uniform(0, 1, (batch, points, 2)) * size).astype(np.float32),
        masks,
        rng.integers(IGNORED, 2, (batch, height, width), dtype=np.int32),
    )


@pytest.mark.parametrize("size", [(32, 32), (41, 27)])
@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize(
    "options",
    [{}, {"coord_conv": False}, {"distance_map": True, "relative_radius": 9}, {"classes": 4}],
)
def test_the_network_is_the_same(toy, torch, as_torch, size, points, options):
    """With random parameters, running statistics too."""
    network = toy(**options)
    for name, parameter in network._collect_params_with_prefix().items():
        if "upsampler" not in name:
            low = 0.5 if name.endswith(("running_var", "gamma")) else -0.3
            parameter.set_data(mx.nd.random.uniform(low, low + 0.6, parameter.shape))
    module = as_torch(network, **options).eval()
    names = {n for n in module.state_dict() if not n.endswith("num_batches_tracked")}
    parameters = network._collect_params_with_prefix()
    assert names == {name for name in parameters if not name.startswith("proposal_head.")}
    images, points_yx, _, _ = some_batch(np.random.default_rng(0), size, points=points)
    expected = network(mx.nd.array(images), mx.nd.array(points_yx))
    with torch.no_grad():
        found = module(torch.from_numpy(images), torch.from_numpy(points_yx))
    for ours, theirs in zip(found, expected):
        np.testing.assert_allclose(ours.numpy(), theirs.asnumpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("ignored", [True, False])
@pytest.mark.parametrize("name", ["nfl", "focal", "bce", "softmax"])
def test_losses_are_the_same(torch, name, ignored):
    """Values and gradients."""
    from adaptis.training import torch_losses

    ours, theirs = {
        "nfl": (torch_losses.normalized_focal_loss, losses.normalized_focal_loss),
        "focal": (torch_losses.focal_loss, losses.focal_loss),
        "bce": (torch_losses.binary_cross_entropy, losses.binary_cross_entropy),
        "softmax": (
            torch_losses.normalized_focal_softmax_loss,
            losses.normalized_focal_softmax_loss,
        ),
    }[name]
    logits, mask = random_example(3, ignored)
    if name == "softmax":
        logits, mask = np.concatenate([logits, -logits, 2 * logits], axis=1), mask[:, 0]
    logits = logits.astype(np.float32)
    expected = value_and_gradient(theirs, logits, mask)
    leaf = torch.from_numpy(logits).requires_grad_()
    values = ours(leaf, torch.from_numpy(mask).float())
    values.sum().backward()
    for found, wanted in zip((values.detach(), leaf.grad), expected):
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-6)


def test_the_iou_is_the_same(torch):
    from adaptis.training import torch_losses

    logits, mask = random_example(4)
    mask[1] = IGNORED
    logits = logits.astype(np.float32)
    expected = mask_iou(mx.nd.array(logits), mx.nd.array(mask), 0.4).asnumpy()
    found = torch_losses.mask_iou(torch.from_numpy(logits), torch.from_numpy(mask), mask_logit(0.4))
    np.testing.assert_allclose(found.numpy(), expected)
    assert np.isnan(expected[1])


def test_updates_are_the_same(toy, torch):
    """Losses, gradients and, after an update, parameters and moving averages. Float64 lies as far
    from either: the gradients of a fresh network are ill-conditioned."""
    from adaptis.training.torch_updates import TorchUpdates

    config = EasyDict(learning_rate=1e-3, betas=(0.9, 0.999), amp=False, ema=0.9, backbone_factor=1)
    networks = toy(), toy()
    gluon = GluonUpdates(networks[0], InstanceStage(networks[0]), config, [mx.cpu()], Workers())
    module = build_torch_network({"architecture": "toy", "width": 4})
    pytorch = TorchUpdates(networks[1], module, "nfl", 0.5, 0.5, config, "cpu")
    batch = some_batch(np.random.default_rng(1), (64, 64), batch=4)
    expected = gluon.gradients([mx.nd.array(a, dtype=a.dtype) for a in batch], seed=0)
    found = pytorch.gradients([torch.from_numpy(a) for a in batch], seed=0)
    assert found.loss == pytest.approx(expected.loss, rel=1e-3)
    assert found.scalars == pytest.approx(expected.scalars, rel=1e-3)
    parameters = networks[0]._collect_params_with_prefix()
    for name, parameter in module.named_parameters():
        ours, theirs = parameter.grad.numpy().ravel(), parameters[name].grad().asnumpy().ravel()
        length = np.linalg.norm(theirs)
        if length > 1e-3:  # others are sums that would be 0 but for rounding
            assert np.linalg.norm(ours - theirs) < 0.05 * length, name
    for updates in (gluon, pytorch):
        updates.update(images=4, iteration=1)
        updates.to_network()
    assert set(pytorch.optimizer()) == set(gluon.optimizer())
    assert set(pytorch.average()) == set(gluon.average())
    assert pytorch.state() == gluon.state() == {"updates": 1}
    own, others = (network._collect_params_with_prefix() for network in reversed(networks))
    moved = [
        np.median(np.abs((own[n].data() - others[n].data()).asnumpy())) for n in pytorch.average()
    ]
    assert np.median(moved) < 1e-5  # of an update of 1e-3
    for name, average in pytorch.average().items():
        theirs = gluon.average()[name].asnumpy()
        assert average.shape == theirs.shape
        np.testing.assert_allclose(average.asnumpy(), theirs, rtol=0.05, atol=2e-3, err_msg=name)


@pytest.mark.parametrize("processes", [0, 2])
def test_resume_is_exact(data, torch, tmp_path, monkeypatch, processes):
    options = (*CPU, "--workers", processes, "--ema", "0.9")
    whole = train(data, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        stop_at(patch, 6)
        with pytest.raises(TrainingError, match="SIGTERM after iteration 6"):
            train(data, tmp_path / "stopped", *options)
    assert_same_end(train(data, tmp_path / "stopped", *options, "--resume"), whole)


@pytest.mark.parametrize("first", [CPU, ()])
def test_either_goes_on_with_what_the_other_began(data, torch, tmp_path, first):
    """The files are the same: parameters, moments, averages."""
    second = () if first else CPU
    options = ("--schedule", "constant", "--ema", "0.9")
    run = train(data, tmp_path, *options, *first, "--epochs", 1)
    train(data, tmp_path, *options, *second, "--resume")
    assert checkpoints(run) == ["checkpoint-0000004.params", "checkpoint-0000008.params"]
    arrays, description = final_state(run)
    assert description["state"]["iteration"] == description["state"]["updates"] == 8
    assert all(np.isfinite(array.asnumpy()).all() for array in arrays.values())


def test_both_stages(data, torch, tmp_path):
    """The second is Gluon's, and begins with what PyTorch made."""
    train(data, tmp_path, *CPU, "--stage", "both", "--epochs", 1)
    assert (tmp_path / "instances" / "best.params").is_file()


@pytest.mark.parametrize("processes", [0, 2])
def test_a_broken_image_is_named(data, torch, tmp_path, monkeypatch, processes):
    monkeypatch.setattr(stage_run, "count_targets", lambda *_: Targets(1, 1, 0, 0))
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    path = copy / "train" / "00003_rgb.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"00003_rgb\.png: can't be read.*copy or download"):
        train(copy, tmp_path / "run", *CPU, "--workers", processes)


def test_images_of_several_sizes_are_named(data, torch, tmp_path):
    copy = Path(shutil.copytree(data, tmp_path / "data"))
    for ending in ("rgb", "im"):
        path = copy / "train" / f"00003_{ending}.png"
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:40])
    with pytest.raises(TrainingError, match=r"00003_rgb\.png: 40 x 48.*choose a --crop"):
        train(copy, tmp_path / "run", *CPU, "--crop", 48)
