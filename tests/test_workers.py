"""Processes that share items: whatever happens to one, all is done once and none is left."""

from __future__ import annotations

import argparse
import functools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from adaptis import compat
from adaptis.arguments import DeviceError
from adaptis.image_files import ImageFileError
from adaptis.workers import (
    Shard,
    WorkerError,
    add_worker_options,
    each,
    in_processes,
    worker_devices,
)
from datasets.base import DataError
from tests.paths import ROOT

LONG = 100  # seconds, of what is to be stopped


def tell(name, item):
    return name, item, os.getpid(), os.environ["OMP_NUM_THREADS"]


def maker(name):
    """What a process calls first: here it makes ``tell`` with its name."""
    return functools.partial(tell, name)


def double_unless_told_to_wait(item):
    """A path that doesn't exist yet gets this process's id, and then nothing happens."""
    if isinstance(item, Path) and not item.exists():
        say_who_and_wait(item)
    return str(item) * 2


def say_who_and_wait(path):
    path.with_suffix(".part").write_text(str(os.getpid()))
    path.with_suffix(".part").rename(path)
    time.sleep(LONG)


def raise_data_error(item):
    raise DataError(Path(item), "is broken", "copy it again")


def the_same(work):
    """Of a work that is made from nothing, its maker."""
    return functools.partial(functools.partial, work)


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    assert condition()


