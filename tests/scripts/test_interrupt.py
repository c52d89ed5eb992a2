"""Ctrl-C ends a command with one line that says what is kept and how to go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from adaptis.arguments import RESUME, interrupts_ignored, run_script
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
