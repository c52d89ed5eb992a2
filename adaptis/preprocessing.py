"""From an RGB image to the network's input."""

from __future__ import annotations

import numpy as np


def normalize_image(image: np.ndarray, mean, std) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32, (image / 255 - mean) / std a channel.

    Parameters:
        mean, std: three numbers each, of an image scaled to [0, 1].
    """
    scale = 1 / (255 * np.asarray(std, np.float32))
    offset = np.asarray(mean, np.float32) / np.asarray(std, np.float32)
    return np.ascontiguousarray((image * scale - offset).transpose(2, 0, 1))
