"""The files of one training run in one folder: the newest checkpoints, the best and the last
weights."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from adaptis.differences import differences, flattened
from adaptis.errors import AdaptISError
from adaptis.weights import (
    AVERAGE,
    PARAMETER,
    CheckpointError,
    join_groups,
    load_arrays,
    save_arrays,
    split_groups,
)

OPTIMIZER = "optimizer"  # a group of arrays, as PARAMETER and AVERAGE
KEPT_CHECKPOINTS = 2  # the newest, and one to fall back to
MAY_DIFFER = (  # of a description on resuming
    "state",
    "inference",
    "training.data",  # what changes no parameter
    "training.output",
    "training.weights",
    "training.weights_sha256",  # of the proposal stage it must agree, see stage_run
    "training.backbone_weights",
    "training.workers",
    "training.validation_images",
    "training.ctx",  # where it is computed: no more than rounding
    "training.kvstore",
    "training.amp",
    "training.torch",
    "training.skip_broken",  # remedies of a run that stopped
    "training.epochs",  # the end, of a schedule that doesn't hang on it
)
OF_THE_OTHER_STAGE = {  # which may differ too
    "instances": ("training.proposal_epochs", "training.proposal_labels"),
    "proposals": ("training.points", "training.touching", "training.loss", "training.alpha"),
}
BEFORE = {  # where not named
    "network.proposal_branch": "authors",
    "training.touching": 0.0,
    "training.crowds_are_objects": False,
}
WHY = {  # settings must agree, where their names don't say it
    "training.cosine_epochs": "a cosine of another length has other rates from the start",
    "training.drops": "they move with --epochs; give --drops to keep them",
    "training.learning_rate": "give --learning-rate to go on with another",
}


class TrainingError(AdaptISError):
    """Training can't go on; says where it stopped and what was kept."""


class Checkpoint(NamedTuple):
    """What :meth:`TrainingCheckpoints.save` wrote."""

    path: Path
    description: dict
    parameters: dict
    optimizer: dict
    average: dict
    state: dict


class TrainingCheckpoints:
    """Writes the checkpoints of a run.

    Parameters:
        folder: of this run's stage.
        description: JSON-able; goes into every file, with what must agree on resuming.
    """

    def __init__(self, folder: Path, description: dict):
        self._folder = folder
        self._description = description

    def save(
        self, parameters: dict, optimizer: dict, average: dict, state: dict, inference: dict
    ) -> Path:
        """Write all that training needs to go on, and delete all but the newest checkpoints.

        Parameters:
            parameters, optimizer, average: arrays by name.
            state: JSON-able, with the iteration.
            inference: settings that replace the description's.

        Raises CheckpointError where it can't be written; those before it are kept.
        """
        path = self._folder / f"checkpoint-{state['iteration']:07d}.params"
        arrays = join_groups({PARAMETER: parameters, OPTIMIZER: optimizer, AVERAGE: average})
        save_arrays(path, arrays, {**self._described(inference), "state": state})
        # by time: a damaged one may have a higher number
        written = sorted(checkpoint_paths(self._folder), key=lambda p: (p.stat().st_mtime_ns, p))
        for old in written[:-KEPT_CHECKPOINTS]:
            old.unlink()
        return path

    def save_weights(
        self, name: str, parameters: dict, metrics: dict[str, float], inference: dict
    ) -> None:
        """Write the parameters alone: as "best" or "last", with .params.

        Parameters:
            inference: settings that replace the description's.
        """
        description = {**self._described(inference), "metrics": metrics}
        save_arrays(self._folder / f"{name}.params", parameters, description)

    def _described(self, inference: dict) -> dict:
        inference = {**self._description.get("inference", {}), **inference}
        return {**self._description, "inference": inference}

    def check(self, checkpoint: Checkpoint, changed: Sequence[str] = ()) -> None:
        """Raises TrainingError where a checkpoint belongs to another configuration.

        Parameters:
            changed: settings that are meant to differ, by their names in the description; where
                they do, it is said.
        """
        may_differ = MAY_DIFFER + OF_THE_OTHER_STAGE.get(self._description.get("stage", ""), ())
        ours, theirs = (
            flattened(d, may_differ) for d in (self._description, checkpoint.description)
        )
        theirs = {**{k: v for k, v in BEFORE.items() if k in ours}, **theirs}
        for name in changed:
            before, now = theirs.pop(name, None), ours.pop(name, None)
            if before != now:
                print(
                    f"{checkpoint.path}: goes on with {name} {now}, before {before}",
                    file=sys.stderr,
                )
        if differing := differences(ours, theirs, why=WHY):
            raise TrainingError(
                f"{checkpoint.path}: was made with other settings: {differing}; resume with its "
                "own, or begin with --weights and another --output"
            )


def newest_checkpoint(folder: Path) -> Checkpoint:
    """The newest checkpoint of a folder that is whole; says so where it isn't the newest.

    Raises TrainingError where there is none.
    """
    paths = checkpoint_paths(folder)
    for path in paths:
        try:
            arrays, description = load_arrays(path)
            if "state" not in description:
                raise CheckpointError(f"{path}: is damaged (no training state)")
        except CheckpointError as error:
            print(f"{error}; trying the previous checkpoint", file=sys.stderr)
            continue
        groups = split_groups(arrays)
        parameters, optimizer, average = (
            groups.get(group, {}) for group in (PARAMETER, OPTIMIZER, AVERAGE)
        )
        return Checkpoint(path, description, parameters, optimizer, average, description["state"])
    remedy = "start anew with another --output" if paths else "start without --resume"
    raise TrainingError(f"{folder}: no usable checkpoint; {remedy}")


def checkpoint_paths(folder: Path) -> list[Path]:
    """All that are there, the highest iteration first."""
    return sorted(folder.glob("checkpoint-*.params"), reverse=True)
