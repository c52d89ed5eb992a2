"""The settings of inference: their ranges, from the command line and from weights alike."""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from adaptis.inference.options import add_inference_options, with_options
from adaptis.inference.settings import GreedySettings, InferenceSettings
from tests.paths import ROOT

WEIGHTS = InferenceSettings(GreedySettings(mask_threshold=0.3), flip=True, shortest_side=600)

NOT_ALLOWED = [
    *(("mask_threshold", value) for value in (50, -1, 0, 1, math.nan, math.inf)),
    *(("peak_threshold", value) for value in (0, 1, math.nan)),
    *(("flood_tolerance", value) for value in (-0.1, 1.1, math.nan)),
    *(("max_overlap", value) for value in (0, 1.5, math.nan)),
    *(("thing_threshold", value) for value in (-0.1, 1.1, math.nan)),
    *(("max_radius", value) for value in (0, -40, math.inf, math.nan)),
    *(
        (name, value)
        for name in (
            "shortest_side",
            "longest_side",
            "tile_size",
            "head_window",
            "min_area",
            "candidates",
            "max_fruitless",
        )
        for value in (0, -5, 2.5)
    ),
    *(
        (name, value)
        for name in ("proposal_blur", "points_per_batch", "max_proposals")
        for value in (0, -5, 2.5)
    ),
    ("seed", -1),
    ("points", "foo"),
]


def parse(*arguments) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_inference_options(parser)
    return parser.parse_args(list(map(str, arguments)))


def in_description(name, value) -> dict:
    is_greedy = name in {f.name for f in fields(GreedySettings)}
    return {"greedy": {name: value}} if is_greedy else {name: value}


@pytest.mark.parametrize(("name", "value"), NOT_ALLOWED)
def test_values_that_can_not_be_are_refused_by_name(name, value, capsys):
    with pytest.raises(ValueError, match=f"^{name} is .*; it must be "):
        InferenceSettings.from_description(in_description(name, value))
    option = f"--{name.replace('_', '-')}"
    with pytest.raises(SystemExit):
        parse(option, value)
    assert f"argument {option}: '{value}' must be " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("mask_threshold", value) for value in ("0.4", True, [0.4], None)),
        *(("flip", value) for value in (1, None, "true")),
        ("min_area", True),
        ("max_radius", "40"),
        ("points", None),
        ("greedy", 0.4),
    ],
)
def test_values_of_other_types_are_refused_in_weights(name, value):
    with pytest.raises(ValueError, match=f"{name} is|{value} is no table"):
        InferenceSettings.from_description(in_description(name, value))


def test_what_is_not_given_is_as_the_weights_say():
    assert with_options(WEIGHTS, parse()) == WEIGHTS
    given = parse("--mask-threshold", 0.5, "--no-flip", "--min-area", 7, "--points", "random")
    assert with_options(WEIGHTS, given) == replace(
        WEIGHTS,
        greedy=GreedySettings(mask_threshold=0.5, min_area=7),
        flip=False,
        points="random",
    )


def test_every_setting_has_an_option():
    for kind in (GreedySettings, InferenceSettings):
        for field in fields(kind):
            if field.name == "greedy":
                continue
            option, value = f"--{field.name.replace('_', '-')}", field.default
            if isinstance(value, bool):
                assert vars(parse(option)) == {field.name: True}
            else:
                assert vars(parse(option, str(value).lower())) == {field.name: value}


def test_one_side_replaces_the_other_and_none_unsets():
    scaled = with_options(WEIGHTS, parse("--longest-side", 2000))
    assert (scaled.shortest_side, scaled.longest_side) == (None, 2000)
    assert with_options(WEIGHTS, parse("--shortest-side", "none")).shortest_side is None
    with pytest.raises(SystemExit):
        parse("--shortest-side", 600, "--longest-side", 2000)
    with pytest.raises(ValueError, match="shortest_side is 600 and longest_side 2000"):
        InferenceSettings(shortest_side=600, longest_side=2000)


def test_the_options_import_nothing_heavy():
    code = "import adaptis.inference.options, sys; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"mxnet", "cv2", "numba", "matplotlib"} & set(loaded)
