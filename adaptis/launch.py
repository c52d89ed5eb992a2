"""Start a training as several workers that share each batch, on this machine or on many.

python -m adaptis.launch -n 2 -- python train_toy.py --data data/toy

Starts MXNet's scheduler, a parameter server and the workers, each the command given with
--kvstore dist_sync. --batch-size is over all workers. SIGINT and SIGTERM reach the workers, which
finish the iteration, save and exit; a second one ends everything at once, as does the failure of
one process. With --hosts it starts nothing and prints what to run where; --output is then a folder
that all hosts share, and a signal to one worker stops all. BatchNorm's statistics in training are
each worker's own; worker 0 validates and writes the checkpoints.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CONNECT_SECONDS = 300  # in which commands typed on a few hosts meet
CONNECT_VARIABLE = "ADAPTIS_CONNECT_SECONDS"  # of the workers' environment, from --timeout
SERVE = (sys.executable, "-c", "import adaptis, mxnet")  # importing MXNet serves, until all is done
PORT = 9091  # of the scheduler on the first of several hosts
GRACE_SECONDS = 5  # for the others to end after the first, before they are killed
POLL_SECONDS = 0.1
THREADS = "OMP_NUM_THREADS"
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m adaptis.launch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("-n", type=int, default=2, help="workers (default: %(default)s)")
    add("--hosts", help="names or addresses, as in a,b: print the commands to run on them")
    add(
        "--timeout",
        type=float,
        default=CONNECT_SECONDS,
        help="seconds that all have to meet at the start (default: %(default)s)",
    )
    add("command", nargs="+", help="after --: the training script and its options")
    args = parser.parse_args(arguments)
    if args.n < 1:
        parser.error("-n must be at least 1")
    return args


def environment(role: str, args: argparse.Namespace, address: str, port: int) -> dict[str, str]:
    """What tells a process of MXNet its place.

    Parameters:
        role: "scheduler", "server" or "worker".
        args: of the command line.
        address, port: of the scheduler.
    """
    servers = len(args.hosts.split(",")) if args.hosts else 1
    return {
        "DMLC_ROLE": role,
        "DMLC_PS_ROOT_URI": address,
        "DMLC_PS_ROOT_PORT": str(port),
        "DMLC_NUM_WORKER": str(args.n),
        "DMLC_NUM_SERVER": str(servers),
        CONNECT_VARIABLE: f"{args.timeout:g}",
    }


def print_commands(args: argparse.Namespace) -> None:
    """The commands for each host: the scheduler on the first, a server on each, and the workers
    dealt out in turn."""
    hosts = args.hosts.split(",")
    address = socket.gethostbyname(hosts[0])  # the scheduler binds to it, which takes no name
    for number, host in enumerate(hosts):
        print(f"# on {host}, in a copy of this folder:")
        workers = len(range(number, args.n, len(hosts)))
        roles = ["scheduler"] * (number == 0) + ["server"] + ["worker"] * workers
        for role in roles:
            variables = environment(role, args, address, PORT)
            command = worker_command(args) if role == "worker" else ["python", *SERVE[1:]]
            print(*(f"{k}={v}" for k, v in variables.items()), shlex.join(command), "&")


def worker_command(args: argparse.Namespace) -> list[str]:
    return [*args.command, "--kvstore", "dist_sync"]


class Processes:
    """The processes of a run on this machine. As a context: none of them outlives it."""

    def __init__(self, args: argparse.Namespace):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        commands: dict[str, Sequence[str]] = {"scheduler": SERVE, "server": SERVE}
        commands.update({f"worker {i}": worker_command(args) for i in range(args.n)})
        self._signals: list[int] = []
        self._running: dict[str, subprocess.Popen] = {}
        self._commands = {
            name: (command, environment(name.split()[0], args, "127.0.0.1", port))
            for name, command in commands.items()
        }
        self._shared = {**os.environ, "DMLC_INTERFACE": "lo"}  # else it looks for a network card
        if not _given(THREADS):
            self._shared[THREADS] = str(max(1, len(os.sched_getaffinity(0)) // args.n))

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: self._signals.append(number))
        return self

    def __exit__(self, *error) -> None:
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with what it started itself
            process.wait()

    def run(self) -> str | None:
        """Start all and wait for their end; returns what failed first, if anything did."""
        for name, (command, variables) in self._commands.items():
            self._running[name] = subprocess.Popen(
                command,
                env={**self._shared, **variables},
                start_new_session=True,  # the terminal's Ctrl-C must come through us alone
                preexec_fn=_die_with_parent,
            )
        workers = {n: p for n, p in self._running.items() if n.startswith("worker")}
        failure, forwarded, deadline = None, 0, math.inf
        while True:
            codes = {name: process.poll() for name, process in self._running.items()}
            failed = (f"{name} {_ending(code)}" for name, code in codes.items() if code)
            failure = failure or next(failed, None)
            if None not in codes.values() or time.monotonic() > deadline:
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


def _given(variable: str) -> bool:
    """Whether this process was started with an environment variable: adaptis.compat sets some."""
    entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    return any(entry.startswith(f"{variable}=".encode()) for entry in entries)


def _die_with_parent() -> None:
    """Of a process to be started: SIGKILL it should the launcher be killed."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _ending(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def main(arguments: list[str] | None = None) -> None:
    args = parse_arguments(arguments)
    if args.hosts:
        try:
            return print_commands(args)
        except socket.gaierror as error:
            sys.exit(f"error: {args.hosts}: {error.strerror}; give the first host by its address")
    try:
        with Processes(args) as processes:
            failure = processes.run()
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
    if failure:
        sys.exit(f"error: {failure}")


if __name__ == "__main__":
    main()