def runs(pid):
    """Whether a process does, and isn't only waited for by its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def kill_who_says():
    """A function: once a process has written its id to a path it is killed."""
    threads, is_over = [], threading.Event()

    def begin(path):
        def kill():
            while not path.exists():
                if is_over.wait(0.02):
                    return  # the test ended, perhaps before it began a process
            os.kill(int(path.read_text()), signal.SIGKILL)

        threads.append(threading.Thread(target=kill))
        threads[-1].start()

    yield begin
    is_over.set()
    for thread in threads:
        thread.join()


class TestItems:
    def test_each_is_done_once_in_two_processes(self):
        before = dict(os.environ)
        makers = [functools.partial(maker, name) for name in ("first", "second")]
        with closing(in_processes(makers, range(6))) as results:
            found = dict(results)
        assert sorted(found) == list(range(6))
        assert all(result[1] == item for item, result in found.items())
        pid_of = {name: pid for name, _, pid, _ in found.values()}
        assert len({pid for _, _, pid, _ in found.values()}) == len(pid_of)
        assert os.getpid() not in pid_of.values()
        assert {threads for *_, threads in found.values()} == {compat.threads_each(2)}
        assert dict(os.environ) == before

    def test_one_maker_needs_no_process(self):
        assert list(each(str, [None], [3, 4])) == [(3, "3"), (4, "4")]

    def test_no_more_processes_than_items(self):
        makers = [functools.partial(maker, name) for name in "abcd"]
        with closing(each(None, makers, [5])) as results:
            ((item, (name, *_)),) = results
        assert (item, name) == (5, "a")

    def test_nothing_to_do(self):
        assert list(in_processes([None, None], [])) == []


class TestKilled:
    def test_a_process_loses_its_item_only(self, tmp_path, kill_who_says):
        kill_who_says(tmp_path / "slow")
        items = [1, tmp_path / "slow", 2, 3, 4]
        with closing(in_processes([the_same(double_unless_told_to_wait)] * 2, items)) as results:
            assert dict(results) == {1: "11", tmp_path / "slow": None, 2: "22", 3: "33", 4: "44"}

    def test_it_is_replaced(self, tmp_path, kill_who_says):
        """Else nobody was left to go on."""
        kill_who_says(tmp_path / "slow")
        items = [tmp_path / "slow", 1, 2]
        with closing(in_processes([the_same(double_unless_told_to_wait)], items)) as results:
            assert list(results) == [(tmp_path / "slow", None), (1, "11"), (2, "22")]

    def test_while_it_begins(self, tmp_path, kill_who_says):
        kill_who_says(tmp_path / "slow")
        makers = [functools.partial(say_who_and_wait, tmp_path / "slow"), the_same(str)]
        refused = pytest.raises(WorkerError, match=r"while it began, .*: take fewer than 2")
        with refused, closing(in_processes(makers, [1, 2, 3])) as results:
            list(results)


class TestErrors:
    def test_they_come_as_they_are(self):
        makers = [the_same(raise_data_error)] * 2
        raises = pytest.raises(DataError, match=r"^a/b: is broken \(copy it again\)$")
        with raises as raised, closing(in_processes(makers, ["a/b"])) as results:
            list(results)
        assert raised.value.path == Path("a/b")

    @pytest.mark.parametrize(
        "error", [DataError(Path("a"), "is broken", "mend it"), ImageFileError("a", "is broken")]
    )
    def test_those_with_parameters_of_their_own_can_be_sent(self, error):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


SHARE = """
import sys
from pathlib import Path
from adaptis.arguments import run_script
from adaptis.workers import in_processes
from tests.test_workers import double_unless_told_to_wait, the_same
paths = [Path(path) for path in sys.argv[1:]]
run_script(lambda: list(in_processes([the_same(double_unless_told_to_wait)] * 2, paths)))
"""


class TestNoneIsLeft:
    def test_once_the_results_are_closed(self, tmp_path):
        makers = [the_same(double_unless_told_to_wait)]
        with closing(in_processes(makers, [1, tmp_path / "slow"])) as results:
            assert next(results) == (1, "11")
            wait_for((tmp_path / "slow").exists)
            pid = int((tmp_path / "slow").read_text())
            assert runs(pid)
        assert not runs(pid)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_once_the_command_is_stopped(self, tmp_path, number):
        paths = [tmp_path / name for name in "ab"]
        process = subprocess.Popen(
            [sys.executable, "-c", SHARE, *map(str, paths)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # as of a terminal, whose Ctrl-C reaches all of it
        )
        try:
            wait_for(lambda: all(path.exists() for path in paths))
            if number == signal.SIGINT:
                os.killpg(process.pid, number)
                assert process.wait(60) == 128 + signal.SIGINT
                error = process.stderr.read()
                assert error.startswith("\nstopped: what was finished is kept")
                assert error.count("\n") == 2
            else:
                process.kill()
            wait_for(lambda: not any(runs(path.read_text()) for path in paths))
        finally:
            process.kill()
            process.communicate()


def options(*given):
    parser = argparse.ArgumentParser()
    add_worker_options(parser)
    return parser.parse_args(given)


@pytest.mark.parametrize(
    ("given", "devices"),
    [
        (("--processes", "1"), ["cpu"]),
        (("--processes", "2"), ["cpu", "cpu"]),
        (("--ctx", "0,1,2,3"), ["0", "1", "2", "3"]),
        (("--ctx", "0,1", "--processes", "3"), ["0", "1", "0"]),
        (("--ctx", "cuda:1"), ["cuda:1"]),
    ],
)
def test_a_process_a_device(given, devices):
    assert worker_devices(options(*given), images=1000) == devices


@pytest.mark.parametrize(
    ("images", "cores", "free_gb", "threads", "expected"),
    [
        (1000, 4, 100, False, 4),
        (1000, 4, 9, False, 2),  # 4 GB each
        (1000, 4, 1, False, 1),
        (39, 4, 100, False, 3),  # 10 images each
        (1, 4, 100, False, 1),
        (0, 4, 100, False, 1),
        (1000, 4, 100, True, 1),  # OMP_NUM_THREADS is set
    ],
)
def test_a_process_a_core(monkeypatch, images, cores, free_gb, threads, expected):
    monkeypatch.setattr("adaptis.workers.processors", lambda: cores)
    monkeypatch.setattr("adaptis.workers.available_memory", lambda: free_gb * 2**30)
    monkeypatch.setattr("adaptis.workers.threads_given", lambda: threads)
    assert worker_devices(options(), images) == ["cpu"] * expected
    assert worker_devices(options("--processes", "2"), images) == ["cpu"] * 2
    assert worker_devices(options("--ctx", "0"), images) == ["0"]


def test_a_containers_memory_is_its_limit(monkeypatch, tmp_path):
    limit, none = tmp_path / "memory.limit_in_bytes", tmp_path / "memory.max"
    limit.write_text(f"{2**20}\n")
    none.write_text("max\n")
    monkeypatch.setattr(compat, "_CONTAINER_LIMITS", (tmp_path / "absent", none))
    if sys.platform != "linux":
        assert compat.available_memory() == 0
        return
    assert compat.available_memory() > 2**20
    monkeypatch.setattr(compat, "_CONTAINER_LIMITS", (tmp_path / "absent", none, limit))
    assert compat.available_memory() == 2**20


def test_a_device_that_is_none():
    with pytest.raises(DeviceError, match="ctx one: must be"):
        worker_devices(options("--ctx", "0,one"), images=1)


def test_shards_are_all():
    assert options("--shard", "2/3").shard == Shard(2, 3)
    parts = [Shard(number, 3).of(range(8)) for number in (1, 2, 3)]
    assert [list(part) for part in parts] == [[0, 3, 6], [1, 4, 7], [2, 5]]


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/", "a/b", "-1/2", "1/2/3"])
def test_shards_that_are_none(text, capsys):
    with pytest.raises(SystemExit):
        options(f"--shard={text}")
    assert "must be I/N, from 1/N to N/N" in capsys.readouterr().err
