"""Panoptic segmentations in COCO's format, and panoptic quality (PQ) by the official evaluator.

Format (cocodataset.org/#format-data): a PNG per image whose colour is the segment's id,
R + 256 G + 65536 B, with 0 for void, and one JSON that gives every segment its category.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Collection, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from adaptis.disk import write_atomically
from adaptis.errors import ResultsError
from adaptis.image_files import png_of, read_panoptic_png
from adaptis.inference.fusion import VOID_SEGMENT
from adaptis.json_types import FormatError, parse_json
from adaptis.preprocessing import Size

try:
    from panopticapi.evaluation import PQStat, pq_compute_single_core
except ImportError:  # panopticapi is not on PyPI; Cityscapes ships the same evaluator
    from cityscapesscripts.evaluation.evalPanopticSemanticLabeling import (
        PQStat,
        pq_compute_single_core,
    )

MAX_THREADS = 8  # of the evaluator, each about 100 MB at 1024 x 2048 pixels


def write_panoptic_png(path: Path | str, panoptic_seg: np.ndarray) -> None:
    """Write a map of segment ids as a PNG; the file appears whole or not at all.

    Parameters:
        path: of the PNG; missing folders are made.
        panoptic_seg: (H, W) integer segment ids in [0, 2**24), 0 = void.

    Raises ValueError for a wrong shape, type or range.
    """
    ids = np.asarray(panoptic_seg)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f"{path}: segment ids must be (H, W) integers, not {ids.shape} {ids.dtype}"
        )
    if ids.size and not 0 <= ids.min() <= ids.max() < 256**3:
        raise ValueError(f"{path}: segment ids {ids.min()}..{ids.max()} don't fit in 24 bits")
    rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)
    write_atomically(Path(path), png_of(rgb))


def segments_info(
    panoptic_seg: np.ndarray, category_ids: Mapping[int, int], crowd_ids: Collection[int] = ()
) -> list[dict[str, Any]]:
    """Describe the segments of a map as COCO does.

    Parameters:
        panoptic_seg: (H, W) integer segment ids, 0 = void.
        category_ids: segment id -> category id, for exactly the ids of the map other than 0.
        crowd_ids: ids of the segments that are groups without individual masks.

    Returns per segment ``id``, ``category_id``, ``area`` in pixels, ``bbox`` as [x, y, width,
    height] in pixels, and ``iscrowd`` (0 or 1), sorted by id.

    Raises ValueError where the ids of the map and of ``category_ids`` differ.
    """
    ids, areas = np.unique(panoptic_seg, return_counts=True)
    area_of = {i: area for i, area in zip(ids.tolist(), areas.tolist()) if i != VOID_SEGMENT}
    if area_of.keys() != set(category_ids):
        raise ValueError(
            f"segments without category: {sorted(area_of.keys() - set(category_ids))}; "
            f"categories without segment: {sorted(set(category_ids) - area_of.keys())}"
        )
    return [
        {
            "id": segment,
            "category_id": int(category_ids[segment]),
            "area": area,
            "bbox": list(cv2.boundingRect((panoptic_seg == segment).astype(np.uint8))),
            "iscrowd": int(segment in crowd_ids),
        }
        for segment, area in area_of.items()
    ]


class PanopticWriter:
    """Collects a data set's panoptic segmentations: PNGs at once, the JSON with ``save``.

    Parameters:
        folder: of the PNGs.
        categories: COCO's records: ``id``, ``name``, ``isthing`` (0 or 1), ``color`` ([R, G, B]).
    """

    def __init__(self, folder: Path | str, categories: list[dict[str, Any]]):
        self.folder = Path(folder)
        self.categories = categories
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(
        self,
        image_id: int | str,
        file_name: str,
        panoptic_seg: np.ndarray,
        category_ids: Mapping[int, int],
        crowd_ids: Collection[int] = (),
    ) -> None:
        """Write one image's PNG.

        Parameters:
            image_id: ties a prediction to its ground truth.
            file_name: of the PNG, relative to the folder.
            panoptic_seg, category_ids, crowd_ids: see ``segments_info``.

        Raises ValueError as ``segments_info`` and ``write_panoptic_png``.
        """
        segments = segments_info(panoptic_seg, category_ids, crowd_ids)
        write_panoptic_png(self.folder / file_name, panoptic_seg)
        height, width = panoptic_seg.shape
        self._images.append({"id": image_id, "height": height, "width": width})
        self._annotations.append(
            {"image_id": image_id, "file_name": file_name, "segments_info": segments}
        )

    def extend(self, other: PanopticWriter) -> None:
        """Add what another one wrote, to the same folder."""
        self._images += other._images
        self._annotations += other._annotations

    def save(self, json_path: Path | str) -> None:
        """Write the JSON; the file appears whole or not at all."""
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": self.categories,
        }
        write_atomically(Path(json_path), json.dumps(content).encode())


def evaluate_panoptic(
    gt_json: Path | str, gt_folder: Path | str, pred_json: Path | str, pred_folder: Path | str
) -> dict[str, dict]:
    """Score predictions by panoptic quality (Kirillov et al., CVPR 2019).

    The matching and the averages are the official evaluator's: panopticapi's where it is
    installed, else the copy in cityscapesscripts. Predictions for images without ground truth
    are left out, as it does.

    Returns ``all``, ``things`` and ``stuff``: each a dict of ``pq``, ``sq`` and ``rq``, averaged
    over the ``n`` categories that occur in the ground truth or as a false positive (NaN if n = 0);
    ``per_class``: category id -> the same three, for these categories.

    Raises FileNotFoundError where a JSON file is missing, ImageFileError where a PNG is missing or
    damaged, and ResultsError where the PNGs, the JSONs or the two sides contradict each other;
    names the file.
    """
    categories, statistics = _statistics(gt_json, gt_folder, pred_json, pred_folder)
    total = PQStat()
    for of_image in statistics.values():
        total += of_image
    return _averages(total, categories)


def panoptic_quality_of_images(
    gt_json: Path | str, gt_folder: Path | str, pred_json: Path | str, pred_folder: Path | str
) -> dict[Hashable, float]:
    """The PQ of each image alone: image id -> PQ, averaged over the categories that occur in it.

    NaN where none does. Matching, averages and errors are those of :func:`evaluate_panoptic`.
    """
    categories, statistics = _statistics(gt_json, gt_folder, pred_json, pred_folder)
    return {image: _averages(one, categories)["all"]["pq"] for image, one in statistics.items()}


def _statistics(
    gt_json: Path | str, gt_folder: Path | str, pred_json: Path | str, pred_folder: Path | str
) -> tuple[dict[int, dict], dict[Hashable, PQStat]]:
    """The categories by id, and the official evaluator's statistics of each image."""
    ground_truth, predictions = _read_json(gt_json), _read_json(pred_json)
    categories = {category["id"]: category for category in ground_truth["categories"]}
    gt_annotations = _by_image(gt_json, ground_truth)
    pred_annotations = _by_image(pred_json, predictions)
    missing = [image for image in gt_annotations if image not in pred_annotations]
    if missing:
        raise ResultsError(f"{pred_json}: no prediction for {len(missing)} images: {missing[:5]}")

    def score(image_id: Hashable) -> PQStat:
        gt, gt_shape = _checked(gt_folder, gt_annotations[image_id], categories)
        pred, pred_shape = _checked(pred_folder, pred_annotations[image_id], categories)
        if pred_shape != gt_shape:
            raise ResultsError(
                f"{Path(pred_folder, pred['file_name'])}: {pred_shape} (height, width), "
                f"while the ground truth has {gt_shape}"
            )
        return pq_compute_single_core(0, [(gt, pred)], str(gt_folder), str(pred_folder), categories)

    # Threads, not the evaluator's own processes: a fork is unsafe beside MXNet's threads.
    with contextlib.redirect_stdout(io.StringIO()), ThreadPoolExecutor(MAX_THREADS) as pool:
        return categories, dict(zip(gt_annotations, pool.map(score, gt_annotations)))


