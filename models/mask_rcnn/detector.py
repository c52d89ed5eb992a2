"""Inference with Mask R-CNN: an image in, masks of the same size out."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import mxnet as mx
import numpy as np
from gluoncv.data.transforms.presets.rcnn import MaskRCNNDefaultValTransform

UNLIMITED = 1 << 30  # px of the longer side, which GluonCV's transforms bound too


class Detections(NamedTuple):
    """Objects found in an image, best first; masks may overlap."""

    masks: np.ndarray  # (N, H, W) bool, at image size, none empty
    scores: np.ndarray  # (N,) float32 in [0, 1]


class MaskRCNNDetector:
    """Finds the objects of images.

    Parameters:
        network: see ``models.mask_rcnn.network.build_mask_rcnn``; hybridized here.
        short_side: px to which images are scaled by their shorter side.
        context: the device of the network.
    """

    def __init__(self, network, short_side: int, context: mx.Context):
        network.hybridize(static_alloc=True)  # anew where it was trained, with three inputs
        self._network, self._context = network, context
        self._transform = MaskRCNNDefaultValTransform(short_side, UNLIMITED)

    def detect(self, image: np.ndarray) -> Detections:
        """image: (H, W, 3) uint8 RGB."""
        tensor, _ = self._transform(mx.nd.array(image, dtype="uint8"), None, None)
        outputs = self._network(tensor.expand_dims(0).as_in_context(self._context))
        ids, scores, boxes, masks = (output[0].asnumpy() for output in outputs)
        size, scale = image.shape[:2], tensor.shape[1] / image.shape[0]
        found = [
            (paste_mask(mask, box, size, scale), score)
            for id_, score, box, mask in zip(ids[:, 0], scores[:, 0], boxes, masks)
            if id_ >= 0  # the places of suppressed detections
        ]
        found = [(mask, score) for mask, score in found if mask.any()]
        return Detections(
            np.array([mask for mask, _ in found], bool).reshape(-1, *size),
            np.array([score for _, score in found], np.float32),
        )


def paste_mask(
    mask: np.ndarray, box: np.ndarray, size: tuple[int, int], scale: float
) -> np.ndarray:
    """The mask of a region on the pixels of the original image, without a detour by the enlarged
    one, whose rounding would cost accuracy.

    Parameters:
        mask: (M, M) float probabilities on the M x M equal cells of the box.
        box: (x1, y1, x2, y2) in pixels of the enlarged image, pixel centres at whole numbers: the
            coordinates in which the network's training cuts its target masks.
        size: (H, W) of the original image.
        scale: the enlarged image's size in the original's.

    Returns (H, W) bool: bilinear probability above one half, none outside of the box.
    """
    affine = np.zeros((2, 3))
    for axis, cells in enumerate(mask.shape[::-1]):  # x, y
        start = box[axis]
        length = max(box[axis + 2] - start, 1)  # as in the network's own region pooling
        # original pixel p is at (p + .5) * scale - .5; cell i has its centre at i + .5 cells
        affine[axis, axis] = scale * cells / length
        affine[axis, 2] = ((scale - 1) / 2 - start) * cells / length - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP  # outside is 0
    return cv2.warpAffine(mask.astype(np.float32), affine, size[::-1], flags=flags) > 0.5
