"""The image that is open in the browser, and the objects that are kept of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from adaptis.errors import AdaptISError
from adaptis.inference.iterations import Frame, IterationRecorder
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.pictures.drawing import draw_frame
from adaptis.preprocessing import resize, resize_labels, scale_points
from adaptis.segmenting.clicks import thing_category
from adaptis.segmenting.objects import Segmentation, describe, instances_of

MAX_FRAMES = 24  # iterations of the greedy algorithm that are kept to be looked at


class DemoError(AdaptISError):
    """What was asked for can't be done with the image as it is; says why and what to do."""


class Stopwatch:
    """Attributes: milliseconds, once its context has ended."""

    milliseconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.milliseconds = 1000 * (time.perf_counter() - start)


class Workspace:
    """One image at a time; used by one thread at a time, as the predictor is.

    Attributes:
        predictor: of the network.
        number: of the image that is open, 0 before the first.
        name: of its file.
        image: (H, W, 3) uint8 RGB.
        label_map: (H, W) int32, 0 background, else the id of a kept object.
        frames, iterations: of the last segmentation: the iterations of the greedy algorithm that
            can be looked at, and the number of all.
    """

    frames: list[Frame]
    _kept: dict[int, dict]  # id -> category_id and score

    def __init__(self, predictor: AdaptISPredictor):
        self.predictor = predictor
        self.number = 0
        self._close()

    def open(self, name: str, image: np.ndarray) -> float:
        """Run the backbone on an image (H, W, 3) uint8 RGB; nothing is kept of it yet.

        Returns the milliseconds it took, the semantic branch included: MXNet computes when a result
        is asked for. Raises ImageError.
        """
        self._close()
        watch = Stopwatch()
        with watch.running():
            self.predictor.set_image(image)
            self.predictor.class_probabilities()
        self.number += 1
        self.name, self.image = name, image
        self.label_map = np.zeros(image.shape[:2], np.int32)
        return watch.milliseconds

    def confidence(self, x: float, y: float) -> tuple[np.ndarray, float]:
        """The confidence map of a point, (H, W) uint8 of 255ths, and the milliseconds of the head.
        Raises ImageError for a point outside."""
        watch = Stopwatch()
        with watch.running():
            prediction = self.predictor.predict([[x, y]])
        return np.rint(255 * prediction.confidences[0]).astype(np.uint8), watch.milliseconds

    def keep(self, x: float, y: float, mask_threshold: float) -> int:
        """Keep the object of a point, without the pixels of those kept before, and return its id.

        As in the greedy algorithm (Section 4) it is refused where too much of it is taken.
        Raises DemoError, also for a network without classes of objects; ImageError for a point
        outside.
        """
        prediction = self.predictor.predict([[x, y]], mask_threshold=mask_threshold)
        mask = prediction.masks[0]
        if not mask.any():
            raise DemoError(
                f"no object at ({x:.0f}, {y:.0f}): the confidence is {mask_threshold:g} at most "
                "everywhere; lower T or click elsewhere"
            )
        free = mask & (self.label_map == 0)
        taken = 1 - np.count_nonzero(free) / np.count_nonzero(mask)
        if taken >= self.predictor.settings.greedy.max_overlap:
            raise DemoError(
                f"{taken:.0%} of the object at ({x:.0f}, {y:.0f}) are in kept ones already; "
                "shift-click removes those"
            )
        working_mask = resize_labels(mask, self.predictor.working_image.shape[:2])
        category_id = thing_category(self.predictor, working_mask)
        if category_id is None:
            raise DemoError("the network has classes of stuff alone: no object can be kept")
        number = max(self._kept, default=0) + 1
        self.label_map[free] = number
        self._kept[number] = {"category_id": category_id, "score": float(prediction.scores[0])}
        return number

    def remove(self, x: float, y: float) -> int:
        """Remove the kept object at a point and return its id. Raises DemoError where there is
        none."""
        height, width = self.label_map.shape
        row, col = round(y), round(x)
        number = 0
        if 0 <= row < height and 0 <= col < width:
            number = int(self.label_map[row, col])
        if not number:
            raise DemoError(f"no object is kept at ({x:.0f}, {y:.0f})")
        self.label_map[self.label_map == number] = 0
        del self._kept[number]
        return number

    def clear(self) -> None:
        """Remove all kept objects."""
        self.label_map[:] = 0
        self._kept = {}

    def segment(self, mask_threshold: float) -> float:
        """Keep what the greedy algorithm finds in place of what was kept; ``frames`` has its
        iterations. Returns the milliseconds it took."""
        recorder, watch = IterationRecorder(MAX_FRAMES), Stopwatch()
        with watch.running():
            panoptic_seg, segments = self.predictor.panoptic(
                on_step=recorder, mask_threshold=mask_threshold
            )
        found = instances_of(panoptic_seg, segments, self.predictor.classes)
        self.label_map, self.frames = found.label_map, recorder.frames
        self.iterations = recorder.iterations
        self._kept = {
            record["id"]: {k: record[k] for k in ("category_id", "score")}
            for record in found.objects
        }
        return watch.milliseconds

    def iteration_picture(self, frame: Frame) -> np.ndarray:
        """(h, w, 3) uint8 RGB, see ``draw_frame``, at the size the image was scaled to."""
        return draw_frame(self.predictor.working_image, frame)

    def proposals(self) -> tuple[np.ndarray, np.ndarray]:
        """The proposal map (H, W) uint8 of 255ths and its peaks (N, 2) (x, y), at image size."""
        scores, peaks_xy = self.predictor.proposals()
        size = self.image.shape[0], self.image.shape[1]
        peaks_yx = scale_points(peaks_xy[:, ::-1], scores.shape, size)
        levels = np.rint(255 * np.clip(resize(scores, size), 0, 1)).astype(np.uint8)
        return levels, peaks_yx[:, ::-1]

    def segmentation(self) -> Segmentation:
        """What is kept."""
        described = describe(self.label_map)
        objects = [{**described[id_], **self._kept[id_]} for id_ in sorted(described)]
        return Segmentation(self.label_map, objects)

    def _close(self) -> None:
        self.predictor.reset_image()
        self.name = ""
        self.image = np.zeros((0, 0, 3), np.uint8)
        self.label_map = np.zeros((0, 0), np.int32)
        self.frames = []
        self.iterations = 0
        self._kept = {}
