"""A quick look during training: masks from a point of each object and classes, and their IoU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import mxnet as mx
import numpy as np

from adaptis.evaluation.semantic import confusion_matrix, mean_iou
from adaptis.pictures.drawing import draw_instances
from adaptis.preprocessing import normalize_image, resize, resize_labels, scaled_size
from adaptis.progress import progress
from adaptis.training.sampling import IGNORED, objects_of
from adaptis.training.stages import mask_iou, mask_logit

OBJECTS = 16  # of an image: in a crowded one each costs a pass of the head
POINTS_PER_PASS = 8  # one number for all images: each other would be kept in memory


class Validation(NamedTuple):
    """What the trainer is told after an epoch."""

    metrics: dict[str, float]  # "score" decides which epoch is the best
    picture: np.ndarray  # (H, W, 3) uint8 RGB
    inference: dict  # settings that were chosen for the weights, after the last epoch


def validate(
    network,
    dataset,
    config,
    context: mx.Context,
    images: int,
    proposed: bool = False,
    is_stopped: Callable[[], bool] = lambda: False,
) -> Validation | None:
    """Mean IoU of masks and of classes over some images.

    Masks are those of at most OBJECTS objects of each image, from a fixed random point of the
    object, or from the one that the proposal branch likes best.

    Parameters:
        network: AdaptIS.
        dataset: a data set of this project.
        config: mean, std, min_area and inference, at whose scale and mask_threshold (T of
            Section 4) it looks.
        images: how many, evenly spread over the data set: neighbours are often of one place.
        proposed: of the proposal branch; the semantic branch, which is frozen then, is left out.
        is_stopped: asked before each pass of the network, whether to leave it.

    Returns {"iou": mean over objects, "miou": over classes, "score": the mean of both} and, as the
    picture, the first image, its objects and their masks side by side; None if stopped.
    """
    sides = [config.inference.get(f"{which}_side") for which in ("shortest", "longest")]
    threshold = config.inference.greedy.mask_threshold
    ious: list[float] = []
    confusion = np.zeros((1, 1), np.int64)  # grows to the classes
    picture = np.zeros((0, 0, 3), np.uint8)
    for index in progress(spread(len(dataset), images), "validation", leave=False):
        if is_stopped():
            return None
        sample = dataset[index]
        size = scaled_size(sample.image.shape[:2], *sides)
        image = resize(sample.image, size)
        instance_map, semantic_map = (
            resize_labels(ids, size) for ids in (sample.instance_map, sample.semantic_map)
        )
        sample = replace(sample, instance_map=instance_map, semantic_map=semantic_map)
        objects = objects_of(sample, config.min_area)
        rng = np.random.default_rng(index)
        normalized = normalize_image(image, config.mean, config.std)
        encoded = network.encode(mx.nd.array(normalized[None], ctx=context))
        if proposed:
            liking = network.proposals(encoded).asnumpy()[0, 0]
        else:
            class_logits = network.semantics(encoded)
            labels = np.maximum(semantic_map, IGNORED)  # padding, too
            class_map = class_logits.asnumpy()[0].argmax(axis=0)
            confusion = confusion + confusion_matrix(labels, class_map, class_logits.shape[1])
        truth, found = np.zeros((2, *size), np.int32)
        targets = objects.targets
        if len(targets) > OBJECTS:
            targets = rng.choice(targets, OBJECTS, replace=False)
        for start in range(0, len(targets), POINTS_PER_PASS):
            if is_stopped():
                return None
            part = targets[start : start + POINTS_PER_PASS]
            masks = np.stack([objects.mask(chosen) for chosen in part])
            if proposed:
                best = [np.argmax(np.where(mask == 1, liking, -np.inf)) for mask in masks]
                points_yx = np.stack(np.divmod(best, size[1]), axis=1).astype(np.float32)
            else:
                points_yx = np.concatenate([objects.draw(chosen, 1, rng) for chosen in part])
            points_yx = np.pad(points_yx, ((0, POINTS_PER_PASS - len(part)), (0, 0)), "edge")
            logits = network.instances(encoded, mx.nd.array(points_yx[None], ctx=context))
            logits = logits[: len(part)]
            target = mx.nd.array(masks[:, None], ctx=context, dtype="float32")
            ious += mask_iou(logits, target, threshold).asnumpy().tolist()
            for number, (mask, own) in enumerate(zip(masks, logits.asnumpy()[:, 0]), start + 1):
                truth[mask == 1] = number
                found[own > mask_logit(threshold)] = number
        if not picture.size:
            drawn = [draw_instances(image, ids) for ids in (truth, found)]
            picture = np.concatenate([image, *drawn], axis=1)
    iou = float(np.mean(ious)) if ious else 0.0
    if not np.any(confusion):  # of the proposal branch, or nothing is labelled
        return Validation({"iou": iou, "score": iou}, picture, {})
    miou = mean_iou(confusion)["miou"]
    return Validation({"iou": iou, "miou": miou, "score": (iou + miou) / 2}, picture, {})


def spread(length: int, count: int) -> list[int]:
    """At most ``count`` indices of a data set, evenly spread over it."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).astype(int)).tolist()
