"""Several processes that share a command's images: each takes the next one when it is done with
its last. No part of the paper.

They are spawned, as a fork is unsafe beside MXNet's threads, and none outlives the process that
started it. One that is killed loses its image only, since files appear whole or not at all.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

from adaptis.arguments import interrupts_ignored, parse_device
from adaptis.compat import THREADS, available_memory, processors, threads_each, threads_given
from adaptis.errors import AdaptISError
from adaptis.values import COUNT

LOST = "the process at it was killed, or had too little memory; the same command tries it again"
IMAGES_EACH = 10  # of a process that nobody asked for: it takes seconds to start
BYTES_EACH = 4 * 2**30  # of memory, for it: an image of 1024x2048 takes 2.5 at most (docs/speed.md)
SPAWN = multiprocessing.get_context("spawn")
Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerError(AdaptISError):
    """A process was ended by something else than its work; says when and what to do."""


class Shard(NamedTuple):
    """A part of the images, for processes that don't know of each other."""

    number: int  # from 1
    shards: int

    def __str__(self) -> str:
        return f"shard {self.number} of {self.shards}"

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Dealt out, as neighbours take alike long."""
        return items[self.number - 1 :: self.shards]


def add_worker_options(parser: argparse.ArgumentParser) -> None:
    """``--ctx``, ``--processes`` and ``--shard``."""
    add = parser.add_argument
    add(
        "--ctx",
        default="cpu",
        metavar="DEVICES",
        help='"cpu", "cuda", or GPU ids such as 0 or 0,1,2: a process each (default: %(default)s)',
    )
    add(
        "--processes",
        type=COUNT,
        metavar="N",
        help="number of processes that share the images, the devices and a CPU's cores (default: "
        f"one a GPU; on a CPU one a core, for at least {IMAGES_EACH} images and "
        f"{BYTES_EACH // 2**30} GB of free memory each, and a single one where OMP_NUM_THREADS is "
        "set)",
    )
    add(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="only part I of N of the images: for several machines with the same --output",
    )


def named_devices(args: argparse.Namespace) -> list[str]:
    """Those of ``--ctx``, by name. Raises DeviceError for a name that is none."""
    devices = args.ctx.split(",")
    for device in devices:
        parse_device(device)
    return devices


def worker_devices(args: argparse.Namespace, images: int) -> list[str]:
    """The device of each process that the options of ``add_worker_options`` ask for, by name.

    Parameters:
        images: how many there are to share.

    Raises DeviceError for a name that is none.
    """
    devices = named_devices(args)
    processes = args.processes
    if not processes:
        processes = _processes_of_a_cpu(images) if devices == ["cpu"] else len(devices)
    return [devices[i % len(devices)] for i in range(processes)]


def _processes_of_a_cpu(images: int) -> int:
    """One a core, which is nearly twice as fast on two cores as one that has both (docs/speed.md),
    if that many images and their memory are there."""
    if threads_given():
        return 1
    return max(1, min(processors(), images // IMAGES_EACH, available_memory() // BYTES_EACH))


def each(
    work: Callable[[Item], Result],
    makers: Sequence[Callable[[], Callable[[Item], Result]]],
    items: Sequence[Item],
) -> Generator[tuple[Item, Result | None], None, None]:
    """Do work on each of some items: here, or in processes where there is more than one maker.

    Parameters:
        work: item -> result.
        makers, items, and what is yielded and raised: see ``in_processes``.
    """
    if len(makers) > 1:
        return in_processes(makers, items)
    return ((item, work(item)) for item in items)


def in_processes(
    makers: Sequence[Callable[[], Callable[[Item], Result]]], items: Iterable[Item]
) -> Generator[tuple[Item, Result | None], None, None]:
    """Do work on each of some items, in a process for each maker. To be closed: it ends them.

    Parameters:
        makers: what is called in a process before its first item; returns its work, item -> result.
            Makers, items and results are sent to and from it, by pickle.

    Yields item and result in the order in which they are done, None of an item whose process was
    killed; another process replaces it.

    Raises what a maker or the work raised, and WorkerError where a process is killed while it
    begins.
    """
    waiting = deque(items)
    running: dict[Future, tuple[ProcessPoolExecutor, Callable, tuple[Item, ...]]] = {}
    pools = []  # of one process each, so that the item of one that ends is known
    listener, alive = SPAWN.Pipe(duplex=False)

    def begin(maker: Callable) -> None:
        pool = ProcessPoolExecutor(1, SPAWN, _end_with, (listener,))
        pools.append(pool)
        with interrupts_ignored(), _threads_for(len(makers)):
            running[pool.submit(_make, maker)] = pool, maker, ()

    try:
        for maker in makers[: len(waiting)]:
            begin(maker)
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                pool, maker, item = running.pop(future)
                result = None
                try:
                    result = future.result()
                    if waiting:
                        following = pool.submit(_work_on, waiting[0])
                        running[following] = pool, maker, (waiting.popleft(),)
                except BrokenProcessPool as error:
                    if not item:
                        raise WorkerError(
                            "a process was killed while it began, perhaps for lack of memory: "
                            f"take fewer than {len(makers)}; what was finished is kept"
                        ) from error
                    if waiting:
                        begin(maker)
                if item:
                    yield item[0], result
    finally:
        alive.close()  # which ends them, whatever they are at
        for pool in pools:
            pool.shutdown()
        listener.close()


def _shard(text: str) -> Shard:
    """As the type of an option."""
    number, _, shards = text.partition("/")
    if not (number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise argparse.ArgumentTypeError(f"{text!r} must be I/N, from 1/N to N/N, such as 1/4")
    return Shard(int(number), int(shards))


@contextlib.contextmanager
def _threads_for(processes: int) -> Iterator[None]:
    """What is started within has its share of the cores: libraries read it when they are loaded."""
    before = {name: os.environ.get(name) for name in (THREADS, "OPENCV_FOR_THREADS_NUM")}
    os.environ.update(dict.fromkeys(before, threads_each(processes)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


# What follows runs in the processes.

_work: Callable[[Any], Any]


def _end_with(listener: Connection) -> None:
    """End this process when the one that started it ends, or closes its side of the pipe."""

    def listen() -> None:
        with contextlib.suppress(EOFError, OSError):
            listener.recv()
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()


def _make(maker: Callable[[], Callable]) -> None:
    global _work
    _work = maker()


def _work_on(item):
    return _work(item)
