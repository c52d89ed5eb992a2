"""A quick look during training: masks from a point of each object and classes, and their IoU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import mxnet as mx
import numpy as np

from adaptis.evaluation.semantic import confusion_matrix, mean_iou
from adaptis.pictures.drawing import draw_instances
from adaptis.preprocessing import normalize_image, resize, resize_labels, scaled_size
from adaptis.progress import progress
from adaptis.training.sampling import IGNORED, ObjectPixels, objects_of
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
    threshold = config.inference.greedy.mask_threshold
    ious: list[float] = []
    confusion = np.zeros((1, 1), np.int64)  # grows to the classes
    picture = np.zeros((0, 0, 3), np.uint8)
    for index in progress(spread(len(dataset), images), "validation", leave=False):
        if is_stopped():
            return None
        sample = _at_inference_scale(dataset[index], config.inference)
        normalized = normalize_image(sample.image, config.mean, config.std)
        encoded = network.encode(mx.nd.array(normalized[None], ctx=context))
        liking = None
        if proposed:
            liking = network.proposals(encoded).asnumpy()[0, 0]
        else:
            confusion = confusion + _class_confusion(network.semantics(encoded), sample)
        objects, rng = objects_of(sample, config.min_area), np.random.default_rng(index)
        shown: list[tuple[np.ndarray, np.ndarray]] = []  # of the first image
        for masks, points_yx in _passes(objects, liking, rng):
            if is_stopped():
                return None
            logits = network.instances(encoded, mx.nd.array(points_yx[None], ctx=context))
            logits = logits[: len(masks)]
            target = mx.nd.array(masks[:, None], ctx=context, dtype="float32")
            ious += mask_iou(logits, target, threshold).asnumpy().tolist()
            if not picture.size:
                shown += zip(masks == 1, logits.asnumpy()[:, 0] > mask_logit(threshold))
        if not picture.size:
            picture = _picture(sample.image, shown)
    return Validation(_metrics(ious, confusion), picture, {})


def _at_inference_scale(sample, inference):
    """A Sample with image and maps at the size that the settings ask for."""
    sides = (inference.get(f"{which}_side") for which in ("shortest", "longest"))
    size = scaled_size(sample.image.shape[:2], *sides)
    return replace(
        sample,
        image=resize(sample.image, size),
        instance_map=resize_labels(sample.instance_map, size),
        semantic_map=resize_labels(sample.semantic_map, size),
    )


def _class_confusion(class_logits, sample) -> np.ndarray:
    """See ``confusion_matrix``. class_logits: (1, K, H, W) float32, of the semantic branch."""
    labels = np.maximum(sample.semantic_map, IGNORED)  # padding, too
    class_map = class_logits.asnumpy()[0].argmax(axis=0)
    return confusion_matrix(labels, class_map, class_logits.shape[1])


def _passes(
    objects: ObjectPixels, liking: np.ndarray | None, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """What the head is asked about an image, pass by pass: at most OBJECTS objects in all.

    Parameters:
        liking: (H, W) float32 proposal logits; the point of an object is where they are highest.
            None for a random point.

    Yields masks (N, H, W) int8, see ``ObjectPixels.mask``, of up to POINTS_PER_PASS objects, and a
    point of each, (POINTS_PER_PASS, 2) float32 (row, col): the last is repeated to as many.
    """
    targets = objects.targets
    if len(targets) > OBJECTS:
        targets = rng.choice(targets, OBJECTS, replace=False)
    for start in range(0, len(targets), POINTS_PER_PASS):
        part = targets[start : start + POINTS_PER_PASS]
        masks = np.stack([objects.mask(chosen) for chosen in part])
        if liking is None:
            points_yx = np.concatenate([objects.draw(chosen, 1, rng) for chosen in part])
        else:
            best = [np.argmax(np.where(mask == 1, liking, -np.inf)) for mask in masks]
            points_yx = np.stack(np.divmod(best, liking.shape[1]), axis=1).astype(np.float32)
        yield masks, np.pad(points_yx, ((0, POINTS_PER_PASS - len(part)), (0, 0)), "edge")


def _picture(image: np.ndarray, shown: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """An image, its objects and what was found of them, side by side: (H, 3 * W, 3) uint8 RGB.

    Parameters:
        shown: of each object its true and its found mask, (H, W) bool.
    """
    truth, found = np.zeros((2, *image.shape[:2]), np.int32)
    for number, (true_mask, found_mask) in enumerate(shown, start=1):
        truth[true_mask] = number
        found[found_mask] = number
    return np.concatenate([image, *(draw_instances(image, ids) for ids in (truth, found))], axis=1)


def _metrics(ious: list[float], confusion: np.ndarray) -> dict[str, float]:
    """See :func:`validate`; without classes where none is labelled or they were left out."""
    iou = float(np.mean(ious)) if ious else 0.0
    if not np.any(confusion):
        return {"iou": iou, "score": iou}
    miou = mean_iou(confusion)
    return {"iou": iou, "miou": miou, "score": (iou + miou) / 2}


def spread(length: int, count: int) -> list[int]:
    """At most ``count`` indices of a data set, evenly spread over it."""
    return np.unique(np.linspace(0, length - 1, min(count, length)).astype(int)).tolist()
