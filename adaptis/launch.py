"""Start a training as several workers that share each batch, on this machine or on many.

python -m adaptis.launch -n 2 -- python train_toy.py --data data/toy

Starts MXNet's scheduler, a parameter server and the workers, each the command given with
--kvstore dist_sync. --batch-size is over all workers. SIGINT and SIGTERM reach the workers, which
finish the iteration, save and exit; a second one ends everything at once, as does the failure of
one process, or one that is frozen. With --hosts it starts nothing and prints what to run where;
--output is then a folder that all hosts share, and a signal to one host stops all, as does the end
of one, of which the others hear at the first host's next port. MXNet's parameter server trusts its
network: whoever reaches its ports can read and change the training. BatchNorm's statistics in
training are each worker's own; worker 0 validates and writes the checkpoints.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from adaptis.arguments import HelpFormatter, run_script
from adaptis.compat import THREADS, threads_each
from adaptis.errors import AdaptISError
from adaptis.launch_peers import Peers
from adaptis.values import ABOVE_ZERO, COUNT, between

CONNECT_SECONDS = 300  # in which commands typed on a few hosts meet
CONNECT_VARIABLE = "ADAPTIS_CONNECT_SECONDS"  # of the workers' environment, from --timeout
SERVE = (sys.executable, "-c", "from adaptis.launch import serve; serve()")
PORT = 9091  # of the scheduler on the first of several hosts
HEARTBEAT_VARIABLE = "ADAPTIS_HEARTBEAT"  # the file that a process touches as long as it lives
BEAT_SECONDS = 1
SILENT_SECONDS = 60  # of a process that lived: it is stopped, or its machine swaps
GRACE_SECONDS = 5  # for the others to end after the first, before they are killed
POLL_SECONDS = 0.1
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line; ``hosts`` as a list, [] where there is but this machine."""
    parser = argparse.ArgumentParser(
        prog="python -m adaptis.launch",
        description=__doc__,
        formatter_class=HelpFormatter,
    )
    add = parser.add_argument
    add("-n", type=COUNT, default=2, help="number of workers (default: %(default)s)")
    add("--hosts", help="names or addresses, as in a,b: print the command to run on each")
    add("--host", type=int, help="of --hosts, the one this is: 0, 1, ...; starts its part")
    add(
        "--port",
        type=between(1, 2**16 - 2),  # the next one is the launchers'
        default=PORT,
        help="of the first host (default: %(default)s)",
    )
    add(
        "--timeout",
        type=ABOVE_ZERO,
        default=CONNECT_SECONDS,
        help="seconds that all have to meet at the start (default: %(default)s)",
    )
    add("command", nargs="+", help="after --: the training script and its options")
    args = parser.parse_args(arguments)
    args.hosts = args.hosts.split(",") if args.hosts else []
    if args.host is not None and not 0 <= args.host < len(args.hosts):
        parser.error(f"--host {args.host} is none of --hosts, which are counted from 0")
    if args.n < len(args.hosts):
        parser.error(f"-n {args.n} leaves a host of {','.join(args.hosts)} without a worker")
    return args


class LaunchError(AdaptISError):
    """A part of a run failed or can't be started; says which."""


def environment(role: str, args: argparse.Namespace, address: str, port: int) -> dict[str, str]:
    """What tells a process of MXNet its place.

    Parameters:
        role: "scheduler", "server" or "worker".
        args: of :func:`parse_arguments`.
        address, port: of the scheduler.
    """
    return {
        "DMLC_ROLE": role,
        "DMLC_PS_ROOT_URI": address,
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(args.n),
        "DMLC_NUM_SERVER": str(max(1, len(args.hosts))),  # one a machine
        CONNECT_VARIABLE: f"{args.timeout:g}",
    }


def print_commands(args: argparse.Namespace) -> None:
    """The command for each host. Raises LaunchError where the first host's address isn't known."""
    first, *others = args.hosts
    try:  # the scheduler binds to it, which takes no name
        addresses = ",".join([socket.gethostbyname(first), *others])
    except OSError as error:
        raise LaunchError(
            f"{first}: {error.strerror}; give the first host by its address"
        ) from error
    for number, host in enumerate(args.hosts):
        options = ["-n", str(args.n), "--hosts", addresses, "--host", str(number)]
        options += ["--port", str(args.port), "--timeout", f"{args.timeout:g}", "--"]
        print(f"# on {host}, in a copy of this folder:")
        print("python -m adaptis.launch", shlex.join([*options, *args.command]))


def worker_command(args: argparse.Namespace) -> list[str]:
    """The command given, of a worker that meets others."""
    return [*args.command, "--kvstore", "dist_sync"]


