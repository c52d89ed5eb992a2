"""Scores of predictions against ground truth that is at hand."""

from __future__ import annotations

from adaptis.evaluation.scoring import image_evidence, score_predictions


def score_truths(predictions, truths, categories, output, iou_thresholds) -> dict:
    """``score_predictions`` of the images whose GroundTruth is given."""
    found = [image_evidence(predictions, truth, categories, output) for truth in truths]
    return score_predictions(predictions, found, categories, output, iou_thresholds)
