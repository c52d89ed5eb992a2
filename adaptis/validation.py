"""A quick measure during training: the mean IoU of masks from one random point of each object."""

from __future__ import annotations

import mxnet as mx
import numpy as np

from adaptis.preprocessing import normalize_image
from adaptis.sampling import ObjectPixels
from adaptis.stages import mask_iou

VALIDATION_IMAGES = 50  # about 700 toy objects: a standard error under one point


def validation_iou(network, dataset, config, context: mx.Context) -> dict[str, float]:
    """Mean IoU over every object of the first images, a fixed random point each.

    Parameters:
        network: AdaptIS.
        dataset: a data set of this project.
        config: mean, std, min_area.

    Returns {"iou": ...}.
    """
    ious = []
    for index in range(min(VALIDATION_IMAGES, len(dataset))):
        sample = dataset[index]
        crowds = [i for i, instance in sample.instances.items() if instance.iscrowd]
        objects = ObjectPixels(sample.instance_map, crowds, config.min_area)
        if not len(objects.targets):
            continue
        rng = np.random.default_rng(index)
        points = np.concatenate([objects.draw(i, 1, rng) for i in objects.targets])
        masks = np.stack([objects.mask(i) for i in objects.targets])
        image = normalize_image(sample.image, config.mean, config.std)
        encoded = network.encode(mx.nd.array(image[None], ctx=context))
        for point, mask in zip(points, masks):
            logits = network.instances(encoded, mx.nd.array(point[None, None], ctx=context))
            target = mx.nd.array(mask[None, None], ctx=context, dtype="float32")
            ious.append(float(mask_iou(logits, target).asscalar()))
    return {"iou": float(np.mean(ious)) if ious else 0.0}
