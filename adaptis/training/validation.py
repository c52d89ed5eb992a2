"""A quick look during training: masks from one random point of each object, and their mean IoU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import mxnet as mx
import numpy as np

from adaptis.pictures.drawing import draw_instances
from adaptis.preprocessing import normalize_image, resize, resize_labels, scaled_size
from adaptis.progress import progress
from adaptis.training.sampling import objects_of
from adaptis.training.stages import mask_iou, mask_logit

VALIDATION_IMAGES = 50  # about 700 toy objects: a standard error under one point
OBJECTS = 16  # of an image: in a crowded one each costs a pass of the head
POINTS_PER_PASS = 8  # one number for all images: each other would be kept in memory


def validate(
    network,
    dataset,
    config,
    context: mx.Context,
    images: int = VALIDATION_IMAGES,
    is_stopped: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, float], np.ndarray] | None:
    """Mean IoU over the first images' objects, at most OBJECTS of each, a fixed random point each.

    Parameters:
        network: AdaptIS.
        dataset: a data set of this project.
        config: mean, std, min_area and inference, at whose scale and T (mask_threshold) it looks.
        images: how many.
        is_stopped: asked before each pass of the network, whether to leave it.

    Returns {"iou": ...} and the first image, its objects and their masks side by side,
    (H, 3 * W, 3) uint8 RGB; None if stopped.
    """
    sides = [config.inference.get(f"{which}_side") for which in ("shortest", "longest")]
    threshold = config.inference.greedy.mask_threshold
    ious = []
    picture = None
    for index in progress(range(min(images, len(dataset))), "validation", leave=False):
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
        truth, found = np.zeros((2, *size), np.int32)
        targets = objects.targets
        if len(targets) > OBJECTS:
            targets = rng.choice(targets, OBJECTS, replace=False)
        for start in range(0, len(targets), POINTS_PER_PASS):
            if is_stopped():
                return None
            part = targets[start : start + POINTS_PER_PASS]
            masks = np.stack([objects.mask(chosen) for chosen in part])
            points_yx = np.concatenate([objects.draw(chosen, 1, rng) for chosen in part])
            points_yx = np.pad(points_yx, ((0, POINTS_PER_PASS - len(part)), (0, 0)), "edge")
            logits = network.instances(encoded, mx.nd.array(points_yx[None], ctx=context))
            logits = logits[: len(part)]
            target = mx.nd.array(masks[:, None], ctx=context, dtype="float32")
            ious += mask_iou(logits, target, threshold).asnumpy().tolist()
            for number, (mask, own) in enumerate(zip(masks, logits.asnumpy()[:, 0]), start + 1):
                truth[mask == 1] = number
                found[own > mask_logit(threshold)] = number
        if picture is None:
            drawn = [draw_instances(image, ids) for ids in (truth, found)]
            picture = np.concatenate([image, *drawn], axis=1)
    return {"iou": float(np.mean(ious)) if ious else 0.0}, picture
