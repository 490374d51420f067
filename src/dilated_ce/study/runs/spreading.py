"""Units of work on other machines, whatever brings them there: the runs are looked at here."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from dilated_ce.study.runs import ray_cluster, slurm, slurm_queue
from dilated_ce.study.runs.elsewhere import Probe, verified
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure, StudyError
from dilated_ce.study.runs.threads import keep_threads
from dilated_ce.study.runs.watcher import Watcher
from dilated_ce.study.wording import count


def spread(
    units: Sequence[Any],
    execution: ExecutionConfig,
    do: Callable[[Any], Failure | None],
    folder: Path,
    needed: tuple[Path, ...],
    watcher: Watcher,
) -> Generator[tuple[Any, Failure | None], None, None]:
    """Do the units on other machines.

    Args:
        units: what to do, of our own training or of nnU-Net's.
        execution: the engine.
        do: does one of them, on any machine: a function of a module.
        folder: of all runs, which every machine has to see.
        needed: what else they have to see.
        watcher: is told what is waited for.

    Yields:
        Each unit as it comes to its end, with its failure; None if its run is here, and whole.

    Raises:
        StudyError: the engine is missing or refuses, or a machine does not see the folder.
    """
    threads = units[0].training.threads
    if threads is not None:
        keep_threads(folder, threads)
    engine = slurm if execution.engine == "slurm" else ray_cluster
    with closing(engine.spread(units, execution, do, Probe(folder, needed), watcher)) as outcomes:
        for unit, failure in outcomes:
            yield unit, verified(unit, failure)


def under_way(folder: Path, execution: ExecutionConfig, fresh: bool, watcher: Watcher) -> set[Path]:
    """The folders of the runs that jobs of Slurm do at this moment, from an earlier start.

    Args:
        folder: of all runs.
        execution: the engine of this start.
        fresh: whether what is there is to be deleted.
        watcher: is told where nobody knows.

    Raises:
        StudyError: they do some that are to be done anew, or in another way.
    """
    if not slurm.folder_of(folder).exists():
        return set()
    if execution.engine != "slurm" and not slurm_queue.is_here():
        watcher.on_note(
            "jobs of Slurm have worked on this study; whether some still do cannot be asked here, "
            "as there is no squeue"
        )
        return set()
    found = slurm.going_on_in(slurm.folder_of(folder))
    if found and (fresh or execution.engine != "slurm"):
        arrays = " ".join(sorted({number.split("_")[0] for number in found}))
        what = "--fresh deletes" if fresh else f"engine: {execution.engine} would do a second time"
        raise StudyError(
            f"Slurm has {count(len(found), 'job')} with runs of this study, which {what}. Wait "
            f"with --engine slurm, or end it first: scancel {arrays}"
        )
    return {unit.folder for unit in found.values()}
