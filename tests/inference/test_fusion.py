"""Section 5's fusion, on hand-drawn maps."""

from __future__ import annotations

import numpy as np
import pytest

from adaptis.inference.fusion import category_of, classified_instances, fuse_panoptic
from adaptis.inference.greedy import Aggregation
from adaptis.inference.settings import GreedySettings

CLASSES = [
    {"name": "sky", "category_id": 10, "isthing": False},
    {"name": "road", "category_id": 11, "isthing": False},
    {"name": "car", "category_id": 20, "isthing": True},
]


def test_instances_lie_on_stuff_and_things_without_instance_are_void():
    probabilities = np.zeros((3, 2, 4), np.float32)
    probabilities[0, 0] = 0.8  # sky
    probabilities[1, 1, :2] = 0.6  # road
    probabilities[2, 1, 2:] = 0.9  # car
    instance_map = np.array([[0, 1, 2, 0], [0, 0, 2, 0]])
    instances = [{"instance": 2, "category_id": 20, "score": 0.7}]  # 1 was dropped
    class_map = probabilities.argmax(axis=0)
    panoptic_seg, segments = fuse_panoptic(
        instance_map, instances, probabilities, class_map, CLASSES
    )
    assert panoptic_seg.tolist() == [[2, 2, 1, 2], [3, 3, 1, 0]]
    assert [(s["id"], s["category_id"]) for s in segments] == [(1, 20), (2, 10), (3, 11)]
    assert [s["score"] for s in segments] == pytest.approx([0.7, 0.8, 0.6])


def test_an_instance_gets_the_thing_class_of_the_highest_sum_over_its_mask():
    classes = [*CLASSES, {"name": "bus", "category_id": 21, "isthing": True}]
    probabilities = np.zeros((4, 1, 6), np.float32)
    probabilities[0] = 0.9  # stuff, which no instance can be
    probabilities[2, 0] = [0.1, 0.1, 0.9, 0.1, 0.1, 0]  # 1.1 on the first, .2 on the second
    probabilities[3, 0] = [0.3, 0.3, 0.0, 0.2, 0.2, 0]  # .6 and .4
    settings = GreedySettings(0.5, min_area=2)
    aggregation = Aggregation(np.zeros((1, 6), bool), settings, probabilities)
    aggregation.add((0, 0), np.array([[0.8, 0.8, 0.8, 0, 0, 0]], np.float32))
    aggregation.add((0, 4), np.array([[0, 0, 0, 0.9, 0.9, 0]], np.float32))
    aggregation.add((0, 5), np.array([[0, 0, 0.1, 0.9, 0.9, 0.9]], np.float32))  # overlaps by 2 / 3
    aggregation.points_yx.append((0, 5))  # an instance of which nothing is left
    aggregation.scores.append(1.0)
    aggregation.class_sums.append(np.ones(4))
    assert classified_instances(aggregation, classes) == [
        {"instance": 2, "category_id": 21, "score": pytest.approx(0.9), "point_yx": (0, 4)},
        {"instance": 1, "category_id": 20, "score": pytest.approx(0.8), "point_yx": (0, 0)},
    ]


@pytest.mark.parametrize(
    ("sums", "classes", "expected"),
    [
        ([9, 8, 1], CLASSES, 20),
        ([0, 0, 2, 3], [*CLASSES, {"category_id": 21, "isthing": True}], 21),
        ([0, 0, 2, 2], [*CLASSES, {"category_id": 21, "isthing": True}], 20),
        ([9, 8], CLASSES[:2], None),
    ],
)
def test_the_category_is_the_surest_thing(sums, classes, expected):
    assert category_of(np.array(sums), classes) == expected


@pytest.mark.parametrize("within_masks", [False, True])
def test_a_person_beside_a_missed_car_stays_a_person(within_masks):
    """R gives it the car's 1000 px too, which are in no mask."""
    classes = [*CLASSES, {"name": "person", "category_id": 24, "isthing": True}]
    person, car = np.zeros((2, 20, 60), bool)
    person[:, :10], car[:, 10:] = True, True
    assert (person.sum(), car.sum()) == (200, 1000)
    probabilities = np.zeros((4, 20, 60), np.float32)
    probabilities[2], probabilities[3] = 0.9 * car, 0.9 * person
    settings = GreedySettings(0.5, within_masks=within_masks)
    aggregation = Aggregation(np.zeros((20, 60), bool), settings, probabilities)
    aggregation.add((5, 5), np.where(person, 0.9, 0.1).astype(np.float32))
    assert (aggregation.instance_map > 0).sum() == (200 if within_masks else 1200)
    [instance] = classified_instances(aggregation, classes)
    assert instance["category_id"] == 24


def test_without_thing_classes_there_are_no_instances():
    stuff = [{"name": "sky", "category_id": 10, "isthing": False}]
    aggregation = Aggregation(np.zeros((1, 2), bool), GreedySettings(0.5, min_area=1))
    aggregation.add((0, 0), np.array([[0.8, 0.8]], np.float32))
    assert classified_instances(aggregation, stuff) == []
