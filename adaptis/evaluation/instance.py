"""Average precision (AP) of instance masks by pycocotools, the official COCO evaluator."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from adaptis.preprocessing import Size

COCO_IOU_THRESHOLDS = tuple(i / 100 for i in range(50, 100, 5))  # .50, .55, ..., .95
EVERY_RECALL = np.linspace(0, 1, 10_001)  # so finely that AP is the area under the whole curve
COCO_MAX_DETECTIONS = 100  # per image and category (cocodataset.org/#detection-eval)


class DetectionCounts(NamedTuple):
    """Objects of the ground truth found and missed, and predictions that match none."""

    found: int
    missed: int
    false_positives: int


class InstanceEvaluator:
    """Collects masks image by image, as run-length codes, and scores them.

    Parameters:
        category_ids: the data set's category ids; any other id is an error.
    """

    def __init__(self, category_ids: Iterable[int]):
        self._category_ids = set(category_ids)
        self._sizes: dict[int | str, Size] = {}  # by image id
        self._annotations: list[dict[str, Any]] = []
        self._predictions: list[dict[str, Any]] = []

    def add_ground_truth(
        self,
        image_id: int | str,
        instance_map: np.ndarray,
        instances: Mapping[int, tuple[int, bool]],
    ) -> None:
        """Add the objects of one image.

        Parameters:
            image_id: unique; all ids of one evaluator are of one type.
            instance_map: (H, W) integer instance ids, 0 where there is no object.
            instances: instance id -> (category id, iscrowd).

        Raises ValueError where the image was added before, an id of the map is not in ``instances``
        or has no pixels, or a category id is unknown.
        """
        self._check_new(image_id)
        ids = set(np.unique(instance_map).tolist()) - {0}
        if ids != set(instances):
            raise ValueError(
                f"image {image_id!r}: instance ids of the map and of the records differ: "
                f"{sorted(ids ^ set(instances))}"
            )
        self._check_categories(image_id, (category_id for category_id, _ in instances.values()))
        self._sizes[image_id] = instance_map.shape
        for instance, (category_id, iscrowd) in instances.items():
            rle = _encode(instance_map == instance)
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,  # pycocotools takes a match with 0 for none
                    "image_id": image_id,
                    "instance": instance,
                    "category_id": category_id,
                    "segmentation": rle,
                    "area": float(coco_mask.area(rle)),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "iscrowd": int(iscrowd),
                }
            )

    def add_predictions(
        self,
        image_id: int | str,
        masks: Sequence[np.ndarray | dict],
        scores: Sequence[float],
        category_ids: Sequence[int],
    ) -> None:
        """Add the predicted objects of one image whose ground truth was added before.

        Parameters:
            image_id: of the ground truth.
            masks: N masks, each (H, W) bool or compressed run-length codes of pycocotools.
            scores: N confidences; only their order counts.
            category_ids: N category ids.

        Raises ValueError where there is no ground truth for the image, the lengths differ, a mask
        has another size than the image, a score is NaN or a category id is unknown.
        """
        if image_id not in self._sizes:
            raise ValueError(f"image {image_id!r}: add its ground truth first")
        if not len(masks) == len(scores) == len(category_ids):
            raise ValueError(
                f"image {image_id!r}: {len(masks)} masks, {len(scores)} scores "
                f"and {len(category_ids)} category ids"
            )
        if np.isnan(np.asarray(scores, float)).any():
            raise ValueError(f"image {image_id!r}: a score is NaN")
        self._check_categories(image_id, category_ids)
        for mask, score, category_id in zip(masks, scores, category_ids):
            rle = mask if isinstance(mask, dict) else _encode(mask)
            if tuple(rle["size"]) != self._sizes[image_id]:
                raise ValueError(
                    f"image {image_id!r}: a mask of {tuple(rle['size'])} (height, width), "
                    f"while the ground truth has {self._sizes[image_id]}"
                )
            self._predictions.append(
                {
                    "image_id": image_id,
                    "category_id": int(category_id),
                    "segmentation": rle,
                    "score": float(score),
                }
            )

    def extend(self, other: InstanceEvaluator) -> None:
        """Add another's images. Raises ValueError where one was added before."""
        for image_id in other._sizes:
            self._check_new(image_id)
        before = len(self._annotations)
        self._sizes.update(other._sizes)
        self._annotations += [{**a, "id": before + a["id"]} for a in other._annotations]
        self._predictions += other._predictions

    def evaluate(
        self,
        iou_thresholds: Sequence[float] | None = None,
        recalls: np.ndarray | None = None,
    ) -> dict[str, float]:
        """AP at each IoU threshold; see ``average_precision``."""
        return average_precision(self._ground_truth(), self._predictions, iou_thresholds, recalls)

    def detection_counts(self, iou_threshold: float = 0.5) -> DetectionCounts:
        """Count objects found, missed and invented, over all categories.

        The matching is pycocotools': in each image and category, predictions take the free object
        of highest IoU, at least the threshold, in the order of their scores. Crowds are neither
        found nor missed, and predictions matched to them don't count.
        """
        found = predicted = objects = 0
        evaluator = _match(self._ground_truth(), self._predictions, [iou_threshold])
        for image in filter(None, evaluator.evalImgs):
            counts = ~image["dtIgnore"][0].astype(bool)
            predicted += np.count_nonzero(counts)
            found += np.count_nonzero(image["dtMatches"][0][counts])
            objects += np.count_nonzero(image["gtIgnore"] == 0)
        return DetectionCounts(found, objects - found, predicted - found)

    def found_objects(self, iou_threshold: float) -> dict[Hashable, set[int]]:
        """Of each image the ids of the instances found, by the matching of ``detection_counts``."""
        found: dict[Hashable, set[int]] = {image_id: set() for image_id in self._sizes}
        instances = {a["id"]: a["instance"] for a in self._annotations}
        evaluator = _match(self._ground_truth(), self._predictions, [iou_threshold])
        for image in filter(None, evaluator.evalImgs):
            for annotation_id, match in zip(image["gtIds"], image["gtMatches"][0]):
                if match:
                    found[image["image_id"]].add(instances[annotation_id])
        return found

    def _ground_truth(self) -> dict[str, Any]:
        return {
            "images": [{"id": i, "height": h, "width": w} for i, (h, w) in self._sizes.items()],
            "categories": [{"id": category_id} for category_id in sorted(self._category_ids)],
            "annotations": self._annotations,
        }

    def _check_new(self, image_id: int | str) -> None:
        if image_id in self._sizes:
            raise ValueError(f"image {image_id!r}: its ground truth was added before")

    def _check_categories(self, image_id: int | str, category_ids: Iterable[int]) -> None:
        unknown = set(category_ids) - self._category_ids
        if unknown:  # pycocotools would drop them without a word
            raise ValueError(f"image {image_id!r}: unknown category ids {sorted(unknown)}")


