"""An evaluation from a data set and options to its folder: predictions, scores, table, pictures."""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path

import mxnet as mx
import numpy as np
from tqdm import tqdm

from adaptis.disk import errors_named, sole_user, write_atomically
from adaptis.errors import ResultsError, last_line
from adaptis.evaluation.cityscapes import score_cityscapes
from adaptis.evaluation.ground_truth import ground_truths, panoptic_truth
from adaptis.evaluation.instance import COCO_IOU_THRESHOLDS
from adaptis.evaluation.matching import score_matching
from adaptis.evaluation.options import parse_arguments
from adaptis.evaluation.results import PredictionFolder, score_predictions
from adaptis.evaluation.tables import (
    TOY_IOU_THRESHOLDS,
    class_table,
    instances_table,
    panoptic_table,
    toy_table,
    without_nan,
)
from adaptis.inference.iterations import IterationRecorder
from adaptis.inference.options import with_options
from adaptis.inference.predictor import AdaptISPredictor, ImageError
from adaptis.inference.tiles import segment_panoptic
from adaptis.pictures.drawing import draw_instances, draw_panoptic, enlarge, match_ids
from adaptis.pictures.figures import save_grid, save_iterations, save_proposals
from adaptis.preprocessing import resize
from adaptis.weights import CheckpointError

PICTURED_POINTS = 6  # confidence maps in the picture of proposals
SHOWN_FAILURES = 5  # of images, in an error message
BRIEF_IMAGES = 2  # of a dry run
IOU_THRESHOLDS = {"toy": TOY_IOU_THRESHOLDS, "instances": COCO_IOU_THRESHOLDS}  # else COCO's rules
OWN_TABLES = {"toy": toy_table, "instances": instances_table}


def evaluate(args: argparse.Namespace, dataset, predictor: AdaptISPredictor | None) -> dict:
    """Predict, score, tabulate and draw; an interrupted run goes on where it stopped.

    Parameters:
        args: of ``test_panoptic.py``.
        dataset: the data set's split.
        predictor: of ``load_predictor``; None with --predictions.

    Returns the metrics, as they are in ``metrics.json``.

    Raises CheckpointError, ResultsError, DiskError, and what the data set raises.
    """
    output = Path(args.output)
    with errors_named(output), sole_user(output):
        return _evaluate(args, dataset, predictor, output)


def _evaluate(
    args: argparse.Namespace, dataset, predictor: AdaptISPredictor | None, output: Path
) -> dict:
    indices = range(min(args.limit or len(dataset), len(dataset)))
    facts = {"dataset": args.dataset, "data_root": args.data_root, "split": args.split}
    if predictor is None:
        folder = PredictionFolder(args.predictions)
    else:
        check_classes(predictor, dataset, args)
        run = {
            "dataset": args.dataset,
            "images_sha256": images_sha256(dataset),
            "weights_sha256": predictor.weights_sha256,
            "settings": asdict(predictor.settings),
            **reading_options(args, predictor),
        }
        folder = PredictionFolder(output / "predictions", run)
        facts |= run
        facts["seconds_per_image"] = predict(predictor, dataset, indices, folder)

    facts["images"] = len(indices)
    scores, by_class = score(dataset, indices, folder, output)
    metrics = {**scores, **facts}
    text = json.dumps(without_nan(metrics), indent=1)
    write_atomically(output / "metrics.json", text.encode(), durable=True)
    if args.dataset in OWN_TABLES:
        table = OWN_TABLES[args.dataset](metrics)
    else:
        table = panoptic_table(args.dataset, metrics)
    write_atomically(output / "table.md", f"{table}\n\n{by_class}\n".encode(), durable=True)
    print(table)
    if predictor and args.pictures:
        save_pictures(predictor, dataset, indices[: args.pictures], folder, output / "pictures")
        if worst := metrics.get("worst_image"):
            row = pictured(dataset, dataset.names.index(worst["name"]), folder)
            columns = [worst["name"], "Ground truth", f"AdaptIS: AP {worst['ap']:.2f}"]
            save_grid(output / "pictures" / "worst.png", columns, [row])
    print(f"\nthe results are in {output}")
    return metrics


def load_predictor(args: argparse.Namespace) -> AdaptISPredictor:
    """The network of --weights, with the settings that were given."""
    predictor = AdaptISPredictor.load(args.weights, args.ctx)
    predictor.settings = with_options(predictor.settings, args)
    return predictor


def reading_options(args: argparse.Namespace, predictor: AdaptISPredictor | None) -> dict:
    """How own images are read, for ``open_dataset``: as the weights say, if not given."""
    if args.dataset != "instances":
        return {}
    stored = predictor.intensity if predictor else "percentile"
    intensity = getattr(args, "intensity", stored)
    return {"intensity": intensity, "class_agnostic": args.class_agnostic}


def check_classes(predictor: AdaptISPredictor, dataset, args: argparse.Namespace) -> None:
    """Raise CheckpointError where the network knows other classes than the data set."""
    trained = [(info["category_id"], info["name"]) for info in predictor.classes]
    present = [(info.category_id, info.name) for info in dataset.classes]
    for ours, theirs in zip_longest(present, trained):
        if ours != theirs:
            raise CheckpointError(
                f"{args.weights}: was trained on other classes than {args.data_root} has: "
                f"{theirs}, there {ours} (category id, name)"
                + ("; --class-agnostic takes all for one" if dataset.name == "instances" else "")
            )


