"""Small runs of train_toy.py, what stops them, and what they leave behind."""

from __future__ import annotations

import os
import signal

import pytest

import train_toy
from adaptis.training.trainer import Trainer
from adaptis.weights import load_arrays

ITERATIONS = 8  # of 2 epochs of 16 images in batches of 4
OPTIONS = "--width 4 --points 2 --batch-size 4 --crop 32 --epochs 2 --schedule cosine --workers 0"


def train(data, output, *options):
    """Returns the folder of the stage's checkpoints."""
    arguments = ["--data", data, "--output", output, *OPTIONS.split(), *options]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_toy.CONFIG, "proposal_points", 6)
        train_toy.main([str(a) for a in arguments])
    return output / (options[1] if "--stage" in options else "instances")


def at_iteration(monkeypatch, iteration, action):
    """Do something at the end of the training step numbered so, from 1."""
    step = Trainer._step

    def then_act(self, *arguments):
        result = step(self, *arguments)
        if self._iteration + 1 == iteration:
            action(self)
        return result

    monkeypatch.setattr(Trainer, "_step", then_act)


def stop_at(monkeypatch, iteration, number=signal.SIGTERM):
    at_iteration(monkeypatch, iteration, lambda _: os.kill(os.getpid(), number))


def checkpoints(run):
    return sorted(path.name for path in run.glob("checkpoint-*"))


def final_state(run):
    return load_arrays(run / checkpoints(run)[-1])


def assert_same_end(run, expected):
    """The same bits: parameters, running statistics, Adam's moments; best IoU and iteration."""
    (arrays, description), (other_arrays, other) = final_state(run), final_state(expected)
    assert description["state"] == other["state"]
    assert set(arrays) == set(other_arrays)
    for name, array in arrays.items():
        assert array.asnumpy().tobytes() == other_arrays[name].asnumpy().tobytes(), name
