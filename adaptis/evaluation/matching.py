"""AP as it is reported for cells and nuclei: TP / (TP + FP + FN) at one IoU threshold.

It is the "accuracy" of stardist.matching (github.com/stardist/stardist) with by_image=False: TP, FP
and FN are summed over the images. Scores play no part, unlike in COCO's AP.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from adaptis.evaluation.ground_truth import GroundTruth

IOU_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


class MatchCounts(NamedTuple):
    """Objects found, predictions that match none, and objects missed."""

    tp: int
    fp: int
    fn: int

    @property
    def ap(self) -> float:
        """TP / (TP + FP + FN), NaN where there is neither an object nor a prediction."""
        return self.tp / total if (total := sum(self)) else float("nan")


def match_counts(
    true_map: np.ndarray,
    predicted_map: np.ndarray,
    iou_thresholds: Sequence[float] = IOU_THRESHOLDS,
    crowd_ids: Collection[int] = (),
) -> list[MatchCounts]:
    """Match one image's predictions to its objects, one to one, anew at each threshold.

    The matching has as many pairs of at least the threshold as can be, among these the one of the
    highest IoUs. Crowds are no objects, and a prediction without a match that has more than half of
    its pixels in them is no false positive, as in the official PQ.

    Parameters:
        true_map, predicted_map: (H, W) integer ids, 0 where there is no object.
        iou_thresholds: above 0.
        crowd_ids: ids in ``true_map`` of groups without individual masks.
    """
    true_ids, predicted_ids, pixels = shared_pixels(true_map, predicted_map)
    is_crowd = np.isin(true_ids, list(crowd_ids))
    is_object = (true_ids != 0) & ~is_crowd
    true_areas = pixels[is_object].sum(axis=1)
    pixels = pixels[:, predicted_ids != 0]
    predicted_areas = pixels.sum(axis=0)
    in_crowds = 2 * pixels[is_crowd].sum(axis=0) > predicted_areas
    common = pixels[is_object]
    ious = common / (true_areas[:, None] + predicted_areas - common)
    return [_counts(ious, threshold, in_crowds) for threshold in iou_thresholds]


def shared_pixels(
    first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many pixels each id of a map shares with each id of another.

    Parameters:
        first, second: (H, W) integer ids.

    Returns the ids of each, (M,) and (N,), ascending, and the counts, (M, N) int64.
    """
    first_ids, first_places = np.unique(first, return_inverse=True)
    second_ids, second_places = np.unique(second, return_inverse=True)
    shape = len(first_ids), len(second_ids)
    pairs = first_places.ravel() * shape[1] + second_places.ravel()
    counts = np.bincount(pairs, minlength=shape[0] * shape[1])
    return first_ids, second_ids, counts.reshape(shape)


def _counts(ious: np.ndarray, threshold: float, in_crowds: np.ndarray) -> MatchCounts:
    """ious: (objects, predictions); in_crowds: (predictions,) bool."""
    # all IoUs of a matching together weigh at most half as much as one pair more
    costs = -(ious >= threshold).astype(float) - ious / (2 * max(1, min(ious.shape)))
    objects, predictions = linear_sum_assignment(costs)
    matched = predictions[ious[objects, predictions] >= threshold]
    ignored = np.count_nonzero(np.delete(in_crowds, matched))
    return MatchCounts(
        tp=len(matched),
        fp=ious.shape[1] - len(matched) - ignored,
        fn=ious.shape[0] - len(matched),
    )


def score_matching(predictions, truths: Iterable[GroundTruth], things: Collection[int]) -> dict:
    """AP of a data set whose predictions ``score_predictions`` found sound.

    Objects match predictions of their own class only; the counts are summed over classes and
    images.

    Parameters:
        predictions: the PredictionFolder.
        truths: of the images.
        things: category ids of things.

    Returns ``matching``: threshold, such as ``"0.5"`` -> {ap, tp, fp, fn}; ``worst_image``: {name,
    ap}, the image of the lowest AP, averaged over the thresholds; None without objects and
    predictions.
    """
    total = np.zeros((len(IOU_THRESHOLDS), 3), int)
    means: dict[str, float] = {}
    for truth in truths:
        predicted, records, _ = predictions.read(truth.name)
        category_ids = {record["id"]: record["category_id"] for record in records}
        counts = np.zeros_like(total)
        for category in things:
            counts += match_counts(
                _of_category(truth.panoptic_seg, truth.category_ids, category),
                _of_category(predicted, category_ids, category),
                crowd_ids=truth.crowd_ids,
            )
        total += counts
        if counts.any():
            means[truth.name] = float(np.mean([MatchCounts(*row).ap for row in counts]))
    worst = min(means, key=means.__getitem__, default=None)
    summed = [MatchCounts(*row) for row in total.tolist()]
    return {
        "matching": {
            f"{t:g}": {"ap": row.ap, **row._asdict()} for t, row in zip(IOU_THRESHOLDS, summed)
        },
        "worst_image": None if worst is None else {"name": worst, "ap": means[worst]},
    }


def _of_category(
    panoptic_seg: np.ndarray, category_ids: Mapping[int, int], category: int
) -> np.ndarray:
    """The ids of one category's segments, 0 elsewhere."""
    return panoptic_seg * np.isin(
        panoptic_seg, [i for i, c in category_ids.items() if c == category]
    )
