"""Updates of a network's parameters by batches, computed by Gluon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon

from adaptis.training import mixed_precision
from adaptis.training.averaging import MovingAverage
from adaptis.training.checkpoints import Checkpoint
from adaptis.training.distributed import Workers
from adaptis.training.loader import load_batches
from adaptis.weights import optimizer_arrays, set_optimizer


class Gradients(NamedTuple):
    """What a batch leaves before its update."""

    loss: float  # the sum over the images
    scalars: dict[str, float]  # to log


class GluonUpdates:
    """The optimizer of a stage, on one or several devices, and a moving average of what it does.

    Parameters:
        network: an initialised AdaptIS on ``contexts``.
        stage: InstanceStage or ProposalStage.
        config: EasyDict with learning_rate, backbone_factor (its part for pre-trained layers),
            betas, amp, ema (decay of the moving average, or None).
        contexts: devices; a batch is split between them.
        workers: the processes that share the training.
    """

    def __init__(self, network, stage, config, contexts: list[mx.Context], workers: Workers):
        self._network, self._stage, self._contexts = network, stage, contexts
        self._workers = workers
        parameters = stage.parameters()
        for name, parameter in network._collect_params_with_prefix().items():
            if name not in parameters:
                parameter.grad_req = "null"  # frozen
        for name, parameter in parameters.items():
            if name.startswith("backbone.pretrained."):
                parameter.lr_mult = config.backbone_factor
        self._trainer = gluon.Trainer(
            {p.name: p for p in parameters.values()},
            "adam",
            {
                "learning_rate": config.learning_rate,
                "beta1": config.betas[0],
                "beta2": config.betas[1],
            },
            kvstore=workers.kvstore or "device",
            update_on_kvstore=False,  # where the moments would be the servers', not ours to save
        )
        if config.amp:
            mixed_precision.attach(self._trainer, contexts)
        self._average = MovingAverage(parameters, config.ema) if config.ema else None

    @property
    def learning_rate(self) -> float:
        """That of the next update."""
        return self._trainer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._trainer.set_learning_rate(value)

    def begin(self) -> None:
        """Before the first update: all workers get the first one's parameters."""
        self._workers.share_parameters(self._trainer)

    def load(self, samples, batches: Iterable[list], threads: int) -> Iterator[list]:
        """See ``load_batches``."""
        return load_batches(samples, batches, threads)

    def arrays_of(self, batch: list) -> list[np.ndarray]:
        """A batch's arrays, in numpy."""
        return [array.asnumpy() for array in batch]

    def gradients(self, batch: list, seed: int) -> Gradients:
        """Compute the gradients of a batch's losses.

        Parameters:
            batch: one that :meth:`load` gave.
            seed: of dropout.

        The scalars are the stage's, averaged over the devices.
        """
        mx.random.seed(seed)
        parts = [gluon.utils.split_data(a, len(self._contexts), even_split=False) for a in batch]
        losses, of_devices = [], []
        with autograd.record():
            for *arrays, context in zip(*parts[:4], self._contexts):
                arrays = [a.as_in_context(context).astype("float32", copy=False) for a in arrays]
                loss, of_device = self._stage.losses(*arrays)
                losses.append(loss)
                of_devices.append(of_device)
            scaled = mixed_precision.scaled(losses, self._trainer)
        autograd.backward(scaled)
        scalars = {
            k: _mean_known([float(s[k].asscalar()) for s in of_devices]) for k in of_devices[0]
        }
        return Gradients(float(sum(part.sum().asscalar() for part in losses)), scalars)

    def update(self, images: int, iteration: int) -> None:
        """Update the parameters by the last gradients.

        Parameters:
            images: of the whole batch, however many devices and workers share it.
            iteration: of this update, from 1.
        """
        self._trainer.step(images)
        if self._average:
            self._average.update(iteration)

    def to_network(self) -> None:
        """The network has the parameters: here, always."""

    def averages_in_network(self) -> contextlib.AbstractContextManager[None]:
        """The network has the moving averages, if there are any; afterwards its parameters."""
        return self._average.in_use() if self._average else contextlib.nullcontext()

    def optimizer(self) -> dict[str, mx.nd.NDArray]:
        """See ``optimizer_arrays``."""
        return optimizer_arrays(self._trainer, self._network)

    def average(self) -> dict[str, mx.nd.NDArray]:
        """The moving averages by name, none without."""
        return self._average.arrays if self._average else {}

    def state(self) -> dict:
        """What else is to be kept, JSON-able."""
        state: dict = {"updates": self._trainer._optimizer.num_update}  # fewer where AMP skips
        if mixed_precision.has_scale(self._trainer):
            state["amp"] = mixed_precision.state_of(self._trainer)
        return state

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put back what a checkpoint has of all this; the network has its parameters."""
        state = checkpoint.state
        updates = state.get("updates", state["iteration"])  # earlier checkpoints have none
        set_optimizer(self._trainer, self._network, checkpoint.optimizer, updates)
        if mixed_precision.has_scale(self._trainer) and "amp" in state:
            mixed_precision.restore(self._trainer, state["amp"])
        if self._average:
            self._average.restore(checkpoint.average)


def _mean_known(values: list[float]) -> float:
    """The mean of the devices' values that are numbers: a device's images may have no objects."""
    known = [value for value in values if not np.isnan(value)]
    return sum(known) / len(known) if known else np.nan
