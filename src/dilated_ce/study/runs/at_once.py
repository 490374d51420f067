"""Several runs at once on this machine, each in a process of its own.

What a run held is free when its process ends, its peak of memory is its own, and one that is
killed takes no other along: it is started again, and goes on from its checkpoint.
"""

import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import time
from typing import Any, TypeVar

from dilated_ce.study import machine, processes
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.sharing import gpus_of_runs
from dilated_ce.study.runs.store import Failure
from dilated_ce.study.runs.unit import Unit
from dilated_ce.study.training.fit import PROGRESS

POLL_SECONDS = 0.2  # while it is not known whether there is memory for another run
GRACE_SECONDS = 3  # for a process that is asked to end
MARGIN = 1.1  # of the peaks that were seen: a run looks at whole cases later than at patches
Result = TypeVar("Result")


@dataclass(eq=False)
class _Running:
    unit: Unit
    slot: int
    process: BaseProcess
    pipe: Connection
    started: float = field(default_factory=time)

    @property
    def is_under_way(self) -> bool:
        """Whether it has trained a step, so that its peak of memory tells something."""
        try:
            return (self.unit.working / PROGRESS).stat().st_mtime > self.started
        except OSError:
            return False


class _Memory:
    """Whether another run fits into memory; the first one shows how much a run takes."""

    def __init__(self, of_a_run: int | None) -> None:
        self.of_a_run, self.seen = of_a_run, 0

    def is_enough(self, running: Sequence[_Running]) -> bool:
        free = machine.free_memory()
        if not running or free is None:
            return True
        now, peaks = zip(*(machine.memory_of(run.process.pid or 0) for run in running), strict=True)
        under_way = [p for run, p in zip(running, peaks, strict=True) if run.is_under_way]
        self.seen = max([self.seen, *under_way])
        one = self.of_a_run or int(MARGIN * self.seen)
        to_come = sum(max(0, one - taken) for taken in now)
        return one > 0 and free - to_come >= one


def do_at_once(
    do: Callable[[Unit], Result], units: Sequence[Unit], at_once: int, execution: ExecutionConfig
) -> Generator[tuple[Unit, Result | Failure], None, None]:
    """Do the units, so many at once as are asked for and fit into memory.

    Args:
        do: does one of them, in another process: a function of a module.
        units: what to do, in this order.
        at_once: how many at most.
        execution: how often a run is tried again whose process died, and what memory it takes.

    Yields:
        Each unit as it comes to its end, with what came of it, or the failure of its process.
    """
    context = processes.context()
    of_slot = gpus_of_runs(units[0].training, at_once)
    waiting, running = deque(units), list[_Running]()
    memory = _Memory(execution.bytes_of_a_run)
    deaths: Counter[Path] = Counter()
    try:
        while waiting or running:
            while waiting and len(running) < at_once and memory.is_enough(running):
                slot = min(set(range(len(of_slot))) - {run.slot for run in running})
                running.append(_start(context, waiting.popleft(), slot, of_slot[slot], do))
            may_start = waiting and len(running) < at_once
            ready = wait(
                [end for run in running for end in (run.pipe, run.process.sentinel)],
                POLL_SECONDS if may_start else None,
            )
            for run in [r for r in running if r.pipe in ready or r.process.sentinel in ready]:
                running.remove(run)
                try:
                    result: Result | Failure = _result(run)
                except EOFError:  # its process died
                    if run.process.exitcode == -signal.SIGKILL:  # as when memory is short
                        at_once = max(1, min(at_once, len(running)))
                    deaths[run.unit.folder] += 1
                    if deaths[run.unit.folder] <= execution.retries:
                        waiting.appendleft(run.unit)
                        continue
                    result = _death(run, deaths[run.unit.folder])
                yield run.unit, result
    finally:
        _stop([run.process for run in running])


def _start(
    context: BaseContext, unit: Unit, slot: int, gpus: str | None, do: Callable[[Unit], Any]
) -> _Running:
    ours, theirs = context.Pipe(duplex=False)
    # Typed as what all contexts share, which is without it.
    process: BaseProcess = context.Process(target=_work, args=(do, unit, theirs))  # type: ignore[attr-defined]
    with _visible(gpus), processes.starting(context):
        process.start()
    theirs.close()  # so that the end of the process is the end of the pipe
    return _Running(unit, slot, process, ours)


@contextmanager
def _visible(gpus: str | None) -> Iterator[None]:
    """Processes that start meanwhile see these GPUs alone."""
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    if gpus is not None:
        os.environ[name] = gpus
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif gpus is not None:
            del os.environ[name]


def _work(do: Callable[[Unit], Any], unit: Unit, pipe: Connection) -> None:
    """What the process of a run does."""
    processes.belong_to_parent()
    try:
        pipe.send(do(unit))
    except KeyboardInterrupt:  # it was asked to end, and Lightning has said so in its way
        sys.exit(1)


def _result(run: _Running) -> Any:
    """What came of the run; EOFError if its process died."""
    try:
        return run.pipe.recv()
    except OSError as error:
        raise EOFError from error
    finally:
        run.pipe.close()
        _stop([run.process], GRACE_SECONDS)


def _stop(processes: Sequence[BaseProcess], seconds: float = 0) -> None:
    """End processes: those that do not end by themselves in this time are asked, then forced."""
    for process in processes:
        process.join(seconds)
        process.terminate()
    for process in processes:
        process.join(GRACE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def _death(run: _Running, times: int) -> Failure:
    code = run.process.exitcode or 0
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    hint = (
        ", as the system does where memory is short; try fewer --workers, a smaller batch_size or "
        "patch_size"
        if code == -signal.SIGKILL
        else ""
    )
    line = f"its process {how}, at {times} attempts{hint}"
    return Failure(run.unit.loss, run.unit.seed, run.unit.fold, line, line)
