"""An option for each setting of inference. Light, so that ``--help`` answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields, replace

from adaptis.inference.settings import GreedySettings, InferenceSettings, Values

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
        target = sides if setting.name.endswith("_side") else group
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
    """The settings with what was given of ``add_inference_options``; either side given replaces
    the other."""
    given = vars(args)
    ours, greedy = (
        {s.name: given[s.name] for s in fields(kind) if s.name in given}
        for kind in (InferenceSettings, GreedySettings)
    )
    if sides := {"shortest_side", "longest_side"} & ours.keys():
        ours |= dict.fromkeys({"shortest_side", "longest_side"} - sides)
    return replace(settings, greedy=replace(settings.greedy, **greedy), **ours)


def _words(values: Values, optional: bool) -> str:
    return f"{values.words}, or {NONE}" if optional else values.words


def _reader(values: Values, optional: bool) -> Callable[[str], object]:
    """From what is typed to the value, as the type of an option."""

    def read(text: str):
        if optional and text == NONE:
            return None
        try:
            value = values.type(text)
        except ValueError:
            value = None
        if not values.include(value):
            raise argparse.ArgumentTypeError(f"{text!r} must be {_words(values, optional)}")
        return value

    return read
