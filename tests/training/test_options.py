"""Options of the training scripts that can't be are refused when they are typed."""

from __future__ import annotations

import argparse
import re

import pytest

import compare_toy
import train_cityscapes
import train_coco
import train_instances
import train_mapillary
import train_toy
from adaptis.values import ABOVE_ZERO, COUNT, FRACTION, NOT_NEGATIVE, WHOLE, between


@pytest.mark.parametrize(
    ("values", "taken", "refused"),
    [
        (FRACTION, {"0.5": 0.5}, ["0", "1", "nan", "-1", "x", ""]),
        (ABOVE_ZERO, {"1e-9": 1e-9, "3": 3.0}, ["0", "-5", "nan", "inf"]),
        (NOT_NEGATIVE, {"0": 0.0}, ["-0.1", "nan", "inf"]),
        (COUNT, {"1": 1}, ["0", "-5", "1.5", "nan", "true"]),
        (WHOLE, {"0": 0}, ["-1", "0.5"]),
        (between(2, 4), {"2": 2, "4": 4}, ["1", "5"]),
    ],
)
def test_values(values, taken, refused):
    for text, value in taken.items():
        read = values(text)
        assert (read, type(read)) == (value, values.type)
    for text in refused:
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"{text!r} must be ")):
            values(text)


OF_ALL = {
    "--learning-rate": ("nan", "-1", "0"),
    "--alpha": ("nan", "0", "1"),
    "--ema": ("1",),
    "--warmup": ("nan", "-1"),
    "--drops": ("nan", "-1"),
    "--workers": ("-1",),
    "--seed": ("-1",),
    "--epochs": ("0",),
    "--crop": ("0", "-5"),
}
OF_PANOPTIC = {"--relative-radius": ("-5", "nan", "0"), "--channels": ("0", "4", "2000")}
OF_ONE = {
    train_toy: {"--width": ("0", "1", "1000")},
    train_instances: {"--width": ("0",), "--relative-radius": ("-5", "nan"), "--min-area": ("0",)},
    train_cityscapes: {**OF_PANOPTIC, "--scale": ("0 1", "nan 1", "2 1")},
    train_coco: {**OF_PANOPTIC, "--shortest-side": ("-5 4", "9 4"), "--inference-side": ("-5",)},
    train_mapillary: {**OF_PANOPTIC, "--longest-side": ("0 4", "9 4")},
}
CASES = [
    *((s, o, v) for s in OF_ONE for o, values in {**OF_ALL, **OF_ONE[s]}.items() for v in values),
    *((compare_toy, o, v) for o, v in (("--learning-rate", "nan"), ("--short-side", "50"))),
]


@pytest.mark.parametrize(
    ("script", "option", "text"), CASES, ids=lambda value: getattr(value, "__name__", value)
)
def test_scripts(script, option, text, capsys):
    two = " " in text
    with pytest.raises(SystemExit) as end:
        script.main([option, *text.split()] if two else [f"{option}={text}"])
    assert end.value.code == 2
    assert f"error: argument {option}: " in capsys.readouterr().err
