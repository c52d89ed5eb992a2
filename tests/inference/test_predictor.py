"""The predictor: one pass of the backbone, points in any number, results at image size."""

from __future__ import annotations

import re
from dataclasses import replace

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adaptis.arguments import DeviceError
from adaptis.inference.images import ImageError
from adaptis.inference.mxnet_backend import MXNetBackend
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.inference.settings import GreedySettings, InferenceSettings
from adaptis.inference.tiles import segment_panoptic
from adaptis.weights import CheckpointError, parameters_of, save_arrays
from tests.paths import ROOT
from tests.strategies import (
    STUFF,
    THINGS,
    SeesWhatIsDrawn,
    assert_same_segments,
    scenes,
    seeds,
    sides,
)

DESCRIPTION = {
    "network": {"architecture": "toy", "width": 4},
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "classes": [
        {"name": "background", "category_id": 1, "isthing": False},
        {"name": "object", "category_id": 2, "isthing": True},
    ],
    "inference": {"greedy": {"mask_threshold": 0.3, "min_area": 1}},
}


@pytest.fixture
def predictor(toy):
    network = toy(width=4, seed=3)
    network.hybridize()
    return AdaptISPredictor(MXNetBackend(network, mx.cpu()), DESCRIPTION)


def random_image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def untrained(toy):
    """A function: inference settings -> a predictor, always with the same network."""
    predictor = AdaptISPredictor(MXNetBackend(toy(width=2, seed=4), mx.cpu()), DESCRIPTION)
    # what finds several objects in noise: its confidences and scores are low
    greedy = GreedySettings(mask_threshold=0.16, min_area=1, max_radius=20)

    def make(**options):
        predictor.settings = InferenceSettings(greedy=greedy, proposal_blur=6, **options)
        return predictor

    return make


@pytest.fixture
def backbone_calls(predictor):
    calls = []
    predictor.backend.network.backbone.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize(("flip", "expected"), [(False, 1), (True, 2)])
@pytest.mark.parametrize("points", ["random", "proposals"])
def test_the_backbone_runs_once_an_image(predictor, backbone_calls, flip, expected, points):
    predictor.settings = replace(predictor.settings, flip=flip, points=points)
    predictor.set_image(random_image(24, 20))
    predictor.predict([[1, 2], [3, 4]])
    predictor.segment()
    predictor.proposals()
    assert len(backbone_calls) == expected


def test_points_in_batches_are_points_one_by_one(predictor):
    predictor.set_image(random_image(24, 20))
    points_xy = [[0, 0], [19, 23], [5, 7], [5.5, 7.25], [12, 3]]
    together = predictor.predict(points_xy)
    predictor.settings = replace(predictor.settings, points_per_batch=2)
    in_pairs = predictor.predict(points_xy)
    np.testing.assert_allclose(together.confidences, in_pairs.confidences, atol=1e-6)
    for i, point in enumerate(points_xy):
        alone = predictor.predict([point])
        np.testing.assert_allclose(together.confidences[i], alone.confidences[0], atol=1e-6)
        np.testing.assert_allclose(together.scores[i], alone.scores[0], atol=1e-6)


def test_predictions_are_the_networks(predictor):
    image = random_image(12, 16)
    predictor.set_image(image)
    prediction = predictor.predict([[3, 5]])
    normalised = (image.transpose(2, 0, 1)[None] / 255 - 0.5) / 0.5
    logits, _ = predictor.backend.network(mx.nd.array(normalised), mx.nd.array([[[5, 3]]]))
    np.testing.assert_allclose(prediction.logits, logits.asnumpy()[:, 0], atol=1e-4)
    np.testing.assert_array_equal(prediction.masks, prediction.confidences > 0.3)
    inside = prediction.confidences[prediction.masks]
    expected = inside.mean() if inside.size else 0.0
    np.testing.assert_allclose(prediction.scores, [expected], rtol=1e-5)


