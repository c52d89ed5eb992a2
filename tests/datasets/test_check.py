"""python -m datasets.check: the right counts, every broken file, the right exit code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from adaptis import image_files
from datasets.check import main
from datasets.formats import FORMATS, Format, find_splits
from datasets.synthetic import main as synthesize
from datasets.toy_generator import generate
from tests.paths import ROOT


def write_scenes(format_name, out):
    synthesize(["--format", format_name, "--out", str(out), "--train", "4", "--val", "1"])
    return out


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("cityscapes", ("train", "val")),
        ("coco", ("train2017", "val2017")),
        ("mapillary", ("train", "val")),
    ],
)
def test_sound_scenes(name, splits, tmp_path, capsys):
    write_scenes(name, tmp_path)
    assert main([name, str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert f"{name} {splits[0]}: 4 of 4 images are sound" in printed.out
    assert f"{name} {splits[1]}: 1 of 1 images are sound" in printed.out
    assert "no problems found" in printed.out
    assert "4 of 4" in printed.err  # the progress bar
    assert main([name, str(tmp_path), "--split", splits[1]]) == 0
    assert f"{name} {splits[0]}" not in capsys.readouterr().out


def test_counts_by_hand(tmp_path, capsys):
    (tmp_path / "train2017").mkdir()
    labels = tmp_path / "annotations" / "panoptic_train2017"
    labels.mkdir(parents=True)
    content = {
        "images": [],
        "annotations": [],
        "categories": [
            {"id": 1, "name": "cat", "isthing": 1, "color": [1, 1, 1]},
            {"id": 2, "name": "grass", "isthing": 0, "color": [2, 2, 2]},
        ],
    }
    for name, red, segments in (
        ("a", [[0, 0, 1, 2, 3]], [(1, 1, 0), (2, 1, 0), (3, 1, 1)]),  # void x 2, cat, cat, cats
        ("b", [[7, 7, 7, 7, 1]], [(7, 2, 0), (1, 1, 0)]),  # grass x 4, cat
    ):
        ids = np.stack([0 * np.array(red), 0 * np.array(red), red], axis=2)  # BGR
        cv2.imwrite(str(labels / f"{name}.png"), ids.astype(np.uint8))
        cv2.imwrite(str(tmp_path / "train2017" / f"{name}.png"), ids.astype(np.uint8))
        content["images"].append({"id": name, "file_name": f"{name}.png"})
        content["annotations"].append(
            {
                "image_id": name,
                "file_name": f"{name}.png",
                "segments_info": [
                    {"id": i, "category_id": category, "iscrowd": crowd}
                    for i, category, crowd in segments
                ],
            }
        )
    labels.with_name("panoptic_train2017.json").write_text(json.dumps(content))
    assert main(["coco", str(tmp_path)]) == 0
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines()}
    assert rows["cat"] == ["thing", "2", "3", "1", "40.00%"]
    assert rows["grass"] == ["stuff", "1", "40.00%"]
    assert rows["void"] == ["1", "20.00%"]


def broken_lines(name, root, capsys, summary):
    assert main([name, str(root)]) == 1
    lines = capsys.readouterr().out.splitlines()
    broken = [line for line in lines if line.startswith("BROKEN")]
    assert f"{len(broken)} problems found" in lines
    assert any(summary in line for line in lines)
    return broken


def test_every_problem_of_cityscapes(tmp_path, capsys):
    write_scenes("cityscapes", tmp_path)
    images = sorted((tmp_path / "leftImg8bit" / "train").rglob("*.png"))
    labels = sorted((tmp_path / "gtFine" / "train").rglob("*labelIds.png"))
    images[0].write_bytes(images[0].read_bytes()[:3000])
    images[1].unlink()
    cv2.imwrite(str(labels[2]), np.full((128, 256), 99, np.uint8))
    broken = broken_lines("cityscapes", tmp_path, capsys, "1 of 4 images are sound")
    assert len(broken) == 3
    for path, line in zip((images[0], images[1], labels[2]), broken):
        assert str(path) in line


def test_every_problem_of_toy(tmp_path, capsys, monkeypatch):
    generate(tmp_path, train=7, test=1, workers=1)
    train = tmp_path / "train"
    (train / "00000_im.png").unlink()
    (train / "00001_rgb.png").unlink()
    for name in ("00002_rgb.png", "00003_im.png"):
        (train / name).write_bytes((train / name).read_bytes()[:-30])
    cv2.imwrite(str(train / "00004_im.png"), np.zeros((9, 9), np.uint8))
    cv2.imwrite(str(train / "00005_im.png"), np.zeros((200, 200), np.uint8))
    monkeypatch.setattr(image_files, "MAX_FILE_PIXELS", 30000)
    broken = broken_lines("toy", tmp_path, capsys, "toy train: 1 of 7 images are sound")
    problems = {
        "00000_im.png": "is missing",
        "00001_rgb.png": "is missing",
        "00002_rgb.png": "can't be read",
        "00003_im.png": "can't be read",
        "00004_rgb.png": "its label 9 x 9",
        "00005_im.png": "is 200 x 200 (height x width), at most 30000 pixels",
    }
    assert len(broken) == len(problems)
    for line, (name, problem) in zip(broken, problems.items()):
        assert f"{train / name}: " in line
        assert problem in line


def test_every_problem_of_coco(tmp_path, capsys):
    synthesize(["--format", "coco", "--out", str(tmp_path), "--train", "8", "--val", "1"])
    path = tmp_path / "annotations" / "panoptic_train2017.json"
    content = json.loads(path.read_text())
    images, annotations = content["images"], content["annotations"]
    annotations[0]["segments_info"][0]["category_id"] = 4321
    del annotations[1]["segments_info"]
    annotations[2]["file_name"] = "../../../secret.png"
    annotations.append(annotations[3])
    images[4]["file_name"] = 4
    annotations += [{**annotations[5], "image_id": "stranger"}, None]
    del annotations[6]
    (tmp_path / "train2017" / images[5]["file_name"]).unlink()
    path.write_text(json.dumps(content))
    broken = broken_lines("coco", tmp_path, capsys, "coco train2017: 1 of 10 images are sound")
    for problem in (
        "unknown categories [4321]",
        "format: annotations[1].segments_info is missing, a list was expected",
        "'../../../secret.png' leads out",
        f"a second entry of image {images[3]['id']!r}",
        "format: images[4].file_name is 4, a text was expected",
        f"{images[5]['file_name']}: can't be read: is missing",
        f"annotations has no entry of image {images[6]['id']!r}",
        "images has no entry of image 'stranger'",
        "format: annotations[9] is null, not an object",
    ):
        assert sum(problem in line for line in broken) == 1, problem
    assert len(broken) == 9


@pytest.mark.parametrize("name", ["cityscapes", "coco", "mapillary", "toy"])
def test_nothing_there(name, tmp_path, capsys):
    assert main([name, str(tmp_path / "nowhere")]) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_unknown_split(tmp_path, capsys):
    assert main(["cityscapes", str(tmp_path), "--split", "demoVideo"]) == 1
    assert "use train, val or test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "images", "test_images", "split"),
    [
        ("cityscapes", "leftImg8bit/val", "leftImg8bit/test", "test"),
        ("coco", "val2017", "test2017", "test-dev2017"),
        ("mapillary", "validation/images", "testing/images", "test"),
    ],
)
def test_a_split_without_labels(name, images, test_images, split, tmp_path, capsys):
    """It is checked where its images are, which must be readable; there is nothing to count."""
    write_scenes(name, tmp_path)
    if name == "coco":
        annotations = tmp_path / "annotations"
        shutil.copy(annotations / "panoptic_val2017.json", annotations / f"image_info_{split}.json")
    assert main([name, str(tmp_path)]) == 0
    assert split not in capsys.readouterr().out
    shutil.copytree(tmp_path / images, tmp_path / test_images)
    assert main([name, str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    last = lines.index(f"{name} {split}: 1 of 1 images are sound; the split has no labels")
    assert lines[last + 1 :] == ["no problems found"]
    image = next(path for path in (tmp_path / test_images).rglob("*") if path.is_file())
    image.write_bytes(image.read_bytes()[:1000])
    assert main([name, str(tmp_path), "--split", split]) == 1
    assert f"BROKEN {image}: can't be read" in capsys.readouterr().out


def test_a_new_data_set_needs_its_name_only(tmp_path, capsys, monkeypatch):
    generate(tmp_path, train=2, test=1, workers=1)
    monkeypatch.setitem(FORMATS, "new", Format("datasets.toy", "ToyDataset", "test", ("train",)))
    assert find_splits("new", tmp_path) == ["train"]
    assert main(["new", str(tmp_path)]) == 0
    assert "new train: 2 of 2 images are sound" in capsys.readouterr().out


def test_toy(tmp_path, capsys):
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        cv2.imwrite(str(tmp_path / split / "a_rgb.png"), np.zeros((2, 4, 3), np.uint8))
        cv2.imwrite(
            str(tmp_path / split / "a_im.png"), np.array([[0, 0, 0, 5], [0, 0, 0, 9]], np.uint8)
        )
    assert main(["toy", str(tmp_path)]) == 0
    assert "object      thing       1          2       0  25.00%" in capsys.readouterr().out


def test_toy_without_images_to_train_on(tmp_path, capsys):
    generate(tmp_path, train=0, test=2, workers=1)
    assert main(["toy", str(tmp_path)]) == 0
    assert "toy test: 2 of 2 images are sound" in capsys.readouterr().out
    assert main(["toy", str(tmp_path), "--split", "train"]) == 1
    assert main(["toy", str(tmp_path / "elsewhere")]) == 1


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "datasets.check", "coco", str(tmp_path)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    assert "holds no panoptic_*.json" in finished.stdout
