"""What the training scripts share between their data sets and their last word."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from easydict import EasyDict

from adaptis.evaluation.script import evaluate_briefly
from adaptis.training.checkpoints import TrainingError
from adaptis.training.script import train
from adaptis.training.stage_run import Task
from datasets.matched_classes import in_classes_of
from datasets.skip_broken import SkipBroken
from models.authors import to_our_names
from models.build import build_network


def prepare_sets(train_set, validation_set, skip_broken: bool) -> tuple:
    """Both data sets, with the training set's classes, and with other images in place of broken
    ones where they are to be skipped.

    Raises DataError where validation has classes that training hasn't.
    """
    validation_set = in_classes_of(train_set, validation_set)
    if skip_broken:
        return SkipBroken(train_set), SkipBroken(validation_set)
    return train_set, validation_set


def train_network(
    args: argparse.Namespace,
    config: EasyDict,
    description: dict,
    train_set,
    validation_set,
    augmentation: Callable,
    times: Sequence[int] | None = None,
    evaluated_set=None,
) -> None:
    """Train as the options say; a dry run is evaluated too.

    Parameters:
        args, config: of ``adaptis.training.options.training_parser``.
        description: what ``build_network`` makes the network from.
        train_set, validation_set: of :func:`prepare_sets`, or views of them.
        augmentation: (Sample, rng) -> Sample.
        times: of each training image, that an epoch shows it; None for once.
        evaluated_set: what a dry run is evaluated on; None for the validation set.

    Raises what ``adaptis.training.script.train`` raises.
    """
    task = Task(
        description,
        build_network,
        build_torch_network,
        to_our_names,
        train_set,
        validation_set,
        augmentation,
        times,
    )
    best = train(args, config, task)
    if args.dry_run:
        evaluated_set = validation_set if evaluated_set is None else evaluated_set
        evaluate_briefly(args, config.dataset, evaluated_set, best)


def build_torch_network(description: dict):
    """What ``build_network`` builds, in PyTorch and without the proposal branch: a
    ``torch.nn.Module``.

    Raises TrainingError where there is no such network, or no PyTorch.
    """
    arguments = dict(description)
    if arguments.pop("architecture") != "toy":
        raise TrainingError("--torch: there is only the toy problem's network in PyTorch")
    try:
        from models.toy_torch import ToyNetwork
    except ModuleNotFoundError as error:
        raise TrainingError(f"--torch: {error}; install PyTorch: pip install torch") from error
    return ToyNetwork(**arguments)
