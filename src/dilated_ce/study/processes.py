"""Work spread over the processes of this machine."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from itertools import islice
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from types import ModuleType
from typing import TypeVar

import torch

from dilated_ce.study import machine

Item = TypeVar("Item")
Result = TypeVar("Result")
# What new processes have imported, by its name: all that a run needs.
IMPORTED = "dilated_ce.study.runs.unit"
ALONE_SECONDS = 3.0  # what starting processes takes
LEAST_BYTES = 2**29  # of a process: its libraries


class ProcessDiedError(Exception):
    """A process was killed from outside, most often for want of memory."""


def spread(
    do: Callable[[Item], Result], items: Iterable[Item], most: int | None = None
) -> Generator[tuple[Item, Result], None, None]:
    """Do something with each item, in this process first, and in several if it takes long.

    Args:
        do: a function of a module, or a partial one.
        items: they can be pickled; no more are drawn than there are processes, and one for each.
        most: how many processes; the cores.

    Yields:
        Each item as it is done, with what came of it.

    Raises:
        ProcessDiedError: one of the processes was killed.

    Examples:
        >>> list(spread(abs, [-1, -2]))
        [(-1, 1), (-2, 2)]
    """
    rest = iter(items)
    seconds = 0.0
    number = most or machine.cores()
    for item in rest:
        start = time.perf_counter()
        result = do(item)
        seconds += time.perf_counter() - start
        yield item, result
        if number > 1 and seconds > ALONE_SECONDS / 6:
            context()  # which imports while this one goes on
        if number > 1 and seconds > ALONE_SECONDS:
            break
    else:
        return
    # A process takes about what this one did; where nobody knows, all cores are used.
    free = machine.free_memory()
    if free is not None:
        number = min(number, free // max(LEAST_BYTES, machine.memory_of(os.getpid())[1]))
    if number > 1:
        yield from _in_processes(do, rest, number)
    else:
        yield from ((item, do(item)) for item in rest)


def _in_processes(
    do: Callable[[Item], Result], items: Iterator[Item], number: int
) -> Generator[tuple[Item, Result], None, None]:
    how = context()
    pool = ProcessPoolExecutor(number, how, _begin)
    under_way: dict[Future[Result], Item] = {}

    def begin(count: int) -> None:
        for item in islice(items, count):
            with starting(how):
                under_way[pool.submit(do, item)] = item

    try:
        begin(2 * number)
        while under_way:
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                item = under_way.pop(future)
                begin(1)
                yield item, future.result()
    except BrokenProcessPool as error:
        raise ProcessDiedError(
            f"one of {number} processes was killed, as the system does where memory is short; what "
            "is done is kept: start the same command again, with LOKY_MAX_CPU_COUNT=1 in the "
            "environment for one process"
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """What a process of a pool does first."""
    belong_to_parent()
    torch.set_num_threads(1)


def context() -> BaseContext:
    """Processes that start with the libraries imported, where that does not hold a GPU."""
    if sys.platform == "win32" or machine.has_gpu():
        return multiprocessing.get_context("spawn")
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([IMPORTED])
    with _deaf_to_interrupts():
        forkserver.ensure_running()
    return server


@contextmanager
def starting(context: BaseContext) -> Iterator[None]:
    """Processes start meanwhile, that hear no Ctrl-C and do not run the user's script anew."""
    # What is forked is deaf already, and the wait for its imports is one to interrupt.
    spawned = context.get_start_method() == "spawn"
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        with _deaf_to_interrupts() if spawned else nullcontext():
            yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that start meanwhile do not hear Ctrl-C, which reaches all those of a terminal.

    The first one ends the others.
    """
    if threading.current_thread() is not threading.main_thread():  # no other may set handlers
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def belong_to_parent() -> None:
    """Hear no Ctrl-C, and end at once when the process that started this one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where it was started in a thread
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
