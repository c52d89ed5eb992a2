"""Updates of a network's parameters by batches, computed by PyTorch: for GPUs that MXNet 1.9.1 has
no code for. What it begins with and what it leaves are the Gluon network's, by the same names."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import mxnet as mx
import numpy as np
import torch

from adaptis.training import torch_losses
from adaptis.training.checkpoints import Checkpoint, TrainingError
from adaptis.training.stages import SEMANTIC_WEIGHT, mask_logit
from adaptis.training.torch_loader import load_torch_batches
from adaptis.training.updates import Gradients
from adaptis.weights import ADAMS_MOMENTS

MOMENTS = dict(zip(("exp_avg", "exp_avg_sq"), ADAMS_MOMENTS))  # PyTorch's names of Adam's
INSTANCE_LOSSES: dict[str, Callable] = {
    "nfl": torch_losses.normalized_focal_loss,
    "focal": torch_losses.focal_loss,
    "bce": torch_losses.binary_cross_entropy,
}


class TorchUpdates:
    """As ``GluonUpdates``, of an InstanceStage on one device.

    Parameters:
        network: an initialised AdaptIS, which gets the parameters where it is said.
        torch_network: the same as a PyTorch module, with the same names of its parameters but those
            that aren't trained in this stage.
        loss, alpha, mask_threshold: see ``InstanceStage``.
        config: EasyDict with learning_rate, betas, amp (bfloat16 where it is safe), ema (decay of
            the moving average, or None).
        device: PyTorch's name of it.

    Raises TrainingError where PyTorch can't use the device.
    """

    def __init__(
        self,
        network,
        torch_network: torch.nn.Module,
        loss: str,
        alpha: float,
        mask_threshold: float,
        config,
        device: str,
    ):
        self._network, self._device = network, _usable(device)
        self._module = torch_network.to(self._device)
        self._module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._loss = INSTANCE_LOSSES[loss]
        if loss != "bce":
            self._loss = partial(self._loss, alpha=alpha)
        self._threshold = mask_logit(mask_threshold)
        self._amp, self._decay = config.amp, config.ema
        self._arrays = {
            name: array
            for name, array in self._module.state_dict().items()  # they stay the module's
            if not name.endswith("num_batches_tracked")
        }
        self._trained = dict(self._module.named_parameters())
        self._from_network()
        self._optimizer = torch.optim.Adam(
            self._trained.values(), config.learning_rate, config.betas
        )
        self._average = [array.clone() for array in self._arrays.values()]
        self._computed = self._losses
        if self._device.type == "cuda":
            torch.backends.cudnn.benchmark = True
            self._computed = torch.compile(self._losses, dynamic=False)

    @property
    def learning_rate(self) -> float:
        """That of the next update."""
        return self._optimizer.param_groups[0]["lr"]

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._optimizer.param_groups[0]["lr"] = value

    def begin(self) -> None:
        """There are no other workers."""

    def load(self, samples, batches: Iterable[list], workers: int) -> Iterator[list]:
        """See ``load_torch_batches``."""
        return load_torch_batches(samples, batches, workers, pinned=self._device.type == "cuda")

    def arrays_of(self, batch: list) -> list[np.ndarray]:
        """A batch's arrays, in numpy."""
        return [array.numpy() for array in batch]

    def gradients(self, batch: list, seed: int) -> Gradients:
        """See ``GluonUpdates``; there is no dropout."""
        self._module.train()
        arrays = [array.to(self._device, non_blocking=True).float() for array in batch[:4]]
        arrays[0] = arrays[0].contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._amp):
            losses, scalars = self._computed(*arrays)
        losses.sum().backward()
        scalars = dict(zip(scalars, torch.stack(list(scalars.values())).tolist()))
        return Gradients(losses.sum().item(), scalars)

    def update(self, images: int, iteration: int) -> None:
        """See ``GluonUpdates``."""
        gradients = [parameter.grad for parameter in self._trained.values()]
        torch._foreach_div_(gradients, images)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._decay:  # as MovingAverage.update
            taken = 1 - min(self._decay, (1 + iteration) / (10 + iteration))
            torch._foreach_lerp_(self._average, list(self._arrays.values()), taken)

    def to_network(self) -> None:
        """The network has the parameters, from now until the next update."""
        self._put(self._arrays.values())

    @contextlib.contextmanager
    def averages_in_network(self) -> Iterator[None]:
        """The network has the moving averages, if there are any; afterwards the parameters."""
        if not self._decay:
            yield
            return
        self._put(self._average)
        try:
            yield
        finally:
            self.to_network()

    def optimizer(self) -> dict[str, mx.nd.NDArray]:
        """See ``optimizer_arrays``."""
        return {
            f"{name}/{ours}": mx.nd.array(state[theirs].cpu().numpy())
            for name, parameter in self._trained.items()
            if (state := self._optimizer.state[parameter])
            for theirs, ours in MOMENTS.items()
        }

    def average(self) -> dict[str, mx.nd.NDArray]:
        """The moving averages by name, none without."""
        if not self._decay:
            return {}
        arrays = zip(self._arrays, self._average)
        return {name: mx.nd.array(array.cpu().numpy()) for name, array in arrays}

    def state(self) -> dict:
        """What else is to be kept, JSON-able."""
        steps = {int(state["step"]) for state in self._optimizer.state.values()}
        return {"updates": max(steps, default=0)}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put back what a checkpoint has of all this; the network has its parameters."""
        self._from_network()
        state = checkpoint.state
        updates = state.get("updates", state["iteration"])
        for name, parameter in self._trained.items():
            moments = {
                theirs: _tensor(checkpoint.optimizer[f"{name}/{ours}"], parameter)
                for theirs, ours in MOMENTS.items()
            }
            step = torch.tensor(float(updates))
            self._optimizer.state[parameter] = {"step": step, **moments}
        if self._decay:
            names = self._arrays
            self._average = [_tensor(checkpoint.average[n], names[n]) for n in names]

    def _losses(self, images, points_yx, masks, labels):
        """See ``InstanceStage.losses``."""
        logits, class_logits = self._module(images, points_yx)
        with torch.autocast(self._device.type, enabled=False):
            masks = masks.flatten(0, 1)[:, None]  # (B * K, 1, H, W)
            instance = self._loss(logits, masks).unflatten(0, (len(images), -1)).mean(dim=1)
            semantic = torch_losses.normalized_focal_softmax_loss(class_logits, labels)
            iou = torch_losses.mask_iou(logits.detach(), masks, self._threshold)
        return instance + SEMANTIC_WEIGHT * semantic, {
            "loss/instance": instance.mean().detach(),
            "loss/semantic": semantic.mean().detach(),
            "iou": iou.nanmean(),
        }

    def _from_network(self) -> None:
        """Take over the Gluon network's parameters."""
        theirs = self._network._collect_params_with_prefix()
        for name, array in self._arrays.items():
            array.copy_(_tensor(theirs[name].data(theirs[name].list_ctx()[0]), array))

    def _put(self, arrays: Iterable[torch.Tensor]) -> None:
        """Give the Gluon network these, in the order of the names."""
        theirs = self._network._collect_params_with_prefix()
        for name, array in zip(self._arrays, arrays):
            theirs[name].set_data(mx.nd.array(array.cpu().numpy()))


def _usable(device: str) -> torch.device:
    """Raises TrainingError where it can't be used."""
    try:
        usable = torch.device(device)
        torch.zeros(1, device=usable)
    except (RuntimeError, AssertionError) as error:  # the latter without CUDA
        reason = str(error).strip().splitlines()[0]
        raise TrainingError(f"--torch {device}: PyTorch can't use it ({reason})") from error
    return usable


def _tensor(array: mx.nd.NDArray, like: torch.Tensor) -> torch.Tensor:
    """An MXNet array in PyTorch, of the other's shape, on its device."""
    return torch.from_numpy(array.asnumpy()).reshape(like.shape).to(like.device)
