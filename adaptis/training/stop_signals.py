"""What asks a training to stop: it finishes its iteration first, and saves."""

from __future__ import annotations

import signal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """As a context: a stop signal that comes within is noted and does nothing else.

    Attributes:
        noted: the last that came; None before one does.
    """

    def __init__(self) -> None:
        self.noted: signal.Signals | None = None

    def __enter__(self) -> StopSignals:
        self._handlers = {number: signal.signal(number, self._note) for number in STOP_SIGNALS}
        return self

    def __exit__(self, kind, error, traceback) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number, frame) -> None:
        self.noted = signal.Signals(number)
