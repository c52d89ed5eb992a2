"""Full disks, folders that can't be written, and two runs in one folder."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys

import portalocker
import pytest

from adaptis.disk import (
    DiskError,
    FileNameError,
    appears_whole,
    errors_named,
    sole_user,
    temporary_for,
    write_atomically,
)
from tests.paths import ROOT


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


LARGEST = 2**24  # bytes; more than a log that pytest's own output goes to


@pytest.fixture
def limited():
    """Files can't grow beyond LARGEST."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class TestWriteAtomically:
    def test_a_file_and_its_folders(self, tmp_path):
        for content in (b"first", b"second"):
            write_atomically(tmp_path / "a" / "b" / "file", content, durable=content == b"second")
            assert (tmp_path / "a" / "b" / "file").read_bytes() == content
        assert os.listdir(tmp_path / "a" / "b") == ["file"]

    def test_a_full_disk_keeps_the_old_file(self, tmp_path, limited):
        write_atomically(tmp_path / "file", b"old")
        with pytest.raises(DiskError, match=rf"^{tmp_path}/file: File too large; what was fin"):
            write_atomically(tmp_path / "file", b"x" * (LARGEST + 1))
        assert (tmp_path / "file").read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]

    @pytest.mark.parametrize("call", ["fsync", "replace"])
    def test_full_at_the_last_moment(self, tmp_path, monkeypatch, call):
        write_atomically(tmp_path / "file", b"old")
        monkeypatch.setattr(os, call, no_space)
        with pytest.raises(DiskError, match=rf"^{tmp_path}/file: No space left on device"):
            write_atomically(tmp_path / "file", b"new", durable=True)
        assert (tmp_path / "file").read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]

    def test_what_fails_halfway_keeps_the_old_file(self, tmp_path):
        write_atomically(tmp_path / "file", b"old")
        with pytest.raises(TypeError), appears_whole(tmp_path / "file") as file:
            file.writelines([b"new", None])
        assert (tmp_path / "file").read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["file"]

    def test_a_name_as_long_as_names_can_be(self, tmp_path):
        write_atomically(tmp_path / ("x" * 255), b"whole")
        assert (tmp_path / ("x" * 255)).read_bytes() == b"whole"
        with pytest.raises(FileNameError, match=rf"^{tmp_path}/x{{256}}: File name too long; what"):
            write_atomically(tmp_path / ("x" * 256), b"")
        assert os.listdir(tmp_path) == ["x" * 255]

    def test_what_is_kept_is_said(self, tmp_path):
        with pytest.raises(DiskError, match=rf"^{tmp_path}: Is a directory; nothing was written$"):
            write_atomically(tmp_path, b"", kept="nothing was written")

    def test_a_file_where_a_folder_should_be(self, tmp_path):
        (tmp_path / "a").touch()
        with pytest.raises(DiskError, match=rf"^{tmp_path}/a.*(Not a directory|File exists)"):
            write_atomically(tmp_path / "a" / "file", b"")


def test_errors_have_a_path(tmp_path):
    with pytest.raises(DiskError, match=r"^here: No space left"), errors_named("here"):
        no_space()
    with pytest.raises(DiskError, match=f"^{tmp_path}/b: No such file"), errors_named("here"):
        (tmp_path / "b").read_bytes()
    with pytest.raises(DiskError, match=r"^here: No such file"), errors_named("here"):
        temporary_for(tmp_path / "b").read_bytes()
    with pytest.raises(BrokenPipeError), errors_named("here"):
        raise BrokenPipeError


HOLD = """
import sys, time
from adaptis.disk import DiskError, sole_user
try:
    with sole_user(sys.argv[1]):
        print("has it", flush=True)
        sys.stdin.read()
except DiskError as error:
    print(error)
"""


@pytest.fixture
def hold():
    """A function: folder -> a process that has it, or was refused, and its first line."""
    processes = []

    def start(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


class TestSoleUser:
    def test_the_other_is_named(self, tmp_path, hold):
        holder = hold(tmp_path / "new")
        assert holder.stdout.readline() == "has it\n"
        refused = rf"new: is in use by process {holder.pid} on {os.uname().nodename}; wait"
        with pytest.raises(DiskError, match=refused), sole_user(tmp_path / "new"):
            pass
        holder.communicate("")
        with sole_user(tmp_path / "new"):
            pass

    def test_a_killed_one_holds_nothing(self, tmp_path, hold):
        holder = hold(tmp_path)
        holder.stdout.readline()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        (tmp_path / "inner").mkdir()
        temporary_for(tmp_path / "inner" / "a.png").touch()  # what it had not finished
        others = {"a.tmp", ".a.tmp"}  # not ours
        for name in others:
            (tmp_path / "inner" / name).touch()
        with sole_user(tmp_path):
            assert set(os.listdir(tmp_path / "inner")) == others

    def test_another_run_below_goes_on(self, tmp_path):
        with sole_user(tmp_path / "below"):
            unfinished = temporary_for(tmp_path / "below" / "a.png")
            unfinished.touch()
            with sole_user(tmp_path):
                assert unfinished.exists()
        with sole_user(tmp_path / "below"):
            assert not unfinished.exists()

    def test_of_many_at_once_one_has_it(self, tmp_path, hold):
        processes = [hold(tmp_path) for _ in range(4)]
        lines = [process.stdout.readline() for process in processes]
        assert lines.count("has it\n") == 1
        assert sum("in use by" in line for line in lines) == 3

    def test_parts_are_used_side_by_side(self, tmp_path):
        """The whole folder isn't meanwhile, nor is what another part writes cleared."""
        in_use = rf"in use by process {os.getpid()} on"
        with sole_user(tmp_path, "shard 1 of 2"):
            unfinished = temporary_for(tmp_path / "a.png")
            unfinished.touch()
            with sole_user(tmp_path, "shard 2 of 2"):
                assert unfinished.exists()
                with (
                    pytest.raises(DiskError, match=f"{tmp_path}: is {in_use}"),
                    sole_user(tmp_path),
                ):
                    pass
            refused = pytest.raises(DiskError, match=f"{tmp_path}, shard 1 of 2: is {in_use}")
            with refused, sole_user(tmp_path, "shard 1 of 2"):
                pass
        with sole_user(tmp_path):
            assert not unfinished.exists()
            refused = pytest.raises(DiskError, match=f"{tmp_path}: is {in_use}")
            with refused, sole_user(tmp_path, "shard 1 of 2"):
                pass

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(DiskError, match=rf"^{tmp_path}/file"), sole_user(tmp_path / "file"):
            pass

    def test_without_locks_it_goes_on_and_says_so(self, tmp_path, monkeypatch, capsys):
        """Some network file systems have none."""

        def unsupported(*_):
            raise portalocker.LockException(OSError(errno.ENOLCK, os.strerror(errno.ENOLCK)))

        monkeypatch.setattr(portalocker, "lock", unsupported)
        with sole_user(tmp_path):
            assert "can't be locked" in capsys.readouterr().err
