"""What a comparison does, in one validated object, written in YAML or as options."""

from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator

from dilated_ce.study.data.reading import DataConfig, NonemptyPath, Strict
from dilated_ce.study.machine import has_gpu
from dilated_ce.study.nnunet.settings import NnunetConfig
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Keep
from dilated_ce.study.scores.settings import ScoringConfig
from dilated_ce.study.statistics.settings import StatisticsConfig
from dilated_ce.study.training.loggers import LoggerName, check_installed
from dilated_ce.study.training.loss_spec import LossSpec
from dilated_ce.study.training.settings import Loss, TrainingConfig, TuneConfig

OF_OUR_TRAINER = ("data", "training", "tune")  # sections


class _Comparison(Strict):
    """What every comparison of losses has, whatever trains."""

    losses: tuple[Loss, ...] = Field(min_length=1, description="such as ce or dbce:radius=2")
    seeds: int = Field(
        default=3, ge=1, description="number of seeds; each gives its own initial weights"
    )
    trainer: Literal["own", "nnunet"] = Field(
        default="own", description="what trains: the networks of this package, or nnU-Net"
    )
    scoring: ScoringConfig = ScoringConfig()
    statistics: StatisticsConfig = StatisticsConfig()
    execution: ExecutionConfig = ExecutionConfig()
    keep: Keep = Field(
        default="all",
        description="what to keep of a run beside scores: nothing, predictions, or the model too",
    )
    loggers: tuple[LoggerName, ...] = Field(
        default=(), description="Lightning's loggers, which write into logs/ of `out`"
    )
    out: NonemptyPath = Field(description="folder for runs, tables and the report")

    @field_validator("loggers")
    @classmethod
    def _are_installed(cls, loggers: tuple[LoggerName, ...]) -> tuple[LoggerName, ...]:
        for name in loggers:
            check_installed(name)
        return tuple(dict.fromkeys(loggers))

    @field_validator("losses")
    @classmethod
    def _each_once(cls, losses: tuple[LossSpec, ...]) -> tuple[LossSpec, ...]:
        twice = next((loss for loss in losses if losses.count(loss) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is given twice, expected each loss once")
        return losses

    @model_validator(mode="after")
    def _reference_takes_part(self) -> "_Comparison":
        if self.statistics.reference not in (None, *self.losses):
            raise ValueError(
                f"reference: got {self.statistics.reference}, expected one of the losses: "
                f"{', '.join(map(str, self.losses))}"
            )
        return self

    @property
    def reference(self) -> LossSpec:
        """The loss that all others are compared with."""
        if self.statistics.reference is not None:
            return self.statistics.reference
        by_name = {str(loss): loss for loss in self.losses}
        return by_name.get("dice-ce") or by_name.get("ce") or self.losses[0]


class CompareConfig(_Comparison):
    """A comparison of losses: every loss with every seed on every fold of the same data."""

    data: DataConfig | None = None  # None: the demo's own
    training: TrainingConfig = TrainingConfig()
    tune: TuneConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_nnunet(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("nnunet") is not None:
            raise ValueError("nnunet: is for trainer: nnunet, and the trainer is own")
        if isinstance(values, dict) and values.get("trainer") == "nnunet":
            raise ValueError(
                "trainer: nnunet is for `dilated-ce compare --trainer nnunet`, or in Python "
                "dilated_ce.study.with_nnunet"
            )
        return values

    @model_validator(mode="after")
    def _fits_this_machine(self) -> "CompareConfig":
        check_gpus_are_said(self.execution, "training.device", self.training.device)
        # Of the machines that compute, if they are others, the engine is asked.
        if self.execution.engine != "local" and self.training.device != "cpu":
            return self
        if self.training.device == "gpu" and not has_gpu():
            raise ValueError(
                "training.device: got gpu, and PyTorch sees no GPU here; expected auto or cpu, or "
                "an engine that computes on other machines (execution.engine: ray or slurm)"
            )
        on_cpu = self.training.device == "cpu" or not has_gpu()
        gpus = 0 if on_cpu else max(1, torch.cuda.device_count())
        if not on_cpu and self.training.devices > gpus:
            raise ValueError(
                f"training.devices: got {self.training.devices}, expected at most the "
                f"{gpus} GPUs here"
            )
        if on_cpu and self.training.precision == "16-mixed":
            raise ValueError(
                "training.precision: got 16-mixed, which CPUs don't have; expected bf16-mixed or "
                "32-true"
            )
        return self


def check_gpus_are_said(execution: ExecutionConfig, name: str, device: str) -> None:
    """Slurm gives what it is asked for, and a request for GPUs is one or is none.

    Raises:
        ValueError: it is open.
    """
    if execution.engine == "slurm" and device == "auto" and execution.gpus_per_run is None:
        raise ValueError(
            f"{name}: got auto, which does not say whether Slurm is to be asked for a GPU; "
            "expected gpu or cpu"
        )


class NnunetCompareConfig(_Comparison):
    """A comparison of losses in nnU-Net: every loss with every seed on folds of its data set."""

    nnunet: NnunetConfig

    @model_validator(mode="before")
    @classmethod
    def _without_own_training(cls, values: Any) -> Any:
        there = [name for name in OF_OUR_TRAINER if isinstance(values, dict) and values.get(name)]
        if there:
            raise ValueError(
                f"{', '.join(there)}: for trainer: own; nnU-Net has its data set and its plans "
                "instead (nnunet), and these mean nothing to it"
            )
        return values

    @model_validator(mode="after")
    def _says_where(self) -> "NnunetCompareConfig":
        check_gpus_are_said(self.execution, "nnunet.device", self.nnunet.device)
        return self


class SettingsError(Exception):
    """Settings that cannot be used; the message names the line or the option, and says why."""
