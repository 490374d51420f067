"""What a Slurm job does: one run, in a process of its own, which the next job goes on with.

Slurm tells a job that its time is nearly over, or that another one takes its place. The run is then
ended, the job put into the queue again, and its next start goes on from the last checkpoint.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dilated_ce.study.runs.at_once import do_at_once
from dilated_ce.study.runs.elsewhere import Probe, do_elsewhere
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure, StudyError

CHECKPOINTS = {".ckpt", ".pth"}  # ours, and nnU-Net's
EARLIER_SECONDS = 90  # that Slurm may tell a job of its end before it was to, and the job starts in


@dataclass
class Job:
    """Does a unit in a job, as submitit calls it."""

    do: Callable[[Any], Failure | None]
    probe: Probe
    execution: ExecutionConfig
    minutes: float
    started: float = field(default=0, init=False)
    had: float = field(default=0, init=False)  # the time of the checkpoint at the start

    def __call__(self, unit: Any) -> Failure | None:
        """Do it; what goes wrong with it is returned."""
        self.started, self.had = time.monotonic(), newest_checkpoint(unit)
        do = partial(_apart, do=self.do)
        ask = partial(_in_a_process, do=do, execution=self.execution)
        return do_elsewhere(unit, ask, self.probe)

    def checkpoint(self, unit: Any) -> Any:
        """What the next start of the job does; submitit asks when Slurm ends this one.

        Raises:
            StudyError: the time was over before the first new checkpoint, as it would be again.
        """
        from submitit.helpers import DelayedSubmission

        seconds = time.monotonic() - self.started
        told = 60 * self.minutes - notice_seconds(self.minutes) - EARLIER_SECONDS
        ran_out = self.started > 0 and seconds >= told
        if ran_out and newest_checkpoint(unit) <= self.had:
            raise StudyError(
                f"the job had {self.minutes:g} minutes, and there was no new checkpoint in them, "
                "so the next one would come no further; raise execution.time, or "
                "training.evaluations, which are the checkpoints of a run"
            )
        return DelayedSubmission(self, unit)


def notice_seconds(minutes: float) -> int:
    """How long before its end a job is told: time enough to put it into the queue again."""
    return round(min(90, 12 * minutes))


def newest_checkpoint(unit: Any) -> float:
    """When the last checkpoint of an unfinished run was written; 0 if there is none."""
    place: Path = unit.working
    times = [path.stat().st_mtime for path in place.glob("*") if path.suffix in CHECKPOINTS]
    return max(times, default=0)


def _in_a_process(
    unit: Any, do: Callable[[Any], Failure | None], execution: ExecutionConfig
) -> Failure | None:
    """Do it in another process: what kills it, such as too little memory, can be told."""
    with closing(do_at_once(do, [unit], 1, execution)) as outcomes:
        ((_, failure),) = outcomes
    return failure


def _apart(unit: Any, do: Callable[[Any], Failure | None]) -> Failure | None:
    """In the process of the run: Slurm's word is for the job's, which ends this one.

    Lightning would take the job for one of several processes that it has to bring together.
    """
    for name in [name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_"))]:
        del os.environ[name]
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    return do(unit)
