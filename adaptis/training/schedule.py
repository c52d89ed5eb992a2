"""Learning rate as a function of training progress: nothing to save, nothing to restore."""

from __future__ import annotations

import math


def learning_rate_factor(schedule: str, epoch: float, epochs: int, drops, warmup: float) -> float:
    """What the starting learning rate is multiplied by.

    Parameters:
        schedule: "constant", "step" (x0.1 at each of ``drops``, Section 7) or "cosine" (to 0).
        epoch: how far training is, in epochs, with fraction.
        epochs: how long it is.
        drops: epochs of the drops.
        warmup: epochs of linear growth from 0 before all this.
    """
    factor = min(1.0, epoch / warmup) if warmup else 1.0
    if schedule == "cosine":
        factor *= (1 + math.cos(math.pi * min(1.0, epoch / epochs))) / 2
    elif schedule == "step":
        factor *= 0.1 ** sum(epoch >= drop for drop in drops)
    return factor
