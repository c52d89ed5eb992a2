"""Losses (paper, Section 3 and Appendix A): pure functions of logits and labels.

Each returns one value an example: the sum over its pixels, divided by their number. Pixels labelled
``IGNORED`` count nowhere. ``F`` is ``mx.nd`` or ``mx.sym``.
"""

from __future__ import annotations

import mxnet as mx

from adaptis.sampling import IGNORED

_TINY = 1e-12  # keeps 0 / 0 at 0 where every pixel is ignored or perfectly right


def normalized_focal_loss(
    logits, mask, alpha: float = 0.5, gamma: float = 2.0, count_ignored: bool = False, F=mx.nd
):
    """Normalised focal loss for masks: the focal weights of an example sum to its pixel count, so
    that the total gradient doesn't fade (Appendix A).

    Parameters:
        logits: (N, 1, H, W) float32.
        mask: (N, 1, H, W) float32: 1 object, 0 background, IGNORED.
        alpha: weight of object pixels, 1 - alpha of the others; the authors' code, .5 toy, .25
            Cityscapes.
        gamma: focusing exponent, authors' code.
        count_ignored: the authors' variant, whose pixel count includes the ignored ones.

    Returns (N,) float32.
    """
    log_p, weight, valid = _binary_terms(F, logits, mask, alpha)
    return _normalize(F, log_p, weight, valid, gamma, count_ignored)


def normalized_focal_softmax_loss(logits, labels, gamma: float = 1.0, F=mx.nd):
    """Normalised focal loss for classes (gamma: authors' code).

    Parameters:
        logits: (N, C, H, W) float32.
        labels: (N, H, W) float32 class indices, or IGNORED.

    Returns (N,) float32.
    """
    labels = labels.expand_dims(1)  # (N, 1, H, W)
    valid = labels != IGNORED
    log_p = F.pick(F.log_softmax(logits, axis=1), F.relu(labels), axis=1, keepdims=True) * valid
    return _normalize(F, log_p, valid, valid, gamma, count_ignored=False)


def focal_loss(logits, mask, alpha: float = 0.25, gamma: float = 2.0, F=mx.nd):
    """Focal loss, divided by the number of object pixels (Lin et al. 2017; Table 7, row 3).
    Shapes as ``normalized_focal_loss``."""
    log_p, weight, _ = _binary_terms(F, logits, mask, alpha)
    focus = (1 - F.exp(log_p)) ** gamma
    return -_sum(F, weight * focus * log_p) / F.maximum(_sum(F, mask > 0), 1)


def binary_cross_entropy(logits, mask, F=mx.nd):
    """Binary cross entropy (Table 7, row 4). Shapes as ``normalized_focal_loss``."""
    log_p, _, valid = _binary_terms(F, logits, mask, alpha=0.5)
    return -_mean_over(F, log_p, valid)


def _binary_terms(F, logits, mask, alpha):
    """Log probability of the right answer (0 where ignored), class weight, 1 where valid."""
    valid = mask != IGNORED
    sign = 2 * (mask > 0) - 1
    log_p = -F.Activation(-logits * sign, act_type="softrelu") * valid
    weight = (alpha * (mask > 0) + (1 - alpha) * (mask <= 0)) * valid
    return log_p, weight, valid


def _normalize(F, log_p, weight, valid, gamma, count_ignored):
    wrong = F.maximum(1 - F.exp(log_p), _TINY)  # 0 has no gradient where gamma is below 1
    focus = wrong**gamma * valid
    count = F.ones_like(valid) if count_ignored else valid
    scale = F.BlockGrad(_sum(F, count) / (_sum(F, focus) + _TINY))  # 1 / P as a mean over pixels
    return -scale * _mean_over(F, weight * focus * log_p, valid)


def _sum(F, x):
    return F.sum(x, axis=0, exclude=True)


def _mean_over(F, x, valid):
    return _sum(F, x) / (_sum(F, valid) + _TINY)
