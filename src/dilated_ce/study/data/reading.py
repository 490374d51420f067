"""Opening a data set: which files it has, what they mean, and how they are split."""

import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from dilated_ce.study.data.cases import DataError, DataSet, Found, Parts
from dilated_ce.study.data.checking import Looking, look_at_cases
from dilated_ce.study.data.folders import open_folder
from dilated_ce.study.data.nnunet_raw import open_nnunet_raw
from dilated_ce.study.data.paths import absence, is_dead
from dilated_ce.study.data.patients import ask_for_patients, find_groups
from dilated_ce.study.data.split import make_folds
from dilated_ce.study.data.strata import find_strata
from dilated_ce.study.wording import some


def _names_something(path: Any) -> Any:
    if not isinstance(path, str | Path) or str(path) == "" or "\0" in str(path):
        raise ValueError(f"got {path!r}, expected a path")
    return path


# Without this, the empty text would be the folder that one is in.
NonemptyPath = Annotated[Path, BeforeValidator(_names_something)]


class Strict(BaseModel):
    """Immutable settings; an unknown or misspelt one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _is_not_true(cls, value: Any) -> Any:
        if isinstance(value, bool):  # which pydantic takes as 1 or 0, and none is wanted here
            raise ValueError(f"got {str(value).lower()}, expected a number or text")
        return value


def _has_a_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    if groups < 1:
        raise ValueError(f"{pattern!r} has no group; put the patient in brackets: (...)")
    return pattern


# A regular expression that finds the patient in a case's name.
Grouping = Annotated[str, AfterValidator(_has_a_group)]


def _background_first(classes: dict[str, int | str]) -> dict[str, int | str]:
    """The first class is the background; one that is called so cannot be another."""
    first = next(iter(classes), "")
    named = [name for name in classes if name.strip().lower() == "background"]
    if named and first not in named:
        order = [*named, *(name for name in classes if name not in named)]
        shown = ",".join(f"{name}={classes[name]}" for name in order)
        raise ValueError(f"the background has to be first, got {first} first; write {shown}")
    return classes


# The grey value or colour of each class in masks.
MaskClasses = Annotated[
    dict[str, int | str], Field(min_length=2), AfterValidator(_background_first)
]


class DataConfig(Strict):
    """Where the data are and how they are read."""

    path: NonemptyPath = Field(
        description="a folder with images/ and masks/, or in nnU-Net's raw or the Medical "
        "Segmentation Decathlon's format"
    )
    dims: Literal["auto", 2, 3] = Field(
        default="auto", description="dimensions of the patches; 2 takes the slices of volumes"
    )
    scale: float = Field(default=1.0, gt=0, le=4, description="resizes 2D images")
    spacing: tuple[float, ...] | None = Field(
        default=None, description="resamples volumes to this size of a voxel in mm"
    )
    mask_threshold: int | None = Field(
        default=None, ge=0, description="grey values above it are foreground"
    )
    mask_classes: MaskClasses | None = Field(
        default=None,
        description="grey value or colour (#rrggbb) of each class, the background first",
    )
    ignore_value: int | str | None = Field(
        default=None,
        description="grey value, palette index or colour (#rrggbb) of pixels that nobody labelled, "
        "which count neither in training nor in scores",
    )
    folds: int | None = Field(
        default=None, ge=2, description="number of folds for cross-validation"
    )
    split_file: NonemptyPath | None = Field(
        default=None, description="JSON or YAML with lists of cases: train, validation, test"
    )
    split_seed: int = Field(default=0, ge=0, le=2**32 - 1, description="seed of the random split")
    group_by: Grouping | None = Field(
        default=None,
        description="regular expression whose first group is the patient in the name of a "
        "case's file",
    )

    @field_validator("spacing")
    @classmethod
    def _is_a_size(cls, spacing: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if spacing is not None and (len(spacing) not in (2, 3) or min(spacing) <= 0):
            raise ValueError(f"got {spacing}, expected 2 or 3 sizes above 0")
        return spacing

    @model_validator(mode="after")
    def _one_of_two(self) -> "DataConfig":
        if self.mask_threshold is not None and self.mask_classes is not None:
            raise ValueError("expected one of mask_threshold and mask_classes, got both")
        if self.folds is not None and self.split_file is not None:
            raise ValueError("expected one of folds and split_file, got both")
        return self


def open_data(config: DataConfig, look: Looking = look_at_cases) -> DataSet:
    """Find the cases of a data set and split them; images are read later, one by one.

    Args:
        config: where they are, and how they are read.
        look: looks at every case; it is asked where a split is to be drawn, as parts are to be
            alike in their classes and sizes. Its data set has no folds yet.

    Raises:
        DataError: with everything that is wrong with the files and the split.

    Examples:
        >>> open_data(DataConfig(path="nowhere"))
        Traceback (most recent call last):
        dilated_ce.study.data.cases.DataError: nowhere is no folder.
    """
    try:
        data, parts = _find(config)
    except OSError as error:  # such as a folder that may not be read, or a name that is too long
        raise DataError(f"the data cannot be read: {error}") from error
    folds, split = make_folds(
        {case.name: case.group for case in data.cases},
        parts,
        config.split_file,
        config.folds,
        strata=lambda: find_strata(look(data)),
        seed=config.split_seed,
    )
    return replace(data, folds=folds, split=split)


def _find(config: DataConfig) -> tuple[DataSet, Parts | None]:
    """The data set, still without folds, and the parts that its folders are."""
    folder = config.path
    if not folder.is_dir():
        where = f" The {absence(folder)}." if is_dead(folder) else ""
        raise DataError(f"{folder} is no folder.{where}")
    if is_dead(folder / "dataset.json"):
        raise DataError(f"{folder / 'dataset.json'}: {absence(folder / 'dataset.json')}.")
    if (folder / "dataset.json").is_file():
        found = open_nnunet_raw(
            folder, None if config.dims == "auto" else config.dims, config.spacing
        )
        options = {
            "mask_threshold": None,
            "mask_classes": None,
            "ignore_value": None,
            "scale": 1.0,
        }
    else:
        found = open_folder(
            folder,
            config.scale,
            config.mask_threshold,
            config.mask_classes,
            config.ignore_value,
        )
        options = {"spacing": None}
        if config.dims == 3:
            raise DataError(f"{folder}: data.dims is 3, and these are 2D images.")
    for option, unused in options.items():
        if getattr(config, option) != unused:
            instead = (
                '; name the label "ignore" in dataset.json' if option == "ignore_value" else ""
            )
            raise DataError(f"{folder}: data.{option} is not for data of this format{instead}.")
    _check_names(folder, found)
    names = [case.name for case in found.cases]
    groups = find_groups(names, config.group_by)
    data = DataSet(
        name=folder.resolve().name,
        source=found.source,
        classes=found.classes,
        channels=found.channels,
        spatial_dims=found.spatial_dims,
        unit=found.unit,
        ignore_index=found.ignore_index,
        cases=tuple(case.in_group(groups[case.name]) for case in found.cases),
        folds=(),
        split="",
        notes=found.notes + (ask_for_patients(names) if config.group_by is None else ()),
        overlapping=found.overlapping,
        scale=config.scale,
        spacing=config.spacing,
    )
    return data, found.parts


def _check_names(folder: Path, found: Found) -> None:
    """Names are written into tables and pages, and on the terminal."""
    names = [folder.resolve().name, *(case.name for case in found.cases)]
    unfit = [
        ascii(name)
        for name in [*names, *found.classes, *found.channels]
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in name)
    ]
    if unfit:
        raise DataError(
            f"{ascii(str(folder))[1:-1]}: names hold line breaks or other control characters, or "
            f"are no UTF-8: {some(unfit)}; rename them."
        )
