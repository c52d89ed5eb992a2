"""Inference: one pass of the backbone an image, then the head for any points."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adaptis.arguments import parse_device
from adaptis.compat import give_back_memory
from adaptis.inference.backend import Backend
from adaptis.inference.fusion import classified_instances, fuse_panoptic, resize_panoptic
from adaptis.inference.greedy import (
    Aggregation,
    Step,
    segment_proposals,
    segment_random_points,
)
from adaptis.inference.images import ImageError, as_image, as_points, check_pixels
from adaptis.inference.magnify import magnified
from adaptis.inference.proposals import find_local_maxima, proposal_score_map
from adaptis.inference.records import instance_records
from adaptis.inference.settings import InferenceSettings
from adaptis.inference.views import Views
from adaptis.preprocessing import (
    Size,
    check_normalization,
    object_areas,
    resize,
    resize_labels,
    scale_points,
    scaled_size,
)
from adaptis.weights import CheckpointError

OF_SET_IMAGE = ("flip", "shortest_side", "longest_side")  # settings that decide what is encoded
IN_TILES = "adaptis.inference.tiles.segment_panoptic(predictor, image) works in tiles"
OnStep = Callable[[Step, Aggregation], None]
THE_SET_ONE = object()  # in place of an image; None is what cv2.imread gives of a broken file


class Prediction(NamedTuple):
    """Masks of single points, at image size."""

    masks: np.ndarray  # (N, H, W) bool: confidence > T
    confidences: np.ndarray  # (N, H, W) float32 in [0, 1]
    logits: np.ndarray  # (N, H, W) float32
    scores: np.ndarray  # (N,) float32, average confidence within the mask, 0 where it is empty


class AdaptISPredictor:
    """Segments images with a trained network. It holds one image, so each thread needs its own.

    Parameters:
        backend: what computes the network.
        description: of a weights file: mean, std, classes, inference settings and intensity.

    Attributes:
        settings: InferenceSettings.
        classes: name, category_id and isthing of each, stuff first.
        normalization: (mean, std), three numbers each, of RGB in [0, 1].
        intensity: by which an image of any depth becomes the 8-bit RGB that the network knows, see
            ``adaptis.intensity.to_rgb8``; "full" leaves 8 bits as they are.
        backend: what computes the network.
        weights_sha256: of the file it was loaded from, for records; None without one.
        num_proposals, num_dropped: points proposed so far, and peaks that the setting max_proposals
            left out: an image for which num_dropped grows may have more objects than were found.
    """

    _views: Views | None  # of the image that is set

    def __init__(self, backend: Backend, description: dict):
        self.backend = backend
        self.weights_sha256: str | None = None
        self.settings = InferenceSettings.from_description(description.get("inference", {}))
        self.classes = description["classes"]
        self.intensity = description.get("intensity", "full")
        self._is_thing = np.array([info["isthing"] for info in self.classes], bool)
        self.num_proposals = self.num_dropped = 0
        self.normalization = description.get("mean"), description.get("std")
        check_normalization(*self.normalization)
        self.reset_image()

    @classmethod
    def load(cls, weights: Path | str, ctx: str | int = "cpu") -> AdaptISPredictor:
        """Load a weights file of this project, which knows its network, or one of the authors'.

        Parameters:
            weights: path of a .params file, for MXNet, or of a .onnx file of ``adaptis.export``,
                for ONNX Runtime. Only that library is imported.
            ctx: "cpu", "cuda", "cuda:1", a GPU id such as 0 or "0"; with .onnx files "coreml" and
                "directml" too.

        Raises CheckpointError when the file is damaged or isn't one of these, DeviceError
        where there is no such device.
        """
        device = parse_device(ctx)
        if Path(weights).suffix.lower() == ".onnx":
            from adaptis.inference.onnx_backend import ONNXBackend

            load: Callable[..., tuple[Backend, dict, str]] = ONNXBackend.load
        else:
            from adaptis.inference.mxnet_backend import MXNetBackend

            load = MXNetBackend.load
        backend, description, sha256 = load(weights, device)
        try:
            predictor = cls(backend, description)
        except ValueError as error:
            raise CheckpointError(
                f"{weights}: its inference settings, mean or std can't be used: {error}; train it "
                "with this version of the project"
            ) from error
        predictor.weights_sha256 = sha256
        return predictor

    def set_image(self, image: np.ndarray) -> None:
        """Run the backbone on an image, twice with flip; everything else reuses its features.

        Parameters:
            image: (H, W, 3) uint8 RGB; an array of numpy or MXNet.

        Raises ImageError for another shape, type or a size beyond MAX_INPUT_PIXELS, as it is or
        scaled.
        """
        image = as_image(image)
        working_size = self.scaled_size(*image.shape[:2])
        for size in (image.shape[:2], working_size):
            check_pixels(*size)
        is_new_size = self._views is None or self._views.size != working_size
        self.reset_image()
        if is_new_size:
            give_back_memory()
        self._views = self._encode(image)

    def reset_image(self) -> None:
        """Forget the image and its features."""
        self._views = None

    def predict(
        self, points_xy=None, *, point_coords=None, mask_threshold: float | None = None
    ) -> Prediction:
        """Masks of the objects at points.

        N points are N objects, each with a mask of its own. (In segment-anything they are hints to
        one object.)

        Parameters:
            points_xy: (N, 2) (x, y) in pixels, or one point alone; arrays of numpy or MXNet, lists.
            point_coords: the same, under segment-anything's name.
            mask_threshold: T; default: of the settings.

        Returns a Prediction of the N points, in their order and at image size: masks (N, H, W)
        bool, confidences and logits (N, H, W) float32, scores (N,) float32. Where masks overlap
        both have the pixels; ``segment`` decides to which object they belong.

        Raises ImageError without an image, for another shape, or for a point outside of the image,
        ValueError for a mask_threshold outside of (0, 1).
        """
        if (points_xy is None) == (point_coords is None):
            raise TypeError("predict needs points_xy, or point_coords in its place")
        given = {} if mask_threshold is None else {"mask_threshold": mask_threshold}
        views, settings = self._set_views(), self.settings.with_options(**given)
        image_size = views.image_size
        points_xy = as_points(point_coords if points_xy is None else points_xy, *image_size)
        points_yx = scale_points(points_xy[:, ::-1], image_size, views.size)
        confidences = views.confidences(points_yx, settings)
        if views.size != image_size:
            scaled = [resize(c, image_size) for c in confidences]
            confidences = np.array(scaled, np.float32).reshape(-1, *image_size)
        masks = confidences > settings.greedy.mask_threshold
        sums = (confidences * masks).sum(axis=(1, 2))
        bounded = np.clip(confidences, 1e-7, 1 - 1e-7)
        return Prediction(
            masks,
            confidences,
            np.log(bounded / (1 - bounded)),
            (sums / np.maximum(masks.sum(axis=(1, 2)), 1)).astype(np.float32),
        )

    def class_probabilities(self) -> np.ndarray:
        """Softmax of the semantic branch: (classes, h, w) float32, stuff classes first, at the
        size the image was scaled to."""
        return self._set_views().class_probabilities

    def proposals(self) -> tuple[np.ndarray, np.ndarray]:
        """The point proposal map and its peaks (Section 5), views averaged.

        Returns the scores (h, w) float32 in [0, 1], at the size the image was scaled to, and the
        peaks (N, 2) int64 (x, y) in its pixels, see ``proposal_score_map`` and
        ``find_local_maxima``; of more than the setting max_proposals the highest, and
        ``num_dropped`` grows by the others.
        """
        logits = self._set_views().proposal_logits()
        settings = self.settings
        things = self.class_probabilities()[self._is_thing].max(axis=0, initial=0)
        cleared = things < settings.thing_threshold
        scores = proposal_score_map(logits, settings.proposal_blur, cleared)
        tolerance = settings.flood_tolerance
        peaks_yx = find_local_maxima(scores, settings.peak_threshold, tolerance=tolerance)
        proposed_yx = peaks_yx[: settings.max_proposals]
        self.num_dropped += len(peaks_yx) - len(proposed_yx)
        return scores, proposed_yx[:, ::-1]

    def stuff_mask(self) -> np.ndarray:
        """(h, w) bool, at the size the image was scaled to: where the most probable class is
        stuff; segmented from the start."""
        return ~self._is_thing[self._set_views().class_map]

    def aggregate(self, on_step: OnStep = lambda *_: None) -> Aggregation:
        """Run the greedy algorithm (Sections 4 and 5) and return its final Aggregation.

        Parameters:
            on_step: called after each iteration, for pictures.
        """
        views, settings = self._set_views(), self.settings
        probabilities, stuff_probability = views.class_probabilities, None
        if settings.objects_over_stuff:
            stuff_probability = probabilities[~self._is_thing].sum(axis=0)
        aggregation = Aggregation(
            self.stuff_mask(), settings.greedy, probabilities, stuff_probability
        )

        def predict(points_yx: np.ndarray) -> np.ndarray:
            return views.confidences(points_yx, settings)

        if settings.points == "random":
            rng = np.random.default_rng(settings.seed)
            steps = segment_random_points(predict, aggregation, rng)
        else:
            _, points_xy = self.proposals()
            self.num_proposals += len(points_xy)
            steps = segment_proposals(
                predict, aggregation, points_xy[:, ::-1], views.points_per_pass(settings)
            )
        for step in steps:
            on_step(step, aggregation)
        return aggregation

    def segment(self, image=THE_SET_ONE, *, rle: bool = False, **settings) -> list[dict]:
        """All instances of the image, best first, none overlapping; of the highest max_proposals
        peaks where the settings limit them, see ``num_dropped``. Where they are smaller than the
        setting object_diameter the image is segmented once more, scaled up.

        Parameters:
            image: (H, W, 3) uint8 RGB, which is set; without one, that of ``set_image``.
            rle: segmentations as COCO's compressed RLE, {"size": [H, W], "counts": text}.
            settings: other values of ``InferenceSettings`` and ``GreedySettings`` for this call, by
                name: ``predictor.segment(image, mask_threshold=.5)``.

        Returns records with segmentation (H, W) bool, area (pixels), bbox [x, y, width, height],
        score (average confidence), point_coords [[x, y]] and category_id.

        Raises ImageError as ``set_image``, and without an image.
        """
        with self._using(image, settings):
            aggregation, views = self._aggregate_magnified()
            found = classified_instances(aggregation, self.classes)
            return instance_records(aggregation.instance_map, found, views.image_size, rle)

    def segment_many(
        self, images: Iterable[np.ndarray], *, rle: bool = False, **settings
    ) -> Iterator[list[dict]]:
        """The records of ``segment`` for each of the images, which are taken one at a time. Ends
        with an ImageError that says which can't be segmented, counted from 0."""
        for index, image in enumerate(images):
            try:
                records = self.segment(image, rle=rle, **settings)
            except ImageError as error:
                raise ImageError(f"image {index}: {error}") from error
            yield records

    def panoptic(
        self, image=THE_SET_ONE, *, on_step: OnStep = lambda *_: None, **settings
    ) -> tuple[np.ndarray, list[dict]]:
        """The panoptic segmentation (Section 5) at image size, see ``fuse_panoptic``.

        Parameters:
            image, settings: as those of ``segment``.
            on_step: as that of ``aggregate``; an image that is segmented once more begins anew.
        """
        with self._using(image, settings):
            aggregation, views = self._aggregate_magnified(on_step)
            panoptic_seg, segments = fuse_panoptic(
                aggregation.instance_map,
                classified_instances(aggregation, self.classes),
                views.class_probabilities,
                views.class_map,
                self.classes,
            )
            return resize_panoptic(panoptic_seg, segments, views.image_size)

    def class_map(self) -> np.ndarray:
        """The semantic branch's most probable class index, (H, W) int32 at image size."""
        views = self._set_views()
        return resize_labels(views.class_map, views.image_size)

    def _aggregate_magnified(self, on_step: OnStep = lambda *_: None) -> tuple[Aggregation, Views]:
        """The Aggregation of ``aggregate``, or that of the image scaled up where its objects are
        small, see ``magnified``; and the views that it is of."""
        before = self.num_proposals, self.num_dropped
        aggregation, views, settings = self.aggregate(on_step), self._set_views(), self.settings
        larger = magnified(settings, views.size, object_areas(aggregation.instance_map))
        if larger is None:
            return aggregation, views
        self.settings = larger
        self.num_proposals, self.num_dropped = before  # of what is returned
        try:
            self._views = self._encode(views.original)
            return self.aggregate(on_step), self._views
        finally:
            self.settings, self._views = settings, views

    def _encode(self, image: np.ndarray) -> Views:
        """An image (H, W, 3) uint8 RGB as the settings scale it, through the backbone."""
        size, flip = self.scaled_size(*image.shape[:2]), self.settings.flip
        return Views(self.backend, image, size, *self.normalization, flip)

    @contextlib.contextmanager
    def _using(self, image, settings: dict) -> Iterator[None]:
        """Other settings for the time being, and an image set with them where one is given."""
        if image is THE_SET_ONE and (late := set(settings) & set(OF_SET_IMAGE)):
            raise ImageError(f"{', '.join(sorted(late))}: decided when an image is set: give both")
        if "tile_size" in settings:
            raise ImageError(f"tile_size: {IN_TILES}")
        previous = self.settings
        self.settings = previous.with_options(**settings)
        try:
            if image is not THE_SET_ONE:
                self.set_image(image)
            yield
        finally:
            self.settings = previous

    def scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """What ``set_image`` scales an image of this size to: (height, width) in pixels."""
        settings = self.settings
        return scaled_size((height, width), settings.shortest_side, settings.longest_side)

    def confidences(self, points_xy: np.ndarray) -> np.ndarray:
        """Confidence maps (N, h, w) float32 of points (N, 2) (x, y), both in pixels of
        ``working_image``; 0 beyond the settings' ``max_radius``."""
        return self._set_views().confidences(points_xy[:, ::-1], self.settings)

    @property
    def working_image(self) -> np.ndarray:
        """The image as scaled, (h, w, 3) uint8 RGB. Raises ImageError where none is set."""
        return self._set_views().image

    @property
    def image_size(self) -> Size | None:
        """(height, width) in pixels of the image that is set, as given; None without one."""
        return None if self._views is None else self._views.image_size

    def _set_views(self) -> Views:
        """Of the image that is set. Raises ImageError where none is."""
        if self._views is None:
            raise ImageError("no image is set: call set_image(image) first")
        return self._views
