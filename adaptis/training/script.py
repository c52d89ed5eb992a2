"""A training from data sets and options to its weights: devices, initial weights, both stages."""

from __future__ import annotations

import argparse
import hashlib
import math
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import mxnet as mx
from easydict import EasyDict

from adaptis.arguments import devices
from adaptis.disk import sole_user
from adaptis.inference.mxnet_backend import MXNetBackend
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.network.layers import synchronize_batch_norm
from adaptis.network.model import HE_NORMAL
from adaptis.training import mixed_precision
from adaptis.training.checkpoints import TrainingError, newest_checkpoint
from adaptis.training.distributed import Workers, connect
from adaptis.training.initial_weights import set_initial_parameters
from adaptis.training.losses import balanced_probability
from adaptis.training.options import late_drops, stage_options
from adaptis.training.peaks import CANDIDATES, choose_peak_threshold
from adaptis.training.samples import EpochBatches, Repeated, TrainingSamples
from adaptis.training.sampling import sample_object_points, sample_points
from adaptis.training.stages import InstanceStage, ProposalStage
from adaptis.training.targets import count_targets, describe_targets
from adaptis.training.trainer import Trainer
from adaptis.training.validation import Validation, validate
from adaptis.weights import load_weights

BCE_MASK_THRESHOLD = 0.5  # where BCE is balanced
DRY_RUN_PROPOSALS = 4  # an image: an untrained branch proposes hundreds
DRY_RUN_IMAGES = 2  # looked at after each of its epochs


