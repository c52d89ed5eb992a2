"""A data set whose broken samples are replaced by others, for --skip-broken."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from tqdm import tqdm

from datasets.base import DataError, Sample


class SkipBroken:
    """Another data set with the next sample that can be read in place of each that can't, the same
    one every time. Says once of each broken file on stderr that it is left out, and how many are.

    Args:
        dataset: any data set; loader threads may share this one.

    Attributes:
        name, classes, names, image_ids: the data set's.
    """

    def __init__(self, dataset):
        self._dataset = dataset
        self.name, self.classes = dataset.name, dataset.classes
        self.names, self.image_ids = dataset.names, dataset.image_ids
        self._replacements: dict[int, int] = {}
        self._broken: set[int] = set()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """Reads one sample.

        Raises:
            DataError: none of them can be read.
        """
        count = len(self)
        index = range(count)[index]  # negative indices, IndexError
        for candidate in (*range(index, count), *range(index)):
            if candidate in self._broken:
                continue
            try:
                sample = self._dataset[candidate]
            except DataError as error:
                self._leave_out(candidate, error)
                continue
            if candidate != index:
                self._replacements[index] = candidate
            return sample
        raise DataError(self.image_path(index), f"none of {count} images can be read")

    def image_path(self, index: int) -> Path:
        """Of the sample that is returned, so of a replacement once it was read."""
        return self._dataset.image_path(self._replacements.get(index, index))

    def _leave_out(self, index: int, error: DataError) -> None:
        with self._lock:
            if index not in self._broken:
                self._broken.add(index)
                left_out = len(self._broken)
                tqdm.write(f"{error}; left out, {left_out} of {len(self)} by now", file=sys.stderr)
