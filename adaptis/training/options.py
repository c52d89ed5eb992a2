"""The options of the training scripts. Light, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from easydict import EasyDict

from adaptis.arguments import HelpFormatter
from adaptis.values import ABOVE_ZERO, COUNT, FRACTION, NOT_NEGATIVE, PROBABILITY, WHOLE

LOSSES = ("nfl", "focal", "bce")  # of adaptis.training.stages; Table 7
VALIDATION_IMAGES = 200  # about 2,800 toy objects: a standard error of half a point


def training_parser(description: str, config: EasyDict, data: str) -> argparse.ArgumentParser:
    """The options of every training script; their defaults are the data set's config.

    Parameters:
        config: dataset, batch_size, points, alpha, and of each stage its epochs, learning_rate and
            schedule, the second's with proposal_ before; drops, of the first's epochs; with a
            pre-trained backbone its backbone_learning_rate; stage, if not the first, and min_area
            in pixels, if not from the data.
        data: default folder of the data set.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=HelpFormatter)
    _add_run_options(parser, config, data)
    _add_amount_options(parser, config)
    _add_optimisation_options(parser, config)
    _add_method_options(parser, config)
    _add_computing_options(parser)
    return parser


def _add_run_options(parser: argparse.ArgumentParser, config: EasyDict, data: str) -> None:
    """What is read and written, and where a training begins."""
    add = parser.add_argument
    add("--data", default=data, help="folder of the data set")
    add("--output", default=f"runs/{config.dataset}", help="checkpoints and TensorBoard logs")
    add(
        "--stage",
        choices=("instances", "proposals", "both"),
        default=config.get("stage", "instances"),
        help="instances: all of the network but the branch that proposes points; proposals: this "
        "branch alone, of a trained network (Section 5); both: one after the other, from the "
        "first's best.params",
    )
    add(
        "--weights",
        help="start from these: weights, a checkpoint, or a file of the authors; the proposals "
        "stage needs them",
    )
    add("--resume", action="store_true", help="go on from the newest checkpoint of --output")


def _add_amount_options(parser: argparse.ArgumentParser, config: EasyDict) -> None:
    """How much is seen: epochs, images, objects and points."""
    add = parser.add_argument
    add("--epochs", type=COUNT, help=f"passes over the images; {_stage_defaults(config, 'epochs')}")
    add(
        "--validation-images",
        type=COUNT,
        default=VALIDATION_IMAGES,
        help="number of images looked at after each epoch, evenly spread over those there are",
    )
    add("--images", type=COUNT, help="use only the first N training images")
    add(
        "--repeats",
        type=COUNT,
        default=1,
        help="show each image N times an epoch, for small sets",
    )
    add(
        "--batch-size",
        type=COUNT,
        default=config.batch_size,
        help="images a training step, over all devices and workers",
    )
    add(
        "--min-area",
        type=COUNT,
        default=config.get("min_area"),
        help="pixels that must be visible of an object for it to be a target"
        + ("" if "min_area" in config else "; default from the data"),
    )
    add(
        "--points",
        type=COUNT,
        default=config.points,
        help="number of points an image, in the instances stage",
    )
    add(
        "--touching",
        type=PROBABILITY,
        default=0.0,
        help="probability that a point's object is drawn from those that touch another (ours), in "
        "the instances stage",
    )


def _add_optimisation_options(parser: argparse.ArgumentParser, config: EasyDict) -> None:
    """The learning rate's course, and the average of the weights."""
    add = parser.add_argument
    add(
        "--learning-rate",
        type=ABOVE_ZERO,
        help=f"of Adam; {_stage_defaults(config, 'learning_rate')}",
    )
    add(
        "--schedule",
        choices=("constant", "step", "cosine"),
        help="of the learning rate: step multiplies it by 0.1 at the --drops, cosine lowers it to "
        f"0; {_stage_defaults(config, 'schedule')}",
    )
    add(
        "--drops",
        type=ABOVE_ZERO,
        nargs="*",
        help="epochs at which --schedule step drops the learning rate; default: "
        f"{config.drops} of {config.epochs} epochs, and of others in that proportion",
    )
    add(
        "--warmup",
        type=NOT_NEGATIVE,
        default=0.0,
        help="number of epochs in which the learning rate grows, at the start; with --stage both "
        "the proposals' are the same part of theirs",
    )
    add(
        "--ema",
        type=FRACTION,
        metavar="DECAY",
        help="validate and keep a moving average of the weights, such as .999; default: the last",
    )


