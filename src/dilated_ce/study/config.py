"""What a study does, in one validated object. The demo of the command line is one such."""

from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    field_validator,
    model_validator,
)

from dilated_ce.study.losses import LossSpec, parse_loss


def _as_loss(loss: str | LossSpec) -> LossSpec:
    return loss if isinstance(loss, LossSpec) else parse_loss(loss)


# Written as text, such as "dbce:radius=2", in files and by callers alike.
Loss = Annotated[LossSpec, PlainValidator(_as_loss), PlainSerializer(str)]


class Strict(BaseModel):
    """Immutable, and an unknown or misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingConfig(Strict):
    """How every network is trained, whatever its loss."""

    steps: int = Field(default=350, ge=1, description="optimiser steps of each run")
    batch_size: int = Field(default=8, ge=1, description="patches per step")
    patch_size: int = Field(default=128, ge=16, description="side of a square patch, in pixels")
    learning_rate: float = Field(default=6e-3, gt=0, description="peak of the one-cycle schedule")
    weight_decay: float = Field(default=1e-4, ge=0, description="of AdamW")
    channels: tuple[int, ...] = Field(
        default=(16, 32, 64, 128), min_length=2, description="channels of the U-Net's levels"
    )
    evaluations: int = Field(
        default=5, ge=1, description="points of the learning curve on the test images"
    )
    device: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="where to train")

    @field_validator("device")
    @classmethod
    def _is_there(cls, device: str) -> str:
        if device == "gpu" and not (torch.cuda.is_available() or torch.backends.mps.is_available()):
            raise ValueError("PyTorch sees no GPU here; expected auto or cpu")
        return device

    @model_validator(mode="after")
    def _patches_fit_the_network(self) -> "TrainingConfig":
        factor = 2 ** (len(self.channels) - 1)
        if self.patch_size % factor:
            raise ValueError(
                f"patch_size: got {self.patch_size}, expected a multiple of {factor}, as each of "
                f"{len(self.channels)} levels but the first halves it"
            )
        return self


class StudyConfig(Strict):
    """A comparison of losses: every loss with every seed on the same data."""

    losses: tuple[Loss, ...] = Field(min_length=1, description="such as ce or dbce:radius=2")
    seeds: int = Field(
        default=2, ge=1, description="number of seeds; each gives its own initial weights"
    )
    training: TrainingConfig = TrainingConfig()
    out: Path = Field(description="folder for runs, tables and the report")

    @field_validator("losses")
    @classmethod
    def _each_once(cls, losses: tuple[LossSpec, ...]) -> tuple[LossSpec, ...]:
        twice = next((loss for loss in losses if losses.count(loss) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice} is given twice, expected each loss once")
        return losses
