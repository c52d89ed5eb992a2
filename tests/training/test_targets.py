"""Objects that count and that don't, of drawn images."""

from __future__ import annotations

import numpy as np
import pytest

from adaptis.training.checkpoints import TrainingError
from adaptis.training.targets import Targets, count_targets, describe_targets
from datasets.base import Instance, Sample
from tests.training_runs import train


class Rows(list):
    """Images of one row each, from their ids; id 9 is a crowd. Counts which were read."""

    def __init__(self, *rows):
        super().__init__(rows)
        self.read = []

    def __getitem__(self, index):
        self.read.append(index)
        ids = np.array([super().__getitem__(index)], np.int32)
        instances = {i: Instance(1, iscrowd=i == 9) for i in np.unique(ids[ids > 0]).tolist()}
        return Sample("a", np.zeros((1, ids.size, 3), np.uint8), ids * 0, ids, instances)


def test_objects_by_what_becomes_of_them():
    """Areas 2, 3 and 1, a crowd of 3, and 4."""
    dataset = Rows([1, 1, 2, 2, 2, 3], [0, 9, 9, 9, 0, 0], [0, 0, 7, 7, 7, 7])
    assert count_targets(dataset, min_area=3) == Targets(images=3, counted=2, small=2, crowds=1)
    assert count_targets(dataset, min_area=1) == Targets(images=3, counted=4, small=0, crowds=1)


def test_of_many_images_some_are_looked_at():
    dataset = Rows(*[[1]] * 101)
    assert count_targets(dataset, 1, images=3) == Targets(images=3, counted=3, small=0, crowds=0)
    assert dataset.read == [0, 50, 100]


def test_all_are_until_there_is_a_target():
    dataset = Rows([1], [0], [2, 2], [3, 3], [0])
    assert count_targets(dataset, 2, images=2) == Targets(images=4, counted=1, small=1, crowds=0)
    assert dataset.read == [0, 4, 1, 2]


def test_what_is_said():
    told = describe_targets(Targets(200, 5230, 700, 112), 2975, 80, "data/cityscapes")
    assert told == (
        "in 200 of 2,975 training images 5,230 objects count; 700 under 80 px (--min-area) and "
        "112 crowds don't"
    )


def test_none_is_an_error_before_the_first_iteration(data, tmp_path):
    message = r"toy: no object to train on in 16 images: \d+ under 5000 px .*--min-area"
    with pytest.raises(TrainingError, match=message):
        train(data, tmp_path, "--min-area", 5000)
    assert not list(tmp_path.glob("instances/*"))
