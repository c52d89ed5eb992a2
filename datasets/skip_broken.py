"""A data set whose broken samples are replaced by others, for --skip-broken."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

from adaptis.progress import say
from datasets.base import DataError, Sample


class SkipBroken:
    """Another data set with the next sample that can be read in place of each that can't, the same
    one every time. Says once of each broken file on stderr that it is left out, and how many are.

    Parameters:
        dataset: any data set; loader threads may share this one, processes get copies.

    Attributes:
        name, classes, names, image_ids, labelled: the data set's.
    """

    def __init__(self, dataset):
        self._dataset = dataset
        self.name, self.classes, self.labelled = dataset.name, dataset.classes, dataset.labelled
        self.names, self.image_ids = dataset.names, dataset.image_ids
        self._broken: set[int] = set()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises DataError where none of them can be read.
        """
        index = range(len(self))[index]  # negative indices, IndexError
        for candidate in self._candidates(index):
            try:
                return self._dataset[candidate]
            except DataError as error:
                self._leave_out(candidate, error)
        problem = f"none of {len(self)} images can be read"
        raise DataError(self.image_path(index), problem, "python -m datasets.check says why")

    def image_path(self, index: int) -> Path:
        """Of the sample that is returned, so of a replacement once it was read."""
        return self._dataset.image_path(next(self._candidates(index), index))

    def _candidates(self, index: int) -> Iterator[int]:
        """The sample's index and those that may replace it, without what is known to be broken."""
        every = itertools.chain(range(index, len(self)), range(index))
        return (candidate for candidate in every if candidate not in self._broken)

    def _leave_out(self, index: int, error: DataError) -> None:
        with self._lock:
            if index not in self._broken:
                self._broken.add(index)
                left_out = len(self._broken)
                say(f"{error}; left out, {left_out} of {len(self)} by now")
