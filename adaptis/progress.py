"""Progress of what takes long, on stderr: a bar in a terminal, elsewhere lines for a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

LINE_SECONDS = 60  # a line at least as often, and at each tenth
LINE = "{desc}: {percentage:.0f} % ({n_fmt} of {total_fmt}), {elapsed}<{remaining}{postfix}"


def progress(
    iterable: Iterable | None = None,
    desc: str = "",
    *,
    total: int | None = None,
    initial: int = 0,
    unit: str = "it",
    leave: bool = True,
):
    """Iterate over ``iterable`` and show how far it is; without one, ``update()`` counts.

    Parameters:
        desc: what is being done.
        total, initial: steps of the whole, default the iterable's length, and those done before.
        unit: what a step is.
        leave: keep the finished bar; outside a terminal, a line at each tenth.
    """
    options = dict(desc=desc, total=total, initial=initial, unit=unit, leave=leave)
    if sys.stderr.isatty():
        return tqdm(iterable, smoothing=0.02, **options)
    return ProgressLines(iterable, **options)


def say(text: str) -> None:
    """A line on stderr that leaves a bar whole."""
    tqdm.write(text, file=sys.stderr)


class ProgressLines:
    """What ``progress`` returns outside a terminal: like a tqdm, as far as this project uses it."""

    def __init__(self, iterable, desc, total, initial, unit, leave):
        if total is None and hasattr(iterable, "__len__"):
            total = len(iterable)
        self._iterable, self._total, self._leave = iterable, total, leave
        self._desc, self._unit, self._postfix = desc, unit, ""
        self._initial = self._done = initial
        self._began = self._said = time.monotonic()
        self._tenth = self._tenths()

    def __iter__(self) -> Iterator:
        for item in self._iterable:
            yield item
            self.update()

    def update(self, steps: int = 1) -> None:
        """Some more steps are done."""
        self._done += steps
        tenth, now = self._tenths(), time.monotonic()
        if (self._leave and tenth > self._tenth) or now - self._said >= LINE_SECONDS:
            self._tenth, self._said = tenth, now
            print(self._line(now - self._began), file=sys.stderr, flush=True)

    def set_postfix(self, values: dict[str, str]) -> None:
        """What later lines end with; of a long step that is a line a minute, too."""
        self._postfix = ", ".join(f"{name}={value}" for name, value in values.items())
        self.update(0)

    def close(self) -> None:
        """For what is left open."""

    def _tenths(self) -> int:
        return 10 * self._done // self._total if self._total else 0

    def _line(self, elapsed: float) -> str:
        return tqdm.format_meter(
            self._done,
            self._total,
            elapsed,
            prefix=self._desc,
            unit=self._unit,
            initial=self._initial,
            postfix=self._postfix,
            bar_format=LINE if self._total else None,
        )
