"""``--help`` answers at once, shows commands as they are typed and explains every option."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys

import pytest

from tests.paths import ROOT

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
MODULES = sorted(  # what is run by python -m
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
    for room in ("adaptis", "benchmarks", "datasets", "models", "docs")
    for path in (ROOT / room).rglob("*.py")
    if re.search(r"^if __name__ == .__main__.:", path.read_text(), re.MULTILINE)
)
MODULES.remove("docs.figures")  # takes no options
COMMANDS = [*SCRIPTS, "train_instances.py --network deeplab", *MODULES]
NOISE = re.compile(r"\(default: (?:None|False|\[\]|\(\))\)|default.*default")
HELP = """
import argparse, runpy, sys

def print_help(self, file=None):
    print("unexplained:", *(action.dest for action in self._actions if not action.help))
    print(self.format_help())

argparse.ArgumentParser.print_help = print_help
name = sys.argv[1]
sys.argv = [*sys.argv[1:], "--help"]
sys.path.insert(0, "")
try:
    (runpy.run_path if name.endswith(".py") else runpy.run_module)(name, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
heavy = {"mxnet", "cv2", "gluoncv", "matplotlib.figure", "numba", "tensorboardX"}
print("imported:", *sorted(heavy & set(sys.modules)))
"""


@pytest.fixture(scope="module", params=COMMANDS)
def command(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def said(command) -> list[str]:
    """What ``--help`` prints, by lines; the first tells the options without a text, the last what
    was imported for it."""
    process = subprocess.run(
        [sys.executable, "-c", HELP, *command.split()],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "1000"},  # an option's text is one line
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_help_imports_nothing_large(said):
    assert said[-1] == "imported:"


def test_help_shows_how_to_call_it(command, said):
    name = command.split()[0].removesuffix(".__main__")
    called = name if name in SCRIPTS else f"python -m {name}"
    assert said[1].startswith(f"usage: {called} ")


def test_help_shows_commands_on_lines_of_their_own(command, said):
    """Where its description is the module's docstring."""
    name = command.split()[0]
    path = ROOT / (name if name in SCRIPTS else f"{name.replace('.', '/')}.py")
    docstring = ast.get_docstring(ast.parse(path.read_text())).splitlines()
    if docstring[0] in "\n".join(said):
        assert {line for line in docstring if line.startswith("python -m")} <= set(said)


def test_help_names_no_default_that_says_nothing(said):
    assert not [line for line in said if NOISE.search(line)]


def test_help_explains_every_option(said):
    assert said[0] == "unexplained:"
