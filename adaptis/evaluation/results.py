"""Predictions on disk and their scores.

Of each image there are ``<name>.png`` with the segments' ids in COCO's panoptic format,
``semantic/<name>.png`` with the class index of every pixel, coded like the ids, and ``<name>.json``
with segments_info, a list of the segments with id, category_id and score, and the sha256 of all
that. Files made elsewhere may lack it.

Files appear whole or not at all, so an interrupted evaluation goes on where it stopped; a folder
remembers what made it, so results of different settings can't mix.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from adaptis.evaluation.ground_truth import GroundTruth
from adaptis.evaluation.instance import InstanceEvaluator
from adaptis.evaluation.panoptic_quality import (
    PanopticWriter,
    evaluate_panoptic,
    read_panoptic_png,
    segments_info,
    write_panoptic_png,
)
from adaptis.evaluation.semantic import confusion_matrix, mean_iou
from adaptis.output_files import ResultsError, claim_folder, write_atomically

PREDICT_AGAIN = "run with --weights, which predicts again what is missing or damaged"


class PredictionFolder:
    """One run's predictions.

    Parameters:
        folder: made if it is missing.
        run: JSON-able; what made the predictions (weights, settings, data). None accepts any
            existing folder, for scoring only.

    Raises ResultsError where the folder holds predictions of another run.
    """

    def __init__(self, folder: Path | str, run: dict | None = None):
        self.folder = Path(folder)
        if run is not None:
            claim_folder(self.folder, run)
        elif not self.folder.is_dir():
            raise ResultsError(f"{self.folder}: no such folder of predictions")

    def write(
        self, name: str, panoptic_seg: np.ndarray, segments: list[dict], class_map: np.ndarray
    ) -> None:
        """Write one image's prediction.

        Parameters:
            panoptic_seg, segments: see ``adaptis.inference.fusion.fuse_panoptic``.
            class_map: (H, W) integer class indices of the semantic branch, for mIoU.
        """
        categories = {segment["id"]: segment["category_id"] for segment in segments}
        scores = {segment["id"]: segment["score"] for segment in segments}
        records = segments_info(panoptic_seg, categories)
        for record in records:
            record["score"] = round(scores[record["id"]], 6)
        png, text, semantic = self._paths(name)
        write_panoptic_png(png, panoptic_seg)
        write_panoptic_png(semantic, class_map)
        content = {"segments_info": records, "sha256": _sha256(png, semantic, records)}
        write_atomically(text, json.dumps(content).encode())

    def read(self, name: str) -> tuple[np.ndarray, list[dict], np.ndarray]:
        """One image's segment ids (H, W) int32, segment records and class map (H, W) int32.

        Areas and boxes of the records are counted in the PNG.

        Raises ResultsError when a file is missing or damaged, or they don't fit each other.
        """
        png, text, semantic = self._paths(name)
        try:
            panoptic_seg, class_map = read_panoptic_png(png), read_panoptic_png(semantic)
            if class_map.shape != panoptic_seg.shape:
                raise ValueError(f"{semantic} is {class_map.shape}, the PNG {panoptic_seg.shape}")
            content = json.loads(text.read_bytes())
            written = content["segments_info"]
            category_ids = {record["id"]: record["category_id"] for record in written}
            scores = {record["id"]: float(record["score"]) for record in written}
            if len(scores) < len(written):
                raise ValueError(f"segments of {text.name} share an id")
            if np.isnan(list(scores.values())).any():
                raise ValueError(f"a score in {text.name} is NaN")
            records = segments_info(panoptic_seg, category_ids)
            if content.get("sha256", sha256 := _sha256(png, semantic, written)) != sha256:
                raise ValueError("its sha256 differs")
        except (KeyError, TypeError) as error:
            problem = f"has no list of segments with id, category_id and score: {error!r}"
            raise ResultsError(f"{text}: {problem}; {PREDICT_AGAIN}") from error
        except (OSError, ValueError) as error:
            raise ResultsError(f"{png}: no usable prediction: {error}; {PREDICT_AGAIN}") from error
        return panoptic_seg, [{**r, "score": scores[r["id"]]} for r in records], class_map

    def has(self, name: str) -> bool:
        """Whether one image's prediction is there and whole."""
        try:
            self.read(name)
        except ResultsError:
            return False
        return True

    def _paths(self, name: str) -> tuple[Path, Path, Path]:
        folder = self.folder
        return folder / f"{name}.png", folder / f"{name}.json", folder / "semantic" / f"{name}.png"


