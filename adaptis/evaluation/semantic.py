"""Mean intersection over union (mIoU), and Cityscapes' own evaluators for mIoU and AP."""

from __future__ import annotations

import contextlib
import copy
import io
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

VOID = -1  # class index of unlabelled pixels in the ground truth (datasets/base.py)


def confusion_matrix(
    ground_truth: np.ndarray, prediction: np.ndarray, num_classes: int
) -> np.ndarray:
    """Count the pixels of each pair of classes in one image; add the matrices of all images.

    Args:
        ground_truth: (H, W) integer class indices, VOID (-1) where unlabelled.
        prediction: (H, W) integer class indices; those on unlabelled pixels don't count.
        num_classes: K.

    Returns:
        (K, K) int64 pixel counts: row = true class, column = predicted class.

    Raises:
        ValueError: the shapes differ, or an index is outside [0, K).
    """
    if ground_truth.shape != prediction.shape:
        raise ValueError(f"ground truth {ground_truth.shape} and prediction {prediction.shape}")
    labelled = ground_truth != VOID
    pairs = np.stack([ground_truth[labelled], prediction[labelled]]).astype(np.int64)
    if pairs.size and not 0 <= pairs.min() <= pairs.max() < num_classes:
        raise ValueError(f"class indices {pairs.min()}..{pairs.max()} of {num_classes} classes")
    counts = np.bincount(pairs[0] * num_classes + pairs[1], minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def mean_iou(confusion: np.ndarray) -> dict[str, float | list[float]]:
    """Mean IoU over the classes that occur in the ground truth or the prediction.

    Args:
        confusion: (K, K) pixel counts, rows = true classes.

    Returns:
        ``miou`` in [0, 1], and ``per_class``: K IoUs; NaN for what does not occur.
    """
    intersection = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - intersection
    iou = np.full(len(confusion), np.nan)
    np.divide(intersection, union, out=iou, where=union > 0)
    occurring = iou[union > 0]
    return {
        "miou": float(occurring.mean()) if occurring.size else np.nan,
        "per_class": iou.tolist(),
    }


def cityscapes_mean_iou(
    predictions: Sequence[Path | str], ground_truth: Sequence[Path | str]
) -> dict[str, float | dict[str, float]]:
    """Mean IoU by Cityscapes' own evaluator.

    Args:
        predictions: 8-bit PNGs of label ids (not trainIds), in the order of ``ground_truth``.
        ground_truth: the ``*_labelIds.png``.

    Returns:
        ``miou`` in [0, 1], and ``per_class``: class name -> IoU; NaN for what does not occur.

    Raises:
        ValueError: a file can't be read, sizes differ or a label id is unknown; names the file.
    """
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as evaluator
    from cityscapesscripts.helpers.labels import labels

    known_ids = [label.id for label in labels if label.id >= 0]
    for path in predictions:  # the evaluator would stop with an index error that names no file
        try:
            unknown = np.setdiff1d(np.asarray(Image.open(path)), known_ids)
        except (OSError, SyntaxError) as error:  # Pillow: missing or truncated; a broken PNG chunk
            raise ValueError(f"{path}: not a readable image: {error}") from error
        if unknown.size:
            raise ValueError(f"{path}: unknown label ids {unknown.tolist()}")
    results = _run(evaluator, predictions, ground_truth, evalInstLevelScore=False)
    evaluated = {label.name for label in labels if not label.ignoreInEval}
    per_class = {name: iou for name, iou in results["classScores"].items() if name in evaluated}
    return {"miou": results["averageScoreClasses"], "per_class": per_class}


def write_cityscapes_instances(
    txt_path: Path | str,
    masks: Sequence[np.ndarray],
    scores: Sequence[float],
    label_ids: Sequence[int],
) -> None:
    """Write one image's instances as Cityscapes' evaluator reads them: a .txt and a PNG each.

    Args:
        txt_path: ``<root>/.../<name>.txt``, written even without instances; the PNGs go beside it.
        masks: N masks, each (H, W) bool.
        scores: N confidences.
        label_ids: N label ids (not trainIds) of classes with instances.

    Raises:
        ValueError: the lengths differ, the path holds a space, or a label has no instances.
    """
    from cityscapesscripts.helpers.labels import labels

    txt_path = Path(txt_path)
    if not len(masks) == len(scores) == len(label_ids):
        raise ValueError(
            f"{txt_path}: {len(masks)} masks, {len(scores)} scores and {len(label_ids)} label ids"
        )
    if " " in txt_path.name:
        raise ValueError(f"{txt_path}: the evaluator splits lines at spaces: rename the file")
    things = {label.id for label in labels if label.hasInstances and not label.ignoreInEval}
    others = set(label_ids) - things
    if others:  # the evaluator would drop them without a word
        raise ValueError(f"{txt_path}: label ids {sorted(others)} are no classes with instances")
    txt_path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (mask, score, label_id) in enumerate(zip(masks, scores, label_ids)):
        png_path = txt_path.with_name(f"{txt_path.stem}_{i}.png")
        Image.fromarray(np.asarray(mask, bool).astype(np.uint8) * 255).save(png_path)
        lines.append(f"{png_path.name} {label_id} {score}\n")
    txt_path.write_text("".join(lines))


def cityscapes_average_precision(
    root: Path | str, predictions: Sequence[Path | str], ground_truth: Sequence[Path | str]
) -> dict[str, float | dict[str, float]]:
    """AP over IoU .50, .55, ..., .95 by Cityscapes' own evaluator.

    Args:
        root: folder that holds all files of the predictions.
        predictions: the .txt of each image (``write_cityscapes_instances``), in the order of
            ``ground_truth``.
        ground_truth: the ``*_instanceIds.png``.

    Returns:
        ``ap`` and ``ap50`` in [0, 1], and ``per_class``: class name -> AP; NaN for what does
        not occur in the ground truth.

    Raises:
        ValueError: a file of the predictions is missing or malformed; names the file.
    """
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as evaluator

    averages = _run(
        evaluator,
        predictions,
        ground_truth,
        predictionPath=os.path.abspath(root),
        gtInstancesFile="",  # the default is a cache in the package that outlives its ground truth
    )["averages"]
    per_class = {name: float(scores["ap"]) for name, scores in averages["classes"].items()}
    return {
        "ap": float(averages["allAp"]),
        "ap50": float(averages["allAp50%"]),
        "per_class": per_class,
    }


def _run(
    evaluator: ModuleType,
    predictions: Sequence[Path | str],
    ground_truth: Sequence[Path | str],
    **settings: Any,
) -> dict[str, Any]:
    """Run an evaluator of cityscapesscripts in silence, without the files it leaves behind."""
    if len(predictions) != len(ground_truth):
        raise ValueError(f"{len(predictions)} predictions for {len(ground_truth)} images")
    arguments = copy.copy(evaluator.args)  # the module's own stay as they are
    vars(arguments).update(quiet=True, JSONOutput=False, **settings)
    printed = io.StringIO()
    try:
        # else AP writes a matches.json into the working directory
        with contextlib.redirect_stdout(printed), mock.patch.object(evaluator, "writeDict2JSON"):
            return evaluator.evaluateImgLists(
                [str(path) for path in predictions], [str(path) for path in ground_truth], arguments
            )
    except SystemExit as error:  # its way to report an error, printed before
        raise ValueError(printed.getvalue().strip()) from error
