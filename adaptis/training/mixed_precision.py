"""Mixed precision on GPUs by MXNet's AMP: float16 where that is safe, with a scaled loss."""

from __future__ import annotations

import mxnet as mx
from mxnet import gluon
from mxnet.contrib import amp

from adaptis.training.checkpoints import TrainingError

DEVICE = "gpu"  # MXNet has no float16 layers on others
FLOAT32_OPERATORS = (  # beside AMP's own
    "BatchNorm",  # AdaIN's gets scale and shift from float16 layers, and takes only float32
    "BilinearSampler",  # points are in float32; features and points must be of one type
    "Crop",  # has no other type, though AMP believes so
)


def start(contexts: list[mx.Context]) -> None:
    """Let MXNet's operators choose their precision; call it before a network is made.

    Raises TrainingError without a GPU, and with several: the BatchNorm they share takes no float16
    (apache/mxnet issue 12257), and one of their own each, over an image or two, would silently be
    another training. So the one or the other must be chosen.
    """
    if contexts[0].device_type != DEVICE:
        raise TrainingError("--amp: mixed precision needs a GPU; name it, as in --ctx 0")
    if len(contexts) > 1:
        raise TrainingError(
            "--amp: mixed precision and BatchNorm over several GPUs (SyncBatchNorm) exclude each "
            "other in MXNet; choose one GPU, or leave --amp out"
        )
    amp.init(fp32_ops=[*amp.list_fp32_ops("float16"), *FLOAT32_OPERATORS])


def attach(trainer: gluon.Trainer) -> None:
    """Give a trainer its loss scale; it skips updates whose gradients overflow."""
    amp.init_trainer(trainer)


def scaled(losses: list[mx.nd.NDArray], trainer: gluon.Trainer) -> list[mx.nd.NDArray]:
    """The losses to go backward from, within ``autograd.record()``; the trainer's next step takes
    the scale out. Without AMP they are the losses."""
    if not is_on(trainer):
        return losses
    with amp.scale_loss(losses, trainer) as larger:
        return larger


def is_on(trainer: gluon.Trainer) -> bool:
    """Whether the trainer went through :func:`attach`."""
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
