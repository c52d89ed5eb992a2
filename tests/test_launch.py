"""Whatever ends a run, the launcher leaves no process behind. Scheduler, server and workers are
here sleeping processes; tests/test_distributed.py has the real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from adaptis import launch
from tests.paths import ROOT

SLEEP = "86399.5"  # seconds, by which our processes are known
SLEEPER = ("sh", "-c", f"exec sleep {SLEEP}")  # takes and ignores --kvstore


@pytest.fixture(autouse=True)
def sleeping(monkeypatch):
    """Servers that sleep, and the handlers of signals as they were."""
    monkeypatch.setattr(launch, "SERVE", ("sleep", SLEEP))
    monkeypatch.setattr(launch, "GRACE_SECONDS", 0.3)
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers):
        signal.signal(number, handler)
    wait_for(0)


def running():
    """The process ids of what sleeps."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except OSError:  # ended meanwhile
            continue
        if arguments[0] == b"sleep" and SLEEP.encode() in arguments:
            found.append(int(path.parent.name))
    return found


def wait_for(count):
    end = time.monotonic() + 20
    while len(running()) != count and time.monotonic() < end:
        time.sleep(0.05)
    assert len(running()) == count


def when_running(count, action):
    """Do something in another thread once so many processes sleep."""

    def act():
        wait_for(count)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_all_workers_end_well(tmp_path):
    """Each has its role, the number of workers, its share of the cores, and --kvstore."""
    script = f'echo "$DMLC_NUM_WORKER $DMLC_ROLE $OMP_NUM_THREADS $@" > {tmp_path}/$$'
    launch.main(["-n", "2", "--", "sh", "-c", script, "sh", "--width", "4"])
    threads = os.environ.get("OMP_NUM_THREADS") if launch._given("OMP_NUM_THREADS") else None
    threads = threads or max(1, len(os.sched_getaffinity(0)) // 2)
    lines = [path.read_text() for path in tmp_path.iterdir()]
    assert lines == [f"2 worker {threads} --width 4 --kvstore dist_sync\n"] * 2


def test_a_worker_that_fails_ends_the_others(tmp_path):
    """The one that makes the folder first ends with 3."""
    script = f"mkdir {tmp_path}/first && sleep 0.3 && exit 3; sleep {SLEEP}"
    with pytest.raises(SystemExit, match=r"error: worker [01] ended with code 3"):
        launch.main(["-n", "2", "--", "sh", "-c", script])


def test_a_worker_that_is_killed_ends_the_others():
    killing = when_running(4, lambda: os.kill(running()[-1], signal.SIGKILL))
    with pytest.raises(SystemExit, match="was ended by SIGKILL"):
        launch.main(["-n", "2", "--", *SLEEPER])
    killing.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_workers(number, capfd):
    """They may take longer than the launcher's patience with failures."""
    script = f"trap 'sleep 1; echo saved; exit 1' INT TERM; sleep {SLEEP} & wait"
    stopping = when_running(4, lambda: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit, match=r"worker [01] ended with code 1"):
        launch.main(["-n", "2", "--", "sh", "-c", script])
    stopping.join()
    assert capfd.readouterr().out == "saved\nsaved\n"


def test_a_second_signal_ends_everything():
    def twice():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)

    stopping = when_running(3, twice)
    with pytest.raises(SystemExit, match="ended at once by a second signal"):
        launch.main(["-n", "1", "--", "sh", "-c", f"trap '' TERM; sleep {SLEEP}; true"])
    stopping.join()


def test_a_killed_launcher_takes_all_with_it():
    code = (
        "from adaptis import launch\n"
        f"launch.SERVE = ('sleep', '{SLEEP}')\n"
        f"launch.main(['-n', '2', '--', *{SLEEPER}])"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wait_for(4)
    launcher.kill()
    launcher.wait()
    wait_for(0)


def test_a_command_that_does_not_exist():
    with pytest.raises(SystemExit, match=r"error: .*no-such-command"):
        launch.main(["-n", "2", "--", "no-such-command"])


class TestHosts:
    def test_commands(self, capsys):
        launch.main(
            [
                *("-n", "3", "--hosts", "127.0.0.1,b"),
                "--",
                "python",
                "train_toy.py",
                "--data",
                "a b",
            ]
        )
        lines = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line[0] == "#"] == [
            "# on 127.0.0.1, in a copy of this folder:",
            "# on b, in a copy of this folder:",
        ]
        roles = [line.split()[0] for line in lines if line[0] != "#"]
        first = ["scheduler", "server", "worker", "worker"]
        assert roles == [f"DMLC_ROLE={role}" for role in (*first, "server", "worker")]
        assert lines[3] == (
            "DMLC_ROLE=worker DMLC_PS_ROOT_URI=127.0.0.1 DMLC_PS_ROOT_PORT=9091 DMLC_NUM_WORKER=3 "
            "DMLC_NUM_SERVER=2 ADAPTIS_CONNECT_SECONDS=300 "
            "python train_toy.py --data 'a b' --kvstore dist_sync &"
        )

    def test_a_name_without_address(self):
        with pytest.raises(SystemExit, match=r"no\.such\.host\.invalid.*by its address"):
            launch.main(["--hosts", "no.such.host.invalid,b", "--", "python", "train_toy.py"])