def _sha256(png: Path, semantic: Path, records: list[dict]) -> str:
    """Of one image's prediction, hexadecimal."""
    text = json.dumps(records, sort_keys=True).encode()
    return hashlib.sha256(png.read_bytes() + semantic.read_bytes() + text).hexdigest()


def score_predictions(
    predictions: PredictionFolder,
    truths: Iterable[GroundTruth],
    categories: list[dict],
    output: Path | str,
    iou_thresholds: tuple[float, ...] | None,
) -> dict:
    """PQ, AP and mIoU of predictions, PQ and AP by the official evaluators.

    Parameters:
        categories: COCO's records in the order of the class indices: id, name, isthing, color.
        output: ground truth in COCO's format and the submittable predictions.json go here.
        iou_thresholds: of AP; None for COCO's.

    Returns {"pq": {...}, "ap": {threshold: AP}, "miou": mIoU, "counts": {found, missed,
    false_positives} at IoU .5}, fractions, NaN without ground truth.

    Raises ResultsError when a prediction is missing, damaged or of another data set.
    """
    output = Path(output)
    writer = PanopticWriter(output / "ground_truth", categories)
    things = {category["id"] for category in categories if category["isthing"]}
    instances = InstanceEvaluator(things)
    annotations = []
    confusion = np.zeros((len(categories), len(categories)), np.int64)
    for truth in truths:
        name, png = truth.name, f"{truth.name}.png"
        writer.add(truth.image_id, png, truth.panoptic_seg, truth.category_ids, truth.crowd_ids)
        objects = {i: (c, i in truth.crowd_ids) for i, c in truth.category_ids.items()}
        objects = {i: of for i, of in objects.items() if of[0] in things}
        is_object = np.isin(truth.panoptic_seg, list(objects))
        instances.add_ground_truth(name, truth.panoptic_seg * is_object, objects)

        predicted, records, class_map = _read_prediction(predictions, truth, categories)
        confusion += confusion_matrix(truth.semantic_map, class_map, len(categories))
        found = [record for record in records if record["category_id"] in things]
        instances.add_predictions(
            name,
            [predicted == record["id"] for record in found],
            [record["score"] for record in found],
            [record["category_id"] for record in found],
        )
        annotations.append({"image_id": truth.image_id, "file_name": png, "segments_info": records})
    writer.save(output / "ground_truth.json")
    predicted_json = output / "predictions.json"
    write_atomically(predicted_json, json.dumps({"annotations": annotations}).encode())
    return {
        "pq": evaluate_panoptic(
            output / "ground_truth.json", writer.folder, predicted_json, predictions.folder
        ),
        "ap": instances.evaluate(iou_thresholds),
        "miou": mean_iou(confusion)["miou"],
        "counts": instances.detection_counts()._asdict(),
    }


def _read_prediction(
    predictions: PredictionFolder, truth: GroundTruth, categories: list[dict]
) -> tuple[np.ndarray, list[dict], np.ndarray]:
    """``predictions.read``, compared with the ground truth's size and categories."""
    panoptic_seg, records, class_map = predictions.read(truth.name)
    unknown = {r["category_id"] for r in records} - {category["id"] for category in categories}
    problem = None
    if panoptic_seg.shape != truth.semantic_map.shape:
        problem = f"is {panoptic_seg.shape} (height, width), its image {truth.semantic_map.shape}"
    elif unknown:
        problem = f"the data set has no categories {sorted(unknown, key=str)[:5]}"
    elif class_map.max() >= len(categories):
        problem = f"class index {class_map.max()} in semantic/, of {len(categories)} classes"
    if problem:
        path = predictions.folder / f"{truth.name}.png"
        raise ResultsError(f"{path}: {problem}; score predictions that were made for this data set")
    return panoptic_seg, records, class_map
