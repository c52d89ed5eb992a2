"""The memory benchmark at its shortest: what it prints and writes."""

from __future__ import annotations

import json
import subprocess
import sys

import benchmarks.memory as memory
from tests.paths import ROOT


def test_both_curves(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "MOST_GROWTH", 1)  # so few come before caches are there
    monkeypatch.setattr(memory, "TRAINING_IMAGES", 8)
    monkeypatch.setattr(memory, "SIZES", (64, 70))
    memory.main(["--iterations", "3", "--images", "2", "--output", str(tmp_path / "out")])
    rows = json.loads((tmp_path / "out" / "memory.json").read_text())["rows"]
    names = [(row["Resident memory"], row["of"]) for row in rows]
    assert names == [("Iterations of training", 3), ("Images segmented", 2)]
    assert all(row["start, MB"] > 100 for row in rows)
    assert (tmp_path / "out" / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_what_levels_off():
    assert memory.levels_off([100, 150, 190, 200, 201, 200, 205])
    assert not memory.levels_off([100, 110, 120, 130, 140, 150])
    assert not memory.levels_off([100, 100, 100, 100, 120, 100])  # a peak counts


def test_the_memory_of_this_process():
    """In a process of its own: here, others' memory may be given back meanwhile."""
    code = (
        "import benchmarks.measure as m; before = m.memory_megabytes('VmRSS'); "
        "held = bytearray(b'1') * 100 * 2**20; print(m.memory_megabytes('VmRSS') - before)"
    )
    grown = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    assert 90 < float(grown.stdout) < 120
