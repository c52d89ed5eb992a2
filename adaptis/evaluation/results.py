"""Predictions on disk: a PNG and a JSON an image, COCO's panoptic format, and their scores.

Files appear whole or not at all, so an interrupted evaluation goes on where it stopped; a folder
remembers what made it, so results of different settings can't mix.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from adaptis.evaluation.instance import InstanceEvaluator
from adaptis.evaluation.panoptic import (
    PanopticWriter,
    evaluate_panoptic,
    read_panoptic_png,
    segments_info,
    write_atomically,
    write_panoptic_png,
)
from adaptis.evaluation.semantic import confusion_matrix, mean_iou


class ResultsError(Exception):
    """A folder of predictions is of another run, incomplete or damaged; says what to do."""


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
        path = self.folder / "run.json"
        if run is None:
            if not self.folder.is_dir():
                raise ResultsError(f"{self.folder}: no such folder of predictions")
            return
        run = json.loads(json.dumps(run))
        if not path.exists():
            write_atomically(path, json.dumps(run, indent=1).encode())
        elif (theirs := json.loads(path.read_text())) != run:
            differing = [k for k in {**run, **theirs} if run.get(k) != theirs.get(k)]
            raise ResultsError(
                f"{self.folder}: holds predictions of another run ("
                + "; ".join(f"{k}: {theirs.get(k)}, now {run.get(k)}" for k in differing)
                + "); choose another --output or delete the folder"
            )

    def write(
        self, name: str, panoptic_seg: np.ndarray, segments: list[dict], class_map: np.ndarray
    ) -> None:
        """Write one image's prediction.

        Parameters:
            panoptic_seg, segments: see ``adaptis.panoptic.fuse_panoptic``.
            class_map: (H, W) uint8 class indices of the semantic branch, for mIoU.
        """
        categories = {segment["id"]: segment["category_id"] for segment in segments}
        scores = {segment["id"]: segment["score"] for segment in segments}
        records = segments_info(panoptic_seg, categories)
        for record in records:
            record["score"] = round(scores[record["id"]], 6)
        png, text, semantic = self._paths(name)
        write_panoptic_png(png, panoptic_seg)
        write_panoptic_png(semantic, class_map)
        write_atomically(text, json.dumps(records).encode())

    def read(self, name: str) -> tuple[np.ndarray, list[dict], np.ndarray]:
        """One image's segment ids (H, W) int32, segment records and class map (H, W) int32.

        Raises ResultsError when a file is missing or damaged, or the two don't fit.
        """
        png, text, semantic = self._paths(name)
        try:
            panoptic_seg, records = read_panoptic_png(png), json.loads(text.read_bytes())
            class_map = read_panoptic_png(semantic)
            if class_map.shape != panoptic_seg.shape:
                raise ValueError(f"{semantic.name} has another size")
            categories = {record["id"]: record["category_id"] for record in records}
            counted = segments_info(panoptic_seg, categories)
            if [r["area"] for r in counted] != [r["area"] for r in records]:
                raise ValueError("areas in the JSON are not those of the PNG")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{png}: no usable prediction: {error}") from error
        return panoptic_seg, records, class_map

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


def score_predictions(
    predictions: PredictionFolder,
    samples,
    categories: list[dict],
    output: Path | str,
    iou_thresholds: tuple[float, ...] | None,
) -> dict:
    """PQ, AP and mIoU of predictions, PQ and AP by the official evaluators.

    Parameters:
        samples: iterable of (name, panoptic_seg (H, W), {segment id: category id}, crowd ids,
            semantic_map (H, W) of class indices, -1 void), the ground truth.
        categories: COCO's records in the order of the class indices: id, name, isthing, color.
        output: ground truth in COCO's format and the submittable predictions.json go here.
        iou_thresholds: of AP; None for COCO's.

    Returns {"pq": {...}, "ap": {threshold: AP}, "miou": mIoU, "counts": {found, missed,
    false_positives} at IoU .5}, fractions.

    Raises ResultsError when a prediction is missing or damaged.
    """
    output = Path(output)
    truth = PanopticWriter(output / "ground_truth", categories)
    things = {category["id"] for category in categories if category["isthing"]}
    instances = InstanceEvaluator(things)
    annotations = []
    confusion = np.zeros((len(categories), len(categories)), np.int64)
    for name, panoptic_seg, category_ids, crowd_ids, semantic_map in samples:
        truth.add(name, f"{name}.png", panoptic_seg, category_ids, crowd_ids)
        objects = {i: (c, i in crowd_ids) for i, c in category_ids.items() if c in things}
        instance_map = np.where(np.isin(panoptic_seg, list(objects)), panoptic_seg, 0)
        instances.add_ground_truth(name, instance_map, objects)
        predicted, records, class_map = predictions.read(name)
        confusion += confusion_matrix(semantic_map, class_map, len(categories))
        found = [record for record in records if record["category_id"] in things]
        instances.add_predictions(
            name,
            [predicted == record["id"] for record in found],
            [record["score"] for record in found],
            [record["category_id"] for record in found],
        )
        annotations.append({"image_id": name, "file_name": f"{name}.png", "segments_info": records})
    truth.save(output / "ground_truth.json")
    predicted_json = output / "predictions.json"
    write_atomically(predicted_json, json.dumps({"annotations": annotations}).encode())
    return {
        "pq": evaluate_panoptic(
            output / "ground_truth.json", truth.folder, predicted_json, predictions.folder
        ),
        "ap": instances.evaluate(iou_thresholds),
        "miou": mean_iou(confusion)["miou"],
        "counts": instances.detection_counts()._asdict(),
    }
