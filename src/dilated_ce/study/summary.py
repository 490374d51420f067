"""The table of a study: what the terminal, the report and README show."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dilated_ce.study.losses import LossSpec, parse_loss

METRICS = ("dice", "recall", "precision")


@dataclass(frozen=True)
class Row:
    """One loss: the mean of each metric in per cent, and half its range over the seeds."""

    loss: LossSpec
    mean: dict[str, float]
    spread: dict[str, float]  # empty with a single seed

    def cells(self) -> list[str]:
        """One cell per metric, such as `78.2 ± 0.1`."""
        return [self._cell(metric) for metric in METRICS]

    def _cell(self, metric: str) -> str:
        if pd.isna(self.mean[metric]):
            return "-"
        spread = f" ± {self.spread[metric]:.1f}" if self.spread else ""
        return f"{self.mean[metric]:.1f}{spread}"


@dataclass(frozen=True)
class Difference:
    """Mean Dice of one loss minus that of another in points, seed by seed."""

    loss: LossSpec
    reference: LossSpec
    seeds: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return sum(self.seeds) / len(self.seeds)

    @property
    def sentence(self) -> str:
        """In words."""
        points = f"{abs(self.mean):.1f}"
        place = "above" if self.mean > 0 else "below"
        where = "level with" if points == "0.0" else f"{points} points of Dice {place}"
        extent = f" ({min(self.seeds):+.1f} to {max(self.seeds):+.1f} over the seeds)"
        return (
            f"{self.loss.title} is {where} {self.reference.title}"
            f"{extent if len(self.seeds) > 1 else ''}"
        )


def read_cases(path: Path) -> pd.DataFrame:
    """Read a `cases.csv`; a case may well be called "null" or "NA"."""
    missing = {column: [""] for column in (*METRICS, "radius", "balance", "overlap")}
    text = {"loss": str, "case": str, "class": str}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=missing)


def count(number: int, what: str) -> str:
    """A number with its noun: `one seed`, `2 seeds`."""
    return f"one {what}" if number == 1 else f"{number} {what}s"


def per_seed(cases: pd.DataFrame) -> pd.DataFrame:
    """Mean over classes, then over cases, in per cent: index (loss, seed), columns the metrics.

    A score without a meaning is left out: precision where nothing is found, recall where nothing
    is there to be found, Dice where both hold.
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
        spread = ((scores.max() - scores.min()) / 2).to_dict() if len(scores) > 1 else {}
        rows.append(Row(parse_loss(str(loss)), scores.mean().to_dict(), spread))
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
                differences.append(Difference(loss, reference, tuple(seeds)))
    return differences


def caution(num_seeds: int, num_cases: int) -> str:
    """What a table of this size can't say."""
    return (
        f"{count(num_seeds, 'seed')} on {count(num_cases, 'test image')}: a first look, not a proof"
    )


_REFERENCES: dict[str, Sequence[str]] = {
    "dbce": ("balanced-ce", "ce", "dice-ce"),
    "dbce-dice": ("dice-ce",),
}
