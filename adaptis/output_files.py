"""Folders of results: files appear whole or not at all, and a folder remembers what made it.

So an interrupted run goes on where it stopped, and results of different settings can't mix.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from adaptis.errors import AdaptISError


class ResultsError(AdaptISError):
    """A folder of results is of another run, incomplete or damaged; says what to do."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def claim_folder(folder: Path, run: dict) -> None:
    """Make a folder this run's, or go on with it.

    Parameters:
        folder: made if it is missing.
        run: JSON-able; what makes the results (weights, settings, data).

    Raises ResultsError where the folder holds results of another run; it names what differs.
    """
    path = folder / ".run.json"  # no image is called so
    run = json.loads(json.dumps(run))
    if not path.exists():
        write_atomically(path, json.dumps(run, indent=1).encode())
        return
    try:
        theirs = dict(json.loads(path.read_bytes()))
    except (TypeError, ValueError) as error:
        raise ResultsError(f"{path}: is damaged ({error}); delete the folder") from error
    if theirs != run:
        before, now = _flat(theirs), _flat(run)
        differing = [key for key in {**now, **before} if now.get(key) != before.get(key)]
        raise ResultsError(
            f"{folder}: holds results of another run ("
            + "; ".join(f"{key}: {before.get(key)}, now {now.get(key)}" for key in differing)
            + "); choose another --output or delete the folder"
        )


def _flat(values: dict, prefix: str = "") -> dict:
    """{"a": {"b": 1}} as {"a.b": 1}."""
    flat = {}
    for key, value in values.items():
        is_table = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{key}.") if is_table else {prefix + key: value}
    return flat
