"""Values that people type: positive numbers and devices."""

from __future__ import annotations

import argparse

import mxnet as mx


class DeviceError(ValueError):
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
