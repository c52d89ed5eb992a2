"""Validation data that list their categories otherwise than the training data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datasets.base import PADDING, VOID, ClassInfo, DataError, Instance, Sample
from datasets.matched_classes import in_classes_of

ROAD = ClassInfo("road", 7, False, (1, 1, 1))
SKY = ClassInfo("sky", 23, False, (2, 2, 2))
CAR = ClassInfo("car", 26, True, (3, 3, 3))
PERSON = ClassInfo("person", 24, True, (4, 4, 4))


class Data:
    """One image with a pixel of each class, padding and void; things are objects."""

    name, labelled = "drawn", True
    names = image_ids = ("a",)

    def __init__(self, *classes):
        self.classes = classes

    def __len__(self):
        return 1

    def __getitem__(self, index):
        labels = np.array([[*range(len(self.classes)), VOID, PADDING]], np.int32)
        things = {i: info for i, info in enumerate(self.classes) if info.isthing}
        ids = np.where(np.isin(labels, list(things)), labels + 10, 0)
        instances = {i + 10: Instance(i, iscrowd=i == 3) for i in things}
        return Sample("a", np.zeros((1, labels.size, 3), np.uint8), labels, ids, instances)

    def image_path(self, index):
        return Path("val/a.png")


@pytest.mark.parametrize("color", [(3, 3, 3), (9, 9, 9)])
def test_the_same_classes_are_left_as_they_are(color):
    validation = Data(ROAD, CAR._replace(color=color))
    assert in_classes_of(Data(ROAD, CAR), validation) is validation


def test_classes_are_matched_by_id():
    """Of training's road, sky, person, car the validation lists sky, road, car, in this order."""
    matched = in_classes_of(Data(ROAD, SKY, PERSON, CAR), Data(SKY, ROAD, CAR))
    assert matched.classes == (ROAD, SKY, PERSON, CAR)
    sample = matched[0]
    assert sample.semantic_map.tolist() == [[1, 0, 3, VOID, PADDING]]
    assert sample.semantic_map.dtype == np.int32
    assert sample.instance_map.tolist() == [[0, 0, 12, 0, 0]]
    assert sample.instances == {12: Instance(3)}
    assert (len(matched), matched.names, matched.image_ids) == (1, ["a"], ["a"])
    assert matched.image_path(0) == Path("val/a.png")


def test_own_images_background_is_matched_by_name():
    """Its id is the first that the file's categories leave free: 3 or 2."""
    background = ClassInfo("background", 3, False, (0, 0, 0))
    cat, dog = (ClassInfo(name, id_, True, (9, 9, 9)) for id_, name in ((1, "cat"), (2, "dog")))
    training = Data(background, cat, dog)
    matched = in_classes_of(training, Data(background._replace(category_id=2), cat))
    assert matched.classes == training.classes
    assert matched[0].semantic_map.tolist() == [[0, 1, VOID, PADDING]]


def test_crowds_stay_crowds():
    matched = in_classes_of(Data(PERSON, SKY, CAR, ROAD), Data(SKY, ROAD, CAR, PERSON))
    assert matched[0].instances == {12: Instance(2), 13: Instance(0, iscrowd=True)}


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ((ROAD, CAR), r"26 \(car, thing\) is missing in training"),
        ((ROAD._replace(name="street"), SKY), r"7 \(street, stuff\) is 7 \(road, stuff\) in tr"),
        ((ROAD, SKY._replace(isthing=True)), r"23 \(sky, thing\) is 23 \(sky, stuff\) in train"),
    ],
)
def test_what_ids_cannot_settle_is_an_error(validation, message):
    with pytest.raises(DataError, match=rf"^val: validation has other categories .*{message}"):
        in_classes_of(Data(ROAD, SKY), Data(*validation))