def test_flip_is_exact(predictor):
    """A mirrored image gives mirrored results: x becomes width - 1 - x."""
    predictor.settings = replace(predictor.settings, flip=True)
    image = random_image(10, 15)
    predictor.set_image(image)
    first = predictor.predict([[2, 4]]).confidences, predictor.class_probabilities()
    predictor.set_image(image[:, ::-1])
    second = predictor.predict([[12, 4]]).confidences, predictor.class_probabilities()
    for a, b in zip(first, second):
        np.testing.assert_allclose(a, b[..., ::-1], atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    height=sides,
    width=sides,
    options=st.sampled_from(
        [{}, {"flip": True}, {"shortest_side": 9}, {"longest_side": 24, "points": "random"}]
    ),
    thing_threshold=st.sampled_from([0.0, 0.45, 0.5, 1.0]),
    seed=seeds,
)
def test_any_size_gives_instances_that_do_not_overlap(
    untrained, height, width, options, thing_threshold, seed
):
    predictor = untrained(thing_threshold=thing_threshold, **options)
    predictor.set_image(random_image(height, width, seed))
    records = predictor.segment()
    covered = np.zeros((height, width), int)
    for record in records:
        mask = record["segmentation"]
        covered += mask
        rows, cols = np.nonzero(mask)
        x, y, box_width, box_height = record["bbox"]
        assert record["area"] == mask.sum() > 0
        assert (cols.min(), cols.max()) == (x, x + box_width - 1)
        assert (rows.min(), rows.max()) == (y, y + box_height - 1)
        assert 0.16 < record["score"] <= 1
        assert record["category_id"] == 2
        predictor.predict(record["point_coords"])  # lies in the image
    assert covered.max() <= 1
    if predictor.settings.points == "proposals" and thing_threshold == 1:
        assert not records  # the whole proposal map is cleared
    if not predictor.class_map().any():
        assert not records  # everything is stuff, segmented from the start
    panoptic_seg, segments = predictor.panoptic()
    assert panoptic_seg.shape == (height, width)
    assert sorted(set(np.unique(panoptic_seg)) - {0}) == sorted(s["id"] for s in segments)


@settings(max_examples=60, deadline=None)
@given(scene=scenes(classes=(*STUFF, *THINGS)), flip=st.booleans())
def test_what_is_drawn_is_segmented(scene, flip):
    """Exactly: every object, of any size and down to a pixel, and a segment a class of stuff."""
    predictor = AdaptISPredictor(SeesWhatIsDrawn(), SeesWhatIsDrawn.description(flip=flip))
    predictor.set_image(SeesWhatIsDrawn.image_of(scene))
    records = predictor.segment()
    assert len(records) == len(scene.things)
    for record in records:
        x, y = record["point_coords"][0]
        id_ = scene.panoptic_seg[int(y), int(x)]
        np.testing.assert_array_equal(record["segmentation"], scene.panoptic_seg == id_)
        assert record["category_id"] == scene.things[id_]
    assert_same_segments(scene, *predictor.panoptic())
    np.testing.assert_array_equal(predictor.class_map(), scene.class_map)


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "columns first": np.asfortranarray,
    "BGR reversed": lambda image: np.ascontiguousarray(image[..., ::-1])[..., ::-1],
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1])[:, ::-1],
    "every second": lambda image: image.repeat(2, axis=0).repeat(2, axis=1)[::2, ::2],
    "planes": lambda image: np.ascontiguousarray(image.transpose(2, 0, 1)).transpose(1, 2, 0),
}


@settings(max_examples=15, deadline=None)
@given(
    height=sides,
    width=sides,
    layout=st.sampled_from(sorted(LAYOUTS)),
    longest_side=st.sampled_from([None, 16]),
    seed=seeds,
)
def test_the_layout_in_memory_does_not_matter(untrained, height, width, layout, longest_side, seed):
    image = random_image(height, width, seed)
    view = LAYOUTS[layout](image)
    view.flags.writeable = False
    predictor = untrained(longest_side=longest_side)
    confidences = []
    for same in (image, view):
        predictor.set_image(same)
        confidences.append(predictor.predict([(0, 0)]).confidences)
    np.testing.assert_array_equal(*confidences)
    np.testing.assert_array_equal(view, image)


@settings(max_examples=100, deadline=None)
@given(
    shape=st.one_of(
        st.lists(sides, max_size=4),
        st.tuples(sides, sides, st.just(3)),
        st.tuples(sides, sides, st.integers(0, 4)),
        st.tuples(st.just(0), sides, st.just(3)),
        st.tuples(sides, st.just(0), st.just(3)),
    ).map(tuple),
    dtype=st.sampled_from(["bool", "int8", "uint8", "uint16", "int64", "float32", "float64"]),
)
def test_an_image_is_uint8_and_rgb_or_refused(untrained, shape, dtype):
    image = np.broadcast_to(np.ones((), dtype), shape)
    predictor = untrained(longest_side=1)
    if len(shape) == 3 and shape[2] == 3 and image.size and dtype == "uint8":
        predictor.set_image(image)
        assert predictor.image_size == shape[:2]
    else:
        with pytest.raises(ImageError, match=r"image has .*must"):
            predictor.set_image(image)
        sides_and_tile = {"shortest_side": 9, "longest_side": None, "tile_size": 5}
        predictor.settings = replace(predictor.settings, **sides_and_tile)
        with pytest.raises(ImageError, match=re.escape(f"has shape {shape}")):
            segment_panoptic(predictor, image)


