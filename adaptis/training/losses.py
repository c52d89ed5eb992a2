"""Losses (paper, Section 3 and Appendix A): pure functions of logits and labels.

Each returns one value an example: the mean over its pixels, but ``focal_loss`` their sum divided by
the number of the object's. Pixels labelled ``IGNORED`` count nowhere.
"""

from __future__ import annotations

import mxnet as mx
import numpy as np

from adaptis.training.sampling import IGNORED

TINY = 1e-12  # keeps 0 / 0 at 0 where every pixel is ignored or perfectly right


def normalized_focal_loss(
    logits, mask, alpha: float = 0.5, gamma: float = 2.0, count_ignored: bool = False
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
    log_p, weight, valid = _binary_terms(logits, mask, alpha)
    return _normalize(log_p, weight, valid, gamma, count_ignored)


def normalized_focal_softmax_loss(logits, labels, gamma: float = 1.0):
    """Normalised focal loss for classes (gamma: authors' code).

    Parameters:
        logits: (N, C, H, W) float32.
        labels: (N, H, W) float32 class indices, or IGNORED.

    Returns (N,) float32.
    """
    valid = labels != IGNORED
    classes_last = logits.transpose((0, 2, 3, 1))  # there log_softmax is several times as fast
    log_p = mx.nd.pick(mx.nd.log_softmax(classes_last), mx.nd.relu(labels)) * valid
    return _normalize(log_p, valid, valid, gamma, count_ignored=False)


def focal_loss(logits, mask, alpha: float = 0.25, gamma: float = 2.0):
    """Focal loss (Table 7, row 3), divided by the number of object pixels, as that of Lin et al.
    2017 is by the number of objects. Shapes as ``normalized_focal_loss``."""
    log_p, weight, _ = _binary_terms(logits, mask, alpha)
    focus = (1 - mx.nd.exp(log_p)) ** gamma
    return -sum_pixels(weight * focus * log_p) / mx.nd.maximum(sum_pixels(mask > 0), 1)


def binary_cross_entropy(logits, mask):
    """Binary cross entropy (Table 7, row 4). Shapes as ``normalized_focal_loss``; labels between 0
    and 1 are probabilities."""
    valid = mask != IGNORED
    softplus = mx.nd.Activation(logits, act_type="softrelu")
    return _mean_over((softplus - logits * mx.nd.relu(mask)) * valid, valid)


def balanced_probability(alpha: float, gamma: float = 2.0) -> float:
    """What a focal loss, normalised or not, makes of pixels that are the object's half of the time:
    T there cuts masks where objects do. .5 with alpha .5, .40 with .25.
    """
    p = np.arange(0.01, 1, 0.01)
    of_object, of_others = (1 - p) ** gamma * np.log(p), p**gamma * np.log(1 - p)
    return round(float(p[np.argmax(alpha * of_object + (1 - alpha) * of_others)]), 2)


def _binary_terms(logits, mask, alpha):
    """Log probability of the right answer (0 where ignored), class weight, 1 where valid."""
    valid = mask != IGNORED
    sign = 2 * (mask > 0) - 1
    log_p = -mx.nd.Activation(-logits * sign, act_type="softrelu") * valid
    weight = (alpha * (mask > 0) + (1 - alpha) * (mask <= 0)) * valid
    return log_p, weight, valid


def _normalize(log_p, weight, valid, gamma, count_ignored):
    wrong = mx.nd.maximum(1 - mx.nd.exp(log_p), TINY)  # 0 has no gradient where gamma is below 1
    focus = wrong**gamma * valid
    count = mx.nd.ones_like(valid) if count_ignored else valid
    # 1 / P as a mean over pixels
    scale = mx.nd.BlockGrad(sum_pixels(count) / (sum_pixels(focus) + TINY))
    return -scale * _mean_over(weight * focus * log_p, valid)


def sum_pixels(x):
    """(N, ...) -> (N,). A product with ones: MXNet's own sums are tens of times slower on a CPU."""
    x = x.reshape((0, -1))
    return mx.nd.dot(x, mx.nd.ones(x.shape[1], ctx=x.context))


def _mean_over(x, valid):
    return sum_pixels(x) / (sum_pixels(valid) + TINY)
