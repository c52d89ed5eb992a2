"""The values that an option or a setting may have, said once for what is typed and what is read."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Values:
    """Some values of a type; called with a text, as the type of an option."""

    type: type
    words: str  # what a value must be
    allow: Callable[[Any], bool]  # whether one of the type is allowed

    def include(self, value) -> bool:
        """Whether the value is of the type and allowed; whole numbers pass as floats."""
        types = (int, float) if self.type is float else self.type
        is_bool = isinstance(value, bool)  # a kind of int to Python
        return is_bool == (self.type is bool) and isinstance(value, types) and self.allow(value)

    def __call__(self, text: str):
        """The value that was typed. Raises ArgumentTypeError for one that isn't allowed."""
        try:
            value = self.type(text)
        except ValueError:
            value = None
        if not self.include(value):
            raise argparse.ArgumentTypeError(f"{text!r} must be {self.words}")
        return value


FRACTION = Values(float, "above 0 and below 1", lambda v: 0 < v < 1)
SHARE = Values(float, "above 0 and at most 1", lambda v: 0 < v <= 1)
PROBABILITY = Values(float, "from 0 to 1", lambda v: 0 <= v <= 1)
ABOVE_ZERO = Values(float, "above 0 and finite", lambda v: 0 < v < math.inf)
NOT_NEGATIVE = Values(float, "at least 0 and finite", lambda v: 0 <= v < math.inf)
COUNT = Values(int, "a whole number of at least 1", lambda v: v >= 1)
WHOLE = Values(int, "a whole number of at least 0", lambda v: v >= 0)
SWITCH = Values(bool, "true or false", lambda v: True)


def between(lowest: int, highest: int) -> Values:
    """Whole numbers within bounds, which count."""
    return Values(
        int, f"a whole number from {lowest} to {highest}", lambda v: lowest <= v <= highest
    )


class Range(argparse.Action):
    """Of an option with two values: the lowest and the highest."""

    def __call__(self, parser, namespace, values, option_string=None):
        low, high = values
        if low > high:
            raise argparse.ArgumentError(self, f"{low} {high}: the lowest comes first")
        setattr(namespace, self.dest, values)
