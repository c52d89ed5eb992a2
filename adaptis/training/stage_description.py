"""What the files of a stage say of it: how they were trained, and how to segment with them."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterable
from pathlib import Path

from easydict import EasyDict

from adaptis.training.checkpoints import Checkpoint
from adaptis.training.losses import balanced_probability
from adaptis.training.samples import Repeated
from adaptis.weights import Weights

BCE_MASK_THRESHOLD = 0.5  # where BCE is balanced


def inference_settings(
    args: argparse.Namespace, config: EasyDict, start: Checkpoint | Weights | None
) -> dict:
    """The data set's, with the T that fits the masks: .5 of a network trained with BCE, and what
    another --alpha than the data set's asks for. The second stage keeps the first's.

    Parameters:
        start: what the stage starts from, if from anything.
    """
    greedy = dict(config.inference.greedy)
    kept = (start.description if start else {}).get("inference", {}).get("greedy", {})
    if args.stage == "proposals":
        greedy["mask_threshold"] = kept.get("mask_threshold", greedy["mask_threshold"])
    elif args.loss == "bce":
        greedy["mask_threshold"] = BCE_MASK_THRESHOLD
    elif args.alpha != config.alpha:
        greedy["mask_threshold"] = balanced_probability(args.alpha)
    return {**config.inference, "greedy": greedy}


def described(config: EasyDict, network: dict, classes: Iterable) -> dict:
    """What inference has to know beside the weights.

    Parameters:
        config: the data set's, with the settings of inference.
        network: what the network is built from.
        classes: ``datasets.base.ClassInfo`` of each, stuff first.
    """
    description = {
        "network": network,
        "dataset": config.dataset,
        "classes": [info._asdict() for info in classes],
        "mean": config.mean,
        "std": config.std,
        "inference": config.inference,
    }
    if "intensity" in config:
        description["intensity"] = config.intensity
    return description


def training_record(args: argparse.Namespace, settings: EasyDict, images: Repeated) -> dict:
    """How the weights are trained: the options, and what they hang on that must agree on
    resuming."""
    return {
        **vars(args),
        "resume": False,
        "weights_sha256": sha256_of(args.weights),
        "cosine_epochs": args.epochs if args.schedule == "cosine" else None,
        "backbone_factor": settings.backbone_factor,
        "samples": len(images),
        "names_sha256": hashlib.sha256("\n".join(images.names).encode()).hexdigest(),
    }


def sha256_of(path: str | None) -> str | None:
    """Of a file, hexadecimal; None where there is none."""
    if not path or not Path(path).exists():
        return None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
