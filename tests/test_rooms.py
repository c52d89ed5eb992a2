"""Imports within ``adaptis`` point one way, as docs/design.md says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGE = ROOT / "adaptis"
ARROWS = {  # each room and those that it knows; all know the files beside the rooms
    "network": set(),
    "pictures": set(),
    "inference": {"network"},
    "evaluation": {"inference", "pictures"},
    "training": {"network", "inference", "evaluation", "pictures"},
    "segmenting": {"inference", "pictures"},
    "demo": {"inference", "pictures", "segmenting"},
}
DOOR = "adaptis/inference/mxnet_backend.py"  # to models, see docs/design.md
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}


def imported(path: Path) -> set[str]:
    """Full names of modules, and of what is taken from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_room_has_its_arrows():
    rooms = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert rooms == set(ARROWS)


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_knows_no_other_than_said(room):
    known = {
        name.split(".")[1]
        for path in (PACKAGE / room).glob("*.py")
        for name in imported(path)
        if name.startswith("adaptis.")
    }
    assert known & set(ARROWS) - {room} <= ARROWS[room]


def test_no_arrow_runs_back():
    seen: set[str] = set()
    for room, known in ARROWS.items():  # each after those it knows
        assert known <= seen, room
        seen.add(room)


def test_one_door_leads_back_to_the_networks():
    for path in PACKAGE.rglob("*.py"):
        outside = {name.split(".")[0] for name in imported(path)} & {"models", "datasets"}
        is_door = path.relative_to(ROOT).as_posix() == DOOR
        assert outside == ({"models"} if is_door else set()), path


@pytest.mark.parametrize(("folder", "known"), [("models", {"datasets"}), ("datasets", set())])
def test_networks_and_data_sets_know_no_other_than_said(folder, known):
    for path in (ROOT / folder).rglob("*.py"):
        outside = {name.split(".")[0] for name in imported(path)} & {"models", "datasets"}
        assert outside - {folder} <= known, path


def test_the_design_names_every_module_of_the_large_rooms():
    text = (ROOT / "docs" / "design.md").read_text()
    folders = [PACKAGE, *(PACKAGE / name for name in ("network", "training", "inference"))]
    for folder in [*folders, PACKAGE / "evaluation", PACKAGE / "pictures"]:
        for path in folder.glob("*.py"):
            assert path.name == "__init__.py" or f"`{path.name}`" in text, path


def test_no_module_imports_a_script():
    for folder in ("adaptis", "models", "datasets", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not {name.split(".")[0] for name in imported(path)} & SCRIPTS, path
