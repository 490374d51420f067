"""Settings of where the runs are computed."""

from typing import Literal

from pydantic import Field, model_validator

from dilated_ce.study.data.reading import Strict


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
        description="GB that a run takes, so that no more begin than fit; measured on the first",
    )
    address: str | None = Field(
        default=None, description="of a Ray cluster, or auto; by default Ray starts here"
    )
    gpus_per_run: float | None = Field(
        default=None, ge=0, description="that Ray reserves; training.devices on GPUs"
    )
    retries: int = Field(default=2, ge=0, description="of a run whose process or machine died")

    @property
    def bytes_of_a_run(self) -> int | None:
        """The memory that a run takes, as far as the user says it."""
        return None if self.memory is None else int(self.memory * 1e9)

    @model_validator(mode="after")
    def _what_is_for_ray(self) -> "ExecutionConfig":
        for name in ("address", "gpus_per_run"):
            if self.engine != "ray" and getattr(self, name) is not None:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, which is for engine: ray, and the engine "
                    f"is {self.engine}"
                )
        if self.engine == "ray" and self.workers is not None:
            raise ValueError(
                f"workers: got {self.workers}, which is for engine: local; Ray does as many runs "
                "at once as there are GPUs, or CPUs"
            )
        return self
