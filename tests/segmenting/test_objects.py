"""Label maps to records, by hand and against pycocotools' own decoder."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from adaptis.inference.predictor import AdaptISPredictor
from adaptis.segmenting.objects import describe, segment_objects
from tests.strategies import SeesWhatIsDrawn, scenes, seeds, sides


def test_an_object_by_hand():
    label_map = np.array([[0, 0, 0, 0], [0, 3, 3, 0], [0, 0, 3, 0]])
    found = describe(label_map)
    assert list(found) == [3]
    assert found[3]["id"] == 3
    assert found[3]["area"] == 3
    assert found[3]["bbox"] == [1, 1, 2, 2]
    assert found[3]["centroid"] == pytest.approx([5 / 3, 4 / 3])
    np.testing.assert_array_equal(coco_mask.decode(found[3]["segmentation"]), label_map == 3)


def test_objects_taller_than_what_is_looked_at_at_once():
    label_map = np.zeros((700, 3), int)
    label_map[100:699, 1] = 2
    label_map[:, 2] = 1
    assert [found["centroid"] for found in describe(label_map).values()] == [[2, 349.5], [1, 399]]


def test_no_objects():
    assert describe(np.zeros((2, 3), int)) == {}


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, ids=st.integers(1, 300), seed=seeds)
def test_records_are_what_pycocotools_reads(height, width, ids, seed):
    rng = np.random.default_rng(seed)
    label_map = np.repeat(rng.integers(0, ids, (height, -(-width // 3))), 3, axis=1)[:, :width]
    found = describe(label_map)
    assert set(found) == set(np.unique(label_map).tolist()) - {0}
    for id_, record in found.items():
        mask, rle = label_map == id_, record["segmentation"]
        np.testing.assert_array_equal(coco_mask.decode(rle), mask)
        encoded = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        assert rle["counts"] == encoded["counts"].decode()  # the one spelling there is
        assert record["area"] == coco_mask.area(rle)
        assert record["bbox"] == coco_mask.toBbox(rle).tolist()


@settings(max_examples=30, deadline=None)
@given(scene=scenes(pixels=0), tile_size=st.one_of(st.none(), st.integers(8, 200)))
def test_things_are_numbered_and_stuff_is_background(scene, tile_size):
    predictor = AdaptISPredictor(
        SeesWhatIsDrawn(), SeesWhatIsDrawn.description(tile_size=tile_size)
    )
    label_map, objects = segment_objects(predictor, SeesWhatIsDrawn.image_of(scene))
    assert [found["id"] for found in objects] == list(range(1, len(scene.things) + 1))
    np.testing.assert_array_equal(label_map > 0, np.isin(scene.panoptic_seg, list(scene.things)))
    for found in objects:
        (segment,) = np.unique(scene.panoptic_seg[label_map == found["id"]])
        assert found["category_id"] == scene.things[segment]


def test_the_best_come_first(monkeypatch):
    panoptic_seg = np.array([[1, 2, 2, 3, 9]])
    segments = [
        {"id": id_, "category_id": category_id, "score": score}
        for id_, category_id, score in ((1, 24, 0.5), (2, 26, 0.9), (3, 24, 0.7), (9, 7, 1.0))
    ]
    monkeypatch.setattr(
        "adaptis.segmenting.objects.segment_panoptic", lambda *_: (panoptic_seg, segments, None)
    )
    predictor = AdaptISPredictor(SeesWhatIsDrawn(), SeesWhatIsDrawn.description())
    label_map, objects = segment_objects(predictor, None)
    assert label_map.tolist() == [[3, 1, 1, 2, 0]]
    assert [(found["score"], found["category_id"]) for found in objects] == [
        (0.9, 26),
        (0.7, 24),
        (0.5, 24),
    ]
