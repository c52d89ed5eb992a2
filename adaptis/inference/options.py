"""An option for each setting of inference. Light, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields

from adaptis.inference.settings import SIDES, GreedySettings, InferenceSettings
from adaptis.values import Values

NONE = "none"  # what is typed for it
METAVARS = {int: "N", float: "X", str: "NAME"}


def add_inference_options(parser: argparse.ArgumentParser) -> None:
    """``--mask-threshold`` and so on, in a group of their own. Those that aren't given are missing
    from the Namespace: they are as the weights say."""
    group = parser.add_argument_group("inference", "what isn't given is as the weights say")
    sides = group.add_mutually_exclusive_group()
    for setting in (*fields(GreedySettings), *fields(InferenceSettings)):
        values: Values | None = setting.metadata.get("values")
        if not values:
            continue  # the GreedySettings among the InferenceSettings
        name, meaning = f"--{setting.name.replace('_', '-')}", setting.metadata["meaning"]
        target = sides if setting.name in SIDES else group
        if values.type is bool:
            action = target.add_argument(name, action=argparse.BooleanOptionalAction, help=meaning)
        else:
            action = target.add_argument(
                name,
                type=_reader(values, setting.default is None),
                metavar=METAVARS[values.type],
                help=f"{meaning} ({_words(values, setting.default is None)})",
            )
        action.default = argparse.SUPPRESS  # here, as Python 3.9 would print it in a switch's help


def with_options(settings: InferenceSettings, args: argparse.Namespace) -> InferenceSettings:
    """The settings with what was given of ``add_inference_options``."""
    names = [s.name for kind in (GreedySettings, InferenceSettings) for s in fields(kind)]
    return settings.with_options(**{n: v for n, v in vars(args).items() if n in names})


def dropped_notice(images: int, of: int, peaks: int) -> str:
    """What is said where ``--max-proposals`` left out peaks: in how many images, how many peaks."""
    return (
        f"{images} of {of} images have more point proposals than --max-proposals: {peaks} in all "
        "were not tried, and objects may be missing"
    )


def _words(values: Values, optional: bool) -> str:
    return f"{values.words}, or {NONE}" if optional else values.words


def _reader(values: Values, optional: bool) -> Callable[[str], object]:
    """From what is typed to the value, as the type of an option."""

    def read(text: str):
        if optional and text == NONE:
            return None
        try:
            return values(text)
        except argparse.ArgumentTypeError:
            words = _words(values, optional)
            raise argparse.ArgumentTypeError(f"{text!r} must be {words}") from None

    return read
