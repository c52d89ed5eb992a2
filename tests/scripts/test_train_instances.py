"""train_instances.py from a folder of own images to weights of both stages."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import train_instances
from adaptis.training.checkpoints import TrainingError
from adaptis.weights import load_arrays
from datasets.base import DataError

SMALL = ("--width", "4", "--batch-size", "2", "--points", "2", "--workers", "0", "--epochs", "1")


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Ten dim images of different sizes, one smaller than a crop, with squares of 10 px."""
    monkeypatch.setitem(train_instances.CONFIGS["unet"], "proposal_points", 4)
    folder = tmp_path / "data"
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for i in range(10):
        size = (12, 30) if i == 0 else (30 + i, 40 - i)
        labels = np.zeros(size, np.uint8)
        labels[1:11, 1:11], labels[1:11, 14:24] = 1, 2
        Image.fromarray(labels).save(folder / "labels" / f"{i}.png")
        Image.fromarray(20 + 10 * labels).save(folder / "images" / f"{i}.png")
    return folder


def run(data, *options):
    output = data.parent / "run"
    train_instances.main(["--data", str(data), "--output", str(output), *SMALL, *options])
    return output


def test_both_stages_in_one_call(data, capsys):
    output = run(data)
    said, printed = capsys.readouterr()
    told, command = said.splitlines()  # once both stages are done
    assert told == f"the weights of the proposals stage are in {output}/proposals/best.params"
    assert command.endswith("proposals/best.params --split val")  # no test is there
    assert "--relative-radius 10 px: 19 of 20 objects extend no further" in printed
    assert "--crop 16 px: 1.5 times as much" in printed
    assert "--min-area 100 px: 1 of 100 objects is smaller" in printed
    for stage in ("instances", "proposals"):
        _, description = load_arrays(output / stage / "best.params")
        assert description["stage"] == stage
        assert description["intensity"] == "percentile"
        assert description["network"]["relative_radius"] == 10
        assert description["inference"]["greedy"]["min_area"] == 100
        assert description["inference"]["head_window"] == 32
        assert [info["name"] for info in description["classes"]] == ["background", "object"]


def test_what_is_given_is_taken(data, capsys):
    given = ("--relative-radius", "20", "--crop", "32", "--min-area", "5", "--stage", "instances")
    shutil.copytree(data / "images", data / "test" / "images")
    shutil.copytree(data / "labels", data / "test" / "labels")
    output = run(data, *given, "--intensity", "0", "255")
    said, printed = capsys.readouterr()
    assert "--split test" in said
    assert "--crop 32 px: given; from the data 16" in printed
    _, description = load_arrays(output / "instances" / "best.params")
    assert description["network"]["relative_radius"] == 20
    assert description["intensity"] == [0, 255]
    assert not (output / "proposals").exists()


def test_the_first_images_alone(data, capsys):
    output = run(data, "--images", "4", "--stage", "instances", "--repeats", "3")
    printed = capsys.readouterr().err
    assert "in 4 of 4 training images 8 objects count" in printed
    training = load_arrays(output / "instances" / "best.params")[1]["training"]
    assert training["images"] == 4
    assert training["samples"] in (12, 15)  # the smallest and the others alike, or one twice


def test_the_second_stage_warms_up_for_the_same_part(data):
    output = run(data, "--warmup", "0.5", "--epochs", "2")
    warmups = [
        load_arrays(output / stage / "best.params")[1]["training"]["warmup"]
        for stage in ("instances", "proposals")
    ]
    assert warmups == [0.5, 0.25]


def test_training_goes_on_with_the_radius_of_the_weights(data, capsys):
    only = ("--stage", "instances")
    weights = run(data, *only, "--relative-radius", "20") / "instances" / "best.params"
    again = ("--weights", str(weights), "--output", str(data.parent / "again"), *only)
    capsys.readouterr()
    run(data, *again)
    assert f"--relative-radius 20 px: that of {weights}\n" in capsys.readouterr().err
    _, description = load_arrays(data.parent / "again" / "instances" / "best.params")
    assert description["network"]["relative_radius"] == 20
    with pytest.raises(
        TrainingError, match=r"relative_radius: 20\.0, now 10\.0; give the same opt"
    ):
        run(data, *again, "--relative-radius", "10")


def test_resuming_goes_on_with_the_stage_it_was_in(data, capsys):
    output = run(data, "--stage", "instances")
    with pytest.raises(TrainingError, match="go on with it by --resume"):
        run(data)
    run(data, "--resume")
    assert (output / "proposals" / "best.params").exists()
    run(data, "--resume")  # all is done


def test_no_objects_of_that_size(data):
    with pytest.raises(TrainingError, match=r"no object to train on.*18 under 101 px .--min-area"):
        run(data, "--min-area", "101")


def test_coco_with_its_classes_and_crowds_as_objects(data):
    for path in (data / "labels").iterdir():
        path.unlink()
    (data / "labels").rmdir()
    square = [[1, 1, 11, 1, 11, 11, 1, 11]]
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(10)],
        "categories": [{"id": 5, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"image_id": i, "category_id": 5, "segmentation": square, "iscrowd": 1}
            for i in range(10)
        ],
    }
    (data / "annotations.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"none of 9 .* has an object, but 9 crowds"):
        run(data)
    output = run(data, "--crowds-are-objects")
    _, description = load_arrays(output / "proposals" / "best.params")
    assert description["training"]["crowds_are_objects"] is True
    assert [info["name"] for info in description["classes"]] == ["background", "cat", "dog"]
    assert description["network"]["classes"] == 3


def test_deeplab(data, monkeypatch):
    monkeypatch.setitem(train_instances.CONFIGS["deeplab"], "proposal_points", 4)
    output = data.parent / "run"
    small = ("--backbone", "resnet18_v1b", "--backbone-weights", "none", "--channels", "16")
    options = [*small, *SMALL[2:], "--crop", "32", "--net", "deeplab"]  # as argparse abbreviates
    train_instances.main(["--data", str(data), "--output", str(output), *options])
    _, description = load_arrays(output / "proposals" / "best.params")
    assert description["network"]["architecture"] == "panoptic"
    assert description["inference"]["greedy"]["mask_threshold"] == 0.4  # where alpha .25 balances
    assert description["network"]["relative_radius"] == 10
