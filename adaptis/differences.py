"""What two descriptions of runs differ in, in the words of an error message."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

MOST = 5  # that a message names


def differences(
    ours: dict, theirs: dict, leave_out: Collection[str] = (), why: Mapping[str, str] | None = None
) -> str:
    """Such as "network.width: 8, now 4; seed: 1, now 0"; "" where they agree.

    Parameters:
        ours, theirs: JSON-able; entries within entries are named with dots.
        leave_out: full names, with all that is in them, of what may differ.
        why: by full name, what to add where it differs.
    """
    ours, theirs = (flattened(d, leave_out) for d in (ours, theirs))
    differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    texts = [f"{name}: {theirs.get(name)}, now {ours.get(name)}" for name in differing]
    reasons = [(why or {}).get(name) for name in differing]
    texts = [f"{t} ({reason})" if reason else t for t, reason in zip(texts, reasons)]
    return "; ".join(texts[:MOST] + ["..."] * (len(texts) > MOST))


def flattened(entries: dict, leave_out: Collection[str] = (), prefix: str = "") -> dict:
    """{"network": {"width": 4}, "classes": [{"name": "car"}]} -> {"network.width": 4,
    "classes.0.name": "car"}, as it is once stored: tuples are lists."""
    flat = {}
    for key, value in json.loads(json.dumps(entries)).items():
        name = f"{prefix}{key}"
        if name in leave_out:
            continue
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            value = dict(enumerate(value))
        if isinstance(value, dict):
            flat.update(flattened(value, leave_out, f"{name}."))
        else:
            flat[name] = value
    return flat
