"""The package that ``pip install .`` makes: what it holds, and what it says about the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import adaptis
from datasets.toy_scenes import generate_scene
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
scores = np.full((5, 5), 0.6, np.float32)
scores[1, 3] = 0.9
assert find_local_maxima(scores, 0.5).tolist() == [[1, 3]]
"""
TOP_LEVEL = """
import importlib.metadata
print(*sorted({str(path).split("/")[0] for path in importlib.metadata.files("adaptis")}))
"""
SEGMENT = """
import json, sys
import numpy as np
from adaptis import AdaptISPredictor
predictor = AdaptISPredictor.load(sys.argv[1])
predictor.set_image(np.load(sys.argv[2]))
found = predictor.segment(rle=True)
print(json.dumps([(record["bbox"], record["segmentation"]["size"]) for record in found]))
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


def interpreter_of(version: str) -> str | None:
    """Of the path, or of those that pyenv has, chosen or not."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    every = [shutil.which(f"python{version}"), *pyenv.glob(f"versions/*/bin/python{version}")]
    for path in filter(None, every):  # shims are there for versions that aren't chosen, too
        if not subprocess.run([path, "--version"], capture_output=True).returncode:
            return str(path)
    return None


@pytest.fixture(scope="module", params=["3.9", "3.10", "3.11", "3.12", "3.13"])
def installed(request, tmp_path_factory) -> Path:
    """The Python of a fresh environment with the wheel and what it asks for."""
    interpreter = interpreter_of(request.param)
    if not interpreter:
        pytest.skip(f"Python {request.param} is not installed")
    folder = tmp_path_factory.mktemp("package")
    source = folder / "source"  # a copy, as building leaves files behind
    skip = shutil.ignore_patterns("__pycache__")
    for name in ("adaptis", "models", "datasets"):
        shutil.copytree(ROOT / name, source / name, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = ("-m", "pip", "--disable-pip-version-check", "--quiet")
    run(sys.executable, source, *pip, "wheel", "--no-deps", "--wheel-dir", "..", ".")
    (wheel,) = folder.glob(f"adaptis-{adaptis.__version__}-*.whl")
    run(interpreter, folder, "-m", "venv", "environment")
    python = folder / "environment" / "bin" / "python"
    run(python, folder, *pip, "install", f"{wheel}[onnx]")
    return python


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


def test_it_segments_with_onnx_runtime_as_the_repository_with_mxnet(installed, tmp_path):
    weights, exported = ROOT / "weights" / "toy.params", tmp_path / "toy.onnx"
    image, _ = generate_scene(np.random.default_rng(0), 64, 4, 6)
    np.save(tmp_path / "image.npy", image)
    run(sys.executable, ROOT, "-m", "adaptis.export", weights, exported)
    found = run(installed, tmp_path, "-c", SEGMENT, exported, "image.npy")
    by_mxnet = run(sys.executable, ROOT, "-c", SEGMENT, weights, tmp_path / "image.npy")
    assert len(json.loads(found)) >= 4
    assert json.loads(found) == json.loads(by_mxnet)


def test_what_needs_mxnet_says_so_in_one_sentence(installed, tmp_path):
    said = run(installed, tmp_path, "-c", LOAD, ROOT / "weights" / "toy.params")
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
