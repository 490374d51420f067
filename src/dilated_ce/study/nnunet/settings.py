"""Settings of nnU-Net as the trainer."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from dilated_ce.study.data.reading import Grouping, Strict


class NnunetConfig(Strict):
    """What nnU-Net trains on, and for how long; everything else is in its plans."""

    dataset: int | str = Field(description="number or name of nnU-Net's data set: 4")
    configuration: str = Field(
        default="3d_fullres", min_length=1, description="configuration of the plans"
    )
    plans: str = Field(default="nnUNetPlans", min_length=1, description="name of the plans")
    folds: tuple[int, ...] | None = Field(
        default=None, min_length=1, description="folds of splits_final.json; all of them"
    )
    epochs: int = Field(default=1000, ge=1, description="of each run")
    iterations: int | None = Field(
        default=None, ge=1, description="training steps in an epoch; nnU-Net's 250"
    )
    group_by: Grouping | None = Field(
        default=None, description="regular expression whose first group is a case's patient"
    )
    device: Literal["auto", "cpu", "gpu", "mps"] = Field(
        default="auto", description="where to train; a GPU if there is one"
    )
    devices: int = Field(default=1, ge=1, description="GPUs that share each run")

    @field_validator("dataset")
    @classmethod
    def _names_one(cls, dataset: int | str) -> int | str:
        if isinstance(dataset, str) and dataset.isdecimal():
            dataset = int(dataset)
        whole = isinstance(dataset, str) and re.fullmatch(r"Dataset\d{3,}_[^/\\]+", dataset)
        if not whole and not (isinstance(dataset, int) and dataset >= 0):
            raise ValueError(
                f"got {dataset!r}, expected a number or a name: 4, Dataset004_Hippocampus"
            )
        return dataset

    @field_validator("folds", mode="before")
    @classmethod
    def _one_is_a_list(cls, folds: Any) -> Any:
        return (folds,) if isinstance(folds, int) else folds

    @field_validator("folds")
    @classmethod
    def _each_once(cls, folds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if folds is not None and (len(set(folds)) < len(folds) or min(folds) < 0):
            raise ValueError(f"got {list(folds)}, expected each once, from 0 on")
        return folds
