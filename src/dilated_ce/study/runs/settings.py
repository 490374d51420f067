"""Settings of where the runs are computed."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from dilated_ce.study.data.reading import Strict

# What is for some engines alone, and what to do with another.
ONLY_FOR = {
    "workers": ("local", "slurm"),
    "address": ("ray",),
    "wait": ("ray",),
    "gpus_per_run": ("ray", "slurm"),
    "partition": ("slurm",),
    "time": ("slurm",),
    "slurm": ("slurm",),
}
# Parameters of sbatch that settings of their own give, or that the jobs are found again by.
OURS_OF_SBATCH = {
    "partition": "execution.partition",
    "time": "execution.time",
    "mem": "execution.memory",
    "gpus_per_node": "execution.gpus_per_run",
    "array": "",
    "array_parallelism": "execution.workers",
    "job_name": "",
    "output": "",
    "error": "",
    "open_mode": "",
    "signal": "",
    "requeue": "",
    "nodes": "",
    "ntasks": "",
    "ntasks_per_node": "",
}


class ExecutionConfig(Strict):
    """Where the runs are computed."""

    engine: Literal["local", "ray", "slurm"] = Field(
        default="local", description="on this machine, or spread by Ray or Slurm"
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="runs at once: on this machine one per GPU, or the cores over "
        "training.threads; with Slurm as many as it lets",
    )
    memory: float | None = Field(
        default=None,
        gt=0,
        description="GB that a run takes, so that no more begin than fit; measured on the first; "
        "Ray and Slurm are asked for it",
    )
    address: str | None = Field(
        default=None, description="of a Ray cluster, or auto; by default Ray starts here"
    )
    wait: float | None = Field(
        default=None,
        ge=0,
        description="minutes to wait for a machine of the Ray cluster with room for a run; 0, or "
        "for ever where the cluster grows by itself",
    )
    gpus_per_run: float | None = Field(
        default=None, ge=0, description="to ask Ray or Slurm for; training.devices on GPUs"
    )
    retries: int = Field(default=2, ge=0, description="of a run whose process or machine died")
    partition: str | None = Field(
        default=None, min_length=1, description="of Slurm; its default one"
    )
    time: int | None = Field(
        default=None,
        ge=1,
        description="of a Slurm job, in minutes, or as 12:00:00 or 2-00:00:00; 4:00:00. A run that "
        "takes longer goes on from its checkpoint in the next job",
    )
    slurm: dict[str, str | int | bool | list[str]] = Field(
        default={}, description="other parameters of sbatch: {account: mine, qos: high}"
    )

    @property
    def bytes_of_a_run(self) -> int | None:
        """The memory that a run takes, as far as the user says it."""
        return None if self.memory is None else int(self.memory * 1e9)

    @field_validator("time", mode="before")
    @classmethod
    def _in_minutes(cls, time: Any) -> Any:
        return minutes(time) if isinstance(time, str) else time

    @field_validator("slurm")
    @classmethod
    def _leaves_ours(cls, slurm: dict[str, Any]) -> dict[str, Any]:
        named = {name.replace("-", "_").lstrip("_"): value for name, value in slurm.items()}
        for name in named.keys() & OURS_OF_SBATCH.keys():
            instead = OURS_OF_SBATCH[name]
            what = f"is said by {instead}" if instead else "is chosen by dilated-ce"
            raise ValueError(f"got {name}, which {what}")
        return named

    @model_validator(mode="after")
    def _are_for_the_engine(self) -> "ExecutionConfig":
        for name, engines in ONLY_FOR.items():
            given = getattr(self, name)
            if given in (None, {}) or self.engine in engines:
                continue
            why = (
                "; Ray does as many runs at once as there are GPUs, or CPUs"
                if name == "workers"
                else ""
            )
            raise ValueError(
                f"{name}: got {given}, which is for engine: {' or '.join(engines)}, and the engine "
                f"is {self.engine}{why}"
            )
        if self.engine == "slurm" and self.gpus_per_run not in (None, int(self.gpus_per_run or 0)):
            raise ValueError(
                f"gpus_per_run: got {self.gpus_per_run:g}, expected a whole number: Slurm has no "
                "parts of GPUs"
            )
        return self


def minutes(time: str) -> int:
    """A time as Slurm has it, in minutes.

    Raises:
        ValueError: it could mean two things, or nothing.

    Examples:
        >>> minutes("90"), minutes("12:00:00"), minutes("1-12:00:00")
        (90, 720, 2160)
    """
    text = time.strip()
    if text.isdecimal():
        return int(text)
    if found := re.fullmatch(r"(\d{1,3}):(\d\d)", text):
        hours, rest = int(found[1]), int(found[2])
        raise ValueError(
            f"got {time}, which Slurm takes for {hours} minutes and {rest} seconds, and others for "
            f"hours; write {hours}:{found[2]}:00 or {hours}"
        )
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):([0-5]\d):([0-5]\d)", text)
    if not found:
        raise ValueError(f"got {time}, expected minutes, or hours as 12:00:00, or 2-00:00:00")
    days, hours, rest, seconds = (int(part or 0) for part in found.groups())
    return 1440 * days + 60 * hours + rest + (seconds > 0)
