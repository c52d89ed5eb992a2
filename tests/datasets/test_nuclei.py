"""BBBC038's folders, made up here, in the layout of own images."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest
from PIL import Image

from datasets.base import DataError
from datasets.instances import open_instances
from datasets.nuclei import SPLIT_NAMES, convert, main

BRIGHT = np.uint8([[9, 9, 9, 9], [9, 200, 180, 9], [9, 9, 9, 160]])
MASKS = [BRIGHT == 200, BRIGHT == 180, BRIGHT == 160]


def write(stage1, id_, pixels, masks=MASKS):
    (stage1 / id_ / "images").mkdir(parents=True)
    (stage1 / id_ / "masks").mkdir()
    Image.fromarray(pixels).save(stage1 / id_ / "images" / f"{id_}.png")
    for i, mask in enumerate(masks):
        Image.fromarray(255 * mask.astype(np.uint8)).save(stage1 / id_ / "masks" / f"{i}.png")


def names_of(split):
    return SPLIT_NAMES[split].read_text().split()


def test_layout(tmp_path, capsys):
    stage1, out = tmp_path / "stage1", tmp_path / "nuclei"
    of_train, of_test = names_of("train")[:2], names_of("test")[0]
    rgba = np.dstack([BRIGHT] * 3 + [255 + 0 * BRIGHT])  # as the archive has it
    write(stage1, "a" * 64, rgba)
    for name in of_train:
        write(stage1, name + "0" * 48, BRIGHT)
    write(stage1, of_test + "0" * 48, BRIGHT)
    write(stage1, "b" * 64, 255 - rgba[..., :3])  # dark on bright
    write(stage1, "c" * 64, np.dstack([BRIGHT, BRIGHT, BRIGHT // 2]))  # stained
    main(["--stage1", str(stage1), "--out", str(out)])
    told = capsys.readouterr().out
    assert "2 to train, 1 to test, 1 to unused; 2 of another kind left out" in told
    assert "494 of the 497 images of nuclei_train.txt and nuclei_test.txt are missing" in told
    sample = open_instances(out, "test", "full")[0]
    assert sample.name == of_test
    np.testing.assert_array_equal(sample.image[:, :, 0], BRIGHT)
    assert sample.instance_map.tolist() == [[0, 0, 0, 0], [0, 1, 2, 0], [0, 0, 0, 3]]
    assert Image.open(out / "train" / "labels" / f"{of_train[0]}.png").mode == "I;16"
    assert [path.stem for path in (out / "unused" / "images").iterdir()] == ["a" * 16]
    train, val = (open_instances(out, split, "full") for split in ("train", "val"))
    assert len(train) + len(val) == 2  # not those of unused/


def test_smaller_masks_on_top(tmp_path):
    large = np.ones_like(BRIGHT, bool)
    large[0] = False
    write(tmp_path / "stage1", "a" * 64, BRIGHT, [MASKS[0], large])
    convert(tmp_path / "stage1", tmp_path / "out")
    labels = np.asarray(Image.open(tmp_path / "out" / "unused" / "labels" / f"{'a' * 16}.png"))
    assert labels.tolist() == [[0, 0, 0, 0], [2, 1, 2, 2], [2, 2, 2, 2]]


def test_names_of_the_splits():
    train, test = names_of("train"), names_of("test")
    assert (len(train), len(test)) == (447, 50)
    assert len({*train, *test}) == 497
    assert all(len(name) == 16 for name in (*train, *test))


def test_faults(tmp_path):
    with pytest.raises(DataError, match=r"unpack stage1_train\.zip"):
        convert(tmp_path, tmp_path / "out")
    stage1 = tmp_path / "stage1"
    write(stage1, "a" * 64, BRIGHT, [])
    with pytest.raises(DataError, match="no masks"):
        convert(stage1, tmp_path / "out")
    write(stage1, "0" * 64, BRIGHT, [np.ones((2, 2), bool)])
    with pytest.raises(DataError, match=r"0\.png: \(2, 2\), its image \(3, 4\) px"):
        convert(stage1, tmp_path / "out")
    with pytest.raises(DataError, match="holds files already"):
        convert(stage1, tmp_path)


def test_ctrl_c_leaves_a_folder_that_is_refused(tmp_path, monkeypatch, capsys):
    """So its last word isn't that the same command goes on."""

    def interrupted(folders, **_):
        raise KeyboardInterrupt

    write(tmp_path / "stage1", "a" * 64, BRIGHT)
    monkeypatch.setattr("adaptis.progress.progress", interrupted)
    options = ("--stage1", str(tmp_path / "stage1"), "--out", str(tmp_path / "out"))
    monkeypatch.setattr(sys, "argv", ["nuclei", *options])
    monkeypatch.delitem(sys.modules, "datasets.nuclei")
    with pytest.raises(SystemExit):
        runpy.run_module("datasets.nuclei", run_name="__main__")
    assert capsys.readouterr().err.endswith(" not complete, and begin anew\n")
