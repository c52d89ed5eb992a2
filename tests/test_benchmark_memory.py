"""The memory benchmark at its shortest: what it prints and writes."""

from __future__ import annotations

import re

import benchmarks.memory as memory


def test_both_curves(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(memory, "TRAINING_IMAGES", 8)
    monkeypatch.setattr(memory, "SIZES", (64, 70))
    memory.main(["--iterations", "3", "--images", "2", "--output", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    names = ("Iterations of training", "Images segmented")
    for line, name, count in zip(lines, names, (3, 2)):
        pattern = rf"{name}: \d+ MB at the start, \d+ after a tenth of {count}, \d+ MB at the end"
        assert re.fullmatch(pattern, line)
    assert (tmp_path / "out" / "memory.png").read_bytes().startswith(b"\x89PNG")


def test_the_memory_of_this_process():
    before = memory.memory_megabytes("VmRSS")
    held = bytearray(100 * 2**20)
    held[:: 2**12] = b"\1" * len(held[:: 2**12])
    assert 90 < memory.memory_megabytes("VmRSS") - before < 120
