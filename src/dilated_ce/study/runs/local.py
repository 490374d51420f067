"""Carrying out units of work: several at once on this machine, or spread over others.

Finished units are kept, interrupted ones go on from their checkpoints, and one that fails leaves
the others alone.
"""

import shutil
from collections.abc import Generator, Sequence
from contextlib import closing

from dilated_ce.study.runs.at_once import do_at_once
from dilated_ce.study.runs.attempt import attempt
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.sharing import runs_at_once
from dilated_ce.study.runs.spreading import spread, under_way
from dilated_ce.study.runs.store import Failure, Run, StudyError
from dilated_ce.study.runs.unit import Unit
from dilated_ce.study.runs.watcher import Watcher

Outcome = Run | Failure


def carry_out(
    units: Sequence[Unit],
    execution: ExecutionConfig,
    fresh: bool = False,
    watcher: Watcher | None = None,
) -> Generator[tuple[Unit, Outcome, bool], None, None]:
    """Do what is missing.

    Whoever does not take all of them closes the iterator, which ends the runs under way.

    Args:
        units: what is asked for.
        execution: where to compute.
        fresh: do again what is finished.
        watcher: is told what is waited for, where other machines compute.

    Yields:
        Each unit as it comes to its end, with its run or failure, and whether it was kept.

    Raises:
        StudyError: no room on the disk, or no other machine: the others would fail alike.
    """
    watcher = watcher or Watcher()
    busy = under_way(units[0].runs, execution, fresh, watcher) if units else set()
    missing = []
    for unit in units:
        if fresh:
            shutil.rmtree(unit.folder, ignore_errors=True)
            shutil.rmtree(unit.working, ignore_errors=True)
        if unit.is_finished:
            yield unit, unit.run, True
        else:
            if unit.folder not in busy:
                shutil.rmtree(unit.folder, ignore_errors=True)  # half of it, or damaged
            missing.append(unit)
    if not missing:
        return
    with closing(_carry_out(missing, execution, watcher)) as outcomes:
        for unit, failure in outcomes:
            if failure is not None and failure.of_disk:
                raise StudyError(
                    f"{failure.error}: {unit.folder.parent}. Finished runs are kept there; make "
                    "room, and start the same command again."
                )
            yield unit, failure or unit.run, False


def _carry_out(
    units: Sequence[Unit], execution: ExecutionConfig, watcher: Watcher
) -> Generator[tuple[Unit, Failure | None], None, None]:
    if execution.engine != "local":
        first = units[0]
        yield from spread(units, execution, attempt, first.runs, (first.prepared,), watcher)
        return
    at_once = min(len(units), runs_at_once(units[0].training, execution))
    if at_once == 1:
        for unit in units:
            yield unit, attempt(unit)
    else:
        yield from do_at_once(attempt, units, at_once, execution)
