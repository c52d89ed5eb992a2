"""The scores of predictions on disk: what each image says, and the evaluators over all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adaptis.disk import write_atomically
from adaptis.evaluation.ground_truth import GroundTruth, ground_truth
from adaptis.evaluation.instance import EVERY_RECALL, InstanceEvaluator
from adaptis.evaluation.panoptic_quality import PanopticWriter, evaluate_panoptic
from adaptis.evaluation.results import PredictionFolder, panoptic_annotation, read_prediction
from adaptis.evaluation.semantic import confusion_matrix, mean_iou
from adaptis.evaluation.tables import TOY_IOU_THRESHOLDS


class ImageEvidence(NamedTuple):
    """One image's prediction and ground truth, as the evaluators take them."""

    truth: PanopticWriter
    predicted: dict[str, Any]  # annotation in COCO's format
    instances: InstanceEvaluator
    confusion: np.ndarray  # (classes, classes) pixels, see ``confusion_matrix``


def image_evidence(
    predictions: PredictionFolder, truth: GroundTruth, categories: list[dict], output: Path
) -> ImageEvidence:
    """Read an image's prediction and write its ground truth in COCO's format.

    Parameters:
        categories, output: see ``score_predictions``.

    Raises ResultsError when the prediction is missing, damaged or of another data set.
    """
    name, png = truth.name, predictions.file_name(truth.name)
    writer = PanopticWriter(output / "ground_truth", [])
    writer.add(truth.image_id, png, truth.panoptic_seg, truth.category_ids, truth.crowd_ids)
    things = {category["id"] for category in categories if category["isthing"]}
    instances = InstanceEvaluator(things)
    objects = {i: (c, i in truth.crowd_ids) for i, c in truth.category_ids.items()}
    objects = {i: of for i, of in objects.items() if of[0] in things}
    is_object = np.isin(truth.panoptic_seg, list(objects))
    instances.add_ground_truth(name, truth.panoptic_seg * is_object, objects)

    size = truth.semantic_map.shape
    predicted, records, class_map = read_prediction(predictions, name, size, categories)
    found = [record for record in records if record["category_id"] in things]
    instances.add_predictions(
        name,
        [predicted == record["id"] for record in found],
        [record["score"] for record in found],
        [record["category_id"] for record in found],
    )
    return ImageEvidence(
        writer,
        panoptic_annotation(truth.image_id, png, records),
        instances,
        confusion_matrix(truth.semantic_map, class_map, len(categories)),
    )


def read_evidence(
    dataset, predictions: PredictionFolder, categories: list[dict], output: Path, index: int
) -> ImageEvidence:
    """``image_evidence`` of an image of a data set. Raises DataError, ResultsError, DiskError."""
    return image_evidence(predictions, ground_truth(dataset, index), categories, output)


def score_predictions(
    predictions: PredictionFolder,
    evidence: Iterable[ImageEvidence],
    categories: list[dict],
    output: Path | str,
    iou_thresholds: tuple[float, ...] | None,
) -> dict:
    """PQ, AP and mIoU of predictions, PQ and AP by the official evaluators.

    Parameters:
        evidence: of each image, by ``image_evidence``, in the data set's order: AP depends on it
            where scores are equal.
        categories: COCO's records in the order of the class indices: id, name, isthing, color.
        output: ground truth in COCO's format and the submittable predictions.json go here.
        iou_thresholds: of AP; None for COCO's.

    Returns {"pq": {...}, "ap": {threshold: AP}, "miou": mIoU, "counts": {found, missed,
    false_positives} at IoU .5}, fractions, NaN without ground truth; with Table 1's thresholds also
    "ap_area", the same with EVERY_RECALL.
    """
    output = Path(output)
    writer = PanopticWriter(output / "ground_truth", categories)
    instances = InstanceEvaluator(c["id"] for c in categories if c["isthing"])
    annotations = []
    confusion = np.zeros((len(categories), len(categories)), np.int64)
    for image in evidence:
        writer.extend(image.truth)
        instances.extend(image.instances)
        annotations.append(image.predicted)
        confusion += image.confusion
    writer.save(output / "ground_truth.json")
    predicted_json = output / "predictions.json"
    write_atomically(predicted_json, json.dumps({"annotations": annotations}).encode())
    ap = {"ap": instances.evaluate(iou_thresholds)}
    if iou_thresholds == TOY_IOU_THRESHOLDS:
        ap["ap_area"] = instances.evaluate(iou_thresholds, EVERY_RECALL)
    return {
        "pq": evaluate_panoptic(
            output / "ground_truth.json", writer.folder, predicted_json, predictions.folder
        ),
        **ap,
        "miou": mean_iou(confusion),
        "counts": instances.detection_counts()._asdict(),
    }