def average_precision(
    ground_truth: dict[str, Any],
    predictions: list[dict[str, Any]],
    iou_thresholds: Sequence[float] | None = None,
    recalls: np.ndarray | None = None,
) -> dict[str, float]:
    """Average precision over recall, then over the categories in the ground truth.

    Parameters:
        ground_truth: COCO's ``images``, ``categories`` and ``annotations``.
        predictions: COCO's result records: ``image_id``, ``category_id``, ``segmentation``,
            ``score``.
        iou_thresholds: each gives an AP that counts all predictions of an image (Table 1 of the
            paper: .5, .7, .8, .9). None means COCO's .50, .55, ..., .95 with its limit of 100
            predictions per image and category.
        recalls: (N,), at which precision is read; None means COCO's 101, with which AP is at most
            100 / 101 where an object is missed. EVERY_RECALL gives the area under the whole curve,
            as that of the later Pascal VOC.

    Returns AP in [0, 1] by threshold, such as ``"0.5"``; with COCO's thresholds also their mean,
    ``"0.5:0.95"``. NaN if the ground truth holds no object but crowds.
    """
    thresholds = COCO_IOU_THRESHOLDS if iou_thresholds is None else iou_thresholds
    max_detections = COCO_MAX_DETECTIONS if iou_thresholds is None else None
    evaluator = _match(ground_truth, predictions, thresholds, max_detections)
    if recalls is not None:
        evaluator.params.recThrs = recalls
    with contextlib.redirect_stdout(io.StringIO()):
        evaluator.accumulate()
    # (thresholds, recalls, categories, areas, limits) -> (thresholds, recalls, categories)
    precision = evaluator.eval["precision"][..., 0, -1]
    results = {f"{t:g}": _mean_precision(p) for t, p in zip(thresholds, precision)}
    if tuple(thresholds) == COCO_IOU_THRESHOLDS:
        results["0.5:0.95"] = _mean_precision(precision)
    return results


def _mean_precision(precision: np.ndarray) -> float:
    counted = precision[precision > -1]  # pycocotools: -1 for categories without an object
    return float(counted.mean()) if counted.size else np.nan


def _match(
    ground_truth: dict[str, Any],
    predictions: list[dict[str, Any]],
    iou_thresholds: Sequence[float],
    max_detections: int | None = None,
) -> COCOeval:
    """Match predictions to objects; ``max_detections`` None takes all predictions of an image."""
    if max_detections is None:
        per_image = Counter(prediction["image_id"] for prediction in predictions)
        max_detections = max(per_image.values(), default=1)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports each step
        # pycocotools writes into the records it is given
        gt = _coco({**ground_truth, "annotations": [dict(a) for a in ground_truth["annotations"]]})
        if predictions:
            results = gt.loadRes([dict(p) for p in predictions])
        else:  # loadRes refuses an empty list
            results = _coco({**ground_truth, "annotations": []})
        evaluator = COCOeval(gt, results, "segm")
        evaluator.params.iouThrs = np.asarray(iou_thresholds, float)
        evaluator.params.maxDets = [max_detections]
        evaluator.params.areaRng = [[0, 1e10]]
        evaluator.params.areaRngLbl = ["all"]
        evaluator.evaluate()
    return evaluator


def _coco(dataset: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _encode(mask: np.ndarray) -> dict[str, Any]:
    """Run-length codes of an (H, W) mask; pycocotools reads columns first."""
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
