"""Inference: one pass of the backbone an image, then the head for any points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import mxnet as mx
import numpy as np

from adaptis.arguments import devices
from adaptis.compat import give_back_memory
from adaptis.errors import AdaptISError
from adaptis.inference.fusion import classified_instances, fuse_panoptic
from adaptis.inference.greedy import Aggregation, Step, segment_proposals, segment_random_points
from adaptis.inference.proposals import find_local_maxima, proposal_score_map
from adaptis.inference.settings import InferenceSettings
from adaptis.network.model import AdaptIS
from adaptis.preprocessing import (
    MAX_SIDE,
    normalize_image,
    resize,
    resize_labels,
    scale_points,
    scaled_size,
)
from adaptis.weights import CheckpointError, read_weights, set_parameters

MAX_PIXELS = 100_000_000  # beyond it the features alone take tens of GB
CPU_PASS_PIXELS = 2**14  # of a pass's confidence maps; what outgrows the caches takes longer


class ImageError(AdaptISError, ValueError):
    """An image or a point the predictor can't take; says what was given and what is needed."""


def check_image(image: np.ndarray) -> None:
    """Raise ImageError for anything but (H, W, 3) uint8 of at least a pixel."""
    shape, dtype = np.shape(image), getattr(image, "dtype", type(image).__name__)
    if len(shape) != 3 or shape[2] != 3 or dtype != np.uint8 or 0 in shape:
        raise ImageError(
            f"the image has shape {shape} and type {dtype}; it must be "
            "(height, width, 3) and uint8, RGB, of at least 1 pixel"
        )


class Prediction(NamedTuple):
    """Masks of single points, at image size."""

    masks: np.ndarray  # (N, H, W) bool: confidence > T
    confidences: np.ndarray  # (N, H, W) float32 in [0, 1]
    logits: np.ndarray  # (N, H, W) float32
    scores: np.ndarray  # (N,) float32, average confidence within the mask, 0 where it is empty