def train(
    args: argparse.Namespace,
    config: EasyDict,
    network_description: dict,
    build_network: Callable,
    convert_names: Callable,
    train_set,
    validation_set,
    augmentation: Callable,
) -> str:
    """Train one stage, both, or with --dry-run a little of both.

    Parameters:
        args: of :func:`training_parser`.
        config: the data set's.
        network_description: what the network is built from; stored in every weights file.
        build_network: models.build.build_network.
        convert_names: parameter arrays of --weights by name -> by our names.
        train_set, validation_set: data sets with the same classes.
        augmentation: (Sample, rng) -> Sample.

    Returns the weights file of the best epoch.

    Raises TrainingError, CheckpointError, and what the data set raises.
    """
    if args.dry_run and args.kvstore == "dist_sync":
        raise SystemExit("error: --dry-run is for one process: leave the launcher out")
    if args.amp:
        mixed_precision.start(devices(args.ctx))
    data = (train_set, validation_set, augmentation)
    network = (network_description, build_network, convert_names)
    if args.stage == "both" and not args.dry_run:
        return _train_both(args, config, *network, *data)
    if not args.dry_run:
        if args.stage == "proposals" and not (args.weights or args.resume):
            raise SystemExit(
                "error: --stage proposals needs --weights, such as best.params of the first stage"
            )
        with connect(args.kvstore) as workers:
            return _train_stage(args, config, workers, *network, *data)
    output, batch_size = str(Path(args.output) / "dry-run"), min(args.batch_size, len(train_set))
    with sole_user(output):  # no other dry run's
        shutil.rmtree(output, ignore_errors=True)
    images = min(args.dry_run * batch_size, len(train_set))
    epochs = math.ceil(args.dry_run / (images // batch_size))
    small = {"output": output, "batch_size": batch_size, "images": images, "epochs": epochs}
    small.update(resume=False, repeats=1)
    weights = args.weights
    for stage in ("instances", "proposals"):
        options = {**vars(args), **small, "stage": stage, "weights": weights}
        weights = _train_stage(argparse.Namespace(**options), config, Workers(), *network, *data)
    return weights


def _train_both(args, config, *others) -> str:
    """One stage after the other; --weights, --epochs and the learning rates are the first's."""
    best = train(argparse.Namespace(**{**vars(args), "stage": "instances"}), config, *others)
    begun = any((Path(args.output) / "proposals").glob("checkpoint-*.params"))
    options = {
        **vars(args),
        "stage": "proposals",
        **dict.fromkeys(("epochs", "learning_rate", "schedule", "drops")),
        "weights": best,
        "resume": args.resume and begun,
    }
    return train(argparse.Namespace(**options), config, *others)


def _train_stage(
    args,
    config,
    workers,
    network_description,
    build_network,
    convert_names,
    train_set,
    validation_set,
    augmentation,
) -> str:
    changed = [] if args.learning_rate is None else ["training.learning_rate"]
    args = stage_options(args, config)
    late = late_drops(args)
    if late and workers.rank == 0 and not args.dry_run:
        print(late, file=sys.stderr)
    output = Path(args.output) / args.stage
    checkpoint = newest_checkpoint(output) if args.resume else None
    arrays: dict = {}
    before = checkpoint.description if checkpoint else {}
    if args.weights and not checkpoint:
        arrays, before, _ = load_weights(args.weights)
    inference = _inference_settings(args, config, before)
    config = EasyDict(config, inference=inference, min_area=args.min_area)
    description = {
        "network": network_description,
        "dataset": config.dataset,
        "classes": [info._asdict() for info in train_set.classes],
        "mean": config.mean,
        "std": config.std,
        "inference": config.inference,
    }
    if "intensity" in config:
        description["intensity"] = config.intensity
    network = _initialized(args, build_network, network_description)
    if arrays:
        arrays = convert_names(arrays)
        set_initial_parameters(network, arrays, args.weights, before, description, args.stage)
    elif not checkpoint and hasattr(network.backbone, "load_pretrained"):
        network.backbone.load_pretrained(args.backbone_weights)
    mask_threshold = config.inference.greedy.mask_threshold
    if args.stage == "instances":
        stage = InstanceStage(network, args.loss, args.alpha, mask_threshold)
        draw_points = partial(sample_points, num_points=args.points, touching=args.touching)
    else:
        stage = ProposalStage(network, mask_threshold, args.proposal_labels)
        draw_points = partial(sample_object_points, num_points=config.proposal_points)
    images, contexts = Repeated(train_set, args.images, args.repeats), devices(args.ctx)
    if args.batch_size > len(images):
        raise TrainingError(
            f"{args.data}: {len(images)} images make no batch of {args.batch_size}; choose a "
            "smaller --batch-size, or --repeats"
        )
    if args.batch_size < workers.count * len(contexts):
        raise TrainingError(
            f"a batch of {args.batch_size} has less than an image for each of {workers.count} "
            f"workers with {len(contexts)} devices; choose a larger --batch-size"
        )
    if not checkpoint:
        once = Repeated(train_set, args.images, repeats=1)
        targets = count_targets(once, args.min_area)
        told = describe_targets(targets, len(once), args.min_area, args.data)
        if workers.rank == 0:
            print(told, file=sys.stderr)
    settings = EasyDict(
        config,
        epochs=args.epochs,
        learning_rate=args.learning_rate,
        backbone_factor=_backbone_factor(args, config),
        schedule=args.schedule,
        drops=args.drops,
        warmup=args.warmup,
        seed=args.seed,
        workers=args.workers,
        amp=args.amp,
        ema=args.ema,
    )
    description = {
        **description,
        "stage": stage.name,
        "training": {
            **vars(args),
            "resume": False,
            "cosine_epochs": args.epochs if args.schedule == "cosine" else None,
            "backbone_factor": settings.backbone_factor,
            "samples": len(images),
            "names_sha256": hashlib.sha256("\n".join(images.names).encode()).hexdigest(),
        },
    }
    trainer = Trainer(
        network,
        stage,
        TrainingSamples(
            images,
            augmentation,
            draw_points,
            args.seed,
            config.mean,
            config.std,
            config.min_area,
        ),
        lambda start: EpochBatches(
            len(images), args.batch_size, args.epochs, args.seed, start, workers.rank, workers.count
        ),
        settings,
        description,
        output,
        contexts,
        partial(_look, network, validation_set, args, config, description, contexts[0]),
        workers,
    )
    if checkpoint:
        trainer.resume(checkpoint, changed)
    del arrays, checkpoint  # as large as the network, or three times
    trainer.fit()
    best = str(output / "best.params")
    if workers.rank == 0 and not args.dry_run:
        print(next_steps(args, config, best))
    return best


def _look(
    network, dataset, args, config, description, context, is_stopped: Callable, is_last: bool
) -> Validation | None:
    """Validation after an epoch; at the end of the proposal stage the peak threshold is chosen."""
    is_proposals = args.stage == "proposals"
    images = DRY_RUN_IMAGES if args.dry_run else args.validation_images
    found = validate(network, dataset, config, context, images, is_proposals, is_stopped)
    if found is None or not (is_proposals and is_last):
        return found
    predictor = AdaptISPredictor(MXNetBackend(network, context), description)
    if args.dry_run:
        predictor.settings = replace(predictor.settings, max_proposals=DRY_RUN_PROPOSALS)
    thresholds = CANDIDATES[args.proposal_labels]
    chosen = choose_peak_threshold(predictor, dataset, images, thresholds, is_stopped)
    if chosen is None:
        return None
    threshold, metrics = chosen
    return found._replace(
        metrics={**found.metrics, "peak_threshold": threshold, **metrics},
        inference={"peak_threshold": threshold},
    )


def next_steps(args: argparse.Namespace, config: EasyDict, weights: str) -> str:
    """Where a finished stage's weights are, and the commands that evaluate them or go on."""
    evaluation = ["python", "test_panoptic.py", config.dataset, "--data-root", args.data]
    evaluation += ["--weights", weights]
    if "val_split" in args:
        evaluation += ["--split", args.val_split]
    for option in ("class_agnostic", "crowds_are_objects"):  # how own images are read
        if vars(args).get(option):
            evaluation.append(f"--{option.replace('_', '-')}")
    told = [f"the weights of the {args.stage} stage are in {weights}"]
    if args.stage == "instances" and config.inference.points == "proposals":
        evaluation += ["--points", "random"]
        told += [
            f"train its point proposals:  the same command, --stage proposals --weights {weights}"
        ]
    return "\n".join([*told, f"evaluate them:  {shlex.join(evaluation)}"])


def _inference_settings(args, config, before: dict) -> dict:
    """The data set's, with the T that fits the masks: .5 of a network trained with BCE, and what
    another --alpha than the data set's asks for. The second stage keeps the first's.

    Parameters:
        before: description of the weights or the checkpoint it starts from.
    """
    greedy = dict(config.inference.greedy)
    kept = before.get("inference", {}).get("greedy", {})
    if args.stage == "proposals":
        greedy["mask_threshold"] = kept.get("mask_threshold", greedy["mask_threshold"])
    elif args.loss == "bce":
        greedy["mask_threshold"] = BCE_MASK_THRESHOLD
    elif args.alpha != config.alpha:
        greedy["mask_threshold"] = balanced_probability(args.alpha)
    return {**config.inference, "greedy": greedy}


def _backbone_factor(args, config) -> float:
    """Pre-trained layers learn more slowly, in the proportion of Section 7; others as the rest."""
    if vars(args).get("backbone_weights", "none") == "none":
        return 1.0
    return config.backbone_learning_rate / config.learning_rate


def _initialized(args, build_network, description: dict):
    network = build_network(description)
    contexts = devices(args.ctx)
    if len(contexts) > 1 and contexts[0].device_type == "gpu":  # on CPU devices it never returns
        synchronize_batch_norm(network, len(contexts))
    mx.random.seed(args.seed)
    network.initialize(HE_NORMAL, ctx=contexts)
    network.hybridize(static_alloc=True)
    return network