def _add_method_options(parser: argparse.ArgumentParser, config: EasyDict) -> None:
    """What the paper compares, and where the authors' code differs from it."""
    add = parser.add_argument
    add(
        "--loss",
        choices=LOSSES,
        default="nfl",
        help="of the masks, as Table 7 compares them: nfl, the normalised focal loss (Appendix A); "
        "focal, the focal loss; bce, binary cross-entropy",
    )
    add(
        "--alpha",
        type=FRACTION,
        default=config.alpha,
        help="weight of object pixels in --loss nfl and focal",
    )
    add("--no-coord-conv", action="store_true", help="without Relative CoordConv (Table 7)")
    add("--distance-map", action="store_true", help="the authors' third coordinate map")
    add(
        "--proposal-branch",
        choices=("paper", "authors"),
        default="paper",
        help="paper: built like the semantic branch (Section 5); authors: a smaller one",
    )
    add(
        "--proposal-labels",
        choices=("paper", "authors"),
        default="paper",
        help="paper: an object's top 20 %% of points are good proposals (Section 5), others bad; "
        "authors: about 70 %%, graded",
    )


def _add_computing_options(parser: argparse.ArgumentParser) -> None:
    """By what it is computed, what may be left out, and how far it goes."""
    add = parser.add_argument
    add(
        "--workers",
        type=WHOLE,
        default=2,
        help="threads that read ahead, with --torch processes; 0 for none",
    )
    add("--skip-broken", action="store_true", help="replace images that can't be read")
    add(
        "--seed",
        type=WHOLE,
        default=0,
        help="seed of all that is random: weights, points, augmentation",
    )
    add("--ctx", default="cpu", help='"cpu" or GPU ids such as "0" or "0,1"')
    add("--amp", action="store_true", help="mixed precision: on one GPU, or a CPU with avx512_bf16")
    add(
        "--torch",
        metavar="DEVICE",
        help="compute the instances stage of the toy problem's network with PyTorch, on cuda or "
        "cpu: for GPUs that MXNet has no code for; --ctx still validates",
    )
    add(
        "--kvstore",
        choices=("device", "dist_sync"),
        default="device",
        help="dist_sync: one of the workers of python -m adaptis.launch",
    )
    add("--dry-run", type=COUNT, metavar="N", help="N iterations of both stages, then stop")


def stage_options(args: argparse.Namespace, config: EasyDict) -> argparse.Namespace:
    """The options with the stage's defaults in place of what wasn't given: epochs, learning_rate,
    schedule and drops, which are none but for the schedule "step".

    Parameters:
        args, config: of :func:`training_parser`.
    """
    prefix = "proposal_" if args.stage == "proposals" else ""
    chosen = {
        name: config[prefix + name] if vars(args)[name] is None else vars(args)[name]
        for name in ("epochs", "learning_rate", "schedule")
    }
    drops = args.drops
    if chosen["schedule"] != "step":
        drops = []
    elif drops is None:
        drops = [drop * chosen["epochs"] / config.epochs for drop in config.drops]
    return argparse.Namespace(**{**vars(args), **chosen, "drops": list(drops)})


def missed_drops(args: argparse.Namespace, given: Sequence[float] | None) -> str | None:
    """What to tell of drops at or beyond the end of the training, or of a schedule without any;
    None where all come.

    Parameters:
        args: of :func:`stage_options`.
        given: the drops that were typed.
    """
    if args.schedule == "step":
        missed = [drop for drop in args.drops if drop >= args.epochs]
        reason = f"the training ends after {args.epochs} epochs"
    else:
        missed, reason = given, f"--schedule {args.schedule} has none"
    if not missed:
        return None
    return f"--drops {' '.join(f'{drop:g}' for drop in missed)}: never, as {reason}"


def _stage_defaults(config: EasyDict, name: str) -> str:
    return f"default: {config[name]} for instances, {config['proposal_' + name]} for proposals"
