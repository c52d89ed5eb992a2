"""The loader's benchmark on tiny images: what it prints and writes."""

from __future__ import annotations

import json

import benchmarks.loader as loader


def test_every_data_set_has_a_row(tmp_path, monkeypatch, capsys):
    # eight capsules need the room of the toy images
    sizes = {**dict.fromkeys(loader.SIZES, (48, 48)), "toy": (96, 96)}
    monkeypatch.setattr(loader, "SIZES", sizes)
    monkeypatch.setattr(loader, "IMAGES", 1)
    output = tmp_path / "sub"
    loader.main(["--output", str(output), "--runs", "1"])
    rows = json.loads((output / "loader.json").read_text())["rows"]
    assert [(row["dataset"], row["crop"]) for row in rows] == [
        ("toy", "96x96"),
        ("cityscapes", "400x800"),
        ("coco", "544x544"),
        ("mapillary", "400x800"),
    ]
    assert all(row["images/s read"] > 0 for row in rows)
    assert capsys.readouterr().out.count("\n") == 6
