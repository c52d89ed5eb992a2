"""The losses of ``adaptis.training.losses`` in PyTorch; shapes and meaning are theirs."""

from __future__ import annotations

import torch
from torch.nn import functional

from adaptis.training.losses import TINY
from adaptis.training.sampling import IGNORED


def normalized_focal_loss(logits, mask, alpha: float = 0.5, gamma: float = 2.0):
    """(N, 1, H, W) twice -> (N,)."""
    log_p, weight, valid = _binary_terms(logits, mask, alpha)
    return _normalize(log_p, weight, valid, gamma)


def normalized_focal_softmax_loss(logits, labels, gamma: float = 1.0):
    """(N, C, H, W) and (N, H, W) -> (N,)."""
    valid = (labels != IGNORED).float()
    chosen = labels.clamp(min=0).long()[:, None]
    log_p = functional.log_softmax(logits, dim=1).gather(1, chosen)[:, 0] * valid
    return _normalize(log_p, valid, valid, gamma)


def focal_loss(logits, mask, alpha: float = 0.25, gamma: float = 2.0):
    """(N, 1, H, W) twice -> (N,)."""
    log_p, weight, _ = _binary_terms(logits, mask, alpha)
    focus = (1 - log_p.exp()) ** gamma
    return -_sum_pixels(weight * focus * log_p) / _sum_pixels(mask > 0).clamp(min=1)


def binary_cross_entropy(logits, mask):
    """(N, 1, H, W) twice -> (N,)."""
    valid = (mask != IGNORED).float()
    return _mean_over((functional.softplus(logits) - logits * mask.relu()) * valid, valid)


def mask_iou(logits, masks, threshold_logit: float):
    """(N, 1, H, W) twice -> (N,), NaN where both masks are empty. ``threshold_logit``: the
    ``mask_logit`` of T."""
    predicted, truth = (logits > threshold_logit) & (masks >= 0), masks > 0
    return _sum_pixels(predicted & truth) / _sum_pixels(predicted | truth)


def _binary_terms(logits, mask, alpha):
    valid = (mask != IGNORED).float()
    is_object = mask > 0
    log_p = functional.logsigmoid(torch.where(is_object, logits, -logits)) * valid
    return log_p, torch.where(is_object, alpha, 1 - alpha) * valid, valid


def _normalize(log_p, weight, valid, gamma):
    focus = (1 - log_p.exp()).clamp(min=TINY) ** gamma * valid
    scale = (_sum_pixels(valid) / (_sum_pixels(focus) + TINY)).detach()
    return -scale * _mean_over(weight * focus * log_p, valid)


def _mean_over(x, valid):
    return _sum_pixels(x) / (_sum_pixels(valid) + TINY)


def _sum_pixels(x):
    return x.flatten(1).sum(dim=1, dtype=torch.float32)
