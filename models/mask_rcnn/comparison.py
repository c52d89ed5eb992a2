"""Mask R-CNN and AdaptIS on the same test images: Table 1, Figure 3, and recall by the overlap of
boxes."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mxnet as mx
import numpy as np

from adaptis import AdaptISPredictor
from adaptis.arguments import devices
from adaptis.disk import write_atomically
from adaptis.evaluation.box_overlap import highest_box_overlaps, recall_by_overlap
from adaptis.evaluation.instance import InstanceEvaluator
from adaptis.evaluation.tables import (
    TOY_IOU_THRESHOLDS,
    TOY_PAPER,
    markdown_table,
    percent,
    without_nan,
)
from adaptis.inference.settings import DENSE_SCENES
from adaptis.pictures.drawing import draw_instances, enlarge, match_ids
from adaptis.pictures.figures import save_grid, save_recall
from adaptis.progress import progress
from adaptis.weights import load_weights, set_parameters
from datasets.base import Instance, Sample
from datasets.toy import HARDEST, OBJECT, ToyDataset, degrade
from datasets.toy_scenes import generate_scene
from models.mask_rcnn.detector import MaskRCNNDetector
from models.mask_rcnn.network import build_mask_rcnn
from models.mask_rcnn.training import MaskRCNNSamples, MaskRCNNTrainer

COLUMNS = ("Image", "Ground truth")  # of the pictures, then the methods
RECALL_IOUS = (0.5, 0.7)  # of masks
SURE_SCORE = 0.5  # what is drawn and counted; AP and recall are of all that is found
LARGE_SIDE, LARGE_OBJECTS = 256, 250  # Figure 3(d)
LARGE_SEED = 2000
LARGE_DETECTIONS = 400  # more than the objects, as for small images

Masks = tuple[np.ndarray, np.ndarray]  # (N, H, W) bool, (N,) scores


def compare(args: argparse.Namespace) -> dict:
    """Train Mask R-CNN, find the objects of the test images with both, score, tabulate and draw.

    Parameters:
        args: of ``models.mask_rcnn.options``.

    Returns the metrics, as they are in ``metrics.json``.

    Raises TrainingError, CheckpointError, and what the data set raises.
    """
    output, context = Path(args.output), devices(args.ctx)[0]
    test_set = ToyDataset(args.data, "test")
    predictor = AdaptISPredictor.load(args.weights, args.ctx)  # before training: it may not exist
    path = output / "mask_rcnn.params"
    description = train(args, path, context)
    detector = load_detector(path, description["network"], context)

    samples = [test_set[i] for i in range(min(args.limit or len(test_set), len(test_set)))]
    finders = {
        "Mask R-CNN": detector.detect,
        "AdaptIS": lambda image: segment(predictor, image),
    }
    pictured = samples[: args.pictures]
    methods, pictures = {}, [[draw(sample) for sample in pictured] for draw in (image_of, truth_of)]
    for name, find in finders.items():
        methods[name], drawn = evaluate(name, find, samples, args.pictures)
        pictures.append(drawn)
    table = comparison_table(methods, len(samples))
    print(table)
    write_atomically(output / "table.md", f"{table}\n".encode())
    metrics = {
        "images": len(samples),
        "mask_rcnn": description,
        "adaptis_weights_sha256": predictor.weights_sha256,
        "methods": methods,
    }
    if args.pictures:
        names = [sample.name for sample in pictured]
        save_grid(output / "figure3.png", [*COLUMNS, *finders], list(zip(*pictures)), names)
        recall_plot(output / "box_overlap.png", methods)

        enlarged = LARGE_SIDE / min(samples[0].image.shape[:2])
        finders["Mask R-CNN"] = load_detector(
            path, description["network"], context, enlarged, max_objects=LARGE_DETECTIONS
        ).detect
        greedy = replace(predictor.settings.greedy, **DENSE_SCENES)
        predictor.settings = replace(predictor.settings, greedy=greedy, points="proposals")
        metrics["large_scene"] = compare_large_scene(finders, output / "large_scene.png")
    write_atomically(output / "metrics.json", json.dumps(without_nan(metrics), indent=1).encode())
    print(f"\nmetrics and pictures are in {output}")
    return metrics


def train(args: argparse.Namespace, path: Path, context: mx.Context) -> dict:
    """Train to the checkpoint at ``path``; returns its description."""
    train_set = ToyDataset(args.data, "train", cache=True)
    pretrained = args.backbone_weights != "none"
    description = {
        "network": {
            "network": args.network,
            "short_side": args.short_side,
            "pretrained": pretrained,
        },
        "training": {
            "images": min(args.images or len(train_set), len(train_set)),
            "epochs": args.epochs,
            "learning_rate": args.learning_rate,
            "seed": args.seed,
        },
    }
    mx.random.seed(args.seed)
    weights = "none" if args.resume else args.backbone_weights
    network = build_mask_rcnn(**description["network"], backbone_weights=weights)
    network.collect_params().reset_ctx(context)
    samples = MaskRCNNSamples(train_set, network, args.short_side, args.seed)
    trainer = MaskRCNNTrainer(network, samples, path, description, context)
    if args.resume:
        trainer.resume()
    trainer.fit()
    return description


def load_detector(
    path: Path, network: dict, context: mx.Context, enlarged: float = 1, **limits
) -> MaskRCNNDetector:
    """The trained Mask R-CNN, for images ``enlarged`` times as large as those of training."""
    model = build_mask_rcnn(**network, **limits)
    set_parameters(model, load_weights(path).arrays, path)
    model.collect_params().reset_ctx(context)
    return MaskRCNNDetector(model, round(network["short_side"] * enlarged), context)


def segment(predictor: AdaptISPredictor, image: np.ndarray) -> Masks:
    """AdaptIS's objects."""
    predictor.set_image(image)
    records = predictor.segment()
    masks = np.array([record["segmentation"] for record in records], bool)
    return masks.reshape(-1, *image.shape[:2]), np.array([record["score"] for record in records])


