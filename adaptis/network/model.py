"""AdaptIS: backbone once an image, instance selection once a point (paper, Figures 4 and 7)."""

from __future__ import annotations

from typing import NamedTuple

import mxnet as mx
from mxnet.gluon import nn

from adaptis.network.heads import Controller, InstanceSelectionNetwork
from adaptis.network.layers import upsample

HE_NORMAL = mx.init.Xavier(rnd_type="gaussian", magnitude=2)
"""What parameters are drawn from before training. It keeps the variance through ReLU layers (He et
al. 2015), here by the mean number of a layer's inputs and outputs."""


class EncodedImage(NamedTuple):
    """All that the backbone knows of a batch of images; computed once, used for every point."""

    features: mx.nd.NDArray  # (B, C, h, w)
    code_map: mx.nd.NDArray  # (B, C', h, w), what the controller picks codes from
    selection_input: mx.nd.NDArray  # (B, C'', h, w), the points' common part of the first conv
    image_size: tuple[int, int]  # (height, width) in pixels


class AdaptIS(nn.Block):
    """The whole network.

    Parameters:
        backbone: image (B, 3, H, W) -> features Q (B, C, h, w).
        controller: Q(x, y) -> instance code.
        selection: features and code -> instance logits.
        semantic_head: Q -> class logits (B, classes, h, w), stuff classes first.
        proposal_head: Q -> proposal logits (B, 1, h, w).
        stride: pixels of the image a step of the feature map makes.
    """

    def __init__(
        self,
        backbone: nn.HybridBlock,
        controller: Controller,
        selection: InstanceSelectionNetwork,
        semantic_head: nn.HybridBlock,
        proposal_head: nn.HybridBlock,
        stride: int,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.stride = stride
        with self.name_scope():
            self.backbone = backbone
            self.controller = controller
            self.selection = selection
            self.semantic_head = semantic_head
            self.proposal_head = proposal_head

    def encode(self, images) -> EncodedImage:
        """images: (B, 3, H, W) float32, normalised RGB. Runs the backbone, once."""
        features = self.backbone(images)
        return EncodedImage(
            features,
            self.controller.prepare(features),
            self.selection.prepare(features),
            images.shape[2:],
        )

    def instances(self, encoded: EncodedImage, points_yx):
        """points_yx: (B, K, 2) float32 (row, col) pixels. Returns logits (B * K, 1, H, W)."""
        code = self.controller(encoded.code_map, points_yx)
        logits = self.selection(encoded.selection_input, code, points_yx)
        return self._to_image_size(logits, encoded.image_size)

    def instances_in_windows(
        self, encoded: EncodedImage, points_yx, corners_yx: list[tuple[int, int]], size
    ):
        """Each object of one image as if the image were but a window: what AdaIN normalises by is
        then as in training on crops, and the head costs no more for a large image.

        points_yx: (1, K, 2) float32 (row, col) pixels; corners_yx: K top left corners (row, col) in
        pixels, multiples of the stride; size: (height, width) of the windows, likewise. Returns
        logits (K, 1, *size)."""
        code = self.controller(encoded.code_map, points_yx)
        height, width = (length // self.stride for length in size)
        windows = [
            encoded.selection_input[:, :, row : row + height, col : col + width]
            for row, col in ((row // self.stride, col // self.stride) for row, col in corners_yx)
        ]
        corners_yx = mx.nd.array(corners_yx, ctx=points_yx.context)
        within = (points_yx[0] - corners_yx).expand_dims(1)  # (K, 1, 2)
        logits = self.selection(mx.nd.concat(*windows, dim=0), code, within)
        return self._to_image_size(logits, size)

    def semantics(self, encoded: EncodedImage):
        """Class logits (B, classes, H, W), stuff classes first."""
        return self._to_image_size(self.semantic_head(encoded.features), encoded.image_size)

    def proposals(self, encoded: EncodedImage):
        """Point proposal logits (B, 1, H, W)."""
        return self._to_image_size(self.proposal_head(encoded.features), encoded.image_size)

    def forward(self, images, points_yx):
        """images: (B, 3, H, W); points_yx: (B, K, 2) float32 (row, col) pixels.
        Returns instance logits (B * K, 1, H, W) and class logits (B, classes, H, W)."""
        encoded = self.encode(images)
        return self.instances(encoded, points_yx), self.semantics(encoded)

    def _to_image_size(self, logits, image_size):
        if self.stride != 1:
            logits = upsample(logits, *image_size)
        return logits.astype("float32", copy=False)  # mixed precision computes narrower ones
