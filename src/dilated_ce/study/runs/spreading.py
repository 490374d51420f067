"""Units of work on other machines, whatever brings them there: the runs are looked at here."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from dilated_ce.study.runs.elsewhere import Probe, verified
from dilated_ce.study.runs.ray_cluster import spread as spread_by_ray
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure
from dilated_ce.study.runs.threads import keep_threads
from dilated_ce.study.runs.watcher import Watcher


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
    outcomes = spread_by_ray(units, execution, do, Probe(folder, needed), watcher)
    with closing(outcomes):
        for unit, failure in outcomes:
            yield unit, verified(unit, failure)
