"""One run, whose failure leaves the others alone."""

import errno
import traceback
from collections.abc import Callable

import torch

from dilated_ce.study.runs.store import Failure
from dilated_ce.study.runs.unit import Unit, execute

OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def attempt(unit: Unit, do: Callable[[Unit], None] = execute) -> Failure | None:
    """Do a unit; what goes wrong with it is returned, as the others have to go on.

    It is put in words here: an error of someone's library may not survive the way between two
    processes.
    """
    try:
        do(unit)
    except Exception as error:
        failure = _in_words(unit, error)
    else:
        return None
    # The frames that held the network and its activations are gone: the next run needs the room.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return failure


def _in_words(unit: Unit, error: Exception) -> Failure:
    line = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        line = (
            f"out of GPU memory with {unit.training.batch_size} patches of "
            f"{' x '.join(map(str, unit.training.patch_size))}; try half the batch_size, "
            "a smaller patch_size or precision 16-mixed"
        )
    elif isinstance(error, MemoryError):
        line = "out of memory; try a smaller batch_size or patch_size, or fewer --workers"
    of_disk = isinstance(error, OSError) and error.errno in OF_THE_DISK
    trace = "".join(traceback.format_exception(error))
    return Failure(
        unit.loss,
        unit.seed,
        unit.fold,
        f"{error.strerror}" if of_disk and isinstance(error, OSError) else line,
        trace,
        of_disk,
    )
