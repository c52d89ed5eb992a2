"""The checkpoints of one training run: the newest few and the best, in one folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from adaptis.errors import AdaptISError
from adaptis.weights import CheckpointError, load_arrays, save_arrays

KEPT_CHECKPOINTS = 2  # the newest, and one to fall back to
SHOWN_DIFFERENCES = 5  # of two configurations, in an error message
MAY_DIFFER = (  # of a description on resuming
    "state",
    "inference",
    "training.data",  # what changes no parameter
    "training.output",
    "training.weights",
    "training.backbone_weights",
    "training.workers",
    "training.ctx",  # where it is computed: no more than rounding
    "training.kvstore",
    "training.amp",
    "training.skip_broken",  # remedies of a run that stopped
    "training.learning_rate",
)


class TrainingError(AdaptISError):
    """Training can't go on; says where it stopped and what was kept."""


class TrainingCheckpoints:
    """Writes and finds checkpoints.

    Parameters:
        folder: of this run's stage.
        description: JSON-able; goes into every file, with what must agree on resuming.
    """

    def __init__(self, folder: Path, description: dict):
        self._folder = folder
        self._description = description

    def paths(self) -> list[Path]:
        """All that are there, the highest iteration first."""
        return sorted(self._folder.glob("checkpoint-*.params"), reverse=True)

    def save(self, parameters: dict, optimizer: dict, state: dict) -> Path:
        """Write all that training needs to go on, and delete all but the newest checkpoints.

        Parameters:
            parameters, optimizer: arrays by name.
            state: JSON-able, with the iteration.

        Raises CheckpointError where it can't be written; those before it are kept.
        """
        path = self._folder / f"checkpoint-{state['iteration']:07d}.params"
        arrays = {f"parameter:{name}": array for name, array in parameters.items()}
        arrays.update({f"optimizer:{name}": array for name, array in optimizer.items()})
        save_arrays(path, arrays, {**self._description, "state": state})
        # by time: a damaged one may have a higher number
        written = sorted(self.paths(), key=lambda p: (p.stat().st_mtime_ns, p))
        for old in written[:-KEPT_CHECKPOINTS]:
            old.unlink()
        return path

    def save_best(self, parameters: dict, metrics: dict[str, float]) -> None:
        """Write the parameters alone, as best.params."""
        description = {**self._description, "metrics": metrics}
        save_arrays(self._folder / "best.params", parameters, description)

    def load(self) -> tuple[Path, dict, dict, dict]:
        """The newest checkpoint that is whole; says so where it isn't the newest.

        Returns its path, and what was given to :meth:`save`.

        Raises TrainingError where there is none or it belongs to another configuration.
        """
        paths = self.paths()
        for path in paths:
            try:
                arrays, description = load_arrays(path)
                if "state" not in description:
                    raise CheckpointError(f"{path}: is damaged (no training state)")
            except CheckpointError as error:
                print(f"{error}; trying the previous checkpoint", file=sys.stderr)
                continue
            self._check(path, description)
            groups = {"parameter": {}, "optimizer": {}}
            for name, array in arrays.items():
                group, name = name.split(":", 1)
                groups[group][name] = array
            return path, groups["parameter"], groups["optimizer"], description["state"]
        remedy = "start anew with another --output" if paths else "start without --resume"
        raise TrainingError(f"{self._folder}: no usable checkpoint; {remedy}")

    def _check(self, path: Path, description: dict) -> None:
        if differences := differing_settings(self._description, description):
            raise TrainingError(
                f"{path}: was made with other settings: {differences}; resume with its own, or "
                "begin with --weights and another --output"
            )


def differing_settings(ours: dict, theirs: dict) -> str:
    """What two JSON-able descriptions differ in, in words; "" where they agree."""
    ours, theirs = (_settings(json.loads(json.dumps(d))) for d in (ours, theirs))
    differing = [k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k)]
    shown = [f"{k}: {theirs.get(k)}, now {ours.get(k)}" for k in differing]
    more = ["..."] if len(shown) > SHOWN_DIFFERENCES else []
    return "; ".join(shown[:SHOWN_DIFFERENCES] + more)


def _settings(entries: dict, prefix: str = "") -> dict:
    """{"network": {"width": 4}, "classes": [{"name": "car"}]} -> {"network.width": 4,
    "classes.0.name": "car"}, without what may differ on resuming."""
    settings = {}
    for key, value in entries.items():
        name = f"{prefix}{key}"
        if name in MAY_DIFFER:
            continue
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            settings.update(_settings(value, f"{name}."))
        else:
            settings[name] = value
    return settings
