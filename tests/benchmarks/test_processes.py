"""The benchmark of processes at its shortest: what it prints and writes."""

from __future__ import annotations

import json

import benchmarks.processes as processes


def test_a_row_each(tmp_path, capsys):
    case = processes.SAMPLINGS[1]  # proposals, which take less long
    options = ("--runs", "1", "--images", "6", "--cases", case, "--processes", "1", "2")
    processes.main([*options, "--output", str(tmp_path)])
    one, two = json.loads((tmp_path / "processes.json").read_text())["rows"]
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["times as fast"] == 1
    assert one["objects"] == two["objects"] > 8
    assert one["equal areas"] == one["objects"]
    assert "images/s" in capsys.readouterr().out
