"""``--help`` answers at once: it waits for none of the large packages."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.paths import ROOT

SCRIPTS = sorted(path.name for path in ROOT.glob("*.py"))
MODULES = sorted(  # what is run by python -m
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".")
    for room in ("adaptis", "benchmarks", "datasets", "models")
    for path in (ROOT / room).rglob("*.py")
    if re.search(r"^if __name__ == .__main__.:", path.read_text(), re.MULTILINE)
)
HELP = """
import runpy, sys
run, name = sys.argv[1:3]
sys.argv = [name, "--help"]
sys.path.insert(0, "")
try:
    (runpy.run_module if run == "module" else runpy.run_path)(name, run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
heavy = {"mxnet", "cv2", "gluoncv", "matplotlib.figure", "numba", "tensorboardX"}
print("imported:", *sorted(heavy & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("run", "name"), [*(("path", s) for s in SCRIPTS), *(("module", m) for m in MODULES)]
)
def test_help_imports_nothing_large(run, name):
    process = subprocess.run(
        [sys.executable, "-c", HELP, run, name], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    *said, imported = process.stdout.splitlines()
    assert said[0].startswith("usage: ")
    assert imported == "imported:"
