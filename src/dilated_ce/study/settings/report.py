"""What a report is made of, in one validated object, written as options or as arguments."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from dilated_ce.study.data.reading import Grouping, MaskClasses, NonemptyPath, Strict
from dilated_ce.study.scores.settings import ScoringConfig
from dilated_ce.study.scores.table import SCORES


class Source(Strict):
    """A table, a results folder of nnU-Net, or a folder of predictions."""

    path: NonemptyPath
    method: str | None = Field(default=None, min_length=1, description="what made the scores")
    seed: int | None = Field(
        default=None,
        ge=0,
        description="seed of an nnU-Net results folder; its place among those of one method",
    )


class ReportConfig(Strict):
    """A report from results that are there: of any number of methods, seeds, folds, data sets."""

    results: tuple[Source, ...] = Field(
        default=(), description="tables of scores, and results folders of nnU-Net"
    )
    predictions: tuple[Source, ...] = Field(
        default=(), description="folders of predicted masks, each with its method"
    )
    truth: NonemptyPath | None = Field(
        default=None, description="folder of the true masks, named as the predictions"
    )
    columns: dict[str, str] = Field(
        default={}, description="names of columns in tables: {method: algo, dice: DSC}"
    )
    columns_of: Literal["classes", "methods"] | None = Field(
        default=None, description="what columns such as a_dice and b_dice are called by"
    )
    scale: Literal["fractions", "percent"] = Field(
        default="fractions", description="how tables write Dice and the like"
    )
    metrics: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="the scores to use; all found"
    )
    cases: Literal["all", "shared"] = Field(
        default="all",
        description="every method must have all cases of a run, or use only those that all have",
    )
    group_by: Grouping | None = Field(
        default=None, description="regular expression whose first group is a case's patient"
    )
    unit: str | None = Field(default=None, min_length=1, description="unit of distances in tables")
    name: str | None = Field(
        default=None, min_length=1, description="name of the data, for the title"
    )
    mask_classes: MaskClasses | None = Field(
        default=None, description="value of each class in masks, background first"
    )
    mask_threshold: int | None = Field(
        default=None, ge=0, description="grey values above this are foreground in PNG masks"
    )
    ignore_value: int | str | None = Field(
        default=None, description="value of voxels that nobody labelled in the true masks"
    )
    scoring: ScoringConfig = ScoringConfig()
    reference: str | None = Field(default=None, description="the method to compare the others with")
    margin: float = Field(
        default=1.5, gt=0, description="Dice points within which methods count as equivalent"
    )
    resamples: int = Field(
        default=5000, ge=200, description="resamples of the bootstrap of the ranks"
    )
    jobs: int | None = Field(
        default=None, ge=1, description="processes to score with; one per core"
    )
    out: NonemptyPath = Field(description="folder for the report and its tables")

    @field_validator("metrics")
    @classmethod
    def _are_scores(cls, metrics: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = [name for name in metrics or () if name not in SCORES]
        if unknown:
            raise ValueError(f"got {', '.join(unknown)}, expected some of {', '.join(SCORES)}")
        if metrics is not None and "dice" not in metrics:
            raise ValueError(
                f"got {', '.join(metrics)}, expected dice among them: verdicts and ranks go by it"
            )
        return metrics

    @model_validator(mode="after")
    def _has_results(self) -> "ReportConfig":
        if not self.results and not self.predictions:
            raise ValueError(
                "no results: name tables or results folders of nnU-Net, or predictions and truth"
            )
        if self.predictions and self.truth is None:
            raise ValueError("truth is missing: predictions are scored against it; name its folder")
        unnamed = [source.path for source in self.predictions if source.method is None]
        if unnamed:
            raise ValueError(f"predictions: {unnamed[0]} needs a name: NAME={unnamed[0]}")
        return self
