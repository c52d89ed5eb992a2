"""The training loop, the same for every data set and both stages."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import mxnet as mx
import numpy as np
from mxnet import autograd, gluon
from tensorboardX import SummaryWriter
from tqdm import tqdm

from adaptis import checkpoint
from adaptis.schedule import learning_rate_factor

CHECKPOINTS = "checkpoint-*.params"
KEPT_CHECKPOINTS = 2  # the newest, and one to fall back to
CHECKPOINT_SECONDS = 600  # what a kill may cost
LOG_EVERY = 20  # iterations between TensorBoard scalars
LOADER_TIMEOUT_SECONDS = 120  # a worker that takes longer for a batch is dead or hangs
MAY_DIFFER = (  # of a description on resuming: what changes no parameter
    "state",
    "inference",
    "classes",
    "training.data",
    "training.output",
    "training.weights",
    "training.workers",
)


class TrainingError(Exception):
    """Training can't go on; says where it stopped and what was kept."""


class Trainer:
    """Trains a network's stage on batches of keys, resumably.

    Parameters:
        network: an initialised AdaptIS on ``contexts``.
        stage: InstanceStage or ProposalStage.
        samples: (epoch, index) -> arrays, see adaptis.samples.TrainingSamples.
        make_batches: start -> iterable of lists of keys, with ``per_epoch``.
        config: EasyDict with epochs, learning_rate, backbone_learning_rate, schedule, drops,
            warmup, betas, seed, workers.
        description: JSON-able; goes into every checkpoint, with what must agree on resuming.
        output: folder of this run.
        contexts: devices; a batch is split between them.
        validate: -> metrics by name, of which "iou" decides the best, and a picture (H, W, 3)
            uint8 RGB; run after each epoch.
    """

    def __init__(
        self,
        network,
        stage,
        samples,
        make_batches: Callable,
        config,
        description: dict,
        output: Path,
        contexts: list[mx.Context],
        validate: Callable[[], tuple[dict[str, float], np.ndarray]],
    ):
        self._network, self._stage, self._samples = network, stage, samples
        self._make_batches, self._config, self._validate = make_batches, config, validate
        self._description, self._contexts = description, contexts
        self._output = Path(output)
        self._iteration = 0  # batches done
        self._best = -1.0
        self._stop_signal = None
        self._recent: dict[str, float] = {}  # running means for the progress bar
        parameters = stage.parameters()
        for name, parameter in network._collect_params_with_prefix().items():
            if name not in parameters:
                parameter.grad_req = "null"  # frozen
        for name, parameter in parameters.items():
            if name.startswith("backbone.pretrained."):
                parameter.lr_mult = config.backbone_learning_rate / config.learning_rate
        self._trainer = gluon.Trainer(
            {p.name: p for p in parameters.values()},
            "adam",
            {
                "learning_rate": config.learning_rate,
                "beta1": config.betas[0],
                "beta2": config.betas[1],
            },
            update_on_kvstore=False,
        )

    def fit(self) -> None:
        """Train to the last epoch, saving as it goes.

        Raises TrainingError on a non-finite loss or a signal, DataError on broken data.
        """
        if not self._iteration and any(self._output.glob(CHECKPOINTS)):
            raise TrainingError(
                f"{self._output}: holds checkpoints of an earlier run; go on with it by --resume, "
                "or choose another --output"
            )
        batches = self._make_batches(self._iteration)
        per_epoch, total = batches.per_epoch, batches.per_epoch * self._config.epochs
        loader = gluon.data.DataLoader(
            self._samples,
            batch_sampler=batches,
            num_workers=self._config.workers,
            thread_pool=True,  # a forked worker that gets our signal dies holding the queue's lock
            timeout=LOADER_TIMEOUT_SECONDS,
        )
        writer = SummaryWriter(str(self._output / "tensorboard"))
        progress = tqdm(
            total=total, initial=self._iteration, unit="it", desc=self._stage.name, smoothing=0.02
        )
        previous_handlers = self._catch_signals()
        saved = time.monotonic()
        try:
            for batch in loader:
                scalars = self._step(batch, self._iteration / per_epoch)
                self._iteration += 1
                progress.update()
                self._log(writer, progress, scalars)
                if self._iteration % per_epoch == 0:
                    self._end_epoch(writer, progress)
                    saved = time.monotonic()
                elif self._stop_signal or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
                if self._stop_signal:
                    raise TrainingError(
                        f"stopped by {self._stop_signal.name} after iteration {self._iteration}; "
                        "go on with the same command and --resume"
                    )
        finally:
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)
            progress.close()
            with contextlib.suppress(OSError):  # a full disk, which the error on its way tells
                writer.close()

    def save(self) -> Path:
        """Write a checkpoint of everything; keep the newest few."""
        path = self._output / f"checkpoint-{self._iteration:07d}.params"
        parameters = checkpoint.parameters_of(self._network)
        arrays = {f"parameter:{k}": v for k, v in parameters.items()}
        optimizer = checkpoint.optimizer_arrays(self._trainer, self._network)
        arrays.update({f"optimizer:{k}": v for k, v in optimizer.items()})
        state = {"iteration": self._iteration, "best": self._best}
        checkpoint.save_arrays(path, arrays, {**self._description, "state": state})
        written = sorted(self._output.glob(CHECKPOINTS), key=lambda p: (p.stat().st_mtime_ns, p))
        for old in written[:-KEPT_CHECKPOINTS]:  # by time: a damaged one may have a higher number
            old.unlink()
        return path

    def resume(self) -> None:
        """Go on from the newest checkpoint that is whole; say so where it isn't the newest.

        Raises TrainingError where there is none or it belongs to another configuration.
        """
        paths = sorted(self._output.glob(CHECKPOINTS), reverse=True)
        for path in paths:
            try:
                arrays, description = checkpoint.load_arrays(path)
                if "state" not in description:
                    raise checkpoint.CheckpointError(f"{path}: is damaged (no training state)")
            except checkpoint.CheckpointError as error:
                print(f"{error}; trying the previous checkpoint", file=sys.stderr)
                continue
            self._check_description(path, description)
            groups = {"parameter": {}, "optimizer": {}}
            for name, array in arrays.items():
                group, name = name.split(":", 1)
                groups[group][name] = array
            state = description["state"]
            checkpoint.set_parameters(self._network, groups["parameter"], path)
            checkpoint.set_optimizer(
                self._trainer, self._network, groups["optimizer"], state["iteration"]
            )
            self._iteration, self._best = state["iteration"], state["best"]
            return
        remedy = "start anew with another --output" if paths else "start without --resume"
        raise TrainingError(f"{self._output}: no usable checkpoint; {remedy}")

    def _check_description(self, path: Path, description: dict) -> None:
        ours = json.loads(json.dumps(self._description))  # tuples become lists, as in the file
        ours, theirs = _settings(ours), _settings(description)
        differing = [k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k)]
        if differing:
            raise TrainingError(
                f"{path}: was made with other settings: "
                + "; ".join(f"{k}: {theirs.get(k)}, now {ours.get(k)}" for k in differing)
            )

    def _step(self, batch, epoch: float) -> dict[str, mx.nd.NDArray]:
        """One update of the parameters. ``epoch``: progress, with fraction."""
        config = self._config
        factor = learning_rate_factor(
            config.schedule, epoch, config.epochs, config.drops, config.warmup
        )
        self._trainer.set_learning_rate(config.learning_rate * factor)
        mx.random.seed(hash((config.seed, self._iteration)) % 2**31)  # dropout, on resuming too
        images = batch[0].shape[0]
        parts = [gluon.utils.split_data(a, len(self._contexts), even_split=False) for a in batch]
        losses, scalars = [], {}
        with autograd.record():
            for *arrays, context in zip(*parts[:4], self._contexts):
                arrays = [a.as_in_context(context).astype("float32", copy=False) for a in arrays]
                loss, scalars = self._stage.losses(*arrays)
                losses.append(loss)
        autograd.backward(losses)
        loss = float(sum(part.sum().asscalar() for part in losses)) / images
        if not np.isfinite(loss):
            values = {k: float(v.asscalar()) for k, v in scalars.items()}
            raise TrainingError(
                f"the loss is {loss} at iteration {self._iteration} (learning rate "
                f"{self._trainer.learning_rate:g}, {values}, samples {batch[4].asnumpy().tolist()})"
                "; the last checkpoint is kept: resume with a lower --learning-rate"
            )
        self._trainer.step(images)  # the mean over the whole batch, however many devices share it
        return {"loss": loss, **scalars}

    def _log(self, writer, progress, scalars) -> None:
        if self._iteration % LOG_EVERY:
            return
        values = {k: v if isinstance(v, float) else float(v.asscalar()) for k, v in scalars.items()}
        values["learning_rate"] = self._trainer.learning_rate
        for name, value in values.items():
            writer.add_scalar(f"{self._stage.name}/{name}", value, self._iteration)
        self._recent = {k: 0.95 * self._recent.get(k, v) + 0.05 * v for k, v in values.items()}
        progress.set_postfix(loss=f"{self._recent['loss']:.3f}", iou=f"{self._recent['iou']:.3f}")

    def _end_epoch(self, writer, progress) -> None:
        metrics, picture = self._validate()
        for name, value in metrics.items():
            writer.add_scalar(f"{self._stage.name}/validation/{name}", value, self._iteration)
        writer.add_image(
            f"{self._stage.name}/validation/masks", picture, self._iteration, dataformats="HWC"
        )
        shown = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items())
        progress.write(f"iteration {self._iteration}: {shown}", file=sys.stderr)
        is_best = metrics["iou"] >= self._best  # the second stage never changes it: take the last
        self._best = max(self._best, metrics["iou"])
        self.save()
        if is_best:
            checkpoint.save_arrays(
                self._output / "best.params",
                checkpoint.parameters_of(self._network),
                {**self._description, "metrics": metrics},
            )

    def _catch_signals(self) -> dict:
        def stop(number, frame):
            self._stop_signal = signal.Signals(number)

        return {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}


def _settings(description: dict, prefix: str = "") -> dict:
    """{"network": {"width": 4}} -> {"network.width": 4}, without what may differ on resuming."""
    settings = {}
    for key, value in description.items():
        if prefix + key in MAY_DIFFER:
            continue
        if isinstance(value, dict):
            settings.update(_settings(value, f"{prefix}{key}."))
        else:
            settings[prefix + key] = value
    return settings
