"""Class-agnostic instance segmentation: the greedy algorithm of Section 4. Arrays only.

It is given a function from points to confidence maps, so it knows no network. ``S``, the map of
segmented pixels, may start with pixels that are known not to be things (Section 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from adaptis.inference.settings import GreedySettings

# points_yx (N, 2) -> confidences (N, H, W) in [0, 1], cut beyond max_radius
Predict = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Step:
    """One iteration of the algorithm, for Figure 5."""

    point_yx: tuple[int, int]
    mask: np.ndarray  # (H, W) bool
    accepted: bool


class Aggregation:
    """The state of the algorithm: ``S`` and the running arg max of the confidences.

    Memory doesn't grow with the size of all masks: of the confidence maps only the highest value
    so far is kept at each pixel, and which object it belongs to; of a mask only sums over it.
    """

    def __init__(
        self,
        segmented: np.ndarray,
        settings: GreedySettings,
        class_probabilities: np.ndarray | None = None,
        stuff_probability: np.ndarray | None = None,
    ):
        """
        Parameters:
            segmented: (H, W) bool, pixels that belong to no object to be found.
            class_probabilities: (classes, H, W), to be summed over each object's mask; None for
                objects without a class.
            stuff_probability: (H, W); takes part in R's arg max like an object's confidence, in
                place of the rule that no object gets a pixel that is segmented from the start.
        """
        self.settings = settings
        self.segmented = segmented.copy()  # S
        if stuff_probability is None:
            self._contested, self.confidence = ~segmented, np.zeros(segmented.shape, np.float32)
        else:
            self._contested = np.ones(segmented.shape, bool)
            self.confidence = np.array(stuff_probability, np.float32)
        self.instance_map = np.zeros(segmented.shape, np.int32)  # R; 0 where there is no object
        # of instance 1, 2, ...
        self.points_yx: list[tuple[int, int]] = []
        self.scores: list[float] = []  # average confidence of the mask M
        self.class_sums: list[np.ndarray] = []  # (classes,) summed probabilities over the mask M
        self._class_probabilities = class_probabilities

    def average_confidence(self, confidence: np.ndarray) -> float:
        """Of the object mask M = C > T; 0 where it is empty."""
        mask = confidence > self.settings.mask_threshold
        return float(confidence[mask].mean()) if mask.any() else 0.0

    def add(self, point_yx, confidence: np.ndarray) -> Step:
        """Add the object of a point to the map, unless too much of it is segmented already."""
        mask = confidence > self.settings.mask_threshold
        area = np.count_nonzero(mask)
        overlap = np.count_nonzero(mask & self.segmented)
        accepted = area >= self.settings.min_area and overlap < self.settings.max_overlap * area
        if accepted:
            self.points_yx.append((int(point_yx[0]), int(point_yx[1])))
            self.scores.append(self.average_confidence(confidence))
            if self._class_probabilities is not None:
                self.class_sums.append(self._class_probabilities[:, mask].sum(axis=1))
            self.segmented |= mask
            # R = arg max C over the objects, also outside of their masks
            wins = (confidence > self.confidence) & self._contested
            if self.settings.within_masks:
                wins &= mask
            np.copyto(self.confidence, confidence, where=wins)
            self.instance_map[wins] = len(self.points_yx)
        return Step((int(point_yx[0]), int(point_yx[1])), mask, bool(accepted))


def cut_beyond(radius: float | None, points_yx: np.ndarray, confidences: np.ndarray) -> None:
    """Set confidences to 0, in place, beyond a radius around their points (``max_radius``).

    Parameters:
        radius: in pixels; None cuts nothing.
        points_yx: (N, 2) (row, col) in pixels.
        confidences: (N, H, W).
    """
    if radius is None:
        return
    rows, cols = np.ogrid[: confidences.shape[1], : confidences.shape[2]]
    for (row, col), confidence in zip(points_yx, confidences):
        confidence[(rows - row) ** 2 + (cols - col) ** 2 > radius**2] = 0


def segment_random_points(
    predict: Predict, aggregation: Aggregation, rng: np.random.Generator
) -> Iterator[Step]:
    """Random sampling (Sections 4 and 6): at each iteration several random unknown points, of whose
    masks the one with the highest average confidence is added or ignored.

    Ends when every pixel is segmented or was tried, or ``max_fruitless`` iterations in succession
    added no object. Points whose masks lost are not tried again where the winner was ignored, so it
    always ends. Yields each iteration.
    """
    untried = np.ones(aggregation.segmented.shape, bool)
    fruitless = 0
    while fruitless < aggregation.settings.max_fruitless:
        unknown = np.flatnonzero(~aggregation.segmented & untried)
        if not len(unknown):
            return
        count = min(aggregation.settings.candidates, len(unknown))
        pixels = rng.choice(unknown, count, replace=False)
        points_yx = np.stack(np.divmod(pixels, untried.shape[1]), axis=1)
        confidences = predict(points_yx)
        means = [aggregation.average_confidence(confidence) for confidence in confidences]
        best = int(np.argmax(means))
        step = aggregation.add(points_yx[best], confidences[best])
        untried.flat[pixels if not step.accepted else pixels[best]] = False
        fruitless = 0 if step.accepted else fruitless + 1
        yield step


def segment_proposals(
    predict: Predict, aggregation: Aggregation, points_yx: np.ndarray, points_per_batch: int
) -> Iterator[Step]:
    """Point proposals in order (Section 5), without those that are segmented by the time: at each
    iteration, of the next ``proposal_candidates`` the one whose mask has the highest average
    confidence is added or ignored, as of random points; with one candidate, the next.

    ``points_per_batch`` more than are compared are predicted ahead, each once: the same result as
    one at a time. Yields each iteration.
    """
    count = aggregation.settings.proposal_candidates
    remaining = [tuple(point) for point in points_yx]
    predicted: dict[tuple, tuple[float, np.ndarray]] = {}  # average confidence, and the map
    while remaining := [point for point in remaining if not aggregation.segmented[point]]:
        if any(point not in predicted for point in remaining[:count]):
            ahead = remaining[: count - 1 + points_per_batch]
            predicted = {point: predicted[point] for point in ahead if point in predicted}
            new = [point for point in dict.fromkeys(ahead) if point not in predicted]
            for point, confidence in zip(new, predict(np.array(new))):
                average = aggregation.average_confidence(confidence)
                predicted[point] = average, confidence.copy()  # a view would keep its whole batch
        best = max(remaining[:count], key=lambda point: predicted[point][0])
        remaining.remove(best)
        yield aggregation.add(best, predicted[best][1])
