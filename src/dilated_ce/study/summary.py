"""The table of a study: what the terminal, the report and README show."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from dilated_ce.study.losses import LossSpec, parse_loss

METRICS = ("dice", "recall", "precision")


@dataclass(frozen=True)
class Row:
    """One loss: the mean of each metric in per cent, and half its range over the seeds."""

    loss: LossSpec
    mean: dict[str, float]
    spread: dict[str, float]

    def cells(self) -> list[str]:
        """One cell per metric, such as `78.2 ± 0.1`."""
        return [
            "-" if pd.isna(self.mean[m]) else f"{self.mean[m]:.1f} ± {self.spread[m]:.1f}"
            for m in METRICS
        ]


@dataclass(frozen=True)
class Difference:
    """Mean Dice of one loss minus that of another in points, seed by seed."""

    loss: LossSpec
    reference: LossSpec
    mean: float
    lowest: float
    highest: float

    @property
    def sentence(self) -> str:
        """In words."""
        direction = "above" if self.mean >= 0 else "below"
        return (
            f"{self.loss.title} is {abs(self.mean):.1f} points of Dice {direction} "
            f"{self.reference.title} ({self.lowest:+.1f} to {self.highest:+.1f} over the seeds)"
        )


def per_seed(cases: pd.DataFrame) -> pd.DataFrame:
    """Mean over classes, then over cases, in per cent: index (loss, seed), columns the metrics.

    A score without a meaning, such as the precision of an empty prediction, is left out.
    """
    by_case = cases.groupby(["loss", "seed", "case"], sort=False)[list(METRICS)].mean()
    return 100 * by_case.groupby(["loss", "seed"], sort=False).mean()


def summarise(cases: pd.DataFrame) -> list[Row]:
    """The rows of the table, in the order of the study.

    Example:
        >>> cases = pd.DataFrame({"loss": "ce", "seed": [0, 1], "case": "a", "class": "lesion",
        ...                       "dice": [0.5, 0.6], "recall": [0.4, 0.4], "precision": 1.0})
        >>> summarise(cases)[0].cells()
        ['55.0 ± 5.0', '40.0 ± 0.0', '100.0 ± 0.0']
    """
    rows = []
    for loss, scores in per_seed(cases).groupby("loss", sort=False):
        spread = (scores.max() - scores.min()) / 2
        rows.append(Row(parse_loss(str(loss)), scores.mean().to_dict(), spread.to_dict()))
    return rows


def compare(cases: pd.DataFrame) -> list[Difference]:
    """What the paper's claims are about: DBCE against balanced CE, CE and Dice + CE.

    Dice + DBCE is held against Dice + CE alone. Losses that the study lacks are left out.
    """
    dice = per_seed(cases)["dice"].unstack("seed").reindex(cases["loss"].unique())
    specs = [parse_loss(str(name)) for name in dice.index]
    differences = []
    for loss in specs:
        for reference in specs:
            if reference.name in _REFERENCES.get(loss.name, ()):
                seeds = dice.loc[str(loss)] - dice.loc[str(reference)]
                differences.append(
                    Difference(loss, reference, seeds.mean(), seeds.min(), seeds.max())
                )
    return differences


def caution(num_seeds: int, num_cases: int) -> str:
    """What a table of this size can't say."""
    seeds = "one seed" if num_seeds == 1 else f"{num_seeds} seeds"
    cases = "one test image" if num_cases == 1 else f"{num_cases} test images"
    return f"{seeds} on {cases}: a first look, not a proof"


_REFERENCES: dict[str, Sequence[str]] = {
    "dbce": ("balanced-ce", "ce", "dice-ce"),
    "dbce-dice": ("dice-ce",),
}
