"""What the training scripts share between their data sets and their last word."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from easydict import EasyDict

from adaptis.evaluation.script import evaluate_briefly
from adaptis.training.script import train
from adaptis.training.stage_run import Task
from datasets.matched_classes import in_classes_of
from datasets.skip_broken import SkipBroken
from models.authors import to_our_names
from models.build import build_network


def train_network(
    args: argparse.Namespace,
    config: EasyDict,
    description: dict,
    train_set,
    validation_set,
    augmentation: Callable,
) -> None:
    """Train as the options say; a dry run is evaluated too.

    Parameters:
        args, config: of ``adaptis.training.options.training_parser``.
        description: what ``build_network`` makes the network from.
        train_set, validation_set: data sets; the classes of the second must be among the first's.
        augmentation: (Sample, rng) -> Sample.

    Raises DataError for other classes, and what ``adaptis.training.script.train`` raises.
    """
    validation_set = in_classes_of(train_set, validation_set)
    if args.skip_broken:
        train_set, validation_set = SkipBroken(train_set), SkipBroken(validation_set)
    data = (train_set, validation_set, augmentation)
    best = train(args, config, Task(description, build_network, to_our_names, *data))
    if args.dry_run:
        evaluate_briefly(args, config.dataset, validation_set, best)
