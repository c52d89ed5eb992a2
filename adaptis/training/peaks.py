"""What makes a peak at inference, chosen on validation images once the proposal branch is trained.

What scores a good point gets depends on the labels that the branch was trained with, on the data
and on how well it learned: of a fifth of the points marked as good, a calibrated branch answers
with .2 to .4, which inference squares. Steps between such scores are small too, and where the
branch has just begun to learn all peaks of an image are ripples to the authors' tolerance. Chosen
is what gives the best segmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from adaptis.evaluation.matching import shared_pixels
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.inference.proposals import AUTHORS_TOLERANCE
from adaptis.preprocessing import resize_labels
from adaptis.progress import progress
from adaptis.training.validation import spread


class Peaks(NamedTuple):
    """Two settings of inference."""

    peak_threshold: float
    flood_tolerance: float


CANDIDATES = [  # thresholds of sigmoid squared; the authors' are .35, and .1 for the toy problem
    Peaks(threshold, tolerance)
    for threshold in (0.35, 0.2, 0.1, 0.05, 0.03, 0.01)  # levels of .365 to .015
    for tolerance in (AUTHORS_TOLERANCE, AUTHORS_TOLERANCE / 10)
]
MOST_IMAGES = 50  # about 700 toy objects: two points of PQ apart are told apart
MOST_PROPOSALS = 200  # an image, twice what the paper finds: bounds the time with bad branches
VOID = -1  # id of pixels without truth, where they are counted
MATCH = 0.5  # IoU above which a found object is a true one, as in PQ


class _Stopped(Exception):
    """Leaves the greedy algorithm."""


def choose_peaks(
    predictor: AdaptISPredictor,
    dataset,
    images: int,
    candidates: Sequence[Peaks],
    is_stopped: Callable[[], bool] = lambda: False,
) -> tuple[Peaks, dict[str, float]] | None:
    """Segment some images from the peaks of each candidate.

    Parameters:
        predictor: with the settings of inference.
        dataset: a data set of this project.
        images: how many, evenly spread over it; MOST_IMAGES at most.
        candidates: to choose from.
        is_stopped: asked before each candidate of an image and after each point, which takes a
            third of a second in large ones, whether to leave it.

    Returns that of the highest PQ of all objects as one class, the first of equal ones, and {"pq":
    that PQ, "peaks": peaks an image}; None if stopped.
    """
    settings = replace(
        predictor.settings,
        points="proposals",
        max_proposals=min(MOST_PROPOSALS, predictor.settings.max_proposals or MOST_PROPOSALS),
    )

    def heed(*_) -> None:
        if is_stopped():
            raise _Stopped

    counts = np.zeros((len(candidates), 4))
    peaks = np.zeros(len(candidates))
    indices = spread(len(dataset), min(images, MOST_IMAGES))
    try:
        for index in progress(indices, "choosing what makes a peak"):
            sample = dataset[index]
            predictor.set_image(sample.image)
            size = predictor.working_image.shape[:2]
            truth, void = (resize_labels(a, size) for a in _objects_and_void(sample))
            for i, candidate in enumerate(candidates):
                heed()
                predictor.settings = replace(settings, **candidate._asdict())
                peaks[i] += len(predictor.proposals()[1])
                counts[i] += pq_terms(predictor.aggregate(heed).instance_map, truth, void)
    except _Stopped:
        return None
    pq = [pq_of(*row) for row in counts]
    best = int(np.argmax(pq))
    return candidates[best], {"pq": pq[best], "peaks": peaks[best] / len(indices)}


def pq_terms(found: np.ndarray, truth: np.ndarray, void: np.ndarray) -> np.ndarray:
    """What the PQ of one image's objects is made of, as the official evaluator counts it.

    Parameters:
        found, truth: (H, W) integer ids, 0 where there is no object.
        void: (H, W) bool, pixels without truth, crowds' among them. They belong to no union, and
            what is found mostly on them is no mistake.

    Returns the sum of IoU over matches, matches, false and missed objects: (4,) float64.
    """
    true_ids, found_ids, shared = shared_pixels(np.where(void, VOID, truth), found)
    on_void, areas = shared[true_ids == VOID].sum(axis=0), shared.sum(axis=0)
    union = shared.sum(axis=1)[:, None] + (areas - on_void) - shared
    iou = (shared / np.maximum(union, 1))[np.ix_(true_ids > 0, found_ids > 0)]
    matched = iou > MATCH  # at most one a row and column
    mistaken = ~matched.any(axis=0) & (on_void <= MATCH * areas)[found_ids > 0]
    return np.array(
        [iou[matched].sum(), matched.sum(), mistaken.sum(), (~matched.any(axis=1)).sum()], float
    )


def pq_of(iou_sum: float, matches: float, false: float, missed: float) -> float:
    """PQ from :func:`pq_terms`, 0 where there is nothing."""
    return float(iou_sum / max(matches + (false + missed) / 2, 1))


def _objects_and_void(sample) -> tuple[np.ndarray, np.ndarray]:
    """Ids of the objects without crowds, and where there is no truth: unlabelled, or a crowd."""
    void = (sample.semantic_map < 0) | np.isin(sample.instance_map, sample.crowd_ids)
    return sample.instance_map, void
