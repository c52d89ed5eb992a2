"""What a training says in the end, and of options that can't be."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys

import pytest
from easydict import EasyDict

from adaptis.evaluation.options import parse_arguments
from adaptis.training.script import next_steps
from tests.paths import ROOT


def evaluation_of(said):
    """The options of the evaluation that is proposed, as its script reads them."""
    *others, command = said.splitlines()
    python, script, *arguments = shlex.split(command.split(":  ")[1])
    assert (python, script) == ("python", "test_panoptic.py")
    return others, parse_arguments("", arguments)


@pytest.mark.parametrize("stage", ["instances", "proposals"])
def test_the_commands_that_follow_a_training(stage):
    args = argparse.Namespace(stage=stage, data="data/two words", val_split="few")
    config = EasyDict(dataset="coco", inference={"points": "proposals"})
    told, options = evaluation_of(next_steps(args, config, "runs/coco/best.params"))
    assert told[0].endswith("are in runs/coco/best.params")
    assert (options.dataset, options.data_root, options.split) == ("coco", "data/two words", "few")
    assert options.weights == "runs/coco/best.params"
    is_first = stage == "instances"
    assert vars(options).get("points") == (
        "random" if is_first else None
    )  # its proposals aren't trained yet
    assert [
        line.endswith("--stage proposals --weights runs/coco/best.params") for line in told
    ] == ([False, True] if is_first else [False])


def test_what_was_given_for_the_first_stage_is_not_for_the_second():
    given = {"resume": True, "epochs": 130, "learning_rate": 2e-4}
    others = {"schedule": None, "drops": None, "warmup": 0.0}
    args = argparse.Namespace(stage="instances", data="data/coco", **given, **others)
    config = EasyDict(dataset="coco", inference={"points": "proposals"})
    told, _ = evaluation_of(next_steps(args, config, "best.params"))
    assert told[1].endswith(
        "the same command without --resume, --epochs, --learning-rate, --stage proposals "
        "--weights best.params"
    )


def test_own_images_are_evaluated_as_they_were_read():
    args = argparse.Namespace(
        stage="proposals", data="mine", class_agnostic=False, crowds_are_objects=True
    )
    config = EasyDict(dataset="instances", evaluated_split="val", inference={"points": "proposals"})
    _, options = evaluation_of(next_steps(args, config, "best.params"))
    assert (options.class_agnostic, options.crowds_are_objects) == (False, True)
    assert options.split == "val"


def test_random_points_are_what_the_toy_problem_has_anyway():
    args = argparse.Namespace(stage="instances", data="data/toy")
    config = EasyDict(dataset="toy", inference={"points": "random"})
    told, options = evaluation_of(next_steps(args, config, "best.params"))
    assert len(told) == 1
    assert (options.dataset, options.split, vars(options).get("points")) == ("toy", None, None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--stage", "proposals"),
            "--stage proposals needs --weights, such as best.params of the first stage",
        ),
        (
            ("--dry-run", "1", "--kvstore", "dist_sync"),
            "--dry-run is for one process: leave the launcher out",
        ),
        (
            ("--stage", "both", "--kvstore", "dist_sync"),
            "--stage both is for one process, as workers meet once: launch --stage instances, then "
            "--stage proposals with --weights",
        ),
    ],
)
def test_options_that_can_not_be_end_the_command(data, tmp_path, options, said):
    where = ("--data", str(data), "--output", str(tmp_path / "run"))
    command = [sys.executable, "train_toy.py", *where, *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.splitlines()[-1] == f"error: {said}"
    assert not (tmp_path / "run").exists()
