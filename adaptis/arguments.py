"""What people type: devices, and a script from its options to its last word."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from adaptis.compat import explain_import_error
from adaptis.errors import AdaptISError

if TYPE_CHECKING:
    import mxnet as mx

GO_ON = "what was finished is kept; the same command goes on"
NOTHING_KEPT = "nothing is kept; the same command begins anew"
RESUME = "checkpoints that were written are kept; the same command with --resume goes on"

DEVICE_KINDS = ("cpu", "cuda", "coreml", "directml")  # the last two with ONNX Runtime only


class Device(NamedTuple):
    """Where a network computes."""

    kind: str  # of DEVICE_KINDS
    number: int = 0  # of several of its kind

    def __str__(self) -> str:
        return f"{self.kind}:{self.number}"


class DeviceError(AdaptISError, ValueError):
    """A device that is not there; says which and what to do."""


def parse_device(ctx: str | int) -> Device:
    """A device by name: "cpu", "cuda", "cuda:1", a GPU id such as 0 or "0", "coreml", "directml".

    Raises DeviceError for any other.
    """
    kind, colon, index = str(ctx).strip().lower().partition(":")
    if kind.isdecimal() and not colon:
        kind, colon, index = "cuda", ":", kind
    if kind not in DEVICE_KINDS or (colon and not index.isdecimal()):
        raise DeviceError(
            f'ctx {ctx}: must be "cpu", "cuda", "cuda:1" or a GPU id such as 0; with .onnx files '
            '"coreml" and "directml" too'
        )
    return Device(kind, int(index or 0))


def devices(ctx: str | int) -> list[mx.Context]:
    """The devices MXNet trains on: one as ``parse_device`` takes it, or GPU ids such as "0,1".

    Raises DeviceError where MXNet can't compute on them.
    """
    return [mxnet_context(parse_device(part)) for part in str(ctx).split(",")]


def mxnet_context(device: Device) -> mx.Context:
    """MXNet's name of a device. Raises DeviceError where MXNet can't compute on it."""
    import mxnet as mx

    if device.kind == "cpu":
        return mx.cpu()
    if device.kind != "cuda":
        raise DeviceError(
            f"ctx {device}: MXNet computes on cpu and cuda; for others export the weights with "
            "python -m adaptis.export"
        )
    context = mx.gpu(device.number)
    try:
        mx.nd.zeros(1, ctx=context).wait_to_read()
    except mx.MXNetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DeviceError(
            f"ctx {device.number}: MXNet can't use this GPU ({reason}); install "
            "requirements-gpu.txt, see Hardware in README.md, or use cpu"
        ) from error
    return context


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Of every parser: ``--help`` shows a description as it is written, and of the defaults those
    that say something and that the help text doesn't name itself."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        says_nothing = str(action.default) in ("None", "False", "[]", "()")
        if says_nothing or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def run_script(main: Callable[[], object], if_stopped: str = GO_ON) -> None:
    """Run a script's ``main``: what the user can put right ends it with one line and exit status 1,
    Ctrl-C with one line and 130. The one place where scripts catch errors.

    Parameters:
        if_stopped: what Ctrl-C leaves, and how to go on.
    """

    def stopped_while_an_object_ended(unraisable) -> None:
        """Python prints a traceback for a Ctrl-C that comes then, as MXNet's arrays end at every
        moment, and goes on: it must end the script like any other."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            return sys.__unraisablehook__(unraisable)
        end_at_once()

    def stopped(number, frame) -> None:
        """In an import there is nothing to leave in order, and extension modules print a traceback
        for a Ctrl-C that comes then, or make an ImportError of it."""
        while frame is not None:
            if frame.f_globals.get("__name__") == "importlib._bootstrap":
                end_at_once()
            frame = frame.f_back
        raise KeyboardInterrupt

    def end_at_once() -> None:
        print(f"\nstopped: {if_stopped}", file=sys.stderr, flush=True)
        os._exit(128 + signal.SIGINT)

    sys.unraisablehook = stopped_while_an_object_ended
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored: nohup
        signal.signal(signal.SIGINT, stopped)
    try:
        main()
    except AdaptISError as error:
        sys.exit(f"error: {error}")
    except ImportError as error:
        sys.exit(f"error: {explain_import_error(error)}")
    except BrokenPipeError:  # whoever read the output has enough, as in "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:  # a file or folder of the user's, wherever it is written
        where = f"{error.filename}: " if error.filename is not None else ""
        sys.exit(f"error: {where}{error.strerror or error}")
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one doesn't wait for MXNet's end
        print(f"\nstopped: {if_stopped}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """What is started within ignores Ctrl-C, which would reach it too: its parent ends it."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
