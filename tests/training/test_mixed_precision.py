"""MXNet's float16 layers need a GPU; here the loss is scaled in float32, which changes nothing.
bfloat16 is tried where the CPU has it, in processes of their own: MXNet's AMP can't be left."""

from __future__ import annotations

import json
import subprocess
import sys

import mxnet as mx
import pytest
from mxnet.contrib import amp

from adaptis.training import mixed_precision
from adaptis.training.checkpoints import TrainingError
from tests.training_runs import final_state, stop_at, train

SHORT = ("--images", 8, "--epochs", 1)  # two iterations


@pytest.fixture
def float32(monkeypatch):
    """A CPU that says it is a GPU, and AMP that scales the loss but leaves the operators."""

    def init(fp32_ops):
        assert {"BatchNorm", "exp", "log_softmax"} <= set(fp32_ops)
        monkeypatch.setattr(amp.amp, "_amp_initialized", True)
        monkeypatch.setattr(amp.amp, "_loss_scaler", amp.loss_scaler.LossScaler())

    monkeypatch.setattr(amp, "init", init)
    monkeypatch.setattr(mx, "gpu", mx.cpu)
    monkeypatch.setattr("adaptis.training.mixed_precision.GPU", "cpu")


def assert_same_parameters(run, expected):
    (arrays, _), (other, _) = final_state(run), final_state(expected)
    for name, array in arrays.items():
        assert array.asnumpy().tobytes() == other[name].asnumpy().tobytes(), name


def test_the_scale_is_taken_out_and_saved(data, tmp_path, float32):
    plain = train(data, tmp_path / "plain", *SHORT)
    scaled = train(data, tmp_path / "amp", *SHORT, "--amp", "--ctx", "0")
    assert_same_parameters(scaled, plain)  # a power of two: not a bit differs
    assert final_state(scaled)[1]["state"]["amp"] == {
        "loss_scale": 2**16,
        "next_loss_scale": 2**16,
        "since_overflow": 2,
    }
    assert "amp" not in final_state(plain)[1]["state"]


def test_resumed_with_the_scale_it_had(data, tmp_path, float32, monkeypatch):
    """The first iteration overflows, is skipped and halves the scale."""
    options = (*SHORT, "--amp", "--ctx", "0")
    overflows = amp.loss_scaler.LossScaler.has_overflow

    def overflow_at_first(self, parameters):
        if self._unskipped == 0 and self._loss_scale == self._next_loss_scale == 2**16:
            parameters[0].list_grad()[0][:] = float("inf")
        return overflows(self, parameters)

    monkeypatch.setattr(amp.loss_scaler.LossScaler, "has_overflow", overflow_at_first)
    whole = train(data, tmp_path / "whole", *options)
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        with pytest.raises(TrainingError, match="stopped"):
            train(data, tmp_path / "stopped", *options)
    saved = final_state(tmp_path / "stopped" / "instances")[1]["state"]
    assert (saved["iteration"], saved["updates"]) == (1, 0)
    assert saved["amp"] == {
        "loss_scale": 2**16,
        "next_loss_scale": 2**15,
        "since_overflow": 0,
    }
    resumed = train(data, tmp_path / "stopped", *options, "--resume")
    assert_same_parameters(resumed, whole)
    assert final_state(resumed)[1]["state"] == final_state(whole)[1]["state"]
    assert final_state(whole)[1]["state"]["updates"] == 1


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ([mx.cpu()], "needs a GPU, as in --ctx 0, or a CPU with avx512_bf16"),
        ([mx.gpu(0), mx.gpu(1)], "SyncBatchNorm.*choose one GPU"),
    ],
)
def test_where_it_can_not_be(contexts, message, monkeypatch):
    monkeypatch.setattr(mixed_precision, "computes_in_bfloat16", lambda: False)
    with pytest.raises(TrainingError, match=rf"--amp: .*{message}"):
        mixed_precision.start(contexts)


LOSSES = """
import json, sys
from benchmarks.training_step import make

case = json.loads(sys.argv[2])
step = make(sys.argv[1], *case)
losses = [step() for _ in range(3)]

import mxnet as mx
from models.build import build_network

network = build_network(case[0])
network.initialize()
outputs = network(mx.nd.zeros((1, 3, 64, 64)), mx.nd.zeros((1, 2, 2)))
print(json.dumps([losses, [output.asnumpy().dtype.name for output in outputs]]))
"""


@pytest.mark.skipif(
    not mixed_precision.computes_in_bfloat16(), reason="this CPU has no avx512_bf16"
)
@pytest.mark.parametrize(
    ("network", "size"),
    [
        ({"architecture": "toy", "width": 16}, (45, 51)),  # odd: the U-Net cuts what it enlarged
        ({"architecture": "panoptic", "backbone": "resnet18_v1b"}, (64, 96)),
    ],
)
def test_a_cpus_bfloat16_trains_as_float32_does(network, size):
    case = json.dumps([network, 2, *size, 8])
    whole, half = (
        json.loads(
            subprocess.run(
                [sys.executable, "-c", LOSSES, method, case],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        for method in ("ours", "bfloat16")
    )
    assert half[0] == pytest.approx(whole[0], rel=0.03)  # each layer rounds by up to 0.004
    assert half[0] != whole[0]
    assert half[1] == whole[1] == ["float32"] * 2
