"""The training loop, the same for every data set and both stages."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import mxnet as mx
import numpy as np

from adaptis.disk import sole_user
from adaptis.training.checkpoints import (
    Checkpoint,
    TrainingCheckpoints,
    TrainingError,
    checkpoint_paths,
)
from adaptis.training.distributed import JointEnd, Workers
from adaptis.training.log import TrainingLog
from adaptis.training.samples import image_paths
from adaptis.training.schedule import learning_rate_factor
from adaptis.training.stop_signals import StopSignals
from adaptis.training.validation import Validation
from adaptis.weights import parameters_of, set_parameters

CHECKPOINT_SECONDS = 600  # what a kill may cost
BATCH_ARRAYS = ("images", "points_yx", "masks", "labels", "indices")


class Trainer:
    """Trains a network's stage on batches of keys, resumably.

    Parameters:
        network: an initialised AdaptIS.
        stage: InstanceStage or ProposalStage.
        updates: GluonUpdates or TorchUpdates of both.
        samples: (epoch, index) -> arrays, see adaptis.training.samples.TrainingSamples.
        make_batches: start -> iterable of lists of keys, this worker's, with ``per_epoch``.
        config: EasyDict with epochs, learning_rate, schedule, drops, warmup, seed, workers (that
            read ahead, threads or processes).
        description: JSON-able; goes into every checkpoint, with what must agree on resuming.
        output: folder of this run, the same for all workers.
        validate: (is_stopped, is_last) -> Validation, or None once is_stopped() is true; run after
            each epoch.
        workers: the processes that share the training.
    """

    def __init__(
        self,
        network,
        stage,
        updates,
        samples,
        make_batches: Callable,
        config,
        description: dict,
        output: Path,
        validate: Callable[[Callable[[], bool], bool], Validation | None],
        workers: Workers,
    ):
        self._network, self._stage, self._updates = network, stage, updates
        self._samples = samples
        self._make_batches, self._config, self._validate = make_batches, config, validate
        self._output, self._workers = Path(output), workers
        self._checkpoints = TrainingCheckpoints(self._output, description)
        self._iteration = self._last_iteration = 0  # batches done; all there are, once fitting
        self._validated = 0  # at which of them
        self._best = -1.0
        self._signals = StopSignals()

    def fit(self) -> None:
        """Train to the last epoch, saving as it goes.

        Raises JointEnd on a non-finite loss or a signal, DataError on broken data, TrainingError
        where the loader is stuck or the workers disagree.
        """
        if not self._iteration and checkpoint_paths(self._output):
            raise TrainingError(
                f"{self._output}: holds checkpoints of an earlier run; go on with it by --resume, "
                "or choose another --output"
            )
        if self._workers.total(self._iteration)[0] != self._iteration * self._workers.count:
            raise TrainingError(
                f"{self._output}: the workers found different checkpoints there; --output must be "
                "one folder for all"
            )
        self._updates.begin()
        batches = self._make_batches(self._iteration)
        is_first, per_epoch = self._workers.rank == 0, batches.per_epoch
        self._last_iteration = per_epoch * self._config.epochs
        if is_first and self._iteration >= self._last_iteration:
            print(
                f"{self._output}: {self._iteration // per_epoch} epochs are done, and --epochs "
                f"{self._config.epochs} asks for no more",
                file=sys.stderr,
            )
        with contextlib.ExitStack() as stack:
            log: TrainingLog | None = None
            if is_first:
                stack.enter_context(sole_user(self._output))
                log = TrainingLog(
                    self._output / "tensorboard",
                    self._stage.name,
                    self._iteration,
                    self._last_iteration,
                )
                stack.enter_context(log)
            stack.enter_context(self._signals)
            saved = time.monotonic()
            if self._validated != self._iteration and self._iteration % per_epoch == 0:
                if log:
                    self._end_epoch(log)  # whose validation a signal had stopped
                self._stop_if_asked(is_first)
            for batch in self._updates.load(self._samples, batches, self._config.workers):
                scalars = self._step(batch, self._iteration / per_epoch)
                self._iteration += 1
                if log:
                    log.step(
                        self._iteration, {**scalars, "learning_rate": self._updates.learning_rate}
                    )
                    if self._iteration % per_epoch == 0:
                        self._end_epoch(log)
                        saved = time.monotonic()
                if is_first and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
                self._stop_if_asked(is_first)

    def save(self) -> Path:
        """Write a checkpoint of everything; keep the newest few."""
        return self._save(self._finite_parameters(), {})

    def _save(self, parameters: dict[str, mx.nd.NDArray], inference: dict) -> Path:
        state = {
            "iteration": self._iteration,
            "best": self._best,
            "validated": self._validated,
            **self._updates.state(),
        }
        optimizer, average = self._updates.optimizer(), self._updates.average()
        return self._checkpoints.save(parameters, optimizer, average, state, inference)

    def resume(self, checkpoint: Checkpoint, changed: Sequence[str] = ()) -> None:
        """Go on from a checkpoint. Raises TrainingError where it is of another configuration, but
        for the settings that are ``changed`` on purpose, see ``TrainingCheckpoints.check``."""
        self._checkpoints.check(checkpoint, changed)
        state = checkpoint.state
        set_parameters(self._network, checkpoint.parameters, checkpoint.path)
        self._updates.restore(checkpoint)
        self._iteration, self._best = state["iteration"], state["best"]
        self._validated = state.get("validated", self._iteration)  # earlier ones came after it

    def _step(self, batch, epoch: float) -> dict[str, float]:
        """One update of the parameters. ``epoch``: progress, with fraction.

        Returns what to log: "loss", of the whole batch, and the stage's scalars of this worker's
        part of it, averaged over its devices.
        """
        config = self._config
        factor = learning_rate_factor(
            config.schedule, epoch, config.epochs, config.drops, config.warmup
        )
        self._updates.learning_rate = config.learning_rate * factor
        seed = hash((config.seed, self._iteration)) + self._workers.rank
        own_loss, scalars = self._updates.gradients(batch, seed % 2**31)
        loss, images = self._workers.total(own_loss, len(batch[0]))
        if not np.isfinite(loss):
            self._stop_at_loss(own_loss, batch, scalars)
        self._updates.update(images, self._iteration + 1)
        return {"loss": loss / images, **scalars}

    def _stop_at_loss(self, own_loss: float, batch, scalars: dict[str, float]) -> None:
        """Raises JointEnd about a loss that is no number; the worker whose part of the batch made
        it writes that part beside the checkpoints, for inspection."""
        message = f"the loss is no finite number at iteration {self._iteration}"
        if not np.isfinite(own_loss):
            arrays = dict(zip(BATCH_ARRAYS, self._updates.arrays_of(batch)))
            paths = image_paths(self._samples, arrays["indices"])
            path = self._output / f"nonfinite-{self._iteration:07d}-{self._workers.rank}.npz"
            try:
                np.savez(path, image_paths=paths, **arrays)
                kept = f"they are in {path} as they went in"
            except OSError as error:
                kept = f"{path}: can't be written: {error.strerror}"
            message += f": {own_loss} ({scalars}) on images {', '.join(paths)}; {kept}"
        rate = self._updates.learning_rate
        raise JointEnd(f"{message}; learning rate {rate:g}; {self._lower_the_rate()}")

    def _lower_the_rate(self) -> str:
        """The remedy of a training whose numbers aren't finite any more."""
        if checkpoint_paths(self._output):
            return "the last checkpoint is kept: --resume with a lower --learning-rate"
        return "there is no checkpoint yet: begin again with a lower --learning-rate"

    def _stop_if_asked(self, is_first: bool) -> None:
        """Raises JointEnd, with a checkpoint written, where any worker was sent a signal."""
        if self._workers.total(self._signals.noted is not None)[0]:
            if is_first:
                self.save()
            noted = self._signals.noted
            reason = noted.name if noted else "a worker's signal"
            raise JointEnd(
                f"stopped by {reason} after iteration {self._iteration}; go on with the "
                "same command and --resume"
            )

    def _end_epoch(self, log: TrainingLog) -> None:
        began = time.monotonic()
        self._finite_parameters()
        with self._updates.averages_in_network():
            is_last = self._iteration == self._last_iteration
            found = self._validate(lambda: self._signals.noted is not None, is_last)
            if found is None:
                return  # resuming begins with it
            metrics, picture, inference = found
            self._validated = self._iteration
            log.validation(self._iteration, metrics, picture, time.monotonic() - began)
            # these before the checkpoint: what it calls the best is there
            parameters = parameters_of(self._network)
            if not self._stage.has_best or metrics["score"] >= self._best:
                self._checkpoints.save_weights("best", parameters, metrics, inference)
            self._checkpoints.save_weights("last", parameters, metrics, inference)
        self._best = max(self._best, metrics["score"])
        self._save(parameters_of(self._network), inference)

    def _finite_parameters(self) -> dict[str, mx.nd.NDArray]:
        """Raises TrainingError where an update made no numbers: none of it is to be kept."""
        self._updates.to_network()
        parameters = parameters_of(self._network)
        broken = [k for k, v in parameters.items() if not np.isfinite(v.asnumpy()).all()]
        if broken:
            raise TrainingError(
                f"{', '.join(broken[:5])}: no finite numbers after iteration {self._iteration}; "
                f"{self._lower_the_rate()}"
            )
        return parameters
