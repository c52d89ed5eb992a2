"""An evaluation from a data set and options to its folder: predictions, scores, table, pictures; of
a split without labels what its server takes."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from adaptis.disk import errors_named, sole_user, write_atomically
from adaptis.errors import ResultsError
from adaptis.evaluation.cityscapes import score_cityscapes
from adaptis.evaluation.figures import save_pictures, save_worst
from adaptis.evaluation.ground_truth import ground_truths
from adaptis.evaluation.instance import COCO_IOU_THRESHOLDS
from adaptis.evaluation.matching import score_matching
from adaptis.evaluation.options import parse_arguments
from adaptis.evaluation.prediction import predict
from adaptis.evaluation.results import PredictionFolder
from adaptis.evaluation.scoring import read_evidence, score_predictions
from adaptis.evaluation.submission import write_submission
from adaptis.evaluation.tables import (
    TOY_IOU_THRESHOLDS,
    class_table,
    instances_table,
    paper_table,
    toy_table,
    without_nan,
)
from adaptis.inference.loading import load_predictor
from adaptis.inference.options import dropped_notice
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.progress import progress
from adaptis.weights import CheckpointError
from adaptis.workers import LOST, WorkerError, each, worker_devices

BRIEF_IMAGES = 2  # of a dry run, and for so long without an object in each: its network finds none
BRIEF_FRUITLESS = 10
AGNOSTIC = [(1, "background"), (2, "object")]  # category id and name, of --class-agnostic
LIST_THE_SAME = "; let both list the same categories"
IOU_THRESHOLDS = {"toy": TOY_IOU_THRESHOLDS, "instances": COCO_IOU_THRESHOLDS}  # else COCO's rules
OWN_TABLES = {"toy": toy_table, "instances": instances_table}  # else the paper's


def evaluate(args: argparse.Namespace, dataset, predictor: AdaptISPredictor | None) -> dict:
    """Predict, score, tabulate and draw; an interrupted run goes on where it stopped. Of a data set
    without labels what its server takes is written instead of scores.

    Parameters:
        args: of ``test_panoptic.py``.
        dataset: the data set's split.
        predictor: of ``load_predictor``; None with --predictions.

    Returns the metrics, as they are in ``metrics.json``; {} with --shard, which only predicts.

    Raises CheckpointError, ResultsError, DiskError, and what the data set raises.
    """
    output = Path(args.output)
    indices: Sequence[int] = range(min(args.limit or len(dataset), len(dataset)))
    facts = {"dataset": args.dataset, "data_root": args.data_root, "split": args.split}
    facts |= reading_options(args, predictor)
    with errors_named(output), sole_user(output, args.shard and str(args.shard)):
        if predictor is None:
            folder = PredictionFolder(args.predictions)
            facts["predictions"] = args.predictions
        else:
            check_classes(predictor, dataset, args)
            run = what_predicts(args, dataset, predictor)
            facts |= run
            folder = PredictionFolder(output / "predictions", run)
            if not args.score_only:
                mine = args.shard.of(indices) if args.shard else indices
                facts["seconds_per_image"] = predict(args, predictor, dataset, mine, folder)
        if args.shard:
            print(
                f"the predictions of {args.shard}, {len(mine)} of {len(indices)} images, are in "
                f"{folder.folder}; once all shards are, --score-only in place of --shard scores"
            )
            return {}
        if args.score_only:
            found = predicted(dataset, indices, folder)
            if missing := len(indices) - len(found):
                facts["images_without_prediction"] = missing
            indices = found
        metrics = _score(args, dataset, indices, folder, facts, output)
        if predictor and args.pictures:
            pictures = output / "pictures"
            save_pictures(predictor, dataset, indices[: args.pictures], folder, pictures)
            if worst := metrics.get("worst_image"):
                save_worst(dataset, worst["name"], folder, worst["ap"], pictures / "worst.png")
        print(f"\nthe results are in {output}")
        return metrics


def _score(
    args: argparse.Namespace,
    dataset,
    indices: Sequence[int],
    folder: PredictionFolder,
    facts: dict,
    output: Path,
) -> dict:
    """Score predictions, or write what a server takes of them; returns the metrics, with facts."""
    categories = [
        {"id": c.category_id, "name": c.name, "isthing": int(c.isthing), "color": list(c.color)}
        for c in dataset.classes
    ]
    if dataset.labelled:
        results, by_class = score(args, dataset, indices, folder, categories, output)
    else:
        archives = write_submission(dataset, indices, folder, categories, output)
        results = {"submission": [str(path.relative_to(output)) for path in archives]}
    facts |= {"images": len(indices), **count_proposals(dataset, indices, folder)}
    metrics = {**results, **facts}
    text = json.dumps(without_nan(metrics), indent=1)
    write_atomically(output / "metrics.json", text.encode(), durable=True)
    if dataset.labelled:
        if args.dataset in OWN_TABLES:
            table = OWN_TABLES[args.dataset](metrics)
        else:
            table = paper_table(args.dataset, {"this run": metrics})
        if missing := facts.get("images_without_prediction"):
            table += f"\n\n{missing} more images have no prediction and are not scored."
        write_atomically(output / "table.md", f"{table}\n\n{by_class}\n".encode(), durable=True)
        print(table)
    else:
        print(f"split {dataset.split} isn't labelled, so nothing is scored; its server takes:")
        print(*archives, sep="\n")
        if len(indices) < len(dataset):
            print(f"these are {len(indices)} images, and it takes no less than all {len(dataset)}")
    return metrics


def what_predicts(args: argparse.Namespace, dataset, predictor: AdaptISPredictor) -> dict:
    """What makes a folder's predictions; those of anything else don't go into it."""
    return {
        "dataset": args.dataset,
        "images_sha256": images_sha256(dataset),
        "weights_sha256": predictor.weights_sha256,
        "settings": asdict(predictor.settings),
        **reading_options(args, predictor),
    }


def reading_options(args: argparse.Namespace, predictor: AdaptISPredictor | None) -> dict:
    """How own images are read, for ``open_dataset``: as the weights say, if not given."""
    if args.dataset != "instances":
        return {}
    stored = predictor.intensity if predictor else "percentile"
    intensity = getattr(args, "intensity", stored)
    reading = {"intensity": intensity, "class_agnostic": args.class_agnostic}
    if args.crowds_are_objects:  # else unnamed, as in folders that older versions began
        reading["crowds_are_objects"] = True
    return reading


def check_classes(predictor: AdaptISPredictor, dataset, args: argparse.Namespace) -> None:
    """Raise CheckpointError where the network knows other classes than the data set."""
    trained = [(info["category_id"], info["name"]) for info in predictor.classes]
    present = [(info.category_id, info.name) for info in dataset.classes]
    remedy = ""
    if dataset.name == "instances":
        takes_all_for_one = trained == AGNOSTIC and not args.class_agnostic
        remedy = "; --class-agnostic takes all for one" if takes_all_for_one else LIST_THE_SAME
    for ours, theirs in zip_longest(present, trained):
        if ours != theirs:
            raise CheckpointError(
                f"{args.weights}: was trained on other classes than {args.data_root} has: "
                f"{theirs}, there {ours} (category id, name)" + remedy
            )


def images_sha256(dataset) -> str:
    """Of the names and sizes of a data set's image files, hexadecimal: what its folder holds, and
    not how the folder is called."""
    digest = hashlib.sha256()
    for index, name in enumerate(dataset.names):
        path = dataset.image_path(index)
        size = path.stat().st_size if os.path.exists(path) else None  # of any length
        digest.update(f"{name!r} {size}\n".encode())
    return digest.hexdigest()


def predicted(dataset, indices: Sequence[int], folder: PredictionFolder) -> list[int]:
    """Of some images those whose prediction is there and whole. Raises ResultsError for none."""
    looked_at = progress(indices, desc="looking for predictions", unit="image")
    found = [index for index in looked_at if folder.has(dataset.names[index])]
    if not found:
        raise ResultsError(f"{folder.folder}: holds no predictions of these images yet")
    return found


def count_proposals(dataset, indices: Sequence[int], folder: PredictionFolder) -> dict:
    """The mean number proposals_per_image and the shares of images_without_proposals and
    images_over_max_proposals, of the images whose predictions say it; {} where none does. Warns
    where most images have none, and where peaks were left out."""
    said = (folder.proposals(dataset.names[index]) for index in indices)
    told = [proposals for proposals in said if proposals is not None]
    if not told:
        return {}
    counts, dropped = zip(*told)
    without, over = counts.count(0), len(told) - dropped.count(0)
    if 2 * without > len(counts):
        print(
            f"{without} of {len(counts)} images have no point proposal, so no objects: train the "
            "proposal branch, or try a lower --peak-threshold, down to .01",
            file=sys.stderr,
        )
    if over:
        print(dropped_notice(over, len(told), sum(dropped)), file=sys.stderr)
    return {
        "proposals_per_image": float(np.mean(counts)),
        "images_without_proposals": without / len(told),
        "images_over_max_proposals": over / len(told),
    }


def score(
    args: argparse.Namespace,
    dataset,
    indices: Sequence[int],
    predictions: PredictionFolder,
    categories: list[dict],
    output: Path,
) -> tuple[dict, str]:
    """PQ, AP, mIoU and the table of classes.

    PQ is by the official evaluator. AP and mIoU are Cityscapes' own there; elsewhere AP is by
    pycocotools, at the thresholds of Table 1 for the toy problem. Own images have the AP of
    ``adaptis.evaluation.matching`` too, and pycocotools counts all predictions of an image.

    Raises ResultsError, DiskError, DataError, WorkerError.
    """
    work = partial(read_evidence, dataset, predictions, categories, output)
    processes = len(worker_devices(args, len(indices)))
    makers = [partial(partial, work)] * processes  # the same in each
    found = {}
    with closing(each(work, makers, indices)) as results:
        for index, of_image in progress(results, desc="scoring", total=len(indices), unit="image"):
            if of_image is None:
                raise WorkerError(f"{dataset.image_path(index)}, to be scored: {LOST}")
            found[index] = of_image
    in_order = [found[index] for index in indices]
    thresholds = IOU_THRESHOLDS.get(dataset.name)
    scores = score_predictions(predictions, in_order, categories, output, thresholds)
    if dataset.name == "cityscapes":
        paths = {dataset.names[i]: dataset.label_paths(i) for i in indices}
        scores |= score_cityscapes(predictions, paths, categories, output / "cityscapes")
    if dataset.name == "instances":
        things = [category["id"] for category in categories if category["isthing"]]
        scores |= score_matching(predictions, ground_truths(dataset, indices), things)
    return scores, class_table(scores["pq"], categories)


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
    brief = ["--limit", str(BRIEF_IMAGES), "--max-fruitless", str(BRIEF_FRUITLESS)]
    args = parse_arguments("", [name, *where, *brief])
    evaluate(args, dataset, load_predictor(args))
