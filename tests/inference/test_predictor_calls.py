"""The predictor's calls: an image and settings by keyword, names and types people come with."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from adaptis.arguments import Device, DeviceError, mxnet_context, parse_device
from adaptis.inference.images import ImageError
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.inference.tiles import segment_panoptic
from adaptis.intensity import to_rgb8
from tests.strategies import CLASSES, Scene, SeesWhatIsDrawn

PERSON = CLASSES[2]["id"]
PANOPTIC_SEG = np.array([[1, 1, 1, 1, 1], [1, 11, 11, 1, 12], [1, 11, 11, 1, 12]])
SCENE = Scene(np.where(PANOPTIC_SEG > 10, 2, 0), PANOPTIC_SEG, {1: 7, 11: PERSON, 12: PERSON})
IMAGE = SeesWhatIsDrawn.image_of(SCENE)  # an object of 4 px and one of 2


@pytest.fixture
def predictor():
    greedy = {"min_area": 1, "candidates": 1}
    return AdaptISPredictor(SeesWhatIsDrawn(), SeesWhatIsDrawn.description(greedy=greedy))


def areas(records):
    return sorted(record["area"] for record in records)


class TestSegment:
    def test_an_image_given_is_set(self, predictor):
        records = predictor.segment(IMAGE)
        assert areas(records) == [2, 4]
        predictor.set_image(IMAGE)
        assert areas(predictor.segment()) == [2, 4]

    def test_settings_hold_for_the_call(self, predictor):
        before = predictor.settings
        assert areas(predictor.segment(IMAGE, min_area=3)) == [4]
        assert areas(predictor.segment(min_area=3)) == [4]
        assert predictor.settings == before
        assert areas(predictor.segment()) == [2, 4]
        panoptic_seg, segments = predictor.panoptic(IMAGE, min_area=3)
        assert [s["category_id"] for s in segments].count(PERSON) == 1
        assert panoptic_seg.shape == (3, 5)

    @pytest.mark.parametrize("points", ["random", "proposals"])
    def test_a_network_that_computes_no_numbers(self, predictor, points, monkeypatch):
        """As one of float16 may, of some image."""
        monkeypatch.setattr(
            predictor.backend,
            "confidences",
            lambda of, at, _: np.full((len(at), *of.shape[1:]), np.nan),
        )
        monkeypatch.setattr(
            predictor.backend,
            "proposal_logits",
            lambda of: np.full(of.shape[1:], np.nan),
            raising=False,
        )
        with pytest.raises(ImageError, match=r"no finite numbers .* --fp16"):
            predictor.segment(IMAGE, points=points)

    def test_what_makes_an_image_of_16_bits_one_is_said(self, predictor):
        deep = IMAGE.astype(np.uint16) * 257
        with pytest.raises(
            ImageError, match=r"adaptis\.intensity\.to_rgb8\(image, predictor\.inten"
        ):
            predictor.segment(deep)
        assert areas(predictor.segment(to_rgb8(deep, predictor.intensity))) == [2, 4]

    def test_numbers_of_numpy_are_settings(self, predictor):
        assert areas(predictor.segment(IMAGE, min_area=np.int64(3), flip=np.bool_(True))) == [4]
        assert areas(predictor.segment(IMAGE, mask_threshold=np.float32(0.5))) == [2, 4]

    @pytest.mark.parametrize(
        ("name", "value"),
        [("mask_threshold", 50), ("max_radius", 1e200), ("proposal_blur", 3_000_000_000)],
    )
    def test_settings_out_of_range_are_refused(self, predictor, name, value):
        with pytest.raises(ValueError, match=rf"{name} is .* it must be"):
            predictor.segment(IMAGE, **{name: value})

    def test_names_that_are_no_settings(self, predictor):
        for wrong in ("foo", "greedy"):
            with pytest.raises(TypeError, match=rf"no settings \['{wrong}'\]; there are .*flip"):
                predictor.segment(IMAGE, **{wrong: 3})
        with pytest.raises(ImageError, match=r"tile_size: .*segment_panoptic"):
            predictor.segment(IMAGE, tile_size=2)

    def test_which_of_many_cannot_be_segmented(self, predictor):
        results = predictor.segment_many(iter([IMAGE, IMAGE[..., 0], IMAGE]))
        assert areas(next(results)) == [2, 4]
        with pytest.raises(ImageError, match=r"image 1: the image has shape \(3, 5\)"):
            next(results)

    @pytest.mark.parametrize("threshold", [50, 1, 0, -1, np.nan])
    def test_predict_checks_its_threshold(self, predictor, threshold):
        predictor.set_image(IMAGE)
        with pytest.raises(ValueError, match=r"mask_threshold is .* above 0 and below 1"):
            predictor.predict([[1, 1]], mask_threshold=threshold)

    def test_settings_are_back_after_an_error(self, predictor):
        before = predictor.settings
        with pytest.raises(ImageError):
            predictor.segment(IMAGE[..., 0], min_area=3)
        assert predictor.settings == before

    @pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({"mask_treshold": 0.5}, TypeError, "mask_treshold"),
            ({"mask_threshold": 50}, ValueError, "mask_threshold is 50"),
            ({"points": "grid"}, ValueError, "points"),
        ],
    )
    def test_wrong_settings(self, predictor, settings, error, message):
        with pytest.raises(error, match=message):
            predictor.segment(IMAGE, **settings)

    def test_what_is_decided_with_the_image_needs_it(self, predictor):
        assert areas(predictor.segment(IMAGE, flip=True)) == [2, 4]
        with pytest.raises(ImageError, match="flip"):
            predictor.segment(flip=True)

    def test_none_is_no_image(self, predictor):
        """cv2.imread's None must not give the last image's records once more."""
        predictor.set_image(IMAGE)
        for call in (predictor.segment, predictor.panoptic, predictor.set_image):
            with pytest.raises(ImageError, match=r"image is None: cv2\.imread"):
                call(None)

    def test_many_images_are_taken_one_at_a_time(self, predictor):
        taken = []

        def images():
            for image in (IMAGE, IMAGE[:, :4]):
                taken.append(image)
                yield image

        records = predictor.segment_many(images(), rle=True)
        assert not taken
        assert areas(next(records)) == [2, 4]
        assert len(taken) == 1
        assert [areas(of_one) for of_one in records] == [[4]]

    def test_rle_is_cocos(self, predictor):
        for record, mask in zip(predictor.segment(IMAGE, rle=True), predictor.segment(IMAGE)):
            rle = record["segmentation"]
            assert rle["size"] == [3, 5]
            assert isinstance(rle["counts"], str)
            np.testing.assert_array_equal(coco_mask.decode(rle), mask["segmentation"])


class TestPredict:
    def test_each_point_has_its_object(self, predictor):
        predictor.set_image(IMAGE)
        prediction = predictor.predict(point_coords=[[1, 2], [4, 1], [2, 1]])
        np.testing.assert_array_equal(
            prediction.masks, [PANOPTIC_SEG == 11, PANOPTIC_SEG == 12, PANOPTIC_SEG == 11]
        )
        np.testing.assert_array_equal(predictor.predict([[1, 2]]).masks, prediction.masks[:1])

    def test_one_of_both_names(self, predictor):
        predictor.set_image(IMAGE)
        with pytest.raises(TypeError, match="points_xy, or point_coords"):
            predictor.predict()
        with pytest.raises(TypeError, match="points_xy, or point_coords"):
            predictor.predict([[0, 0]], point_coords=[[0, 0]])

    def test_another_threshold(self, predictor, monkeypatch):
        certain = predictor.backend.confidences
        monkeypatch.setattr(predictor.backend, "confidences", lambda *of: certain(*of) * 0.7)
        predictor.set_image(IMAGE)
        assert predictor.predict([[1, 1]]).masks.sum() == 4
        assert predictor.predict([[1, 1]], mask_threshold=0.8).masks.sum() == 0

    def test_masks_end_at_the_largest_radius(self, predictor):
        """As those of ``segment`` do."""
        near = PANOPTIC_SEG == 11
        near[2, 2] = False  # 1.4 px from the point
        greedy = replace(predictor.settings.greedy, max_radius=1)
        predictor.settings = replace(predictor.settings, greedy=greedy)
        predictor.set_image(IMAGE)
        prediction = predictor.predict([[1, 1]])
        np.testing.assert_array_equal(prediction.masks, [near])
        np.testing.assert_array_equal(prediction.confidences > 0, [near])
        steps = []
        predictor.aggregate(lambda step, _: steps.append(step))
        assert max(step.mask.sum() for step in steps) == 3

    @pytest.mark.parametrize("points", ["here", [["a", "b"]], [[0, 0], [1]], [None, None]])
    def test_no_numbers(self, predictor, points):
        predictor.set_image(IMAGE)
        with pytest.raises(ImageError, match="point"):
            predictor.predict(points)


class TestTypes:
    @pytest.mark.parametrize("make", [mx.nd.array, Image.fromarray], ids=["MXNet", "Pillow"])
    def test_images(self, predictor, make):
        image = make(IMAGE, dtype="uint8") if make is mx.nd.array else make(IMAGE)
        assert areas(predictor.segment(image)) == [2, 4]
        panoptic_seg, *_ = segment_panoptic(predictor, image)
        assert panoptic_seg.shape == (3, 5)

    @pytest.mark.parametrize("make", [mx.nd.array, np.array, list, tuple])
    def test_points(self, predictor, make):
        predictor.set_image(IMAGE)
        assert predictor.predict(make([[1, 2], [4, 1]])).masks.sum(axis=(1, 2)).tolist() == [4, 2]

    @pytest.mark.parametrize("path", ["a/b.png", Path("a/b.png")])
    def test_a_path_is_no_image(self, predictor, path):
        with pytest.raises(ImageError, match=r"path 'a.b\.png': read the file"):
            predictor.set_image(path)


class TestDevices:
    @pytest.mark.parametrize(
        ("ctx", "expected"),
        [
            ("cpu", ("cpu", 0)),
            (0, ("cuda", 0)),
            ("0", ("cuda", 0)),
            (3, ("cuda", 3)),
            ("cuda", ("cuda", 0)),
            ("cuda:1", ("cuda", 1)),
            ("CUDA:1", ("cuda", 1)),
            ("coreml", ("coreml", 0)),
            ("directml:1", ("directml", 1)),
        ],
    )
    def test_names(self, ctx, expected):
        assert parse_device(ctx) == expected

    @pytest.mark.parametrize("ctx", ["", "gpu", "-1", -1, "0,1", "cuda:", "cuda:x", "0:1", None])
    def test_others(self, ctx):
        with pytest.raises(DeviceError, match=f"ctx {re.escape(str(ctx))}: must be"):
            parse_device(ctx)

    def test_mxnet_has_two_of_them(self):
        assert mxnet_context(Device("cpu")) == mx.cpu()
        with pytest.raises(DeviceError, match=r"coreml.*adaptis\.export"):
            mxnet_context(Device("coreml"))


def test_errors_name_no_option(predictor):
    """Who calls the API has no command line."""
    predictor.settings = replace(predictor.settings, shortest_side=30_000)
    errors = []
    for call in (
        lambda: predictor.segment(IMAGE),
        lambda: predictor.predict([[0, 0]]),
        lambda: AdaptISPredictor.load("missing.params"),
        lambda: AdaptISPredictor.load("missing.params", "gpu"),
    ):
        with pytest.raises(Exception, match=r".") as error:
            call()
        errors.append(str(error.value))
    assert not any("--" in error for error in errors), errors
