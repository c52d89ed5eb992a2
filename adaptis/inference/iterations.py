"""The iterations of the greedy algorithm: kept for pictures of them (Figure 5), or shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from adaptis.inference.greedy import Aggregation, Step


def shown_beside(images) -> Callable[[Step, Aggregation], None]:
    """An ``on_step`` for one image that shows its iterations and objects so far.

    Parameters:
        images: the progress of the images, which ``adaptis.progress.progress`` returned.
    """
    accepted: list[bool] = []

    def on_step(step: Step, _: Aggregation) -> None:
        accepted.append(step.accepted)
        images.set_postfix({"iterations": str(len(accepted)), "objects": str(sum(accepted))})

    return on_step


class Frame(NamedTuple):
    """The greedy algorithm after an iteration."""

    number: int  # of the iteration, from 1
    step: Step
    instance_map: np.ndarray  # (H, W) int32
    segmented: np.ndarray  # (H, W) bool


class IterationRecorder:
    """Keeps iterations of the greedy algorithm for ``save_iterations``; pass it as ``on_step``.

    ``frames`` are spread over the run from its first iteration to the last accepted one, after
    which nothing changes. Of iterations ignored in succession it keeps one at most. Memory
    doesn't grow with the number of iterations. Where an image is segmented once more, scaled up,
    the frames are of this run alone.
    """

    def __init__(self, max_frames: int = 10):
        """max_frames: at least 2, the first and the last."""
        if max_frames < 2:
            raise ValueError(f"max_frames must be at least 2, not {max_frames}")
        self.max_frames = max_frames
        self._begin(None)

    def _begin(self, aggregation: Aggregation | None) -> None:
        self._aggregation = aggregation  # the one whose iterations these are
        self.iterations = 0
        self._kept: list[Frame] = []
        self._ignored: list[Frame] = []  # the first since the last accepted one, if any

    def __call__(self, step: Step, aggregation: Aggregation) -> None:
        """Copy the state after an iteration."""
        if aggregation is not self._aggregation:
            self._begin(aggregation)
        self.iterations += 1
        if not step.accepted and self._ignored:
            return
        frame = Frame(
            self.iterations, step, aggregation.instance_map.copy(), aggregation.segmented.copy()
        )
        if not step.accepted:
            self._ignored = [frame]
            return
        self._kept += [*self._ignored, frame]
        self._ignored = []
        while len(self._kept) > self.max_frames:  # drop the one whose neighbours are closest
            gaps = [b.number - a.number for a, b in zip(self._kept, self._kept[2:])]
            del self._kept[1 + int(np.argmin(gaps))]

    @property
    def frames(self) -> list[Frame]:
        """At most ``max_frames`` iterations in order."""
        return self._kept or self._ignored