def coordinates(length: int):
    """Of points in the image: its borders and what lies between."""
    return st.one_of(
        st.sampled_from([0, length - 1]),
        st.integers(0, length - 1),
        st.floats(0, length - 1, width=32),
    )


def beyond(length: int) -> list[float]:
    return [-1, -0.5, length - 0.5, length, 10**6, np.nan, np.inf, -np.inf]


@st.composite
def sizes_and_points(draw):
    """(height, width), points (x, y) in the image."""
    height, width = draw(sides), draw(sides)
    points = st.tuples(coordinates(width), coordinates(height))
    return (height, width), draw(st.lists(points, max_size=4))


@settings(max_examples=25, deadline=None)
@given(drawn=sizes_and_points(), longest_side=st.sampled_from([None, 16, 60]))
def test_points_anywhere(untrained, drawn, longest_side):
    (height, width), points_xy = drawn
    predictor = untrained(longest_side=longest_side)
    predictor.set_image(random_image(height, width))
    outside = [(x, 0) for x in beyond(width)] + [(width - 1, y) for y in beyond(height)]
    for point in outside:
        with pytest.raises(ImageError, match=f"outside .*width {width} and height {height}"):
            predictor.predict([*points_xy, point])
    prediction = predictor.predict(points_xy)
    assert prediction.masks.shape == prediction.logits.shape == (len(points_xy), height, width)
    assert prediction.masks.dtype == bool
    assert prediction.confidences.dtype == prediction.logits.dtype == np.float32
    assert np.isfinite(prediction.logits).all()
    confidences = prediction.confidences
    assert ((confidences >= 0) & (confidences <= 1)).all()
    threshold = predictor.settings.greedy.mask_threshold
    np.testing.assert_array_equal(prediction.masks, confidences > threshold)
    for score, mask, confidence in zip(prediction.scores, prediction.masks, confidences):
        expected = confidence[mask].mean() if mask.any() else 0
        assert score == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.broadcast_to(np.uint8(0), (20000, 20000, 3)),
    ],
    ids=["grayscale", "alpha", "float", "empty", "huge"],
)
def test_wrong_images_are_refused(predictor, image):
    with pytest.raises(ImageError, match="image has"):
        predictor.set_image(image)


@pytest.mark.parametrize("point", [(-1, 0), (4, 0), (0, 3), (np.nan, 0)])
def test_points_outside_are_refused(predictor, point):
    predictor.set_image(random_image(3, 4))
    with pytest.raises(ImageError, match="width 4 and height 3"):
        predictor.predict([(0, 0), point])


@pytest.mark.parametrize("shape", [(3,), (4,), (2, 3), (2, 4), (1, 2, 2)])
def test_points_of_another_shape_are_refused(predictor, shape):
    predictor.set_image(random_image(3, 4))
    with pytest.raises(ImageError, match=r"must be \(N, 2\)"):
        predictor.predict(np.ones(shape))


def test_images_too_large_once_scaled_are_refused(predictor):
    predictor.settings = replace(predictor.settings, shortest_side=600)
    with pytest.raises(ImageError, match="600x600000 pixels"):
        predictor.set_image(random_image(1, 1000))


def test_an_image_must_be_set(predictor):
    with pytest.raises(ImageError, match="set_image"):
        predictor.predict([[0, 0]])
    predictor.set_image(random_image(3, 4))
    predictor.reset_image()
    with pytest.raises(ImageError, match="set_image"):
        predictor.segment()


def test_memory_is_given_back_when_the_size_changes(predictor, monkeypatch):
    calls = []
    monkeypatch.setattr("adaptis.inference.predictor.give_back_memory", lambda: calls.append(1))
    predictor.reset_image()
    for size, expected in (((9, 9), 1), ((9, 9), 1), ((9, 12), 2), ((12, 9), 3), ((12, 9), 3)):
        predictor.set_image(random_image(*size))
        assert len(calls) == expected


def test_no_points_give_no_masks(predictor):
    predictor.set_image(random_image(3, 4))
    assert predictor.predict(np.zeros((0, 2))).masks.shape == (0, 3, 4)


def test_load_knows_its_network(tmp_path, toy, predictor):
    path = tmp_path / "w.params"
    save_arrays(path, parameters_of(predictor.backend.network), DESCRIPTION)
    loaded = AdaptISPredictor.load(path)
    assert loaded.settings.greedy == GreedySettings(mask_threshold=0.3, min_area=1)
    image = random_image(9, 9)
    for p in (loaded, predictor):
        p.set_image(image)
    np.testing.assert_array_equal(
        loaded.predict([[1, 1]]).confidences, predictor.predict([[1, 1]]).confidences
    )


