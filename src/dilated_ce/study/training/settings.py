"""Settings of the training, and of the search for a learning rate."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    StrictInt,
    field_validator,
    model_validator,
)

from dilated_ce.study.data.reading import Strict
from dilated_ce.study.training.loss_spec import LossSpec, parse_loss
from dilated_ce.study.training.network_spec import WITH_CHANNELS, WITH_NORM, parse_network


def _as_loss(loss: str | LossSpec) -> LossSpec:
    if not isinstance(loss, str | LossSpec):
        raise ValueError(f"got {loss!r:.80}, expected text such as dbce:radius=2")
    return loss if isinstance(loss, LossSpec) else parse_loss(loss)


# Written as text, such as "dbce:radius=2", in files and by callers alike.
Loss = Annotated[LossSpec, PlainValidator(_as_loss), PlainSerializer(str)]


class TrainingConfig(Strict):
    """How every network is trained, whatever its loss."""

    network: str = Field(
        default="unet",
        description="of MONAI, such as unet or SwinUNETR:feature_size=12; smp:NAME from "
        "segmentation_models.pytorch; or module:function of your own",
    )
    weights: Path | None = Field(
        default=None, description="a file with weights to start from, a state dict of the network"
    )
    output_weights: tuple[float, ...] | None = Field(
        default=None,
        description="weights of the outputs under deep supervision; 1, 1/2, 1/4, ...",
    )
    channels: tuple[StrictInt, ...] = Field(
        default=(16, 32, 64, 128),
        min_length=2,
        max_length=10,
        description="channels of the network's levels; each level but the first halves the image",
    )
    norm: Literal["instance", "batch"] = Field(
        default="batch", description="normalisation layers of the network"
    )
    steps: int = Field(default=1000, ge=1, description="optimiser steps of each run")
    batch_size: int | None = Field(
        default=None, ge=1, description="patches per step, of all devices; 8 in 2D and 4 in 3D"
    )
    patch_size: tuple[int, ...] | None = Field(
        default=None, description="voxels per axis; the median case, at most 128 in 2D, 64 in 3D"
    )
    foreground: float = Field(
        default=0.5, ge=0, le=1, description="share of patches centred on a foreground voxel"
    )
    augmentation: Literal["standard", "none"] = Field(
        default="standard", description="flips, right-angle turns, changes of intensity"
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw", description="sgd has a Nesterov momentum of 0.99, as in nnU-Net"
    )
    learning_rate: float | None = Field(
        default=None, gt=0, le=1000, description="peak learning rate; 0.003 for adamw, 0.01 for sgd"
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="weight decay of the optimiser")
    schedule: Literal["one-cycle", "poly", "cosine", "constant"] = Field(
        default="one-cycle", description="schedule of the learning rate; poly has the power 0.9"
    )
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = Field(
        default="32-true", description="precision of the network; the losses compute in float32"
    )
    forward: Literal["eager", "compiled"] = Field(
        default="eager",
        description="compiled trains with torch.compile: faster after a minute; needs a C compiler",
    )
    device: Literal["auto", "cpu", "gpu"] = Field(default="auto", description="where to train")
    devices: int = Field(default=1, ge=1, description="GPUs, or processes, that share each run")
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="CPU threads of a run: OMP_NUM_THREADS, or the cores over the number of runs",
    )
    loaders: int = Field(
        default=0, ge=0, description="processes that load patches, for a GPU that waits for them"
    )
    evaluations: int = Field(
        default=5, ge=1, description="points of the learning curve, and checkpoints, of each run"
    )

    @field_validator("network")
    @classmethod
    def _is_a_network(cls, network: str) -> str:
        parse_network(network)
        return network

    @field_validator("weights")
    @classmethod
    def _can_be_opened(cls, weights: Path | None) -> Path | None:
        if weights is not None and not weights.is_file():
            raise ValueError(f"got {weights}, which is no file; expected a state dict")
        return None if weights is None else weights.resolve()

    @field_validator("output_weights")
    @classmethod
    def _can_be_weighed(cls, weights: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if weights is not None and not (min(weights, default=-1) >= 0 and 0 < sum(weights) < 1e9):
            raise ValueError(f"got {list(weights)}, expected numbers of 0 or more, not all 0")
        return weights

    @field_validator("channels")
    @classmethod
    def _can_be_built(cls, channels: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= number <= 4096 for number in channels):
            raise ValueError(f"got {list(channels)}, expected numbers from 1 to 4096")
        return channels

    @field_validator("patch_size", mode="before")
    @classmethod
    def _one_side_for_all(cls, side: Any) -> Any:
        return (side,) if isinstance(side, int) else side

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingConfig":
        doubled = [self.channels[0] * 2**level for level in range(len(self.channels))]
        if self.network == "segresnet" and list(self.channels) != doubled:
            raise ValueError(
                f"channels: got {list(self.channels)}, expected {doubled}, as segresnet doubles "
                "them at each level"
            )
        spec = parse_network(self.network)
        for name, takers in (("channels", WITH_CHANNELS), ("norm", WITH_NORM)):
            given = getattr(self, name) != type(self).model_fields[name].default
            if given and spec.name not in takers:
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, which is for {', '.join(takers)}; what "
                    f"{spec.name} takes is written behind its name: {spec.name}:ARGUMENT=VALUE"
                )
        factor = spec.factor(self.channels)
        for side in self.patch_size or ():
            if side < 1 or side % (factor or 1):
                why = (
                    f"each of {len(self.channels)} levels but the first halves it"
                    if spec.name in WITH_CHANNELS
                    else f"{spec.name} halves it"
                )
                raise ValueError(
                    f"patch_size: got {side}, expected a multiple of {factor}, as {why}"
                )
        if self.batch_size is not None and self.batch_size % self.devices:
            raise ValueError(
                f"batch_size: got {self.batch_size}, expected a multiple of devices, {self.devices}"
            )
        return self


class ResolvedTraining(TrainingConfig):
    """Training with nothing left open: see `resolve`."""

    batch_size: int
    patch_size: tuple[int, ...]
    learning_rate: float
    threads: int


class TuneConfig(Strict):
    """An equal search for the learning rate of each loss, judged on each fold's validation part."""

    factors: tuple[float, ...] = Field(
        default=(1 / 3, 1.0, 3.0),
        min_length=2,
        description="factors of training.learning_rate to try",
    )
    steps: int | None = Field(
        default=None, ge=1, description="steps of each trial; as many as training.steps"
    )

    @field_validator("factors")
    @classmethod
    def _can_be_tried(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(factors)) < len(factors) or not all(0 < factor <= 1e4 for factor in factors):
            raise ValueError(f"got {list(factors)}, expected each once, above 0, at most 1e4")
        return factors
