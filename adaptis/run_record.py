"""What made a folder of results, so that an interrupted run goes on where it stopped and results of
different settings don't mix."""

from __future__ import annotations

import json
from pathlib import Path

from adaptis.differences import differences
from adaptis.disk import write_atomically
from adaptis.errors import ResultsError
from adaptis.json_types import Entry, FormatError, parse_json

RUN_FILE = ".run.json"  # no image is called so
START_ANEW = "choose another --output or delete the folder"


def claim_folder(folder: Path, run: dict) -> None:
    """Make a folder this run's, or go on with it.

    Parameters:
        folder: made if it is missing.
        run: JSON-able; what makes the results (weights, settings, data).

    Raises ResultsError where the folder holds results of another run; it names what differs.
    """
    path = folder / RUN_FILE
    if path.exists():
        try:
            before = Entry(parse_json(path.read_bytes())).content
        except FormatError as error:
            raise ResultsError(f"{path}: is damaged ({error}); {START_ANEW}") from error
        check_same_run(folder, before, run)
    write_atomically(path, json.dumps(run, indent=1).encode(), durable=True)


def check_same_run(folder: Path, before: dict, now: dict) -> None:
    """Raise ResultsError, which names what differs, where a folder's results are of another run."""
    if differing := differences(now, before):
        raise ResultsError(f"{folder}: holds results of another run ({differing}); {START_ANEW}")
