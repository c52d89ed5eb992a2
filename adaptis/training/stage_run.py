"""One stage of a training, from options and data sets to the weights of its best epoch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import mxnet as mx
from easydict import EasyDict

from adaptis.arguments import devices
from adaptis.inference.mxnet_backend import MXNetBackend
from adaptis.inference.predictor import AdaptISPredictor
from adaptis.network.layers import synchronize_batch_norm
from adaptis.network.model import HE_NORMAL, AdaptIS
from adaptis.training.checkpoints import Checkpoint, TrainingError, newest_checkpoint
from adaptis.training.distributed import Workers
from adaptis.training.initial_weights import set_initial_parameters
from adaptis.training.options import missed_drops, stage_options
from adaptis.training.peaks import CANDIDATES, choose_peaks
from adaptis.training.samples import EpochBatches, Repeated, TrainingSamples
from adaptis.training.sampling import sample_object_points, sample_points
from adaptis.training.stage_description import (
    described,
    inference_settings,
    sha256_of,
    training_record,
)
from adaptis.training.stages import InstanceStage, ProposalStage
from adaptis.training.targets import count_targets, describe_targets
from adaptis.training.trainer import Trainer
from adaptis.training.updates import GluonUpdates
from adaptis.training.validation import Validation, validate
from adaptis.weights import Weights, load_weights

DRY_RUN_PROPOSALS = 4  # an image: an untrained branch proposes hundreds
DRY_RUN_IMAGES = 2  # looked at after each of its epochs


class Task(NamedTuple):
    """A network, and the data it is trained on."""

    network_description: dict  # what the network is built from; stored in every weights file
    build_network: Callable[[dict], AdaptIS]
    build_torch_network: Callable[[dict], Any]  # the same, see TorchUpdates
    convert_names: Callable[[dict], dict]  # arrays of --weights by name -> by our names
    train_set: Any
    validation_set: Any  # with the same classes
    augmentation: Callable  # (Sample, rng) -> Sample
    times: Sequence[int] | None = None  # of each training image, that an epoch shows it; None: 1


def train_stage(args: argparse.Namespace, config: EasyDict, task: Task, workers: Workers) -> str:
    """Train one stage to its end.

    Parameters:
        args: of ``adaptis.training.options.training_parser``, with one stage.
        config: the data set's.
        workers: the processes that share the training.

    Returns the weights file of the best epoch.

    Raises TrainingError, CheckpointError, and what the data set raises.
    """
    output = Path(args.output) / args.stage
    _make_trainer(args, config, task, workers, output).fit()
    return str(output / "best.params")


def _make_trainer(
    args: argparse.Namespace, config: EasyDict, task: Task, workers: Workers, output: Path
) -> Trainer:
    """A trainer that stands where the stage begins, or where its newest checkpoint was written.

    What was loaded for that, as large as the network or three times, is gone when this returns.
    """
    changed = [] if args.learning_rate is None else ["training.learning_rate"]
    given_drops, args = args.drops, stage_options(args, config)
    missed = missed_drops(args, given_drops)
    if missed and workers.rank == 0 and not args.dry_run:
        print(missed, file=sys.stderr)
    checkpoint = newest_checkpoint(output) if args.resume else None
    if checkpoint and args.stage == "proposals":
        _check_same_first_stage(args, checkpoint)
    weights = load_weights(args.weights) if args.weights and not checkpoint else None
    inference = inference_settings(args, config, checkpoint or weights)
    config = EasyDict(config, inference=inference, min_area=args.min_area)
    description = described(config, task.network_description, task.train_set.classes)
    contexts = devices(args.ctx)
    network = _initialized(args, task, contexts)
    if not checkpoint:
        _load_initial_weights(network, args, task, description, weights)
    stage = _stage(args, config, network)
    images = Repeated(task.train_set, args.images, args.repeats, task.times)
    _check_batch_size(args, len(images), workers.count, len(contexts))
    if not checkpoint:
        _tell_targets(args, task.train_set, workers)

    settings = _trainer_settings(args, config)
    description |= {"stage": stage.name, "training": training_record(args, settings, images)}
    look = partial(_look, network, task.validation_set, args, config, description, contexts[0])
    trainer = Trainer(
        network,
        stage,
        _updates(args, config, task, network, stage, settings, contexts, workers),
        _samples(args, config, images, task.augmentation),
        _batches(args, len(images), workers),
        settings,
        description,
        output,
        look,
        workers,
    )
    if checkpoint:
        trainer.resume(checkpoint, changed)
    return trainer


def _check_same_first_stage(args: argparse.Namespace, checkpoint: Checkpoint) -> None:
    """Raise TrainingError where the --weights are others than those the stage began with: its
    branch was trained on the features of those."""
    before = checkpoint.description["training"].get("weights_sha256")
    now = sha256_of(args.weights)
    if before and now and before != now:
        raise TrainingError(
            f"{args.weights}: has changed since {checkpoint.path.parent} was begun with it; remove "
            "that folder to train the proposals anew"
        )


def _initialized(args: argparse.Namespace, task: Task, contexts: list[mx.Context]) -> AdaptIS:
    """The network on its devices, with random parameters."""
    network = task.build_network(task.network_description)
    if len(contexts) > 1 and contexts[0].device_type == "gpu":  # on CPU devices it never returns
        synchronize_batch_norm(network, len(contexts))
    mx.random.seed(args.seed)
    network.initialize(HE_NORMAL, ctx=contexts)
    network.hybridize(static_alloc=True)
    return network


def _load_initial_weights(
    network: AdaptIS,
    args: argparse.Namespace,
    task: Task,
    description: dict,
    weights: Weights | None,
) -> None:
    """Put --weights into the network, or else --backbone-weights into a backbone that has some."""
    if weights:
        arrays, theirs = task.convert_names(weights.arrays), weights.description
        set_initial_parameters(network, arrays, args.weights, theirs, description, args.stage)
    elif hasattr(network.backbone, "load_pretrained"):
        network.backbone.load_pretrained(args.backbone_weights)


def _stage(args: argparse.Namespace, config: EasyDict, network: AdaptIS):
    """An InstanceStage or a ProposalStage."""
    mask_threshold = config.inference.greedy.mask_threshold
    if args.stage == "instances":
        return InstanceStage(network, args.loss, args.alpha, mask_threshold)
    return ProposalStage(network, mask_threshold, args.proposal_labels)


def _updates(
    args: argparse.Namespace,
    config: EasyDict,
    task: Task,
    network: AdaptIS,
    stage,
    settings: EasyDict,
    contexts: list[mx.Context],
    workers: Workers,
):
    """GluonUpdates, or with --torch TorchUpdates of the first stage.

    Raises TrainingError where PyTorch can't compute them.
    """
    if not args.torch or args.stage == "proposals":
        settings = EasyDict(settings, amp=args.amp and not args.torch)
        return GluonUpdates(network, stage, settings, contexts, workers)
    if workers.count > 1:
        raise TrainingError("--torch is for one process: leave the launcher out")
    torch_network = task.build_torch_network(task.network_description)
    from adaptis.training.torch_updates import TorchUpdates  # PyTorch, which few have beside MXNet

    return TorchUpdates(
        network,
        torch_network,
        args.loss,
        args.alpha,
        config.inference.greedy.mask_threshold,
        settings,
        args.torch,
    )


def _samples(
    args: argparse.Namespace, config: EasyDict, images: Repeated, augmentation: Callable
) -> TrainingSamples:
    """What the stage is trained on, by (epoch, index)."""
    if args.stage == "instances":
        draw_points = partial(sample_points, num_points=args.points, touching=args.touching)
    else:
        draw_points = partial(sample_object_points, num_points=config.proposal_points)
    return TrainingSamples(
        images,
        augmentation,
        draw_points,
        args.seed,
        config.mean,
        config.std,
        config.min_area,
    )


def _batches(
    args: argparse.Namespace, images: int, workers: Workers
) -> Callable[[int], EpochBatches]:
    """This worker's part of the batches, from the one to start with."""
    return lambda start: EpochBatches(
        images, args.batch_size, args.epochs, args.seed, start, workers.rank, workers.count
    )


