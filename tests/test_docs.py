"""What the pages promise: their links lead somewhere, their commands are understood, the README's
Python runs, and what the code says of a page is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import adaptis
from datasets.toy_generator import generate
from tests.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(python (?:-m [\w.]+|\w+\.py)\s[^`]+)`")  # with arguments, in a sentence
LINK = re.compile(r"\]\(([^()\s]+)\)")

# In place of python: reads the options as the script does, then stops before anything is done.
PYTHON = """
import argparse, runpy, sys

class Understood(BaseException): pass

class NothingThatComputes:  # a script imports what does once its options are read
    def find_spec(self, name, path=None, target=None):
        if command[0] != "-m" and name in ("mxnet", "datasets.plain_images", "datasets.formats"):
            raise Understood

def parse_args(self, *arguments):
    options = read(self, *arguments)
    if command[0] == "-m":
        raise Understood
    return options

read, argparse.ArgumentParser.parse_args = argparse.ArgumentParser.parse_args, parse_args
command = sys.argv[1:]
sys.path.insert(0, "")
import adaptis  # which looks whether there is an MXNet
sys.meta_path.insert(0, NothingThatComputes())
try:
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    elif command[0].endswith(".py"):
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")
except Understood:
    print("understood:", *command)
else:
    sys.exit(f"nothing reads the options of {command}")
"""


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text())
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in FENCE.findall(page.read_text()) if language in languages]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert ROOT in target.parents, link
        assert not anchor or anchor in anchors(target), link


def test_anchors_are_github_s(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Mask R-CNN\n## What's `left`, (perhaps)?\n```\n# no title\n```\n")
    assert anchors(page) == {"mask-r-cnn", "whats-left-perhaps"}


def test_pictures_are_shown():
    """Every picture of docs/ is on a page."""
    shown = {Path(link).name for page in PAGES for link in LINK.findall(page.read_text())}
    assert {path.name for path in (ROOT / "docs").glob("*.png")} <= shown


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Environment of a shell whose python only reads options, whose make tells what it would do,
    and whose other programs do nothing."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "options.py").write_text(PYTHON)
    programs = {
        "python": f'exec {sys.executable} {folder}/options.py "$@"',
        "make": f'exec {_which("make")} -C {ROOT} --dry-run "$@" >/dev/null',
        **dict.fromkeys(("git", "pip", "pre-commit", "cd", "source", "tensorboard"), "exit 0"),
    }
    for name, text in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def _which(name: str) -> str:
    return subprocess.run(["which", name], capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "")], ids=lambda page: page.name
)
def test_commands_are_understood(page, shell):
    for text in blocks(page, ""):
        process = subprocess.run(
            ["bash", "-euc", f"cd() {{ :; }}; {text}"],
            cwd=ROOT,
            env=shell,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, f"{text}\n{process.stderr}"
        commands = len(re.findall(r"^python ", text, re.MULTILINE))
        assert process.stdout.count("understood:") == commands, text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_sentences_are_understood(page, shell):
    for command in INLINE.findall(FENCE.sub("", page.read_text())):
        if command.endswith("--help") or command.startswith("python -m venv"):
            continue
        process = subprocess.run(
            command.split(), cwd=ROOT, env=shell, capture_output=True, text=True
        )
        assert process.stdout.startswith("understood:"), f"{command}\n{process.stderr}"


@pytest.mark.parametrize("arguments", ["train_toy.py --no-such", "-m datasets.check no-such ."])
def test_a_wrong_command_is_noticed(arguments, shell):
    process = subprocess.run(f"python {arguments}", shell=True, cwd=ROOT, env=shell)
    assert process.returncode != 0


def test_the_first_example_shows_something(tmp_path, monkeypatch, capsys):
    (text,) = blocks(ROOT / "README.md", "python")
    generate(tmp_path / "data" / "toy-200", train=0, test=1, seed=3000, workers=1)
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    monkeypatch.chdir(tmp_path)
    assert cv2.imread("data/toy-200/test/00000_rgb.png") is not None
    names: dict = {}
    exec(text, names)  # what a reader types
    prediction = names["prediction"]
    assert len(prediction.masks) >= 8  # the objects of the image
    assert (prediction.masks.sum(axis=(1, 2)) >= 10).all()
    assert (prediction.scores > 0.5).all()
    assert len(capsys.readouterr().out.splitlines()) >= 4


def test_what_the_code_says_of_a_page_is_true():
    said = set()
    for path in [*ROOT.glob("*.py"), *(p for room in ROOT.glob("*/") for p in room.rglob("*.py"))]:
        if ".venv" in path.parts or "tests" in path.parts:
            continue
        found = re.findall(r"see (\w[\w ]*?) in ((?:docs/)?\w+\.md)", path.read_text())
        said |= {(title, page) for title, page in found}
    assert ("Hardware", "README.md") in said
    for title, page in said:
        assert title.lower().replace(" ", "-") in anchors(ROOT / page), (title, page)


def test_the_version_is_one():
    assert f"\nversion: {adaptis.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    newest = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest.group(1) == adaptis.__version__


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