def evaluate(
    name: str, find: Callable[[np.ndarray], Masks], samples: list[Sample], pictures: int
) -> tuple[dict, list[np.ndarray]]:
    """Find the objects of samples and score them.

    Returns AP by threshold, recall by box overlap and mask IoU, counts of the sure objects at mask
    IoU .5 and seconds an image; and of the first samples a picture.
    """
    category = ToyDataset.classes[OBJECT].category_id
    every, sure = InstanceEvaluator([category]), InstanceEvaluator([category])
    seconds, drawn = 0.0, []
    for sample in progress(samples, desc=name, unit="image"):
        start = time.perf_counter()
        masks, scores = find(sample.image)
        seconds += time.perf_counter() - start
        truth = {i: (category, instance.iscrowd) for i, instance in sample.instances.items()}
        for evaluator, lowest in ((every, 0), (sure, SURE_SCORE)):
            kept = scores >= lowest
            evaluator.add_ground_truth(sample.name, sample.instance_map, truth)
            categories = [category] * int(kept.sum())
            evaluator.add_predictions(sample.name, list(masks[kept]), scores[kept], categories)
        if len(drawn) < pictures:
            drawn.append(draw(sample, masks[scores >= SURE_SCORE]))
    overlaps = {sample.name: highest_box_overlaps(sample.instance_map) for sample in samples}
    recall = {}
    for iou in RECALL_IOUS:
        found = every.found_objects(iou)
        objects = [(v, i in found[image]) for image, o in overlaps.items() for i, v in o.items()]
        bins = recall_by_overlap(objects)
        recall[f"{iou:g}"] = [{**b._asdict(), "recall": b.recall} for b in bins]
    return {
        "ap": every.evaluate(TOY_IOU_THRESHOLDS),
        "recall_by_box_overlap": recall,
        "counts": sure.detection_counts()._asdict(),
        "seconds_per_image": seconds / len(samples),
    }, drawn


def comparison_table(methods: dict[str, dict], images: int) -> str:
    """Table 1 with our rows."""
    rows = [[name, *(f"{v:.1f}" for v in row)] for name, row in TOY_PAPER.items()]
    for name, scores in methods.items():
        ap = [percent(scores["ap"][f"{t:g}"]) for t in TOY_IOU_THRESHOLDS]
        rows.append([f"{name} (this run, {images} images)", *ap])
    return markdown_table(["", *(f"AP@{t:g}" for t in TOY_IOU_THRESHOLDS)], rows)


def recall_plot(path: Path, methods: dict[str, dict]) -> None:
    """One plot of both methods, see ``adaptis.evaluation.box_overlap``."""
    by_method = {name: scores["recall_by_box_overlap"] for name, scores in methods.items()}
    bins = next(iter(next(iter(by_method.values())).values()))
    names = [f"{b['low']:g} to {b['high']:g}\n{b['objects']} objects" for b in bins]
    recalls = {
        name: {float(iou): [b["recall"] for b in bins] for iou, bins in recall.items()}
        for name, recall in by_method.items()
    }
    save_recall(path, names, recalls)


def image_of(sample: Sample) -> np.ndarray:
    return enlarge(sample.image)


def truth_of(sample: Sample) -> np.ndarray:
    return draw_instances(enlarge(sample.image), enlarge(sample.instance_map))


def draw(sample: Sample, masks: np.ndarray) -> np.ndarray:
    """The sample's image with masks, best first, coloured like the objects they match."""
    instance_map = np.zeros(sample.instance_map.shape, np.int32)
    for number, mask in reversed(list(enumerate(masks, start=1))):  # the best on top
        instance_map[mask] = number
    matched = match_ids(instance_map, sample.instance_map)
    return draw_instances(enlarge(sample.image), enlarge(matched))


def large_scene() -> Sample:
    """An image like Figure 3(d)'s, with its blur and noise."""
    rng = np.random.default_rng(LARGE_SEED)
    image, instance_map = generate_scene(rng, LARGE_SIDE, LARGE_OBJECTS, LARGE_OBJECTS)
    instances = {i: Instance(OBJECT) for i in range(1, LARGE_OBJECTS + 1)}
    image = degrade(image, HARDEST, rng)
    return Sample("large", image, np.minimum(instance_map, 1), instance_map, instances)


def compare_large_scene(finders: dict[str, Callable], path: Path) -> dict[str, dict]:
    """Draw what the methods find in a large scene; returns their counts."""
    scene = large_scene()
    counts, row = {}, [image_of(scene), truth_of(scene)]
    for name, find in finders.items():
        scores, drawn = evaluate(name, find, [scene], pictures=1)
        counts[name] = scores["counts"]
        row += drawn
    save_grid(path, [*COLUMNS, *finders], [row])
    return counts