def _check_batch_size(
    args: argparse.Namespace, images: int, worker_count: int, device_count: int
) -> None:
    """Raises TrainingError for more than the images there are, or less than one for each device of
    each worker."""
    if args.batch_size > images:
        raise TrainingError(
            f"{args.data}: {images} images make no batch of {args.batch_size}; choose a "
            "smaller --batch-size, or --repeats"
        )
    if args.batch_size < worker_count * device_count:
        raise TrainingError(
            f"a batch of {args.batch_size} has less than an image for each of {worker_count} "
            f"workers with {device_count} devices; choose a larger --batch-size"
        )


def _tell_targets(args: argparse.Namespace, train_set, workers: Workers) -> None:
    """Say on stderr how many objects there are to train on.

    Raises TrainingError where there is none.
    """
    once = Repeated(train_set, args.images, repeats=1)
    targets = count_targets(once, args.min_area)
    told = describe_targets(targets, len(once), args.min_area, args.data)
    if workers.rank == 0:
        print(told, file=sys.stderr)


def _trainer_settings(args: argparse.Namespace, config: EasyDict) -> EasyDict:
    """What the Trainer takes from the options, and the data set's config."""
    return EasyDict(
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


def _backbone_factor(args: argparse.Namespace, config: EasyDict) -> float:
    """Pre-trained layers learn more slowly, in the proportion of Section 7; others as the rest."""
    if vars(args).get("backbone_weights", "none") == "none":
        return 1.0
    return config.backbone_learning_rate / config.learning_rate


def _look(
    network: AdaptIS,
    dataset,
    args: argparse.Namespace,
    config: EasyDict,
    description: dict,
    context: mx.Context,
    is_stopped: Callable[[], bool],
    is_last: bool,
) -> Validation | None:
    """Validation after an epoch; at the end of the proposal stage what makes a peak is chosen.
    None if stopped.

    Parameters:
        dataset: the validation set.
        description: of the weights, from which the settings of inference are taken.
        is_last: whether this was the stage's last epoch.
    """
    is_proposals = args.stage == "proposals"
    images = DRY_RUN_IMAGES if args.dry_run else args.validation_images
    found = validate(network, dataset, config, context, images, is_proposals, is_stopped)
    if found is None or not (is_proposals and is_last):
        return found
    predictor = AdaptISPredictor(MXNetBackend(network, context), description)
    if args.dry_run:
        predictor.settings = replace(predictor.settings, max_proposals=DRY_RUN_PROPOSALS)
    chosen = choose_peaks(predictor, dataset, images, CANDIDATES, is_stopped)
    if chosen is None:
        return None
    peaks, metrics = chosen
    return found._replace(
        metrics={**found.metrics, **peaks._asdict(), **metrics},
        inference=peaks._asdict(),
    )
