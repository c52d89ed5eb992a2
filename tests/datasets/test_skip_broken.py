from __future__ import annotations

import pickle
import threading
from pathlib import Path

import pytest

from datasets.base import DataError
from datasets.skip_broken import SkipBroken


class Numbers:
    """Samples that are their own names; those of ``broken`` can't be read."""

    name, classes, labelled = "numbers", (), True

    def __init__(self, count, broken=()):
        self.names = [str(number) for number in range(count)]
        self.image_ids, self._broken = self.names, broken

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        if index in self._broken:
            raise DataError(f"{index}.png", "is missing", "copy it")
        return self.names[index]

    def image_path(self, index):
        return Path(f"{index}.png")


def test_the_next_good_one_takes_the_place(capsys):
    dataset = SkipBroken(Numbers(6, broken=(1, 2, 5)))
    expected = ["0", "3", "3", "3", "4", "0"]
    for _ in range(2):
        assert [dataset[i] for i in range(6)] == expected
    assert dataset[-1] == "0"
    assert [dataset.image_path(i).stem for i in range(6)] == expected
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "1.png: is missing (copy it); left out, 1 of 6 by now",
        "2.png: is missing (copy it); left out, 2 of 6 by now",
        "5.png: is missing (copy it); left out, 3 of 6 by now",
    ]


def test_whole_data_sets_are_as_they_were(capsys):
    dataset, whole = SkipBroken(Numbers(3)), Numbers(3)
    assert list(dataset) == list(whole) == dataset.names
    assert (dataset.name, dataset.classes, dataset.image_ids) == ("numbers", (), whole.image_ids)
    assert not capsys.readouterr().err


def test_processes_get_copies(capsys):
    dataset = SkipBroken(Numbers(3, broken=(1,)))
    assert dataset[1] == "2"
    copied = pickle.loads(pickle.dumps(dataset))
    assert copied[1] == "2"
    assert len(capsys.readouterr().err.splitlines()) == 1  # the copy knows what is broken


def test_nothing_to_take(capsys):
    with pytest.raises(DataError, match=r"1\.png: none of 3 images can be read \(python -m"):
        SkipBroken(Numbers(3, broken=(0, 1, 2)))[1]


def test_threads_report_a_file_once(capsys):
    dataset = SkipBroken(Numbers(40, broken=range(30)))
    threads = [threading.Thread(target=dataset.__getitem__, args=(0,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(capsys.readouterr().err.splitlines()) == 30
