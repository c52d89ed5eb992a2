"""Ctrl-C ends a command with one line that says what is kept and how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adaptis.arguments import RESUME, interrupts_ignored, run_script
from datasets.toy_generator import generate
from tests.paths import ROOT


def interrupted():
    raise KeyboardInterrupt


def test_the_last_line(capsys):
    with pytest.raises(SystemExit) as end:
        run_script(interrupted, RESUME)
    assert end.value.code == 130
    assert capsys.readouterr() == ("", f"\nstopped: {RESUME}\n")


def test_what_is_started_within_ignores_it():
    before = signal.getsignal(signal.SIGINT)
    with interrupts_ignored():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is before


def start(*command):
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_import_that_makes_something_else_of_it(tmp_path):
    """As numpy and OpenCV do."""
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "print('importing', flush=True)\n"
        "try:\n"
        "    time.sleep(60)\n"
        "except KeyboardInterrupt as error:\n"
        "    raise ImportError('failed to import') from error\n"
    )
    code = (
        "import importlib, sys\n"
        "from adaptis.arguments import run_script\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "run_script(lambda: importlib.import_module('slow'))"
    )
    process = start("-c", code, tmp_path)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=50)
    assert (process.returncode, error.startswith("\nstopped: ")) == (130, True), error
    assert "Traceback" not in error


def test_a_training_while_mxnet_is_imported(tmp_path):
    process = start("train_toy.py", "--data", tmp_path, "--output", tmp_path / "run")
    maps = f"/proc/{process.pid}/maps"
    while process.poll() is None and "libmxnet" not in Path(maps).read_text():
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=100)
    assert (process.returncode, error) == (130, f"\nstopped: {RESUME}\n")


def test_a_training_before_its_first_iteration(tmp_path):
    generate(tmp_path / "data", train=4, test=1, seed=0, size=48, objects=(4, 4))
    process = start(
        *("train_toy.py", "--data", tmp_path / "data", "--output", tmp_path / "run"),
        *("--width", "4", "--batch-size", "2", "--epochs", "100000"),
    )
    assert "objects count" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=100)
    assert "Traceback" not in error
    assert error.strip().splitlines()[-1].removeprefix("error: ").startswith("stopped"), error
    assert process.returncode in (130, 1)  # 1: its checkpoint is written


def test_a_generator_of_several_processes(tmp_path):
    sizes = ("--train", "100000", "--test", "0", "--workers", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "datasets.toy_generator", "--out", str(tmp_path), *sizes],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as of a terminal, whose Ctrl-C reaches all of it
    )
    try:
        deadline = time.monotonic() + 100
        while not any(tmp_path.glob("train/*_im.png")) and time.monotonic() < deadline:
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    *progress, last = error.strip().splitlines()
    assert last.startswith("stopped: what was finished is kept")
    assert all("image" in line or not line for line in progress), error
    assert any(tmp_path.glob("train/*_im.png"))
