"""The comparison with Mask R-CNN: a tiny run end to end, resumed exactly; masks and targets."""

from __future__ import annotations

import json
import os
import signal

import mxnet as mx
import numpy as np
import pytest
from gluoncv.data.transforms.mask import to_mask
from gluoncv.model_zoo import get_model

import compare_toy
from adaptis.training.checkpoints import TrainingError
from adaptis.weights import CheckpointError, load_arrays, parameters_of, save_arrays
from datasets.base import Instance, Sample
from datasets.toy_generator import generate
from models.build import build_network
from models.mask_rcnn import comparison
from models.mask_rcnn.detector import paste_mask
from models.mask_rcnn.network import build_mask_rcnn
from models.mask_rcnn.training import MaskRCNNTrainer, boxes_and_polygons

OPTIONS = ("--epochs", 1, "--short-side", 96, "--backbone-weights", "none", "--pictures", 1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function: (name, *options) -> the metrics of a run to the folder of that name."""
    folder = tmp_path_factory.mktemp("compare")
    generate(folder / "data", train=4, test=2, size=64, objects=(3, 4), workers=1)
    network = build_network({"architecture": "toy", "width": 4})
    network.initialize()
    network(mx.nd.zeros((1, 3, 40, 40)), mx.nd.zeros((1, 1, 2)))
    description = {
        "network": {"architecture": "toy", "width": 4},
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "classes": [info._asdict() for info in comparison.ToyDataset.classes],
    }
    weights = folder / "adaptis.params"
    save_arrays(weights, parameters_of(network), description)

    def compare(name, *options):
        where = ["--data", folder / "data", "--weights", weights, "--output", folder / name]
        return compare_toy.main([str(a) for a in [*where, *OPTIONS, *options]])

    compare.folder = folder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "LARGE_SIDE", 48)
        patch.setattr(comparison, "LARGE_OBJECTS", 6)
        patch.setattr(comparison, "LARGE_DETECTIONS", 20)
        yield compare
    for path in folder.glob("*/mask_rcnn.params"):
        path.unlink()  # 350 MB each


def state(folder) -> dict[str, np.ndarray]:
    arrays, _ = load_arrays(folder / "mask_rcnn.params")
    return {name: array.asnumpy() for name, array in arrays.items()}


def test_stopped_and_resumed_run_ends_like_one_that_was_not(run, monkeypatch, capsys):
    metrics = run("whole")
    assert metrics["images"] == 2
    for name in ("Mask R-CNN", "AdaptIS"):
        assert 0 <= metrics["methods"][name]["ap"]["0.5"] <= 1
        bins = metrics["methods"][name]["recall_by_box_overlap"]["0.5"]
        assert sum(b["objects"] for b in bins) in range(6, 9)
        assert sum(metrics["large_scene"][name][key] for key in ("found", "missed")) == 6
    assert "| Mask R-CNN (paper)" in capsys.readouterr().out
    json.loads((run.folder / "whole" / "metrics.json").read_text())
    for name in ("figure3.png", "large_scene.png", "box_overlap.png", "table.md"):
        assert (run.folder / "whole" / name).stat().st_size > 0

    with pytest.raises(TrainingError, match="--resume"):
        run("whole")  # would overwrite

    step = MaskRCNNTrainer._step

    def interrupted(self, *arguments):
        losses = step(self, *arguments)
        if self._iteration == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses

    with monkeypatch.context() as patch:
        patch.setattr(MaskRCNNTrainer, "_step", interrupted)
        with pytest.raises(TrainingError, match="stopped by SIGTERM after iteration 2; go on"):
            run("stopped")
    with pytest.raises(
        TrainingError, match=r"other settings: training\.learning_rate: 0\.001, now 0\.1"
    ):
        run("stopped", "--resume", "--learning-rate", "0.1")
    run("stopped", "--resume", "--pictures", "0")
    whole, resumed = state(run.folder / "whole"), state(run.folder / "stopped")
    assert set(whole) == set(resumed)
    assert any(name.startswith("momentum:") and whole[name].any() for name in whole)
    for name in whole:
        np.testing.assert_array_equal(whole[name], resumed[name], err_msg=name)


def test_loss_that_is_not_finite_stops_training(run, monkeypatch):
    monkeypatch.setattr(
        "models.mask_rcnn.training.ForwardBackwardTask.forward_backward",
        lambda self, batch: [mx.nd.array([np.nan])] * 5,
    )
    with pytest.raises(TrainingError, match=r"isn't finite at iteration 0 .*samples \[\(0, \d\)\]"):
        run("nan")


@pytest.mark.parametrize("side", ["95", "385"])
def test_sizes_without_anchors_are_refused(side, capsys):
    with pytest.raises(SystemExit):
        compare_toy.main(["--short-side", side])
    assert "must be a whole number from 96 to 384" in capsys.readouterr().err


def test_wrong_backbone_weights_are_refused(tmp_path):
    path = tmp_path / "other.params"
    mx.nd.save(str(path), {"weight": mx.nd.zeros((1,))})
    with pytest.raises(CheckpointError, match="no GluonCV weights file of resnet50_v1b"):
        build_mask_rcnn("fpn", 96, True, str(path))


@pytest.mark.parametrize("network", ["fpn", "c4"])
def test_backbone_weights_reach_the_network_whose_start_is_frozen(network, tmp_path):
    backbone = get_model("resnet50_v1b")
    backbone.initialize(mx.init.Normal(0.05))
    backbone(mx.nd.zeros((1, 3, 32, 32)))
    path = tmp_path / "resnet.params"
    backbone.save_parameters(str(path))
    model = build_mask_rcnn(network, 96, True, str(path))
    path.unlink()  # 100 MB
    loaded = {name: p for name, p in model.collect_params().items() if "resnetv1b" in name}
    assert len(loaded) == 265  # 53 convolutions and four arrays of each one's normalisation
    for name, parameter in backbone.collect_params(".*conv|.*batchnorm").items():
        np.testing.assert_array_equal(loaded[name].data().asnumpy(), parameter.data().asnumpy())
    trained = set(model.collect_train_params()) & set(loaded)
    assert {name.split("_")[1] for name in trained} == {
        *("layers2", "layers3", "layers4", "down2", "down3", "down4")
    }


def test_regions_of_other_levels_add_nothing_to_the_pooled_features():
    """On a CPU MXNet leaves what GluonCV gets for them uninitialised."""
    network = build_mask_rcnn("fpn", 96, False)
    levels = [mx.nd.full((1, 2, 128 >> i, 128 >> i), 10.0**i) for i in range(5)]
    sides = np.array([20, 120, 230, 460, 20])  # px: levels 0, 1, 2, 3 and 0
    rois = np.stack([0 * sides, 0 * sides, 0 * sides, sides - 1, sides - 1], axis=1)
    for _ in range(3):
        garbage = mx.nd.full((len(sides), 2, 14, 14), np.nan)  # for the next to be allocated in
        garbage.wait_to_read()
        del garbage
        pooled = network._pyramid_roi_feats(
            mx.nd, levels, mx.nd.array(rois), (14, 14), (4, 8, 16, 32, 64), "align"
        ).asnumpy()
        expected = np.array([1, 10, 100, 1000, 1]).reshape(-1, 1, 1, 1)
        np.testing.assert_allclose(pooled, np.broadcast_to(expected, pooled.shape), rtol=1e-5)


def test_polygons_fill_exactly_the_pixels_also_when_enlarged():
    instance_map = np.zeros((6, 8), np.int32)
    instance_map[1:5, 1:6] = 3  # a ring: with a hole
    instance_map[2:4, 2:4] = 0
    instance_map[[0, 5], [7, 0]] = 9  # two pieces
    instances = {3: Instance(1), 9: Instance(1)}
    sample = Sample("a", np.zeros((6, 8, 3), np.uint8), instance_map, instance_map, instances)
    boxes, polygons = boxes_and_polygons(sample)
    np.testing.assert_array_equal(boxes, [[1, 1, 6, 5, 0], [0, 0, 8, 6, 0]])
    for scale in (1, 4):
        size = (8 * scale, 6 * scale)
        for instance, parts in zip((3, 9), polygons):
            mask = np.kron(instance_map == instance, np.ones((scale, scale)))
            np.testing.assert_array_equal(to_mask([p * scale for p in parts], size), mask)


def test_full_mask_fills_its_box():
    # the box's pixels 8 to 23 of the enlarged image are pixels 2 to 5 of the original one
    mask = paste_mask(np.ones((28, 28)), np.array([7.5, 11.5, 23.5, 19.5]), (10, 9), scale=4)
    expected = np.zeros((10, 9), bool)
    expected[3:5, 2:6] = True
    np.testing.assert_array_equal(mask, expected)


def test_cells_fall_on_the_pixels_under_them():
    cells = np.array([[1.0, 0.0], [0.0, 1.0]])
    # 4 enlarged pixels a cell, and 4 a pixel of the original image: a cell is a pixel
    mask = paste_mask(cells, np.array([3.5, 3.5, 11.5, 11.5]), (4, 4), scale=4)
    np.testing.assert_array_equal(np.argwhere(mask), [[1, 1], [2, 2]])


def test_box_beyond_the_image_and_without_extent():
    assert paste_mask(np.ones((28, 28)), np.array([-9.0, -9, 40, 40]), (3, 5), scale=4).all()
    assert not paste_mask(np.ones((28, 28)), np.array([7.0, 7, 7, 7]), (3, 5), scale=4).any()
