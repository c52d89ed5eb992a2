"""What made a folder of results, so that an interrupted run goes on where it stopped and results of
different settings don't mix."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from adaptis.differences import differences
from adaptis.disk import write_atomically
from adaptis.errors import ResultsError
from adaptis.json_types import Entry, FormatError, parse_json

RUN_FILE = ".run.json"  # no image is called so
START_ANEW = "choose another --output or delete the folder"


def claim_folder(folder: Path, run: dict, records: str) -> None:
    """Make a folder this run's, or go on with it.

    Parameters:
        folder: made if it is missing.
        run: JSON-able; what makes the results (weights, settings, data).
        records: pattern of the JSON files beside the results in it, which have it as "run": they
            are looked at should the folder's own be lost.

    Raises ResultsError where the folder holds results of another run; it names what differs.
    """
    before = _stored_run(folder, records)
    if before is not None:
        check_same_run(folder, before, run)
    write_atomically(folder / RUN_FILE, json.dumps(run, indent=1).encode(), durable=True)


def _stored_run(folder: Path, records: str) -> dict | None:
    """What made the results that are there: the folder says it, or where that is lost the first
    of them; None where there are none."""
    for path in _who_says_it(folder, records):
        try:
            content = Entry(parse_json(path.read_bytes())).content
        except (FileNotFoundError, FormatError):  # cut, perhaps: the next one says it too
            continue
        run = content if path.name == RUN_FILE else content.get("run")
        if not isinstance(run, dict):
            raise ResultsError(f"{path}: doesn't say which run made it; {START_ANEW}")
        return run
    return None


def _who_says_it(folder: Path, records: str) -> Iterator[Path]:
    """The folder's own file; then, listed only if asked for, those beside its results."""
    yield folder / RUN_FILE
    yield from sorted(folder.glob(records))


def check_same_run(folder: Path, before: dict, now: dict) -> None:
    """Raise ResultsError, which names what differs, where a folder's results are of another run."""
    if differing := differences(now, before):
        raise ResultsError(f"{folder}: holds results of another run ({differing}); {START_ANEW}")
