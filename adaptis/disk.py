"""Files that survive kills, full disks and neighbours: they appear whole or not at all, a folder of
results belongs to one run at a time, and what can't be written is told with its path."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import BinaryIO

from adaptis.errors import AdaptISError

LOCK = ".lock"  # in a folder in use, with who uses it; stays when it is free
TEMPORARY = ".adaptis-*.tmp"  # what is being written, or was when a run was killed
EARLIER_KEPT = "what was finished before is kept"
# of names: too long, or with characters that the file system, such as a USB stick's, doesn't take
NAME_ERRORS = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


class DiskError(AdaptISError):
    """A file or folder can't be written or is in use; says which and why."""


class FileNameError(DiskError):
    """The file system doesn't take a file's name; other files can be written."""


def check_regular(path: Path) -> None:
    """Raises OSError for what is no file: opening a pipe would wait for someone to write."""
    if path.exists() and not path.is_file():
        raise OSError(f"is {'a folder' if path.is_dir() else 'no regular file'}")


def beginning_of(path: Path, count: int) -> bytes:
    """The first ``count`` bytes of a file; none where it can't be read, which whoever reads all of
    it says with the reason."""
    try:
        check_regular(path)
        with open(path, "rb") as file:
            return file.read(count)
    except OSError:
        return b""


def temporary_for(path: Path) -> Path:
    """Where a file is written before it takes its name, another place each time, as processes of
    several hosts may write it; :func:`sole_user` clears what is left. It doesn't hold the file's
    name, which may be as long as names can be."""
    return path.with_name(TEMPORARY.replace("*", secrets.token_hex(8)))


def write_atomically(
    path: Path, content: bytes, durable: bool = False, kept: str = EARLIER_KEPT
) -> None:
    """Write a file that appears whole or not at all, see :func:`appears_whole`."""
    with appears_whole(path, durable, kept) as file:
        file.write(content)


@contextmanager
def appears_whole(
    path: Path, durable: bool = False, kept: str = EARLIER_KEPT
) -> Iterator[BinaryIO]:
    """A file to write that appears at the end, or not at all; missing folders are made.

    Parameters:
        durable: whether it must survive a power cut once this returns. It takes milliseconds, and
            what has a checksum and can be made again doesn't need it.
        kept: what an error says is left.

    Raises DiskError where it can't be written, FileNameError where its name can't be.
    """
    temporary = temporary_for(path)
    with errors_named(path, kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink()
        if durable:
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def errors_named(path: Path | str, kept: str = EARLIER_KEPT) -> Iterator[None]:
    """A full disk, a missing right, a folder that is none: DiskErrors, with ``path`` where the
    error doesn't say its own, and what is ``kept``; of a name that can't be, FileNameErrors."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError):  # of the output's reader, no disk's
            raise
        where = path if error.filename is None else error.filename
        if fnmatch(Path(str(where)).name, TEMPORARY):  # it takes its name last
            where = path
        kind = FileNameError if error.errno in NAME_ERRORS else DiskError
        raise kind(f"{where}: {error.strerror or error}; {kept}") from error


@contextmanager
def sole_user(folder: Path | str, part: str | None = None) -> Iterator[None]:
    """Keep a folder to this process, and clear what a killed one left unfinished in it. The folder
    is made if it is missing.

    Parameters:
        part: what is kept of it, such as "shard-1-of-2"; others may use other parts meanwhile, so
            nothing is cleared.

    Raises DiskError where another process uses it, with its host and process id, or where it can't
    be written.
    """
    folder = Path(folder)
    with errors_named(folder / LOCK):
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as locks:
        locks.enter_context(_locked(folder / LOCK, str(folder), shared=part is not None))
        if part is None:
            with errors_named(folder):
                for left in _unfinished(folder):
                    left.unlink()
        else:
            locks.enter_context(_locked(folder / f"{LOCK}-{part}", f"{folder}, {part}"))
        yield


def _unfinished(folder: Path) -> Iterator[Path]:
    """What killed runs left in a folder and those below, but for those with a lock of their own:
    another run may be writing there."""
    for parent, below, files in os.walk(folder):
        below[:] = [name for name in below if not Path(parent, name, LOCK).exists()]
        yield from (Path(parent, name) for name in files if fnmatch(name, TEMPORARY))


@contextmanager
def _locked(path: Path, what: str, shared: bool = False) -> Iterator[None]:
    """Hold the lock of a file, alone or with others who share it. Raises DiskError."""
    import portalocker  # not for --help

    with errors_named(path):
        file = open(path, "a+")  # noqa: SIM115  closed below; "w" would empty another's
    with file:
        try:
            how = portalocker.LOCK_SH if shared else portalocker.LOCK_EX
            portalocker.lock(file, how | portalocker.LOCK_NB)
        except portalocker.AlreadyLocked as error:
            file.seek(0)
            holder = file.read().strip() or "another run"
            raise DiskError(
                f"{what}: is in use by {holder}; wait for its end, or choose another --output"
            ) from error
        except portalocker.LockException as error:
            print(f"{what}: can't be locked against other runs: {error}", file=sys.stderr)
        with errors_named(path):
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        yield
