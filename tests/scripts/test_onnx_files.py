"""What takes weights takes the .onnx file made from them, and finds the same."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import segment
import test_panoptic
from adaptis import AdaptISPredictor, export
from adaptis.demo.workspace import Workspace
from datasets.toy_generator import generate
from tests.paths import ROOT

WEIGHTS = ROOT / "weights" / "toy.params"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two toy images and the shipped weights as toy.onnx."""
    root = tmp_path_factory.mktemp("onnx")
    generate(root / "data", train=0, test=2, size=64, objects=(5, 5), workers=1)
    export.main([str(WEIGHTS), str(root / "toy.onnx")])
    return root


def test_an_evaluation_prints_the_same_table(folder):
    of = {}
    for name, weights in (("params", WEIGHTS), ("onnx", folder / "toy.onnx")):
        output = folder / f"evaluation-{name}"
        where = ["--data-root", folder / "data", "--weights", weights, "--output", output]
        test_panoptic.main([str(a) for a in ("toy", *where, "--points", "proposals")])
        counts = json.loads((output / "metrics.json").read_text())["counts"]
        of[name] = counts, (output / "table.md").read_text()
    assert of["onnx"] == of["params"]
    assert of["onnx"][0]["found"] > 5


def test_segment_writes_the_same_label_maps(folder):
    maps = []
    for weights in (WEIGHTS, folder / "toy.onnx"):
        output = folder / f"segmented-{weights.suffix[1:]}"
        where = ["--weights", weights, "--output", output, "--points", "proposals"]
        segment.main([str(a) for a in (*(folder / "data" / "test").glob("*_rgb.png"), *where)])
        maps.append([np.array(Image.open(p)) for p in sorted(output.glob("labels/*.png"))])
    assert len(maps[0]) == len(maps[1]) == 2
    for ours, theirs in zip(*maps):
        assert ours.max() > 2
        assert np.mean(ours == theirs) >= 0.999


def test_the_page_shows_the_same(folder):
    path = next((folder / "data" / "test").glob("*_rgb.png"))
    maps = []
    for weights in (WEIGHTS, folder / "toy.onnx"):
        workspace = Workspace(AdaptISPredictor.load(weights))
        workspace.predictor.settings = workspace.predictor.settings.with_options(points="proposals")
        workspace.open(path.name, np.array(Image.open(path)))
        workspace.segment(mask_threshold=0.5)
        maps.append(workspace.label_map)
    assert maps[0].max() > 2
    assert np.mean(maps[0] == maps[1]) >= 0.999
