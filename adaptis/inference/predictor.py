"""Inference: one pass of the backbone an image, then the head for any points."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adaptis.arguments import parse_device
from adaptis.compat import give_back_memory
from adaptis.inference.backend import Backend, Encoded
from adaptis.inference.fusion import classified_instances, fuse_panoptic
from adaptis.inference.greedy import (
    Aggregation,
    Step,
    cut_beyond,
    segment_proposals,
    segment_random_points,
)
from adaptis.inference.images import ImageError, as_image, as_points, check_pixels
from adaptis.inference.proposals import find_local_maxima, proposal_score_map
from adaptis.inference.records import instance_records
from adaptis.inference.settings import InferenceSettings
from adaptis.preprocessing import (
    Size,
    check_normalization,
    normalize_image,
    resize,
    resize_labels,
    scale_points,
    scaled_size,
)
from adaptis.weights import CheckpointError

CPU_PASS_PIXELS = 2**14  # of a pass's confidence maps; what outgrows the caches takes longer
OF_SET_IMAGE = ("flip", "shortest_side", "longest_side")  # settings that decide what is encoded
NO_IMAGE = "no image is set: call set_image(image) first"
OnStep = Callable[[Step, Aggregation], None]
THE_SET_ONE = object()  # in place of an image; None is what cv2.imread gives of a broken file


class Prediction(NamedTuple):
    """Masks of single points, at image size."""

    masks: np.ndarray  # (N, H, W) bool: confidence > T
    confidences: np.ndarray  # (N, H, W) float32 in [0, 1]
    logits: np.ndarray  # (N, H, W) float32
    scores: np.ndarray  # (N,) float32, average confidence within the mask, 0 where it is empty


class AdaptISPredictor:
    """Segments images with a trained network.

    Parameters:
        backend: what computes the network.
        description: of a weights file: mean, std, classes, inference settings and intensity.

    Attributes:
        settings: InferenceSettings.
        classes: name, category_id and isthing of each, stuff first.
        intensity: by which an image of any depth becomes the 8-bit RGB that the network knows, see
            ``adaptis.intensity.to_rgb8``; "full" leaves 8 bits as they are.
        num_proposals, num_dropped: points proposed so far, and peaks that the setting max_proposals
            left out: an image for which num_dropped grows may have more objects than were found.
    """

    image_size: Size | None  # of the image that is set
    _working_image: np.ndarray | None  # the same, scaled
    _working_size: Size | None
    _views: list[Encoded]
    _class_probabilities: np.ndarray | None
    _class_map: np.ndarray | None

    def __init__(self, backend: Backend, description: dict):
        self.backend = backend
        self.weights_sha256: str | None = None  # of the file it was loaded from, for records
        self.settings = InferenceSettings.from_description(description.get("inference", {}))
        self.classes = description["classes"]
        self.intensity = description.get("intensity", "full")
        self._is_thing = np.array([info["isthing"] for info in self.classes], bool)
        self.num_proposals = self.num_dropped = 0
        self._mean, self._std = description.get("mean"), description.get("std")
        check_normalization(self._mean, self._std)
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

        Raises ImageError for another shape, type or a size beyond MAX_PIXELS, as it is or scaled.
        """
        image = as_image(image)
        working_size = self.scaled_size(*image.shape[:2])
        for size in (image.shape[:2], working_size):
            check_pixels(*size)
        is_new_size = working_size != self._working_size
        self.reset_image()
        if is_new_size:
            give_back_memory()
        self.image_size, self._working_size = image.shape[:2], working_size
        self._working_image = image = resize(image, working_size)
        views = [image, image[:, ::-1]] if self.settings.flip else [image]
        self._views = [
            self.backend.encode(normalize_image(view, self._mean, self._std)) for view in views
        ]

    def reset_image(self) -> None:
        """Forget the image and its features."""
        self.image_size = self._working_size = None
        self._working_image = None
        self._views = []
        self._class_probabilities = self._class_map = None

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

        Raises ImageError without an image, for another shape, or for a point outside of the image.
        """
        if (points_xy is None) == (point_coords is None):
            raise TypeError("predict needs points_xy, or point_coords in its place")
        image_size, working_size = self._sizes()
        points_xy = as_points(point_coords if points_xy is None else points_xy, *image_size)
        points_yx = scale_points(points_xy[:, ::-1], image_size, working_size)
        confidences = self.confidences(points_yx)
        if working_size != image_size:
            scaled = [resize(c, image_size) for c in confidences]
            confidences = np.array(scaled, np.float32).reshape(-1, *image_size)
        if mask_threshold is None:
            mask_threshold = self.settings.greedy.mask_threshold
        masks = confidences > mask_threshold
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
        self._sizes()
        if self._class_probabilities is None:
            self._class_probabilities = self._over_views(
                lambda encoded, _: self.backend.class_probabilities(encoded)
            )
        return self._class_probabilities

    def proposals(self) -> tuple[np.ndarray, np.ndarray]:
        """The point proposal map and its peaks (Section 5), views averaged.

        Returns the scores (h, w) float32 in [0, 1], at the size the image was scaled to, and the
        peaks (N, 2) int64 (x, y) in its pixels, see ``proposal_score_map`` and
        ``find_local_maxima``; of more than the setting max_proposals the highest, and
        ``num_dropped`` grows by the others.
        """
        self._sizes()
        logits = self._over_views(lambda encoded, _: self.backend.proposal_logits(encoded))
        settings = self.settings
        things = self.class_probabilities()[self._is_thing].max(axis=0, initial=0)
        cleared = things < settings.thing_threshold
        scores = proposal_score_map(logits, settings.proposal_blur, cleared)
        peaks_yx = find_local_maxima(scores, settings.peak_threshold)
        proposed_yx = peaks_yx[: settings.max_proposals]
        self.num_dropped += len(peaks_yx) - len(proposed_yx)
        return scores, proposed_yx[:, ::-1]

    def stuff_mask(self) -> np.ndarray:
        """(H, W) bool: where the most probable class is stuff; segmented from the start."""
        return ~self._is_thing[self._working_class_map()]

    def aggregate(self, on_step: OnStep = lambda *_: None):
        """Run the greedy algorithm (Sections 4 and 5) and return its final Aggregation.

        Parameters:
            on_step: called after each iteration, for pictures.
        """
        settings = self.settings
        probabilities, stuff_probability = self.class_probabilities(), None
        if settings.objects_over_stuff:
            stuff_probability = probabilities[~self._is_thing].sum(axis=0)
        aggregation = Aggregation(
            self.stuff_mask(), settings.greedy, probabilities, stuff_probability
        )
        if settings.points == "random":
            rng = np.random.default_rng(settings.seed)
            steps = segment_random_points(self.confidences, aggregation, rng)
        else:
            _, points_xy = self.proposals()
            self.num_proposals += len(points_xy)
            steps = segment_proposals(
                self.confidences, aggregation, points_xy[:, ::-1], self._points_per_pass()
            )
        for step in steps:
            on_step(step, aggregation)
        return aggregation

    def segment(self, image=THE_SET_ONE, *, rle: bool = False, **settings) -> list[dict]:
        """All instances of the image, best first, none overlapping; of the highest max_proposals
        peaks where the settings limit them, see ``num_dropped``.

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
            aggregation = self.aggregate()
            found = classified_instances(aggregation, self.classes)
            return instance_records(aggregation.instance_map, found, self._sizes()[0], rle)

    def segment_many(
        self, images: Iterable[np.ndarray], *, rle: bool = False, **settings
    ) -> Iterator[list[dict]]:
        """The records of ``segment`` for each of the images, which are taken one at a time."""
        for image in images:
            yield self.segment(image, rle=rle, **settings)

    def panoptic(
        self, image=THE_SET_ONE, *, on_step: OnStep = lambda *_: None, **settings
    ) -> tuple[np.ndarray, list[dict]]:
        """The panoptic segmentation (Section 5) at image size, see ``fuse_panoptic``.

        Parameters:
            image, settings: as those of ``segment``.
            on_step: as that of ``aggregate``.
        """
        with self._using(image, settings):
            aggregation, probabilities = self.aggregate(on_step), self.class_probabilities()
            panoptic_seg, segments = fuse_panoptic(
                aggregation.instance_map,
                classified_instances(aggregation, self.classes),
                probabilities,
                self._working_class_map(),
                self.classes,
            )
            panoptic_seg = resize_labels(panoptic_seg, self._sizes()[0])
        left = set(np.unique(panoptic_seg).tolist())  # scaling down may lose small segments
        return panoptic_seg, [segment for segment in segments if segment["id"] in left]

    def class_map(self) -> np.ndarray:
        """The semantic branch's most probable class index, (H, W) int32 at image size."""
        return resize_labels(self._working_class_map(), self._sizes()[0])

    def _working_class_map(self) -> np.ndarray:
        if self._class_map is None:
            self._class_map = self.class_probabilities().argmax(axis=0).astype(np.int32)
        return self._class_map

    @contextlib.contextmanager
    def _using(self, image, settings: dict) -> Iterator[None]:
        """Other settings for the time being, and an image set with them where one is given."""
        if image is THE_SET_ONE and (late := set(settings) & set(OF_SET_IMAGE)):
            raise ImageError(f"{', '.join(sorted(late))}: decided when an image is set: give both")
        previous = self.settings
        self.settings = previous.with_options(**settings)
        try:
            if image is not THE_SET_ONE:
                self.set_image(image)
            yield
        finally:
            self.settings = previous

    def _points_per_pass(self) -> int:
        most = self.settings.points_per_batch
        if self.backend.device.kind == "cpu":
            _, working_size = self._sizes()
            longest = self.settings.head_window or max(working_size)
            height, width = (min(length, longest) for length in working_size)
            most = min(most, CPU_PASS_PIXELS // (height * width))
        return max(1, most)

    def scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """What ``set_image`` scales an image of this size to: (height, width) in pixels."""
        settings = self.settings
        return scaled_size((height, width), settings.shortest_side, settings.longest_side)

    def confidences(self, points_yx: np.ndarray) -> np.ndarray:
        """Confidence maps (N, h, w) float32 of points (N, 2) (row, col), both in pixels of
        ``working_image``; 0 beyond the settings' ``max_radius``."""
        _, (height, width) = self._sizes()
        batches = []
        step = self._points_per_pass()
        for start in range(0, len(points_yx), step):
            points = points_yx[start : start + step]
            views = [points, np.stack([points[:, 0], width - 1 - points[:, 1]], axis=1)]
            views = [np.asarray(view, np.float32) for view in views]
            batches.append(
                self._over_views(
                    lambda encoded, i, views=views: self.backend.confidences(
                        encoded, views[i], self.settings.head_window
                    )
                )
            )
        if not batches:
            return np.zeros((0, height, width), np.float32)
        confidences = np.concatenate(batches)
        cut_beyond(self.settings.greedy.max_radius, points_yx, confidences)
        return confidences

    def _over_views(self, run: Callable) -> np.ndarray:
        """The average over the views of results (..., W), the mirrored one mirrored back."""
        result, *mirrored = (run(encoded, i) for i, encoded in enumerate(self._views))
        for other in mirrored:
            result += other[..., ::-1]
            result /= 2
        return result

    @property
    def working_image(self) -> np.ndarray:
        """The image as scaled, (h, w, 3) uint8 RGB. Raises ImageError where none is set."""
        if self._working_image is None:
            raise ImageError(NO_IMAGE)
        return self._working_image

    def _sizes(self) -> tuple[Size, Size]:
        """(height, width) of the image that is set, as given and as scaled. Raises ImageError
        where none is."""
        if self.image_size is None or self._working_size is None:
            raise ImageError(NO_IMAGE)
        return self.image_size, self._working_size