def test_weights_of_another_network_are_refused(tmp_path, toy):
    path = tmp_path / "w.params"
    save_arrays(path, parameters_of(toy(width=8)), DESCRIPTION)
    with pytest.raises(CheckpointError, match=r"w\.params.*shape"):
        AdaptISPredictor.load(path)
    save_arrays(path, {"a": mx.nd.ones(1)}, {})
    with pytest.raises(CheckpointError, match="which network"):
        AdaptISPredictor.load(path)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"thresh1": 0.4}, "thresh1"),
        ({"greedy": {"thresh1": 0.4}}, "thresh1"),
        ({"points": "foo"}, "points is 'foo'; it must be 'proposals' or 'random'"),
        ({"shortest_side": 600, "longest_side": 2000}, "both sides are set"),
        ({"greedy": {"mask_threshold": 50}}, "mask_threshold is 50; it must be above 0 and below"),
        ({"shortest_side": -5}, "shortest_side is -5; it must be a whole number of at least 1"),
    ],
)
def test_settings_that_can_not_be_are_refused(settings_, message, tmp_path, predictor):
    with pytest.raises(ValueError, match=message):
        InferenceSettings.from_description(settings_)
    path = tmp_path / "w.params"
    parameters = parameters_of(predictor.backend.network)
    save_arrays(path, parameters, {**DESCRIPTION, "inference": settings_})
    with pytest.raises(CheckpointError, match=rf"w\.params: its inference .*{message}"):
        AdaptISPredictor.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", [0.5, float("nan"), 0.5]),
        ("mean", None),
        ("mean", [0.5, 0.5]),
        ("mean", [0.5]),
        ("std", 0.5),
        ("std", [0.5, 0, 0.5]),
        ("std", [-1, 1, 1]),
        ("std", [1, float("inf"), 1]),
        ("std", "large"),
    ],
)
def test_a_mean_or_std_that_can_not_be_is_refused(name, value, tmp_path, predictor):
    """No file is written with it, nor read: see tests/test_description.py."""
    arrays, description = parameters_of(predictor.backend.network), {**DESCRIPTION, name: value}
    with pytest.raises(
        CheckpointError, match=rf"w\.params: .*{name} is .*(3 finite numbers|a list was expected)"
    ):
        save_arrays(tmp_path / "w.params", arrays, description)
    with pytest.raises(ValueError, match=f"{name} is .*three finite numbers"):
        AdaptISPredictor(predictor.backend, description)


@pytest.mark.parametrize("ctx", ["98", "98,99", "gpu"])
def test_a_device_that_is_not_there(ctx):
    with pytest.raises(DeviceError, match=f"ctx {ctx}: "):
        AdaptISPredictor.load(ROOT / "weights" / "toy.params", ctx)


@pytest.mark.parametrize("side", [{"shortest_side": 24}, {"longest_side": 20}])
def test_scaled_images_give_results_at_their_own_size(predictor, side):
    predictor.settings = replace(predictor.settings, **side)
    predictor.set_image(random_image(18, 30))
    working = {"shortest_side": (24, 40), "longest_side": (12, 20)}[next(iter(side))]
    assert predictor.class_probabilities().shape[1:] == working
    assert predictor.predict([[29, 17], [0, 0]]).masks.shape == (2, 18, 30)
    for record in predictor.segment():
        assert record["segmentation"].shape == (18, 30)
        assert record["area"] == record["segmentation"].sum()
    panoptic_seg, segments = predictor.panoptic()
    assert panoptic_seg.shape == (18, 30)
    assert set(np.unique(panoptic_seg)) - {0} == {segment["id"] for segment in segments}


def test_the_authors_toy_file_loads(reference):
    predictor = AdaptISPredictor.load(reference / "authors_toy_width8.params")
    vectors = np.load(reference / "authors_toy_width8.npz")
    image = np.round((vectors["image"][0].transpose(1, 2, 0) / 2 + 0.5) * 255).astype(np.uint8)
    predictor.settings = replace(predictor.settings, flip=False)
    predictor.set_image(image)
    logits = predictor.predict(vectors["points_row_col"][0][:, ::-1]).logits
    expected = np.clip(vectors["instances"][:3, 0], -15, 15)  # logits come from confidences
    assert np.corrcoef(np.clip(logits, -15, 15).ravel(), expected.ravel())[0, 1] > 0.999
