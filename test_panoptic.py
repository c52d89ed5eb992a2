"""Evaluate a checkpoint: predictions in COCO's panoptic format, PQ and AP by the official
evaluators, a table beside the paper's, and pictures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import adaptis  # noqa: F401  isort: skip
import numpy as np
from tqdm import tqdm

from adaptis.checkpoint import CheckpointError, file_sha256
from adaptis.evaluation.results import PredictionFolder, ResultsError, score_predictions
from adaptis.evaluation.tables import TOY_IOU_THRESHOLDS, toy_table
from adaptis.figures import IterationRecorder, save_grid, save_iterations, save_proposals
from adaptis.panoptic import fuse_panoptic
from adaptis.predictor import AdaptISPredictor, ImageError
from adaptis.visualization import draw_instances, enlarge, match_ids
from datasets.base import DataError, panoptic_truth
from datasets.toy import ToyDataset

PICTURED_POINTS = 6  # confidence maps in the picture of proposals


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("dataset", choices=("toy",))
    add("--data-root", default="data/toy")
    add("--weights", default="weights/toy.params")
    add("--predictions", help="only score the predictions in this folder")
    add("--output", default="outputs/toy", help="predictions, metrics.json, table.md, pictures")
    add("--limit", type=int, help="evaluate only the first N images")
    add("--points", choices=("random", "proposals"), help="where points come from")
    add("--flip", action="store_true", help="average with the mirrored image")
    add("--pictures", type=int, default=6, help="images to draw")
    add("--ctx", default="cpu", help='"cpu" or a GPU id')
    return parser.parse_args(arguments)


def load_predictor(args: argparse.Namespace) -> AdaptISPredictor:
    predictor = AdaptISPredictor.load(args.weights, args.ctx)
    points = args.points or predictor.settings.points
    predictor.settings = replace(predictor.settings, flip=args.flip, points=points)
    return predictor


def predict(
    predictor: AdaptISPredictor, dataset, indices: range, folder: PredictionFolder
) -> float:
    """Predict what is missing; returns the mean seconds an image, NaN if nothing was."""
    seconds = []
    for index in tqdm(indices, desc="segmenting", unit="image"):
        if folder.has(dataset.names[index]):
            continue
        sample = dataset[index]
        start = time.perf_counter()
        predictor.set_image(sample.image)
        records = predictor.segment()
        seconds.append(time.perf_counter() - start)
        panoptic_seg, segments = fuse_panoptic(
            records, predictor.class_probabilities(), predictor.classes
        )
        folder.write(sample.name, panoptic_seg, segments)
    return float(np.mean(seconds)) if seconds else float("nan")


def save_pictures(predictor: AdaptISPredictor, dataset, indices: range, folder: Path) -> None:
    """Results beside the truth, and for the first image proposals, confidences and iterations."""
    rows = []
    for index in indices:
        sample = dataset[index]
        recorder = IterationRecorder()
        predictor.set_image(sample.image)
        aggregation = predictor.aggregate(recorder)
        result = match_ids(aggregation.instance_map, sample.instance_map)
        image = enlarge(sample.image)
        rows.append(
            [
                image,
                draw_instances(image, enlarge(sample.instance_map)),
                draw_instances(image, enlarge(result)),
            ]
        )
        if index == indices[0]:
            points = aggregation.points_yx[:PICTURED_POINTS]
            maps = predictor.predict([(x, y) for y, x in points]).confidences
            scores, peaks = predictor.proposals()
            save_proposals(
                folder / "proposals.png", sample.image, scores, peaks, list(zip(points, maps))
            )
            save_iterations(folder / "iterations.png", sample.image, recorder)
    if rows:
        save_grid(folder / "results.png", ["Image", "Ground truth", "AdaptIS"], rows)


def main(arguments: list[str] | None = None) -> dict:
    args = parse_arguments(arguments)
    dataset = ToyDataset(args.data_root, "test")
    indices = range(min(args.limit or len(dataset), len(dataset)))
    output = Path(args.output)
    run = {"dataset": args.dataset, "images": len(indices)}
    if args.predictions:
        predictor, folder = None, PredictionFolder(args.predictions)
    else:
        predictor = load_predictor(args)
        run["weights_sha256"] = file_sha256(args.weights)
        run["settings"] = asdict(predictor.settings)
        folder = PredictionFolder(output / "predictions", run)
        run["seconds_per_image"] = predict(predictor, dataset, indices, folder)

    categories = [
        {"id": c.category_id, "name": c.name, "isthing": int(c.isthing), "color": list(c.color)}
        for c in dataset.classes
    ]
    truth = (
        (sample.name, *panoptic_truth(sample, dataset.classes))
        for sample in map(dataset.__getitem__, tqdm(indices, desc="scoring", unit="image"))
    )
    metrics = {
        **score_predictions(folder, truth, categories, output, TOY_IOU_THRESHOLDS),
        **run,
    }
    (output / "metrics.json").write_text(json.dumps(metrics, indent=1))
    table = toy_table(metrics)
    (output / "table.md").write_text(table + "\n")
    print(table)
    if predictor:
        save_pictures(predictor, dataset, indices[: args.pictures], output / "pictures")
    print(f"\nmetrics, predictions and pictures are in {output}")
    return metrics


if __name__ == "__main__":
    try:
        main()
    except (CheckpointError, DataError, ImageError, ResultsError) as error:
        sys.exit(f"error: {error}")
