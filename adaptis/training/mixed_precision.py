"""Mixed precision by MXNet's AMP, for what is safe in it: float16 on a GPU, with a scaled loss;
bfloat16 on a CPU that computes in it, which has float32's range and needs no scale."""

from __future__ import annotations

import os
from pathlib import Path

import mxnet as mx
from mxnet import gluon
from mxnet.contrib import amp
from mxnet.contrib.amp.amp import bfloat16

from adaptis.training.checkpoints import TrainingError

GPU = "gpu"  # MXNet has no float16 layers on others
FLOAT32_ON_GPU = (  # beside AMP's own
    "BatchNorm",  # AdaIN's gets scale and shift from float16 layers, and takes only float32
    "BilinearSampler",  # points are in float32; features and points must be of one type
)
BFLOAT16 = ("Convolution", "Deconvolution")
EITHER_ON_CPU = ("Reshape", "reshape", "slice_like", "broadcast_like")
"""That take what they are given, against AMP's list: between convolutions, casts to float32 and
back would take more time than bfloat16 saves."""
FLOAT32_ON_CPU = (
    "FullyConnected",  # makes AdaIN's scale and shift, as above
    "concat",  # of maps enlarged in float32 and others; AMP leaves them of two types
)
MOST_SUMMANDS = "MXNET_EXEC_INPLACE_GRAD_SUM_CAP"
"""Of a gradient by oneDNN; MXNet adds more (8 points of an image have as many) one by one, in
bfloat16 by a tenth of a training step."""


def start(contexts: list[mx.Context]) -> None:
    """Let MXNet's operators choose their precision; call it before a network is made.

    Raises TrainingError on a CPU without bfloat16, and with several GPUs: the BatchNorm they share
    takes no float16 (apache/mxnet issue 12257), and one of their own each, over an image or two,
    would silently be another training. So the one or the other must be chosen.
    """
    if contexts[0].device_type != GPU:
        if not computes_in_bfloat16():
            raise TrainingError(
                "--amp: mixed precision needs a GPU, as in --ctx 0, or a CPU with avx512_bf16"
            )
        other = {*BFLOAT16, *EITHER_ON_CPU}
        float32 = [n for n in (*amp.list_fp32_ops(bfloat16), *FLOAT32_ON_CPU) if n not in other]
        os.environ.setdefault(MOST_SUMMANDS, "1000")
        amp.init("bfloat16", list(BFLOAT16), fp32_ops=float32)
    elif len(contexts) > 1:
        raise TrainingError(
            "--amp: mixed precision and BatchNorm over several GPUs (SyncBatchNorm) exclude each "
            "other in MXNet; choose one GPU, or leave --amp out"
        )
    else:
        amp.init(fp32_ops=[*amp.list_fp32_ops("float16"), *FLOAT32_ON_GPU])


def computes_in_bfloat16() -> bool:
    """Whether this machine's CPU does; only Linux says so, and MXNet runs on nothing else."""
    processor = Path("/proc/cpuinfo")
    return processor.exists() and "avx512_bf16" in processor.read_text()


def attach(trainer: gluon.Trainer, contexts: list[mx.Context]) -> None:
    """Give a trainer on a GPU its loss scale; it skips updates whose gradients overflow."""
    if contexts[0].device_type == GPU:
        amp.init_trainer(trainer)


def scaled(losses: list[mx.nd.NDArray], trainer: gluon.Trainer) -> list[mx.nd.NDArray]:
    """The losses to go backward from, within ``autograd.record()``; the trainer's next step takes
    the scale out. Without a scale they are the losses."""
    if not has_scale(trainer):
        return losses
    with amp.scale_loss(losses, trainer) as larger:
        return larger


def has_scale(trainer: gluon.Trainer) -> bool:
    """Whether :func:`attach` gave the trainer a loss scale."""
    return hasattr(trainer, "_amp_loss_scaler")


def state_of(trainer: gluon.Trainer) -> dict[str, float]:
    """The loss scale and what changes it, JSON-able."""
    scaler = trainer._amp_loss_scaler
    return {
        "loss_scale": scaler._loss_scale,
        "next_loss_scale": scaler._next_loss_scale,
        "since_overflow": scaler._unskipped,
    }


def restore(trainer: gluon.Trainer, state: dict[str, float]) -> None:
    """Put back what :func:`state_of` gave."""
    scaler = trainer._amp_loss_scaler
    scaler._loss_scale = state["loss_scale"]
    scaler._next_loss_scale = state["next_loss_scale"]
    scaler._unskipped = state["since_overflow"]
