"""The package that ``pip install .`` makes: what it holds, and what it says about the rest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adaptis
from adaptis import AdaptISPredictor
from adaptis.export import export
from datasets.toy_generator import generate_scene
from tests.paths import ROOT

GREEDY_BY_HAND = """
import numpy as np
from adaptis.inference.greedy import Aggregation, GreedySettings, segment_random_points
from adaptis.inference.proposals import find_local_maxima
left = np.arange(100).reshape(10, 10) % 10 < 5  # two objects, side by side
def predict(points_yx):
    return np.array([np.float32(0.9) * (left if left[y, x] else ~left) for y, x in points_yx])
aggregation = Aggregation(np.zeros((10, 10), bool), GreedySettings())
list(segment_random_points(predict, aggregation, np.random.default_rng(0)))
found = aggregation.instance_map
assert sorted(np.unique(found[:, :5]).tolist() + np.unique(found[:, 5:]).tolist()) == [1, 2]
scores = np.zeros((5, 5), np.float32)
scores[1, 3] = 0.9
assert find_local_maxima(scores, 0.5).tolist() == [[1, 3]]
"""
TOP_LEVEL = """
import importlib.metadata
print(*sorted({str(path).split("/")[0] for path in importlib.metadata.files("adaptis")}))
"""
SEGMENT = """
import sys
import numpy as np
from PIL import Image
from adaptis import AdaptISPredictor
predictor = AdaptISPredictor.load(sys.argv[1])
records = predictor.segment(np.asarray(Image.open(sys.argv[2])))
assert "mxnet" not in sys.modules
print(*(record["area"] for record in records))
"""
LOAD = """
import sys
from adaptis import AdaptISPredictor
try:
    AdaptISPredictor.load(sys.argv[1])
except ImportError as error:
    print(error)
"""


def run(python, folder, *arguments, path=None) -> str:
    """What a Python prints, run in another folder than the repository's."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    if path:
        environment["PYTHONPATH"] = str(path)
    process = subprocess.run(
        [str(python), *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert process.returncode == 0, process.stderr + process.stdout
    return process.stdout.strip()


PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The package."""
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"  # a copy, as building leaves files behind
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("adaptis", "models", "datasets"):
        shutil.copytree(ROOT / name, source / name, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, source, *PIP, "wheel", "--no-deps", "--wheel-dir", "..", ".")
    (wheel,) = folder.glob(f"adaptis-{adaptis.__version__}-*.whl")
    return wheel


def fresh_environment(folder: Path, python: str, *requirements: str) -> Path:
    """The Python of a new environment with the requirements and what they ask for."""
    run(python, folder, "-m", "venv", "environment")
    made = folder / "environment" / "bin" / "python"
    run(made, folder, *PIP, "install", *requirements)
    return made


@pytest.fixture(scope="module")
def installed(wheel) -> Path:
    """The Python of a fresh environment with the wheel."""
    return fresh_environment(wheel.parent, sys.executable, str(wheel))


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_onnx_alone_segments(wheel, tmp_path, version):
    python = shutil.which(f"python{version}")
    if not python:
        pytest.skip(f"Python {version} is not installed")
    image, _ = generate_scene(np.random.default_rng(0), 64, 4, 4)
    Image.fromarray(image).save(tmp_path / "image.png")
    weights = ROOT / "weights" / "toy.params"
    export(weights, tmp_path / "toy.onnx")
    expected = [record["area"] for record in AdaptISPredictor.load(weights).segment(image)]
    assert len(expected) > 2

    made = fresh_environment(tmp_path, python, f"{wheel}[onnx]")
    said = run(made, tmp_path, "-c", SEGMENT, "toy.onnx", "image.png")
    np.testing.assert_allclose([int(area) for area in said.split()], expected, atol=2)


def test_it_brings_no_name_but_its_own(installed, tmp_path):
    assert run(installed, tmp_path, "-c", TOP_LEVEL).split() == [
        "adaptis",
        f"adaptis-{adaptis.__version__}.dist-info",
    ]


def test_it_works_in_another_folder(installed, tmp_path):
    version = "import adaptis; print(adaptis.__version__)"
    assert run(installed, tmp_path, "-c", version) == adaptis.__version__
    run(installed, tmp_path, "-c", GREEDY_BY_HAND)
    assert "after --: the training script" in run(
        installed, tmp_path, "-m", "adaptis.launch", "--help"
    )


def test_what_needs_mxnet_says_so_in_one_sentence(installed, tmp_path):
    said = run(installed, tmp_path, "-c", LOAD, "toy.params")
    assert said.startswith("No module named 'mxnet'")
    assert "requirements.txt" in said
    assert len(said.splitlines()) == 1


def test_what_needs_the_repository_says_so_in_one_sentence(tmp_path):
    (tmp_path / "adaptis").symlink_to(ROOT / "adaptis")
    installed_here = f"{tmp_path}:{sysconfig.get_path('purelib')}"
    weights = ROOT / "weights" / "toy.params"
    said = run(sys.executable, tmp_path, "-c", LOAD, weights, path=installed_here)
    assert said.startswith("No module named 'models'")
    assert "a clone of the repository" in said
    assert len(said.splitlines()) == 1
