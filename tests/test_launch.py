"""Whatever ends a run, the launcher leaves no process behind. Scheduler, server and workers are
here sleeping processes; tests/test_distributed.py has the real ones."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from adaptis import compat, launch
from adaptis.launch import LaunchError
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
    threads = compat._GIVEN_THREADS or max(1, len(os.sched_getaffinity(0)) // 2)
    lines = [path.read_text() for path in tmp_path.iterdir()]
    assert lines == [f"2 worker {threads} --width 4 --kvstore dist_sync\n"] * 2


def test_a_worker_that_fails_ends_the_others(tmp_path):
    """The one that makes the folder first ends with 3."""
    script = f"mkdir {tmp_path}/first && sleep 0.3 && exit 3; sleep {SLEEP}"
    with pytest.raises(LaunchError, match=r"^worker [01] ended with code 3"):
        launch.main(["-n", "2", "--", "sh", "-c", script])


def test_a_worker_that_is_killed_ends_the_others():
    killing = when_running(4, lambda: os.kill(running()[-1], signal.SIGKILL))
    with pytest.raises(LaunchError, match="was ended by SIGKILL"):
        launch.main(["-n", "2", "--", *SLEEPER])
    killing.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_workers(number, capfd):
    """They may take longer than the launcher's patience with failures."""
    script = f"trap 'sleep 1; echo saved; exit 1' INT TERM; sleep {SLEEP} & wait"
    stopping = when_running(4, lambda: os.kill(os.getpid(), number))
    with pytest.raises(LaunchError, match=r"worker [01] ended with code 1"):
        launch.main(["-n", "2", "--", "sh", "-c", script])
    stopping.join()
    assert capfd.readouterr().out == "saved\nsaved\n"


def test_a_second_signal_ends_everything():
    def twice():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.5)

    stopping = when_running(3, twice)
    with pytest.raises(LaunchError, match="ended at once by a second signal"):
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
    with pytest.raises(FileNotFoundError, match="no-such-command"):
        launch.main(["-n", "2", "--", "no-such-command"])


def test_a_frozen_worker_ends_the_others(monkeypatch):
    """It lived, and then is silent."""
    monkeypatch.setattr(launch, "SILENT_SECONDS", 1)
    script = f'touch "$ADAPTIS_HEARTBEAT"; kill -STOP $$; sleep {SLEEP}'
    with pytest.raises(LaunchError, match=r"^worker [01] is frozen: it was silent for 1 s"):
        launch.main(["-n", "2", "--", "sh", "-c", script])


def test_a_beating_process_is_not_frozen(monkeypatch):
    monkeypatch.setattr(launch, "SILENT_SECONDS", 1)
    code = "import time, adaptis.launch as l; l.BEAT_SECONDS = 0.2; l.beat(); time.sleep(3)"
    launch.main(["-n", "1", "--", sys.executable, "-c", code])


class TestHosts:
    def test_commands(self, capsys):
        command = ["python", "train_toy.py", "--data", "a b"]
        launch.main(["-n", "3", "--hosts", "127.0.0.1,b", "--port", "90", "--", *command])
        start = "python -m adaptis.launch -n 3 --hosts 127.0.0.1,b --host"
        assert capsys.readouterr().out.splitlines() == [
            "# on 127.0.0.1, in a copy of this folder:",
            f"{start} 0 --port 90 --timeout 300 -- python train_toy.py --data 'a b'",
            "# on b, in a copy of this folder:",
            f"{start} 1 --port 90 --timeout 300 -- python train_toy.py --data 'a b'",
        ]

    @pytest.mark.parametrize(("host", "ranks"), [("0", 2), ("1", 1)])
    def test_each_host_starts_its_part(self, tmp_path, host, ranks):
        """Here they don't meet: SERVE sleeps."""
        script = f'echo "$DMLC_NUM_WORKER $DMLC_NUM_SERVER $DMLC_PS_ROOT_PORT" > {tmp_path}/$$'
        port = str(launch._free_port())
        options = ("-n", "3", "--hosts", "127.0.0.1,b", "--host", host, "--port", port)
        launch.main([*options, "--", "sh", "-c", script])
        assert [path.read_text() for path in tmp_path.iterdir()] == [f"3 2 {port}\n"] * ranks

    def test_a_taken_port_starts_nothing(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            options = ("-n", "2", "--hosts", "127.0.0.1,b", "--host", "0", "--port", port)
            with pytest.raises(LaunchError, match=rf"scheduler at 127.0.0.1:{port}: .*in use; .*"):
                launch.main([*options, "--", *SLEEPER])
        assert not running()

    def test_the_first_host_is_another(self):
        options = ("-n", "2", "--hosts", "192.0.2.1,b", "--host", "0")  # an address of no one
        with pytest.raises(LaunchError, match=r"192.0.2.1:9091: Cannot assign .*first host"):
            launch.main([*options, "--", *SLEEPER])

    @pytest.mark.parametrize("options", [("-n", "1"), ("--host", "2"), ("--host", "-1")])
    def test_parts_that_are_none(self, options, capsys):
        with pytest.raises(SystemExit):
            launch.main(["--hosts", "a,b", *options, "--", *SLEEPER])
        assert "error: -" in capsys.readouterr().err

    def test_a_name_without_address(self):
        with pytest.raises(LaunchError, match=r"no\.such\.host\.invalid.*by its address"):
            launch.main(["--hosts", "no.such.host.invalid,b", "--", "python", "train_toy.py"])

    @pytest.mark.parametrize("ends", ["0", "1"])
    def test_the_end_of_one_ends_the_others(self, ends):
        """Three hosts, all this one; the workers wait until that of one host is killed."""
        parts = self.start(3, SLEEPER)
        try:
            wait_for(3 + 3 + 1)  # workers, servers, scheduler
            time.sleep(1.5)  # in which they meet
            parts[int(ends)].kill()
            errors = [part.communicate(timeout=30)[1] for part in parts]
        finally:
            for part in parts:
                part.kill()
        told = "error: the part on {} has ended; what it printed there says why\n"
        expected = {
            "0": ["", told.format("127.0.0.1"), told.format("127.0.0.1")],
            "1": [told.format("localhost"), "", told.format("127.0.0.1")],
        }
        assert errors == expected[ends]

    def test_all_end_well(self):
        parts = self.start(3, ("sh", "-c", "sleep 2"))
        assert [(part.communicate(timeout=30)[1], part.returncode) for part in parts] == [
            ("", 0)
        ] * 3

    @staticmethod
    def start(hosts, command):
        code = (
            "import sys\n"
            "from adaptis import launch\n"
            "from adaptis.arguments import run_script\n"
            f"launch.SERVE = ('sleep', '{SLEEP}')\n"
            "launch.GRACE_SECONDS = 0.3\n"
            "run_script(launch.main)"
        )
        names = ",".join(["127.0.0.1", "localhost", "127.0.0.1"][:hosts])
        options = ("-n", str(hosts), "--hosts", names, "--port", str(two_free_ports()))
        return [
            subprocess.Popen(
                [sys.executable, "-c", code, *options, "--host", str(number), "--", *command],
                cwd=ROOT,
                stderr=subprocess.PIPE,
                text=True,
            )
            for number in range(hosts)
        ]


def two_free_ports() -> int:
    """The first of two neighbours."""
    while True:
        port = launch._free_port()
        with socket.socket() as after, contextlib.suppress(OSError, OverflowError):
            after.bind(("127.0.0.1", port + 1))
            return port