def beat() -> None:
    """Say from now on that this process lives, to a launcher that asked for it."""
    path = os.environ.get(HEARTBEAT_VARIABLE)

    def touch():
        while True:
            with contextlib.suppress(OSError):  # the launcher has ended and its folder is gone
                Path(path).touch()
            time.sleep(BEAT_SECONDS)

    if path:
        threading.Thread(target=touch, daemon=True).start()


def serve() -> None:
    """The scheduler's or a server's whole life."""
    beat()
    import mxnet  # noqa: F401  serves until all is done, by being imported


class Processes:
    """The processes of a run on this machine. As a context: none of them outlives it.

    Raises LaunchError where the scheduler's port is taken.
    """

    def __init__(self, args: argparse.Namespace):
        hosts = args.hosts
        if hosts:
            address, port = hosts[0], args.port
            numbers = range(args.host, args.n, len(hosts))  # dealt out in turn
            self._where = f" on {hosts[args.host]}"
        else:
            address, port, numbers, self._where = "127.0.0.1", _free_port(), range(args.n), ""
        commands: dict[str, Sequence[str]] = {"server": SERVE}
        if not args.host:
            _check_port("scheduler", address, port)
            if hosts:
                _check_port("launcher", address, port + 1)
            commands = {"scheduler": SERVE, "server": SERVE}
        commands.update({f"worker {i}": worker_command(args) for i in numbers})
        self._peers = Peers(hosts, args.host or 0, port + 1)
        self._signals: list[int] = []
        self._running: dict[str, subprocess.Popen] = {}
        self._commands = {
            name: (command, environment(name.split()[0], args, address, port))
            for name, command in commands.items()
        }
        self._shared = dict(os.environ)
        if not hosts:
            self._shared["DMLC_INTERFACE"] = "lo"  # else it looks for a network card
        self._shared[THREADS] = threads_each(max(1, len(numbers)))
        self._beats = tempfile.TemporaryDirectory()
        self._heard: dict[str, tuple[float, float]] = {}  # name -> last beat, and when it came

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: self._signals.append(number))
        return self

    def __exit__(self, *error) -> None:
        self._peers.close()
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it started itself
            process.wait()
        self._beats.cleanup()

    def run(self) -> str | None:
        """Start all and wait for their end; returns what failed first, if anything did."""
        for name, (command, variables) in self._commands.items():
            heartbeat = {HEARTBEAT_VARIABLE: str(self._beat_of(name))}
            self._running[name] = subprocess.Popen(
                command,
                env={**self._shared, **variables, **heartbeat},
                start_new_session=True,  # the terminal's Ctrl-C must come through us alone
                preexec_fn=_die_with_parent,
            )
        workers = {n: p for n, p in self._running.items() if n.startswith("worker")}
        failure, forwarded, deadline = None, 0, math.inf
        while True:
            codes = {name: process.poll() for name, process in self._running.items()}
            failure = failure or self._failure(codes) or self._peers.failed()
            if None not in codes.values() or time.monotonic() > deadline:
                self._peers.close(is_done=not failure)
                return failure
            if len(self._signals) > 1:
                return "ended at once by a second signal"
            if deadline == math.inf and (failure or all(codes[name] == 0 for name in workers)):
                deadline = time.monotonic() + GRACE_SECONDS
            if len(self._signals) > forwarded:
                forwarded += 1
                for process in workers.values():
                    process.send_signal(self._signals[0])
            time.sleep(POLL_SECONDS)

    def _failure(self, codes: dict[str, int | None]) -> str | None:
        """What failed by now: a process that ended with a code, or one that lived and is silent."""
        for name, code in codes.items():
            if code:
                return f"{name}{self._where} {_ending(code)}"
            path = self._beat_of(name)
            if code is None and path.exists():
                beat_at, now = path.stat().st_mtime, time.monotonic()
                if self._heard.get(name, (None,))[0] != beat_at:
                    self._heard[name] = beat_at, now
                if now - self._heard[name][1] > SILENT_SECONDS:
                    return f"{name}{self._where} is frozen: it was silent for {SILENT_SECONDS} s"
        return None

    def _beat_of(self, name: str) -> Path:
        return Path(self._beats.name) / name.replace(" ", "-")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _check_port(role: str, address: str, port: int) -> None:
    """Raise LaunchError where a process couldn't listen: the others would wait for it."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as MXNet does
        try:
            trial.bind((address, port))
        except OSError as error:
            remedy = "run this command on the first host, and give its own address"
            if error.errno == errno.EADDRINUSE:
                remedy = "is another run there? Choose another --port on all hosts"
            raise LaunchError(f"{role} at {address}:{port}: {error.strerror}; {remedy}") from error


def _die_with_parent() -> None:
    """Of a process to be started: SIGKILL it should the launcher be killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    if args.hosts and args.host is None:
        return print_commands(args)
    with Processes(args) as processes:
        failure = processes.run()
    if failure:
        raise LaunchError(failure)


if __name__ == "__main__":
    run_script(main)
