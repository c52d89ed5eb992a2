"""What a training run shows: a progress bar, and TensorBoard's scalars and pictures."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from tensorboardX import SummaryWriter

from adaptis.progress import progress, say

LOG_EVERY = 20  # iterations between scalars
SMOOTHING = 0.95  # of the values shown: they vary from batch to batch


class TrainingLog:
    """A context that shows and writes the progress of one stage.

    Parameters:
        folder: of TensorBoard's files.
        stage: its name, before every scalar's.
        done, total: iterations, of a resumed run and of the whole one.
    """

    def __init__(self, folder: Path, stage: str, done: int, total: int):
        self._stage = stage
        self._recent: dict[str, float] = {}
        self._writer = SummaryWriter(str(folder))
        self._progress = progress(desc=stage, total=total, initial=done)

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self._progress.close()
        with contextlib.suppress(OSError):  # a full disk, which the error on its way tells
            self._writer.close()

    def step(self, iteration: int, scalars: dict[str, float]) -> None:
        """One iteration is done. scalars: by name, with "loss" and "iou"; NaN where a batch had
        nothing to measure."""
        self._progress.update()
        if iteration % LOG_EVERY:
            return
        for name, value in scalars.items():
            if np.isnan(value):
                continue
            self._writer.add_scalar(f"{self._stage}/{name}", value, iteration)
            before = self._recent.get(name, value)
            self._recent[name] = SMOOTHING * before + (1 - SMOOTHING) * value
        shown = {k: f"{self._recent[k]:.3f}" for k in ("loss", "iou") if k in self._recent}
        self._progress.set_postfix(shown)

    def validation(
        self, iteration: int, metrics: dict[str, float], picture: np.ndarray, seconds: float
    ) -> None:
        """metrics: by name. picture: (H, W, 3) uint8 RGB. seconds: what it took."""
        for name, value in metrics.items():
            self._writer.add_scalar(f"{self._stage}/validation/{name}", value, iteration)
        self._writer.add_image(
            f"{self._stage}/validation/masks", picture, iteration, dataformats="HWC"
        )
        shown = ", ".join(f"{k} {v:.4f}" for k, v in metrics.items())
        say(f"iteration {iteration}: {shown} ({seconds:.0f} s)")
