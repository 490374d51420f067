"""What Slurm says of its jobs, asked by squeue, which every Slurm has; accounting few have."""

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

WAITING = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "CONFIGURING"}
GOING_ON = {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"}
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class State:
    """What a job does."""

    name: str  # Slurm's
    reason: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is yet to begin, or to begin anew."""
        return self.name in WAITING

    @property
    def is_over(self) -> bool:
        """Whether it will do nothing more."""
        return self.name not in WAITING | GOING_ON


def is_here() -> bool:
    """Whether this machine can ask Slurm."""
    return shutil.which("squeue") is not None


def jobs_named(name: str) -> dict[str, State] | None:
    """The jobs of this user under a name, by their numbers, such as `4711_3`.

    Those that are over are among them for some minutes.

    Returns:
        None if Slurm does not answer; it is asked again.
    """
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i|%T|%r"]
    chosen = [f"--user={os.getuid()}", f"--name={name}"]
    try:
        answer = subprocess.run(
            [*command, *chosen], capture_output=True, text=True, timeout=ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if answer.returncode else read_states(answer.stdout)


def read_states(text: str) -> dict[str, State]:
    """The lines of squeue.

    Examples:
        >>> read_states("4711_3|PENDING|Priority")
        {'4711_3': State(name='PENDING', reason='Priority')}
    """
    rows = (line.strip().split("|", 2) for line in text.splitlines() if line.count("|") == 2)
    return {
        number: State(name, "" if reason == "None" else reason) for number, name, reason in rows
    }


def in_words(states: Iterable[State]) -> str:
    """How many jobs do what.

    Examples:
        >>> in_words([State("RUNNING"), State("PENDING", "Priority"), State("PENDING")])
        '1 running, 2 waiting for Slurm (Priority)'
    """
    states = [state for state in states if not state.is_over]
    waiting = [state for state in states if state.waits]
    reasons = dict.fromkeys(state.reason for state in waiting if state.reason)
    why = f" ({', '.join(reasons)})" if reasons else ""
    running = len(states) - len(waiting)
    parts = [f"{running} running"] * (running > 0)
    parts += [f"{len(waiting)} waiting for Slurm{why}"] * (len(waiting) > 0)
    return ", ".join(parts)