class AdaptISPredictor:
    """Segments images with a trained network.

    Parameters:
        network: AdaptIS with its parameters, on ``context``; it is hybridized.
        description: of a weights file: mean, std, classes and inference settings.
        context: device.
    """

    def __init__(self, network: AdaptIS, description: dict, context: mx.Context):
        self.network, self.context = network, context
        self.weights_sha256 = None  # of the file it was loaded from, for records
        self.settings = InferenceSettings.from_description(description.get("inference", {}))
        self.classes = description["classes"]
        self._mean, self._std = description["mean"], description["std"]
        self._hybridize()
        self.reset_image()

    @classmethod
    def load(cls, weights: Path | str, ctx: str = "cpu") -> AdaptISPredictor:
        """Load a weights file of this project, which knows its network, or one of the authors'.

        Parameters:
            weights: path of a .params file.
            ctx: "cpu" or a GPU id.

        Raises CheckpointError when the file is damaged or isn't one of this project's, DeviceError
        where there is no such GPU.
        """
        # the one place where adaptis imports from models
        from models.authors import describe_authors, to_our_names
        from models.build import build_network

        arrays, description, sha256 = read_weights(weights)
        description = description or describe_authors(arrays)
        if "network" not in description:
            raise CheckpointError(
                f"{weights}: doesn't say which network it is for; train it with this project"
            )
        context = devices(ctx)[0]
        network = build_network(description["network"])
        network.initialize(ctx=context)
        set_parameters(network, to_our_names(arrays), weights)
        try:
            predictor = cls(network, description, context)
        except ValueError as error:
            raise CheckpointError(
                f"{weights}: its inference settings can't be used: {error}; train it with this "
                "version of the project"
            ) from error
        predictor.weights_sha256 = sha256
        return predictor

    def set_image(self, image: np.ndarray) -> None:
        """Run the backbone on an image, twice with flip; everything else reuses its features.

        Parameters:
            image: (H, W, 3) uint8 RGB.

        Raises ImageError for another shape, type or a size beyond MAX_PIXELS, as it is or scaled.
        """
        check_image(image)
        working_size = self.scaled_size(*image.shape[:2])
        for height, width in (image.shape[:2], working_size):
            if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
                raise ImageError(
                    f"the image has {height}x{width} pixels, as given or as scaled by the "
                    f"settings; it must have at most {MAX_PIXELS}, and {MAX_SIDE} on a side: "
                    "scale it down, cut it or use tiles"
                )
        is_new_size = working_size != self._working_size
        self.reset_image()
        if is_new_size:
            give_back_memory()
        self.image_size, self._working_size = image.shape[:2], working_size
        self.working_image = image = resize(image, self._working_size)
        views = [image, image[:, ::-1]] if self.settings.flip else [image]
        self._views = [
            self.network.encode(
                mx.nd.array(normalize_image(v, self._mean, self._std)[None], ctx=self.context)
            )
            for v in views
        ]

    def reset_image(self) -> None:
        """Forget the image and its features."""
        self.image_size = self._working_size = None  # (height, width); given, and scaled
        self.working_image = None
        self._views = []
        self._class_probabilities = self._class_map = None

    def predict(self, points_xy) -> Prediction:
        """Masks of the objects at points.

        Parameters:
            points_xy: (N, 2) (x, y) in pixels, or one point alone.

        Raises ImageError without an image, for another shape, or for a point outside of the image.
        """
        height, width = self._required_size()
        points_xy = np.atleast_2d(np.asarray(points_xy, np.float32))
        if not points_xy.size:
            points_xy = points_xy.reshape(0, 2)
        if points_xy.ndim != 2 or points_xy.shape[1] != 2:
            raise ImageError(f"points have shape {points_xy.shape}; it must be (N, 2), (x, y) each")
        outside = (points_xy < 0) | (points_xy > (width - 1, height - 1)) | np.isnan(points_xy)
        if outside.any():
            raise ImageError(
                f"point (x, y) = {tuple(points_xy[outside.any(axis=1)][0].tolist())} lies outside "
                f"the image of width {width} and height {height}"
            )
        points_yx = scale_points(points_xy[:, ::-1], self.image_size, self._working_size)
        confidences = self.confidences(points_yx)
        if self._working_size != self.image_size:
            confidences = [resize(c, self.image_size) for c in confidences]
            confidences = np.array(confidences, np.float32).reshape(-1, height, width)
        masks = confidences > self.settings.greedy.mask_threshold
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
        self._required_size()
        if self._class_probabilities is None:
            self._class_probabilities = self._over_views(
                lambda encoded, _: self.network.semantics(encoded).softmax(axis=1)
            )[0]
        return self._class_probabilities

    def proposals(self) -> tuple[np.ndarray, np.ndarray]:
        """The point proposal map and its peaks (Section 5), views averaged.

        Returns the scores (H, W) float32 in [0, 1], 0 on stuff, and the peaks (N, 2) int64
        (row, col), see ``find_local_maxima``.
        """
        self._required_size()
        logits = self._over_views(lambda encoded, _: self.network.proposals(encoded))[0, 0]
        scores = proposal_score_map(logits, self.settings.proposal_blur)
        scores[self.stuff_mask()] = 0
        return scores, find_local_maxima(scores, self.settings.peak_threshold)

    def stuff_mask(self) -> np.ndarray:
        """(H, W) bool: where thing classes together are improbable; segmented from the start."""
        is_thing = np.array([info["isthing"] for info in self.classes])
        probability = self.class_probabilities()[is_thing].sum(axis=0)
        return probability < self.settings.thing_threshold

    def aggregate(self, on_step: Callable[[Step, Aggregation], None] = lambda *_: None):
        """Run the greedy algorithm (Sections 4 and 5) and return its final Aggregation.

        Parameters:
            on_step: called after each iteration, for pictures.
        """
        settings = self.settings
        aggregation = Aggregation(self.stuff_mask(), settings.greedy)
        if settings.points == "random":
            rng = np.random.default_rng(settings.seed)
            steps = segment_random_points(self.confidences, aggregation, rng)
        else:
            _, points_yx = self.proposals()
            steps = segment_proposals(
                self.confidences, aggregation, points_yx, self._points_per_pass()
            )
        for step in steps:
            on_step(step, aggregation)
        return aggregation

    def segment(self) -> list[dict]:
        """All instances of the image, best first, none overlapping.

        Returns records with segmentation (H, W) bool, area (pixels), bbox [x, y, width, height],
        score (average confidence), point_coords [[x, y]] and category_id.
        """
        aggregation = self.aggregate()
        instance_map = resize_labels(aggregation.instance_map, self.image_size)
        records = []
        for found in classified_instances(aggregation, self.class_probabilities(), self.classes):
            mask = instance_map == found["instance"]
            if not mask.any():
                continue  # scaling down lost it
            point_yx = scale_points(found["point_yx"], self._working_size, self.image_size)
            records.append(
                {
                    "segmentation": mask,
                    **_extent(mask),
                    "score": found["score"],
                    "point_coords": [point_yx[::-1].tolist()],
                    "category_id": found["category_id"],
                }
            )
        return records

    def panoptic(self) -> tuple[np.ndarray, list[dict]]:
        """The panoptic segmentation (Section 5) at image size, see ``fuse_panoptic``."""
        aggregation, probabilities = self.aggregate(), self.class_probabilities()
        panoptic_seg, segments = fuse_panoptic(
            aggregation.instance_map,
            classified_instances(aggregation, probabilities, self.classes),
            probabilities,
            self._working_class_map(),
            self.classes,
        )
        panoptic_seg = resize_labels(panoptic_seg, self.image_size)
        left = set(np.unique(panoptic_seg).tolist())  # scaling down may lose small segments
        return panoptic_seg, [segment for segment in segments if segment["id"] in left]

    def class_map(self) -> np.ndarray:
        """The semantic branch's most probable class index, (H, W) int32 at image size."""
        return resize_labels(self._working_class_map(), self.image_size)

    def _working_class_map(self) -> np.ndarray:
        if self._class_map is None:
            self._class_map = self.class_probabilities().argmax(axis=0).astype(np.int32)
        return self._class_map

    def _hybridize(self) -> None:
        """What runs once an image gives its memory back; what runs for each point keeps it."""
        self.network.hybridize()
        if self.context.device_type == "cpu":  # BatchNorm, ReLU and sums within convolutions
            self.network.backbone.hybridize(backend="MKLDNN")
        self.network.selection.hybridize(static_alloc=True)

    def _points_per_pass(self) -> int:
        most = self.settings.points_per_batch
        if self.context.device_type == "cpu":
            height, width = self._working_size
            most = min(most, CPU_PASS_PIXELS // (height * width))
        return max(1, most)

    def scaled_size(self, height: int, width: int) -> tuple[int, int]:
        """What ``set_image`` scales an image of this size to: (height, width) in pixels."""
        settings = self.settings
        return scaled_size((height, width), settings.shortest_side, settings.longest_side)

    def confidences(self, points_yx: np.ndarray) -> np.ndarray:
        """Confidence maps (N, h, w) float32 of points (N, 2) (row, col), both in pixels of
        ``working_image``."""
        self._required_size()
        height, width = self._working_size
        batches = []
        step = self._points_per_pass()
        for start in range(0, len(points_yx), step):
            points = points_yx[start : start + step]
            views = [points, np.stack([points[:, 0], width - 1 - points[:, 1]], axis=1)]
            views = [mx.nd.array(v[None], ctx=self.context, dtype="float32") for v in views]
            batches.append(
                self._over_views(
                    lambda encoded, i, views=views: self.network.instances(
                        encoded, views[i]
                    ).sigmoid()
                )[:, 0]
            )
        return np.concatenate(batches) if batches else np.zeros((0, height, width), np.float32)

    def _over_views(self, run: Callable) -> np.ndarray:
        """The average over the views of (N, C, H, W) results, the mirrored one mirrored back."""
        result, *mirrored = (run(encoded, i).asnumpy() for i, encoded in enumerate(self._views))
        for other in mirrored:
            result += other[..., ::-1]
            result /= 2
        return result

    def _required_size(self) -> tuple[int, int]:
        if self.image_size is None:
            raise ImageError("no image is set: call set_image(image) first")
        return self.image_size


def _extent(mask: np.ndarray) -> dict:
    """area in pixels and bbox [x, y, width, height] of a mask (H, W) bool."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return {"area": int(np.count_nonzero(mask)), "bbox": [x, y, width, height]}
