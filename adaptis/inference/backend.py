"""What a predictor needs of a network, whichever library computes it: arrays in, arrays out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from adaptis.arguments import Device

Encoded = Any  # what a backend keeps of an image, on its device


class Backend(Protocol):
    """A network with its parameters on a device. Each implementation has a file.

    Attributes:
        device: where it computes.
    """

    device: Device

    def encode(self, image: np.ndarray) -> Encoded:
        """Run the backbone, once an image. image: (3, H, W) float32, normalised RGB.

        Returns what the other methods need of it.
        """

    def confidences(
        self, encoded: Encoded, points_yx: np.ndarray, window: int | None = None
    ) -> np.ndarray:
        """Run the head. points_yx: (N, 2) float32 (row, col) pixels of the image. window: pixels of
        the square around each point that it sees, None for the whole image.

        Returns the confidence maps, (N, H, W) float32 in [0, 1], 0 outside of the windows.
        """

    def class_probabilities(self, encoded: Encoded) -> np.ndarray:
        """Softmax of the semantic branch: (classes, H, W) float32, stuff classes first."""

    def proposal_logits(self, encoded: Encoded) -> np.ndarray:
        """The proposal branch's output, (H, W) float32."""
