"""A quick look during training: masks from one random point of each object, and their mean IoU."""

from __future__ import annotations

from dataclasses import replace

import mxnet as mx
import numpy as np
from tqdm import trange

from adaptis.pictures.drawing import draw_instances
from adaptis.preprocessing import normalize_image, resize, resize_labels, scaled_size
from adaptis.training.sampling import objects_of
from adaptis.training.stages import mask_iou

VALIDATION_IMAGES = 50  # about 700 toy objects: a standard error under one point


def validate(
    network, dataset, config, context: mx.Context, images: int = VALIDATION_IMAGES
) -> tuple[dict[str, float], np.ndarray]:
    """Mean IoU over every object of the first images, a fixed random point each.

    Parameters:
        network: AdaptIS.
        dataset: a data set of this project.
        config: mean, std, min_area and inference, at whose scale it looks.
        images: how many.

    Returns {"iou": ...} and the first image, its objects and their masks side by side,
    (H, 3 * W, 3) uint8 RGB.
    """
    sides = [config.inference.get(f"{which}_side") for which in ("shortest", "longest")]
    ious = []
    picture = None
    for index in trange(min(images, len(dataset)), desc="validation", leave=False):
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
        for number, chosen in enumerate(objects.targets, start=1):
            mask = objects.mask(chosen)
            point_yx = mx.nd.array(objects.draw(chosen, 1, rng)[None], ctx=context)
            logits = network.instances(encoded, point_yx)
            target = mx.nd.array(mask[None, None], ctx=context, dtype="float32")
            ious.append(float(mask_iou(logits, target).asscalar()))
            truth[mask == 1] = number
            found[logits.asnumpy()[0, 0] > 0] = number
        if picture is None:
            drawn = [draw_instances(image, ids) for ids in (truth, found)]
            picture = np.concatenate([image, *drawn], axis=1)
    return {"iou": float(np.mean(ious)) if ious else 0.0}, picture
