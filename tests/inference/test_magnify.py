"""Images of small objects are segmented once more, scaled up."""

from __future__ import annotations

import numpy as np
import pytest

from adaptis.inference.images import check_pixels
from adaptis.inference.iterations import IterationRecorder
from adaptis.inference.magnify import magnified
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.inference.settings import GreedySettings, InferenceSettings
from adaptis.inference.tiles import segment_panoptic
from adaptis.preprocessing import MAX_MAGNIFICATION, MAX_SIDE, scaled_size
from tests.strategies import CLASSES, Scene, SeesWhatIsDrawn

GREEDY = GreedySettings(min_area=5, max_radius=30.0)
SETTINGS = InferenceSettings(greedy=GREEDY, object_diameter=15.0, longest_side=60)
DISC_10 = 25 * np.pi  # px of a disc of 10 px diameter


def test_the_median_diameter_becomes_the_wanted_one():
    larger = magnified(SETTINGS, (40, 60), np.array([1, DISC_10, 4000]))
    assert scaled_size((80, 120), larger.shortest_side, larger.longest_side) == (60, 90)
    assert (larger.greedy.min_area, larger.greedy.max_radius) == (11, 45)  # 5 * 1.5^2, 30 * 1.5
    assert larger.object_diameter is None


@pytest.mark.parametrize(
    ("settings", "areas"),
    [
        (InferenceSettings(), [DISC_10]),
        (SETTINGS, []),
        (InferenceSettings(object_diameter=13.0), [DISC_10]),  # less than a third larger
        (SETTINGS, [4000]),
    ],
)
def test_nothing_is_scaled(settings, areas):
    assert magnified(settings, (40, 60), np.array(areas)) is None


def test_specks_are_scaled_no_more_than_helps():
    larger = magnified(SETTINGS, (40, 60), np.array([4]))
    assert larger.shortest_side == MAX_MAGNIFICATION * 40


@pytest.mark.parametrize(
    ("size", "larger"),
    [
        ((3, 20000), (4, 26667)),  # 5 x 33333 would be too long
        ((1, 20000), None),
        ((9, 20000), (14, 31111)),
        ((7000, 7000), (9999, 9999)),
        ((6000, 8000), (8659, 11545)),
        ((9000, 9000), None),
    ],
)
def test_no_larger_than_an_image_may_be(size, larger):
    settings = magnified(InferenceSettings(object_diameter=9.0), size, np.array([1]))
    side = settings and settings.shortest_side
    assert (settings and scaled_size(size, side, None)) == larger
    if larger:
        check_pixels(*larger)


@pytest.mark.parametrize(("tile_size", "passes"), [(None, 1), (14, 1 * 2 + 2 * 3), (18, 1)])
def test_in_tiles_an_image_may_be_larger(monkeypatch, tile_size, passes):
    """12 x 16 px twice as large, of at most 300 px: not at once, nor in tiles of 18 x 18."""
    monkeypatch.setattr("adaptis.inference.tiles.MAX_INPUT_PIXELS", 300)
    panoptic_seg = np.ones((12, 16), np.int32)
    panoptic_seg[4:7, 5:8] = 11
    scene = Scene(np.where(panoptic_seg > 10, 2, 0), panoptic_seg, {})
    description = SeesWhatIsDrawn.description(object_diameter=9.0, tile_size=tile_size)
    encode, sizes = SeesWhatIsDrawn.encode, []
    monkeypatch.setattr(
        SeesWhatIsDrawn, "encode", lambda *of: sizes.append(of[1].shape[1:]) or encode(*of)
    )
    predictor = AdaptISPredictor(SeesWhatIsDrawn(), description)
    segment_panoptic(predictor, SeesWhatIsDrawn.image_of(scene))
    assert len(sizes) == passes


def test_a_radius_larger_than_any_image():
    settings = InferenceSettings(greedy=GreedySettings(max_radius=2e4), object_diameter=15.0)
    assert magnified(settings, (40, 60), np.array([4])).greedy.max_radius == MAX_SIDE


def test_the_predictors_own_calls_do_so_and_keep_the_image_that_is_set():
    panoptic_seg = np.ones((12, 16), np.int32)
    panoptic_seg[4:7, 5:8] = 11
    image = SeesWhatIsDrawn.image_of(Scene(np.where(panoptic_seg > 10, 2, 0), panoptic_seg, {}))
    predictor = AdaptISPredictor(SeesWhatIsDrawn(), SeesWhatIsDrawn.description(object_diameter=6))
    before = predictor.settings
    expected, segments, _ = segment_panoptic(predictor, image)
    recorder, sizes = IterationRecorder(), []
    found, own_segments = predictor.panoptic(
        image,
        on_step=lambda step, of: sizes.append(of.instance_map.shape) or recorder(step, of),
    )
    np.testing.assert_array_equal(found, expected)
    assert own_segments == segments
    assert len(set(sizes)) == 2
    assert {frame.instance_map.shape for frame in recorder.frames} == {sizes[-1]}
    person = [s["id"] for s in segments if s["category_id"] == CLASSES[2]["id"]]
    areas = [record["area"] for record in predictor.segment()]
    assert areas == [np.count_nonzero(found == id_) for id_ in person]
    assert predictor.working_image.shape == (12, 16, 3)
    assert predictor.settings is before
    image[:] = 0  # the caller's array, and what is set stays
    assert [record["area"] for record in predictor.segment()] == areas


def test_proposals_are_counted_of_the_second_time_alone():
    class Proposes(SeesWhatIsDrawn):
        def proposal_logits(self, image):
            return np.where(image[0] == 2, 5, -9).astype(np.float32)

    panoptic_seg = np.ones((12, 16), np.int32)
    panoptic_seg[4:7, 5:8] = 11
    image = SeesWhatIsDrawn.image_of(Scene(np.where(panoptic_seg > 10, 2, 0), panoptic_seg, {}))
    description = Proposes.description(object_diameter=6, points="proposals", proposal_blur=1)
    predictor = AdaptISPredictor(Proposes(), description)
    segment_panoptic(predictor, image)
    assert predictor.num_proposals == 1
    predictor.panoptic(image)
    assert predictor.num_proposals == 2


def test_an_image_is_segmented_twice_and_comes_back_at_its_size(monkeypatch):
    """An object of 3 x 3 px of which twice as large ones are wanted."""
    panoptic_seg = np.ones((12, 16), np.int32)
    panoptic_seg[4:7, 5:8] = 11
    scene = Scene(np.where(panoptic_seg > 10, 2, 0), panoptic_seg, {})
    encode, sizes = SeesWhatIsDrawn.encode, []
    monkeypatch.setattr(
        SeesWhatIsDrawn, "encode", lambda *of: sizes.append(of[1].shape[1:]) or encode(*of)
    )
    predictor = AdaptISPredictor(SeesWhatIsDrawn(), SeesWhatIsDrawn.description(object_diameter=6))
    before = predictor.settings
    found, segments, class_map = segment_panoptic(predictor, SeesWhatIsDrawn.image_of(scene))
    assert len(sizes) == 2
    assert sizes[0] == (12, 16)
    assert sizes[1][0] > 20
    assert found.shape == class_map.shape == (12, 16)
    assert predictor.settings is before
    person = {s["id"] for s in segments if s["category_id"] == CLASSES[2]["id"]}
    assert found[5, 6] in person
