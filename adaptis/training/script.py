"""A training from data sets and options to its weights: one stage, both, or a little of both."""

from __future__ import annotations

import argparse
import math
import shlex
import shutil
from pathlib import Path

from easydict import EasyDict

from adaptis.arguments import devices
from adaptis.disk import sole_user
from adaptis.intensity import READING
from adaptis.training import mixed_precision
from adaptis.training.checkpoints import TrainingError
from adaptis.training.distributed import Workers, connect
from adaptis.training.stage_run import Task, train_stage


def train(args: argparse.Namespace, config: EasyDict, task: Task) -> str:
    """Train one stage, both, or with --dry-run a little of both.

    Parameters:
        args: of ``adaptis.training.options.training_parser``.
        config: the data set's.

    Returns the weights file of the best epoch.

    Raises TrainingError, CheckpointError, and what the data set raises.
    """
    if args.dry_run and args.kvstore == "dist_sync":
        raise TrainingError("--dry-run is for one process: leave the launcher out")
    if args.stage == "both" and args.kvstore == "dist_sync":
        raise TrainingError(
            "--stage both is for one process, as workers meet once: launch --stage instances, then "
            "--stage proposals with --weights"
        )
    if args.amp and not args.torch:
        mixed_precision.start(devices(args.ctx))
    if args.dry_run:
        return _dry_run(args, config, task)
    if args.stage == "both":
        return _both_stages(args, config, task)
    return _one_stage(args, config, task)


def _one_stage(args: argparse.Namespace, config: EasyDict, task: Task, is_last: bool = True) -> str:
    """The stage that --stage names; in the end, if it is the last, what may follow is printed."""
    if args.stage == "proposals" and not (args.weights or args.resume):
        raise TrainingError(
            "--stage proposals needs --weights, such as best.params of the first stage"
        )
    with connect(args.kvstore) as workers:
        best = train_stage(args, config, task, workers)
        if workers.rank == 0 and is_last:
            print(next_steps(args, config, best))
    return best


def _both_stages(args: argparse.Namespace, config: EasyDict, task: Task) -> str:
    """One stage after the other; --weights, --epochs and the learning rates are the first's, and
    the second warms up for the same part of its epochs."""
    best = _one_stage(_changed(args, stage="instances"), config, task, is_last=False)
    begun = any((Path(args.output) / "proposals").glob("checkpoint-*.params"))
    defaults = dict.fromkeys(("epochs", "learning_rate", "schedule", "drops"))
    resume = args.resume and begun
    warmup = args.warmup * config.proposal_epochs / (args.epochs or config.epochs)
    second = _changed(
        args, **defaults, stage="proposals", weights=best, resume=resume, warmup=warmup
    )
    return _one_stage(second, config, task)


def _dry_run(args: argparse.Namespace, config: EasyDict, task: Task) -> str:
    """A few iterations of both stages on few images, in a folder that is emptied before."""
    output = str(Path(args.output) / "dry-run")
    with sole_user(output):  # no other dry run's
        shutil.rmtree(output, ignore_errors=True)
    batch_size = min(args.batch_size, len(task.train_set))
    images = min(args.dry_run * batch_size, len(task.train_set))
    epochs = math.ceil(args.dry_run / (images // batch_size))
    amounts = {"batch_size": batch_size, "images": images, "repeats": 1, "epochs": epochs}
    small = _changed(args, **amounts, output=output, resume=False)
    first = _changed(small, stage="instances")
    best = train_stage(first, config, task, Workers())
    second = _changed(small, stage="proposals", weights=best)
    return train_stage(second, config, task, Workers())


def _changed(args: argparse.Namespace, **options) -> argparse.Namespace:
    """A copy with other values of some options."""
    return argparse.Namespace(**{**vars(args), **options})


def next_steps(args: argparse.Namespace, config: EasyDict, weights: str) -> str:
    """Where a finished stage's weights are, and the commands that evaluate them or go on."""
    evaluation = ["python", "test_panoptic.py", config.dataset, "--data-root", args.data]
    evaluation += ["--weights", weights]
    if split := vars(args).get("val_split") or config.get("evaluated_split"):
        evaluation += ["--split", split]
    for option in READING:
        if vars(args).get(option) is True:  # the intensity is in the weights
            evaluation.append(f"--{option.replace('_', '-')}")
    told = [f"the weights of the {args.stage} stage are in {weights}"]
    if args.stage == "instances" and config.inference.points == "proposals":
        evaluation += ["--points", "random"]
        of_this_stage = ("resume", "epochs", "learning_rate", "schedule", "drops", "warmup")
        given = [f"--{name.replace('_', '-')}" for name in of_this_stage if vars(args).get(name)]
        without = f" without {', '.join(given)}," if given else ","
        told += [
            f"train its point proposals:  the same command{without} "
            f"--stage proposals --weights {weights}"
        ]
    return "\n".join([*told, f"evaluate them:  {shlex.join(evaluation)}"])
