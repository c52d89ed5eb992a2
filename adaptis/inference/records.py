"""The records of instances at image size, as segment-anything and COCO have them."""

from __future__ import annotations

import cv2
import numpy as np

from adaptis.preprocessing import Size, resize_labels, scale_points


def instance_records(
    instance_map: np.ndarray, found: list[dict], size: Size, rle: bool
) -> list[dict]:
    """A record an instance, in the order of ``found``.

    Parameters:
        instance_map: (h, w) integer, at the size the image was scaled to.
        found: what ``classified_instances`` says of them.
        size: (height, width) of the image.
        rle: masks as COCO's compressed RLE.

    Returns records, see ``AdaptISPredictor.segment``.
    """
    scaled, instance_map = instance_map.shape, resize_labels(instance_map, size)
    records = []
    for instance in found:
        mask = instance_map == instance["instance"]
        if not mask.any():
            continue  # scaling down lost it
        point_yx = scale_points(instance["point_yx"], scaled, size)
        records.append(
            {
                "segmentation": compressed_rle(mask) if rle else mask,
                "area": int(np.count_nonzero(mask)),
                "bbox": list(cv2.boundingRect(mask.view(np.uint8))),
                "score": instance["score"],
                "point_coords": [point_yx[::-1].tolist()],
                "category_id": instance["category_id"],
            }
        )
    return records


def compressed_rle(mask: np.ndarray) -> dict:
    """A mask (H, W) bool as {"size": [H, W], "counts": text}, which JSON can hold."""
    from pycocotools import mask as coco_mask

    rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")}
