"""What people type: positive numbers, devices, and a script from its options to its last word."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from adaptis.compat import explain_import_error
from adaptis.errors import AdaptISError

if TYPE_CHECKING:
    import mxnet as mx

GO_ON = "what was finished is kept; the same command goes on, a training's with --resume"


class DeviceError(AdaptISError, ValueError):
    """A device that is not there; says which and what to do."""


def positive(text: str) -> int:
    """A whole number of at least 1, as the type of a command line's option."""
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def devices(ctx: str) -> list[mx.Context]:
    """The devices of a ``--ctx``: "cpu", or GPU ids such as "0" or "0,1".

    Raises DeviceError where MXNet can't compute on them.
    """
    import mxnet as mx

    if ctx == "cpu":
        return [mx.cpu()]
    try:
        contexts = [mx.gpu(int(i)) for i in ctx.split(",")]
    except ValueError as error:
        raise DeviceError(f'--ctx {ctx}: must be "cpu" or GPU ids such as "0" or "0,1"') from error
    try:
        for context in contexts:
            mx.nd.zeros(1, ctx=context).wait_to_read()
    except mx.MXNetError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DeviceError(
            f"--ctx {ctx}: MXNet can't use these GPUs ({reason}); install requirements-gpu.txt, "
            "see Hardware in README.md, or use --ctx cpu"
        ) from error
    return contexts


def run_script(main: Callable[[], object]) -> None:
    """Run a script's ``main``: what the user can put right ends it with one line and exit status 1,
    Ctrl-C with one line and 130. The one place where scripts catch errors."""
    try:
        main()
    except AdaptISError as error:
        sys.exit(f"error: {error}")
    except ImportError as error:
        sys.exit(f"error: {explain_import_error(error)}")
    except OSError as error:  # a file or folder of the user's, wherever it is written
        if error.filename is None:
            raise
        sys.exit(f"error: {error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        print(f"\nstopped: {GO_ON}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
