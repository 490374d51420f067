"""Carrying out units of work: one after the other here, or spread by Ray.

Finished units are kept, interrupted ones go on from their checkpoints, and one that fails leaves
the others alone.
"""

import errno
import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence

import torch

from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure, Run
from dilated_ce.study.runs.unit import Unit, execute


class StudyError(Exception):
    """A study that cannot go on; the message says why, and what to do."""


Outcome = Run | Failure


def carry_out(
    units: Sequence[Unit], execution: ExecutionConfig, fresh: bool = False
) -> Iterator[tuple[Unit, Outcome, bool]]:
    """Do what is missing.

    Args:
        units: what is asked for.
        execution: where to compute.
        fresh: do again what is finished.

    Yields:
        Each unit as it comes to its end, with its run or failure, and whether it was kept.

    Raises:
        StudyError: no room on the disk, or no Ray: the others would fail alike.
    """
    missing = []
    for unit in units:
        if fresh:
            shutil.rmtree(unit.folder, ignore_errors=True)
            shutil.rmtree(unit.working, ignore_errors=True)
        if unit.is_finished:
            yield unit, unit.run, True
        else:
            shutil.rmtree(unit.folder, ignore_errors=True)  # half of it, or damaged
            missing.append(unit)
    if not missing:
        return
    if execution.engine == "ray":
        from dilated_ce.study.runs.ray_cluster import spread

        outcomes = spread(missing, execution)
    else:
        outcomes = ((unit, attempt(unit)) for unit in missing)
    for unit, error in outcomes:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise StudyError(
                f"{error.strerror}: {unit.folder.parent}. Finished runs are kept there; make room, "
                "and start the same command again."
            ) from error
        yield unit, unit.run if error is None else _failure(unit, error), False


def attempt(unit: Unit, do: Callable[[Unit], None] = execute) -> Exception | None:
    """Do a unit; what goes wrong with it is returned, as the others have to go on."""
    try:
        do(unit)
    except Exception as error:
        # Frames hold the network and its activations, which the next run has no room for.
        error.__notes__ = ["".join(traceback.format_exception(error))]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return error.with_traceback(None)
    return None


def _failure(unit: Unit, error: Exception) -> Failure:
    line = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        line = (
            f"out of GPU memory with {unit.training.batch_size} patches of "
            f"{' x '.join(map(str, unit.training.patch_size))}; try half the batch_size, "
            "a smaller patch_size or precision 16-mixed"
        )
    elif isinstance(error, MemoryError):
        line = "out of memory; try a smaller batch_size or patch_size, or fewer workers"
    trace = "\n".join(getattr(error, "__notes__", [])) or line
    return Failure(unit.loss, unit.seed, unit.fold, line, trace)
