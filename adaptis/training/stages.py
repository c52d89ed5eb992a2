"""The two stages of training (paper, Sections 3 and 5): what is trained, and on which loss."""

from __future__ import annotations

import math

import mxnet as mx
import numpy as np
from mxnet import autograd

from adaptis.network.layers import PointFeatures
from adaptis.network.model import AdaptIS
from adaptis.training import losses
from adaptis.training.proposal_labels import PROPOSAL_LABELS
from adaptis.training.sampling import IGNORED

SEMANTIC_WEIGHT = 0.75  # of the semantic loss beside the instance loss, authors' code

INSTANCE_LOSSES = {
    "nfl": losses.normalized_focal_loss,  # the paper's (Appendix A)
    "focal": losses.focal_loss,  # Table 7, row 3
    "bce": losses.binary_cross_entropy,  # Table 7, row 4
}


class InstanceStage:
    """Backbone, controller, instance selection and semantic branch, jointly.

    Parameters:
        loss: of INSTANCE_LOSSES.
        alpha: see ``losses.normalized_focal_loss``.
        mask_threshold: T of inference (Section 4), for the IoU that is logged.
    """

    name = "instances"
    has_best = True  # the epoch of the best validation

    def __init__(
        self, network: AdaptIS, loss: str = "nfl", alpha: float = 0.5, mask_threshold: float = 0.5
    ):
        self._network = network
        self._mask_threshold = mask_threshold
        self._loss = INSTANCE_LOSSES[loss]
        self._options = {} if loss == "bce" else {"alpha": alpha}

    def parameters(self) -> dict[str, mx.gluon.Parameter]:
        """All but the proposal branch's, by structural name."""
        every = self._network._collect_params_with_prefix()
        return {k: p for k, p in every.items() if not k.startswith("proposal_head.")}

    def losses(self, images, points_yx, masks, labels):
        """images (B, 3, H, W), points_yx (B, K, 2), masks (B, K, H, W), labels (B, H, W), all
        float32. Returns the loss to minimise, (B,), and what to log: scalars' arrays by name."""
        logits, class_logits = self._network(images, points_yx)
        masks = masks.reshape((-3, 0, 0)).expand_dims(1)  # (B * K, 1, H, W)
        instance = self._loss(logits, masks, **self._options)
        instance = instance.reshape((images.shape[0], -1)).mean(axis=1)
        semantic = losses.normalized_focal_softmax_loss(class_logits, labels)
        with autograd.pause():
            iou = mask_iou(logits, masks, self._mask_threshold)
        return instance + SEMANTIC_WEIGHT * semantic, {
            "loss/instance": instance.mean(),
            "loss/semantic": semantic.mean(),
            "iou": mean_known(iou),
        }


class ProposalStage:
    """The point proposal branch; all else is frozen and in inference mode.

    Parameters:
        mask_threshold: T of inference (Section 4), at which a point's mask is judged.
        labels: of PROPOSAL_LABELS.
    """

    name = "proposals"
    has_best = False  # validation tries a point an object, inference all peaks: take the last epoch

    def __init__(self, network: AdaptIS, mask_threshold: float = 0.5, labels: str = "paper"):
        self._network = network
        self._labels = PROPOSAL_LABELS[labels]
        self._mask_threshold = mask_threshold
        self._at_points = PointFeatures(stride=1)  # of the proposal logits, at image resolution

    def parameters(self) -> dict[str, mx.gluon.Parameter]:
        """The proposal branch's alone, by structural name."""
        every = self._network._collect_params_with_prefix()
        return {k: p for k, p in every.items() if k.startswith("proposal_head.")}

    def losses(self, images, points_yx, masks, labels):
        """As :meth:`InstanceStage.losses`, with points of one object and masks (B, 1, H, W)."""
        network, (batch, num_points, _) = self._network, points_yx.shape
        with autograd.pause(train_mode=False):
            encoded = network.encode(images)
            ious, confidences = [], []
            for k in range(num_points):
                mask_logits = network.instances(encoded, points_yx[:, k : k + 1])
                ious.append(mask_iou(mask_logits, masks, self._mask_threshold))
                confidences.append(mean_confidence(mask_logits, masks))
            ious, confidences = (mx.nd.stack(*of, axis=1) for of in (ious, confidences))  # (B, K)
            # NaN where a mask is ignored everywhere; those points count nowhere, see below
            targets = self._labels(*(np.nan_to_num(a.asnumpy()) for a in (ious, confidences)))
            targets = mx.nd.array(targets, ctx=images.context)
        logits = self._at_points(network.proposals(encoded), points_yx).reshape((batch, -1))
        with autograd.pause():
            # a mask ignored everywhere has no object to propose points for
            known = (masks.max(axis=(1, 2, 3)) > 0).reshape((-1, 1))
            ignored = mx.nd.full(targets.shape, IGNORED, ctx=images.context)
        targets = mx.nd.where(mx.nd.broadcast_like(known, targets), targets, ignored)
        loss = losses.binary_cross_entropy(
            logits.reshape((0, 1, 1, -1)), targets.reshape((0, 1, 1, -1))
        )
        return loss, {"loss/proposal": loss.mean(), "iou": mean_known(ious)}


def mask_logit(threshold: float) -> float:
    """The logit whose sigmoid is ``threshold``: of a mask's pixels all logits exceed it."""
    return math.log(threshold / (1 - threshold))


def mask_iou(logits, masks, threshold: float):
    """IoU of the masks C > T with the true ones, over the pixels not ignored.

    Parameters:
        logits: (N, 1, H, W) float32, of the confidence C.
        masks: (N, 1, H, W) float32: 1 object, 0 background, IGNORED.
        threshold: T of inference (Section 4).

    Returns (N,) float32, NaN where both are empty, as on an image without objects.
    """
    predicted = (logits > mask_logit(threshold)) * (masks >= 0)
    truth = masks > 0
    shared, union = predicted * truth, mx.nd.maximum(predicted, truth)
    shared, union = losses.sum_pixels(shared), losses.sum_pixels(union)
    return shared / union


def mean_confidence(logits, masks):
    """The mean of sigmoid(logits) on the true masks. Shapes and result as ``mask_iou``, NaN for an
    empty mask."""
    truth = masks > 0
    return losses.sum_pixels(logits.sigmoid() * truth) / losses.sum_pixels(truth)


def mean_known(values):
    """The mean of an array's values without NaN; NaN where there is no other."""
    known = values == values
    return mx.nd.where(known, values, mx.nd.zeros_like(values)).sum() / known.sum()