def images_sha256(dataset) -> str:
    """Of the names and sizes of a data set's image files, hexadecimal: what its folder holds, and
    not how the folder is called."""
    digest = hashlib.sha256()
    for index, name in enumerate(dataset.names):
        path = dataset.image_path(index)
        size = path.stat().st_size if path.exists() else None
        digest.update(f"{name!r} {size}\n".encode())
    return digest.hexdigest()


def predict(
    predictor: AdaptISPredictor, dataset, indices: range, folder: PredictionFolder
) -> float:
    """Predict what is missing; returns the mean seconds an image, NaN if nothing was.

    Raises ResultsError with the images that can't be segmented, once the others are.
    """
    seconds, failures = [], []
    for index in tqdm(indices, desc="segmenting", unit="image"):
        if folder.has(dataset.names[index]):
            continue
        sample = dataset[index]
        start = time.perf_counter()
        try:
            prediction = segment_panoptic(predictor, sample.image)
        except (ImageError, mx.MXNetError) as error:
            failures.append(f"{dataset.image_path(index)}: {last_line(error)}")
            predictor.reset_image()
            continue
        seconds.append(time.perf_counter() - start)
        folder.write(sample.name, *prediction)
    if failures:
        raise ResultsError(
            f"{len(failures)} of {len(indices)} images can't be segmented, the others' predictions "
            f"are kept: {'; '.join(failures[:SHOWN_FAILURES])}"
        )
    return float(np.mean(seconds)) if seconds else float("nan")


def score(dataset, indices: range, predictions: PredictionFolder, output: Path) -> tuple[dict, str]:
    """PQ, AP, mIoU and the table of classes.

    PQ is by the official evaluator. AP and mIoU are Cityscapes' own there; elsewhere AP is by
    pycocotools, at the thresholds of Table 1 for the toy problem. Own images have the AP of
    ``adaptis.evaluation.matching`` too, and pycocotools counts all predictions of an image.
    """
    categories = [
        {"id": c.category_id, "name": c.name, "isthing": int(c.isthing), "color": list(c.color)}
        for c in dataset.classes
    ]
    thresholds = IOU_THRESHOLDS.get(dataset.name)
    progress = tqdm(indices, desc="scoring", unit="image")
    truths = ground_truths(dataset, progress)
    scores = score_predictions(predictions, truths, categories, output, thresholds)
    if dataset.name == "cityscapes":
        paths = {dataset.names[i]: dataset.label_paths(i) for i in indices}
        scores |= score_cityscapes(predictions, paths, categories, output / "cityscapes")
    if dataset.name == "instances":
        things = [category["id"] for category in categories if category["isthing"]]
        scores |= score_matching(predictions, ground_truths(dataset, indices), things)
    return scores, class_table(scores["pq"], categories)


def save_pictures(
    predictor: AdaptISPredictor,
    dataset,
    indices: range,
    predictions: PredictionFolder,
    folder: Path,
) -> None:
    """Results beside the truth, and for the first image proposals, confidences and iterations."""
    rows = [pictured(dataset, index, predictions) for index in indices]
    save_grid(folder / "results.png", ["Image", "Ground truth", "AdaptIS"], rows)

    image = dataset[indices[0]].image
    if tile := predictor.settings.tile_size:  # a tile of the image as it was segmented
        image = resize(image, predictor.scaled_size(*image.shape[:2]))[:tile, :tile]
        predictor.settings = replace(
            predictor.settings, shortest_side=None, longest_side=None, tile_size=None
        )
    recorder = IterationRecorder()
    predictor.set_image(image)
    points = predictor.aggregate(recorder).points_yx[:PICTURED_POINTS]
    maps = predictor.confidences(np.reshape(points, (-1, 2)))
    scores, peaks = predictor.proposals()
    image = predictor.working_image
    save_proposals(folder / "proposals.png", image, scores, peaks, list(zip(points, maps)))
    save_iterations(folder / "iterations.png", image, recorder)


def pictured(dataset, index: int, predictions: PredictionFolder) -> list[np.ndarray]:
    """An image, its ground truth and its prediction, (H, W, 3) uint8 RGB each."""
    style = {info.category_id: (info.color, info.isthing) for info in dataset.classes}
    sample = dataset[index]
    truth, truth_ids, _ = panoptic_truth(sample, dataset.classes)
    result, segments, _ = predictions.read(sample.name)
    result_ids = {segment["id"]: segment["category_id"] for segment in segments}
    image = enlarge(sample.image)
    if sum(info.isthing for info in dataset.classes) == 1:  # colours tell the objects apart
        things = np.isin(result, [i for i, c in result_ids.items() if style[c][1]]) * result
        matched = match_ids(things, sample.instance_map)
        return [image, *(draw_instances(image, enlarge(m)) for m in (sample.instance_map, matched))]
    return [
        image,
        *(
            draw_panoptic(image, enlarge(seg), {i: style[c] for i, c in ids.items()})
            for seg, ids in ((truth, truth_ids), (result, result_ids))
        ),
    ]


def evaluate_briefly(training: argparse.Namespace, name: str, dataset, weights: str) -> None:
    """A few images with the weights of a training script's --dry-run, beside its checkpoints.

    Parameters:
        training: the training's options.
        name: of the data set, as test_panoptic.py takes it.
        dataset: the split to evaluate on.
        weights: path of the file.
    """
    output, ctx = str(Path(weights).parents[1] / "evaluation"), training.ctx.split(",")[0]
    where = ["--data-root", training.data, "--weights", weights, "--output", output, "--ctx", ctx]
    args = parse_arguments("", [name, *where, "--limit", str(BRIEF_IMAGES)])
    evaluate(args, dataset, load_predictor(args))
