"""JSON that others wrote, read by the types it must have: nothing is converted in silence.

Text is no truth value, 1.5 and "5" and true are no whole numbers, NaN is no number. What is wrong
is told with the entry, what was expected and what is there instead.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

MAX_WHOLE = 2**31 - 1  # what every reader's integers hold
SHOWN_CHARACTERS = 40  # of a wrong value in a message

_REQUIRED = object()


class FormatError(ValueError):
    """A JSON value that can't be meant: says where it is, what was expected and what is there."""


def parse_json(text: str | bytes) -> Any:
    """Parse JSON, with or without the byte order mark that Windows' editors write.

    Raises FormatError where it isn't JSON, is nested too deeply for any format of ours, or an
    object has a key twice.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        return json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique)
    except RecursionError as error:
        raise FormatError("it is nested too deeply") from error
    except FormatError:
        raise
    except ValueError as error:  # no JSON, no UTF-8
        raise FormatError(f"it isn't JSON: {error}") from error


class Entry:
    """A JSON object, whose values are asked for by type; null where a value has a default is none.

    Parameters:
        content: what was parsed.
        name: of the whole, "" for a file's.
        parent: the entry this is a part of.

    Attributes:
        content: the same.

    Raises FormatError, as all methods do, where something else is there.
    """

    __slots__ = ("_name", "_parent", "content")

    def __init__(self, content: Any, name: str = "", parent: Entry | None = None):
        self.content, self._name, self._parent = content, name, parent
        if not isinstance(content, dict):
            raise FormatError(f"{self.place or 'it'} is {shown(content)}, not an object")

    @property
    def place(self) -> str:
        """Such as "annotations[3].segments_info[0]"."""
        above = self._parent.place if self._parent else ""
        return f"{above}.{self._name}" if above else self._name

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def whole(
        self, key: str, lowest: int = 0, highest: int = MAX_WHOLE, default: Any = _REQUIRED
    ) -> int:
        """A whole number within bounds, which count."""
        value = self.content.get(key, default)
        if type(value) is int and lowest <= value <= highest:  # a bool is an int to Python
            return value
        return self._other(key, default, f"a whole number from {lowest} to {highest}")

    def number(self, key: str, above: float = -math.inf, default: Any = _REQUIRED) -> float:
        """A finite number larger than ``above``."""
        value = self.content.get(key, default)
        if _is_number(value) and value > above:
            return value
        bound = f" above {above:g}" if above > -math.inf else ""
        return self._other(key, default, f"a finite number{bound}")

    def truth(self, key: str, default: Any = _REQUIRED) -> bool:
        """true or false; 1 or 0, as COCO has it."""
        value = self.content.get(key, default)
        if type(value) in (bool, int) and value in (0, 1):
            return bool(value)
        return self._other(key, default, "true, false, 1 or 0")

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        """Text of at least a character."""
        value = self.content.get(key, default)
        if isinstance(value, str) and value:
            return value
        return self._other(key, default, "a text")

    def choice(self, key: str, choices: Sequence, default: Any = _REQUIRED) -> Any:
        """One of a few values."""
        value = self.content.get(key, default)
        if any(type(value) is type(choice) and value == choice for choice in choices):
            return value
        return self._other(key, default, f"one of {', '.join(map(shown, choices))}")

    def identity(self, key: str) -> int | str:
        """A number or a text that other entries refer to."""
        value = self.content.get(key)
        if type(value) is int or (isinstance(value, str) and value):
            return value
        return self._other(key, _REQUIRED, "a whole number or a text")

    def values(self, key: str, default: Any = _REQUIRED) -> list:
        """A list of anything."""
        value = self.content.get(key, default)
        return value if isinstance(value, list) else self._other(key, default, "a list")

    def numbers(self, key: str, count: int, above: float = -math.inf) -> list[float]:
        """So many finite numbers, each larger than ``above``."""
        values = self.values(key)
        if len(values) == count and all(_is_number(v) and v > above for v in values):
            return values
        bound = f" above {above:g}" if above > -math.inf else ""
        return self._other(key, _REQUIRED, f"{count} finite numbers{bound}")

    def color(self, key: str) -> tuple[int, int, int]:
        """Three whole numbers from 0 to 255."""
        value = self.content.get(key)
        whole = isinstance(value, list) and [type(v) for v in value] == [int] * 3
        if whole and all(0 <= v <= 255 for v in value):
            return tuple(value)
        return self._other(key, _REQUIRED, "[R, G, B] of whole numbers from 0 to 255")

    def entry(self, key: str, default: Any = _REQUIRED) -> Entry:
        """An object."""
        value = self.content.get(key, default)
        if isinstance(value, dict):
            return Entry(value, key, self)
        return self._other(key, default, "an object")

    def entries(self, key: str) -> list[Entry]:
        """A list of objects."""
        return [Entry(value, f"{key}[{i}]", self) for i, value in enumerate(self.values(key))]

    def only(self, *keys: str) -> None:
        """Raises FormatError where there are others."""
        unknown = sorted(self.content.keys() - set(keys))
        if unknown:
            raise FormatError(f"{self._at(unknown[0])} is unknown; {', '.join(keys)} are known")

    def _at(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def _other(self, key: str, default: Any, expected: str) -> Any:
        if self.content.get(key) is None and default is not _REQUIRED:
            return default
        if key not in self.content:
            raise FormatError(f"{self._at(key)} is missing, {expected} was expected")
        value = shown(self.content[key])
        raise FormatError(f"{self._at(key)} is {value}, {expected} was expected")


def shown(value: Any) -> str:
    """A value in a message: as JSON, cut where it is long."""
    if isinstance(value, (dict, list)):
        return f"a list of {len(value)}" if isinstance(value, list) else "an object"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _is_number(value: Any) -> bool:
    if type(value) is int:
        return abs(value) <= 2**53  # beyond it a double holds another
    return type(value) is float and math.isfinite(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise FormatError(f"an object has {shown(twice)} twice")
    return content
