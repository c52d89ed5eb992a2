"""What a network says of one image: the backbone runs once, everything else reuses its features."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np

from adaptis.inference.backend import Backend
from adaptis.inference.greedy import cut_beyond
from adaptis.inference.images import ImageError
from adaptis.inference.settings import InferenceSettings
from adaptis.preprocessing import Size, normalize_image, resize

CPU_PASS_PIXELS = 2**14  # of a pass's confidence maps; what outgrows the caches takes longer


class Views:
    """An image as the network sees it and, with flip, its mirror image; results are averages.

    Parameters:
        backend: what computes the network.
        image: (H, W, 3) uint8 RGB.
        size: (height, width) in pixels to which it is scaled.
        mean, std: three numbers each, of the training's normalisation.
        flip: average over the mirror image too.

    Attributes:
        original: the image as given, (H, W, 3) uint8 RGB.
        image_size: its (height, width) in pixels.
        image: the scaled one, (h, w, 3) uint8 RGB.
        size: its (height, width).
        encoded: what the backend keeps of each view.
    """

    def __init__(self, backend: Backend, image: np.ndarray, size: Size, mean, std, flip: bool):
        self._backend = backend
        self.original = image = image.copy()  # the caller may draw on theirs
        self.image_size: Size = (image.shape[0], image.shape[1])
        self.image = resize(image, size)
        self.size = size
        views = [self.image, self.image[:, ::-1]] if flip else [self.image]
        self.encoded = [backend.encode(normalize_image(view, mean, std)) for view in views]

    @cached_property
    def class_probabilities(self) -> np.ndarray:
        """Softmax of the semantic branch: (classes, h, w) float32, stuff classes first."""
        return self._average(lambda encoded, _: self._backend.class_probabilities(encoded))

    @cached_property
    def class_map(self) -> np.ndarray:
        """(h, w) int32, index of the most probable class."""
        return self.class_probabilities.argmax(axis=0).astype(np.int32)

    def proposal_logits(self) -> np.ndarray:
        """The proposal branch's output, (h, w) float32."""
        return self._average(lambda encoded, _: self._backend.proposal_logits(encoded))

    def confidences(self, points_yx: np.ndarray, settings: InferenceSettings) -> np.ndarray:
        """Confidence maps (N, h, w) float32 of points (N, 2) (row, col), both in pixels of
        ``image``; 0 beyond the settings' ``max_radius``."""
        height, width = self.size
        batches = []
        step = self.points_per_pass(settings)
        for start in range(0, len(points_yx), step):
            points = points_yx[start : start + step]
            views = [points, np.stack([points[:, 0], width - 1 - points[:, 1]], axis=1)]
            views = [np.asarray(view, np.float32) for view in views]
            batches.append(
                self._average(
                    lambda encoded, i, views=views: self._backend.confidences(
                        encoded, views[i], settings.head_window
                    )
                )
            )
        if not batches:
            return np.zeros((0, height, width), np.float32)
        confidences = np.concatenate(batches)
        cut_beyond(settings.greedy.max_radius, points_yx, confidences)
        return confidences

    def points_per_pass(self, settings: InferenceSettings) -> int:
        """How many points go through the head at once: on a CPU what its caches hold."""
        most = settings.points_per_batch
        if self._backend.device.kind == "cpu":
            longest = settings.head_window or max(self.size)
            height, width = (min(length, longest) for length in self.size)
            most = min(most, CPU_PASS_PIXELS // (height * width))
        return max(1, most)

    def _average(self, run: Callable) -> np.ndarray:
        """Of the views' results (..., w), the mirrored one mirrored back. Raises ImageError where
        they aren't numbers."""
        result, *mirrored = (run(encoded, i) for i, encoded in enumerate(self.encoded))
        for other in mirrored:
            result += other[..., ::-1]
            result /= 2
        if not np.isfinite(result).all():
            raise ImageError(
                "the network computes no finite numbers for this image: one exported with --fp16 "
                "may leave the range of float16 where images are unlike those it was trained on; "
                "export it without"
            )
        return result
