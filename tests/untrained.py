"""Toy images of noise, and the weights of a network that was never trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from adaptis.weights import parameters_of, save_arrays
from datasets.toy import ToyDataset

NETWORK = {"architecture": "toy", "width": 4}


def write_images(data: Path, names: str, boxes: list[tuple[slice, slice]]) -> None:
    """``data/test`` with an image of 16x16 px for each letter, and the same objects in all."""
    (data / "test").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in names:
        image = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        image.save(data / "test" / f"{name}_rgb.png")
        ids = np.zeros((16, 16), np.uint8)
        for number, box in enumerate(boxes, start=1):
            ids[box] = number
        Image.fromarray(ids).save(data / "test" / f"{name}_im.png")


def write_weights(path: Path, network, inference: dict) -> None:
    """A weights file of a network of NETWORK, with these settings of inference."""
    description = {
        "network": NETWORK,
        "classes": [info._asdict() for info in ToyDataset.classes],
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "inference": inference,
    }
    save_arrays(path, parameters_of(network), description)