def _averages(total: PQStat, categories: Mapping[int, dict]) -> dict[str, dict]:
    results: dict[str, dict] = {}
    for group, isthing in (("all", None), ("things", True), ("stuff", False)):
        try:
            results[group], _ = total.pq_average(categories, isthing=isthing)
        except ZeroDivisionError:  # no category of this group occurs
            results[group] = {"pq": np.nan, "sq": np.nan, "rq": np.nan, "n": 0}
    occurring = {
        category_id: category
        for category_id, category in categories.items()
        if total[category_id].tp + total[category_id].fp + total[category_id].fn
    }
    results["per_class"] = total.pq_average(occurring, isthing=None)[1] if occurring else {}
    return results


def _read_json(path: Path | str) -> dict[str, Any]:
    try:
        return parse_json(Path(path).read_bytes())
    except FormatError as error:
        raise ResultsError(f"{path}: not valid JSON: {error}") from error


def _by_image(path: Path | str, content: dict[str, Any]) -> dict[Hashable, dict[str, Any]]:
    annotations = {annotation["image_id"]: annotation for annotation in content["annotations"]}
    if len(annotations) != len(content["annotations"]):
        raise ResultsError(f"{path}: several annotations share an image_id")
    return annotations


def _checked(
    folder: Path | str, annotation: dict[str, Any], categories: Mapping[int, Any]
) -> tuple[dict[str, Any], Size]:
    """The annotation with areas counted in its PNG, and the PNG's (height, width).

    The evaluator trusts the areas in the ground truth's JSON; wrong ones give a PQ above 1.
    """
    path = Path(folder, annotation["file_name"])
    panoptic_seg = read_panoptic_png(path)
    records = {segment["id"]: segment for segment in annotation["segments_info"]}
    if len(records) != len(annotation["segments_info"]):
        raise ResultsError(f"{path}: several segments of its JSON share an id")
    unknown = {segment["category_id"] for segment in records.values()} - categories.keys()
    if unknown:
        raise ResultsError(f"{path}: the ground truth has no categories {sorted(unknown)}")
    category_ids = {segment: record["category_id"] for segment, record in records.items()}
    crowd_ids = {segment for segment, record in records.items() if record.get("iscrowd", 0)}
    try:
        segments = segments_info(panoptic_seg, category_ids, crowd_ids)
    except ValueError as error:
        raise ResultsError(f"{path}: PNG and JSON differ: {error}") from error
    return {**annotation, "segments_info": segments}, panoptic_seg.shape
