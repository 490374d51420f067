"""Settings of where the runs are computed."""

from typing import Literal

from pydantic import Field, model_validator

from dilated_ce.study.data.reading import Strict

# What is for some engines alone, and what to do with another.
ONLY_FOR = {
    "workers": ("local",),
    "address": ("ray",),
    "wait": ("ray",),
    "gpus_per_run": ("ray",),
}


class ExecutionConfig(Strict):
    """Where the runs are computed."""

    engine: Literal["local", "ray"] = Field(
        default="local", description="on this machine, or spread by Ray"
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="runs at once on this machine: one per GPU, or the cores over training.threads",
    )
    memory: float | None = Field(
        default=None,
        gt=0,
        description="GB that a run takes, so that no more begin than fit; measured on the first; "
        "Ray is asked for it",
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
        default=None, ge=0, description="to ask Ray for; training.devices on GPUs"
    )
    retries: int = Field(default=2, ge=0, description="of a run whose process or machine died")

    @property
    def bytes_of_a_run(self) -> int | None:
        """The memory that a run takes, as far as the user says it."""
        return None if self.memory is None else int(self.memory * 1e9)

    @model_validator(mode="after")
    def _are_for_the_engine(self) -> "ExecutionConfig":
        for name, engines in ONLY_FOR.items():
            given = getattr(self, name)
            if given is None or self.engine in engines:
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
        return self
