"""Carrying out runs of nnU-Net: here, one per GPU, or spread over other machines.

Finished runs are kept, interrupted ones go on from their checkpoints, and one that fails leaves the
others alone.
"""

import os
import traceback
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import torch

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.nnunet.process import NnunetError, end_all
from dilated_ce.study.nnunet.unit import NnunetRun, NnunetUnit, execute
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.spreading import spread, under_way
from dilated_ce.study.runs.store import Failure
from dilated_ce.study.runs.watcher import Watcher
from dilated_ce.study.wording import listing

NnunetOutcome = NnunetRun | Failure


def check_settings(units: Sequence[NnunetUnit]) -> None:
    """Make sure that what lies in the folders is of these settings.

    Raises:
        DataError: what differs, of every run.
    """
    problems = [
        f"{unit.loss}, seed {unit.seed}, fold {unit.fold}: {change}"
        for unit in units
        for change in unit.changed
    ]
    if problems:
        heading = (
            "there are runs of other settings, and nothing goes on from them. Take another folder "
            "with --out, or train them again with --fresh"
        )
        raise DataError(listing(heading, problems))


def carry_out(
    units: Sequence[NnunetUnit],
    execution: ExecutionConfig,
    fresh: bool = False,
    watcher: Watcher | None = None,
) -> Generator[tuple[NnunetUnit, NnunetOutcome, bool], None, None]:
    """Do what is missing.

    Args:
        units: what is asked for.
        execution: where to compute.
        fresh: do again what is finished.
        watcher: is told what is waited for, where other machines compute.

    Yields:
        Each unit as it comes to its end, with its run or failure, and whether it was kept.

    Raises:
        StudyError: no other machine, or one that does not see the folders.
    """
    watcher = watcher or Watcher()
    if units:
        under_way(units[0].results, execution, fresh, watcher)
    missing = []
    for unit in units:
        if fresh:
            unit.discard()
        if unit.is_finished:
            yield unit, unit.run, True
        else:
            missing.append(unit)
    if not missing:
        return
    if execution.engine != "local":
        first = missing[0]
        needed = (Path(first.environment["nnUNet_preprocessed"]),)
        outcomes = spread(missing, execution, attempt_one, first.results, needed, watcher)
    else:
        outcomes = _do_here(missing, execution)
    with closing(outcomes):
        for unit, failure in outcomes:
            yield unit, failure or unit.run, False


def attempt_one(unit: NnunetUnit) -> Failure | None:
    """Do a unit; what goes wrong with it is returned, as the others have to go on."""
    try:
        execute(unit)
    except Exception as error:
        line = str(error).splitlines()[0] if isinstance(error, NnunetError) else repr(error)
        trace = "".join(traceback.format_exception(error))
        return Failure(unit.loss, unit.seed, unit.fold, line, trace)
    return None


def _do_here(
    units: Sequence[NnunetUnit], execution: ExecutionConfig
) -> Generator[tuple[NnunetUnit, Failure | None], None, None]:
    groups = _gpus(units[0])
    number = execution.workers or len(groups)
    free: SimpleQueue[str | None] = SimpleQueue()
    for slot in range(number):
        free.put(groups[slot % len(groups)])

    def do(unit: NnunetUnit) -> Failure | None:
        gpus = free.get()
        seen = {} if gpus is None else {"CUDA_VISIBLE_DEVICES": gpus}
        try:
            return attempt_one(replace(unit, environment={**unit.environment, **seen}))
        finally:
            free.put(gpus)

    threads = ThreadPoolExecutor(number)
    waiting: dict[Future[Failure | None], NnunetUnit] = {}
    try:
        waiting = {threads.submit(do, unit): unit for unit in units}
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield waiting.pop(future), future.result()
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        while not all(future.done() for future in waiting):  # one may be about to begin
            end_all()
            wait(waiting, timeout=0.1)


def _gpus(unit: NnunetUnit) -> list[str | None]:
    """The GPUs of each of the runs that go on at once; None for what nnU-Net sees by itself."""
    count = torch.cuda.device_count() if unit.training.device == "cuda" else 0
    each = unit.training.devices
    if count <= each:
        return [None]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = visible.split(",") if visible else [str(number) for number in range(count)]
    return [",".join(names[start : start + each]) for start in range(0, count - each + 1, each)]
