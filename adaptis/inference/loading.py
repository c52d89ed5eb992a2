"""The predictor that the options of a command ask for."""

from __future__ import annotations

import argparse

from adaptis.inference.options import with_options
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.weights import CheckpointError


def load_predictor(args: argparse.Namespace, device: str | None = None) -> AdaptISPredictor:
    """The network of --weights, with the settings that were given.

    Parameters:
        args: with ``weights``, ``ctx`` and those of ``add_inference_options``.
        device: unless it is ``args.ctx``.

    Raises CheckpointError, DeviceError.
    """
    predictor = AdaptISPredictor.load(args.weights, device or args.ctx)
    predictor.settings = with_options(predictor.settings, args)
    return predictor


def load_again(args: argparse.Namespace, device: str, sha256: str | None) -> AdaptISPredictor:
    """The same in another process.

    Parameters:
        sha256: of the weights file when it was first loaded.

    Raises CheckpointError where the file was replaced since then, DeviceError.
    """
    predictor = load_predictor(args, device)
    if predictor.weights_sha256 != sha256:
        raise CheckpointError(f"{args.weights}: was replaced since the command began; start anew")
    return predictor
