"""Settings of where the runs are computed."""

from typing import Literal

from pydantic import Field, model_validator

from dilated_ce.study.data.reading import Strict


class ExecutionConfig(Strict):
    """Where the runs are computed."""

    engine: Literal["local", "ray"] = Field(
        default="local", description="one run after the other here, or spread by Ray"
    )
    address: str | None = Field(
        default=None, description="of a Ray cluster, or auto; by default Ray starts here"
    )
    gpus_per_run: float | None = Field(
        default=None, ge=0, description="that Ray reserves; training.devices on GPUs"
    )
    retries: int = Field(default=2, ge=0, description="of a run whose process or machine died")

    @model_validator(mode="after")
    def _what_is_for_ray(self) -> "ExecutionConfig":
        for name in ("address", "gpus_per_run"):
            if self.engine != "ray" and getattr(self, name) is not None:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, which is for engine: ray, and the engine "
                    f"is {self.engine}"
                )
        return self
