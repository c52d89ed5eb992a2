"""Cityscapes' own evaluators (cityscapesscripts) for AP and mIoU, and the files they read."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from PIL import Image

from adaptis.errors import ResultsError
from adaptis.evaluation.results import PredictionFolder, file_stem


def score_cityscapes(
    predictions: PredictionFolder,
    truth_paths: Mapping[str, tuple[Path, Path]],
    categories: Sequence[Mapping[str, Any]],
    folder: Path | str,
) -> dict[str, Any]:
    """AP and mIoU of predictions that ``score_predictions`` found sound.

    Parameters:
        predictions: of all images in ``truth_paths``.
        truth_paths: name -> its ``*_labelIds.png`` and ``*_instanceIds.png``.
        categories: see ``score_predictions``; their ids are label ids.
        folder: deleted and written anew: ``semantic`` and ``instances`` hold the predictions as
            Cityscapes' benchmark takes them, named by ``file_stem``.

    Returns ``ap``: {"0.5": AP at IoU .5, "0.5:0.95": the mean over .50, .55, ..., .95} and
    ``miou``, fractions, NaN without ground truth.
    """
    label_maps, instance_lists = write_cityscapes_files(
        predictions, truth_paths, categories, folder
    )
    label_truth, instance_truth = zip(*truth_paths.values())
    ap = cityscapes_average_precision(Path(folder, "instances"), instance_lists, instance_truth)
    return {
        "ap": {"0.5": ap["ap50"], "0.5:0.95": ap["ap"]},
        "miou": cityscapes_mean_iou(label_maps, label_truth),
    }


def write_cityscapes_files(
    predictions: PredictionFolder,
    names: Iterable[str],
    categories: Sequence[Mapping[str, Any]],
    folder: Path | str,
) -> tuple[list[Path], list[Path]]:
    """Write predictions as Cityscapes' benchmark takes them for mIoU and AP.

    Parameters:
        predictions: of all images in ``names``.
        names: of the images.
        categories, folder: see ``score_cityscapes``.

    Returns of each image the label map and the list of its instances.
    """
    folder = Path(folder)
    for part in ("semantic", "instances"):  # of an earlier run; the folder may hold other things
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "semantic").mkdir(parents=True)
    label_ids = np.array([category["id"] for category in categories], np.uint8)  # by class index
    things = {category["id"] for category in categories if category["isthing"]}
    label_maps, instance_lists = [], []
    for name in names:
        panoptic_seg, records, class_map = predictions.read(name)
        label_maps.append(folder / "semantic" / predictions.file_name(name))
        Image.fromarray(label_ids[class_map]).save(label_maps[-1])
        objects = [record for record in records if record["category_id"] in things]
        instance_lists.append(folder / "instances" / f"{file_stem(name)}.txt")
        write_cityscapes_instances(
            instance_lists[-1],
            [panoptic_seg == record["id"] for record in objects],
            [record["score"] for record in objects],
            [record["category_id"] for record in objects],
        )
    return label_maps, instance_lists


def cityscapes_mean_iou(
    predictions: Sequence[Path | str], ground_truth: Sequence[Path | str]
) -> float:
    """Mean IoU, from 0 to 1, by Cityscapes' own evaluator; NaN where no class occurs.

    Parameters:
        predictions: 8-bit PNGs of label ids (not trainIds), in the order of ``ground_truth``.
        ground_truth: the ``*_labelIds.png``.

    Raises ResultsError where a file can't be read, sizes differ or a label id is unknown; names the
    file.
    """
    from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as evaluator
    from cityscapesscripts.helpers.labels import labels

    known_ids = [label.id for label in labels if label.id >= 0]
    for path in predictions:  # the evaluator would stop with an index error that names no file
        try:
            unknown = np.setdiff1d(np.asarray(Image.open(path)), known_ids)
        except (OSError, SyntaxError) as error:  # Pillow: missing or truncated; a broken PNG chunk
            raise ResultsError(f"{path}: not a readable image: {error}") from error
        if unknown.size:
            raise ResultsError(f"{path}: unknown label ids {unknown.tolist()}")
    results = _run(evaluator, predictions, ground_truth, evalInstLevelScore=False)
    return results["averageScoreClasses"]


def write_cityscapes_instances(
    txt_path: Path | str,
    masks: Sequence[np.ndarray],
    scores: Sequence[float],
    label_ids: Sequence[int],
) -> None:
    """Write one image's instances as Cityscapes' evaluator reads them: a .txt and a PNG each.

    Parameters:
        txt_path: ``<root>/.../<name>.txt``, written even without instances; the PNGs go beside it.
        masks: N masks, each (H, W) bool.
        scores: N confidences.
        label_ids: N label ids (not trainIds) of classes with instances.

    Raises ResultsError where the lengths differ, the name holds a space, or a label has no
    instances.
    """
    from cityscapesscripts.helpers.labels import labels

    txt_path = Path(txt_path)
    if not len(masks) == len(scores) == len(label_ids):
        raise ResultsError(
            f"{txt_path}: {len(masks)} masks, {len(scores)} scores and {len(label_ids)} label ids"
        )
    if " " in txt_path.name:
        raise ResultsError(f"{txt_path}: the evaluator splits lines at spaces: rename the file")
    things = {label.id for label in labels if label.hasInstances and not label.ignoreInEval}
    others = set(label_ids) - things
    if others:  # the evaluator would drop them without a word
        raise ResultsError(f"{txt_path}: label ids {sorted(others)} are no classes with instances")
    txt_path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, (mask, score, label_id) in enumerate(zip(masks, scores, label_ids)):
        png_path = txt_path.with_name(f"{txt_path.stem}_{i}.png")
        Image.fromarray(np.asarray(mask, bool).astype(np.uint8) * 255).save(png_path)
        lines.append(f"{png_path.name} {label_id} {score}\n")
    txt_path.write_text("".join(lines))


def cityscapes_average_precision(
    root: Path | str, predictions: Sequence[Path | str], ground_truth: Sequence[Path | str]
) -> dict[str, float]:
    """AP over IoU .50, .55, ..., .95 by Cityscapes' own evaluator.

    Parameters:
        root: folder that holds all files of the predictions.
        predictions: the .txt of each image (``write_cityscapes_instances``), in the order of
            ``ground_truth``.
        ground_truth: the ``*_instanceIds.png``.

    Returns ``ap`` and ``ap50`` in [0, 1], of the classes that occur in the ground truth; NaN where
    none does.

    Raises ResultsError where a file of the predictions is missing or malformed; names the file.
    """
    from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as evaluator

    averages = _run(
        evaluator,
        predictions,
        ground_truth,
        predictionPath=os.path.abspath(root),
        gtInstancesFile="",  # the default is a cache in the package that outlives its ground truth
    )["averages"]
    return {"ap": float(averages["allAp"]), "ap50": float(averages["allAp50%"])}


def _run(
    evaluator: ModuleType,
    predictions: Sequence[Path | str],
    ground_truth: Sequence[Path | str],
    **settings: Any,
) -> dict[str, Any]:
    """Run an evaluator of cityscapesscripts in silence, without the files it leaves behind."""
    if len(predictions) != len(ground_truth):
        raise ResultsError(f"{len(predictions)} predictions for {len(ground_truth)} images")
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
        raise ResultsError(printed.getvalue().strip()) from error
