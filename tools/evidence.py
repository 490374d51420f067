"""What the studies under results/studies/ say: the claims, differences with intervals, the sweeps.

The claims and the goals are stated here, before any run, and come out as they come out.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dilated_ce.study.report.tables import summarise
from dilated_ce.study.scores.table import read_cases
from dilated_ce.study.statistics.comparison import falls_of, paired
from dilated_ce.study.statistics.interval import Estimate, estimate
from dilated_ce.study.training.loss_spec import parse_loss

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "results" / "studies"
SETS = {"kvasir": "Kvasir-SEG", "acdc": "ACDC", "hippocampus": "Hippocampus", "stare": "STARE"}
MARGIN = 1.5  # points of Dice within which losses count as equal

AUTO, AUTO_DICE = "dbce:radius=auto", "dbce-dice:radius=auto"


@dataclass(frozen=True)
class Claim:
    """One loss against another, and what is claimed of it."""

    text: str
    loss: str
    reference: str
    kind: str  # "better", "equal" or "not worse"


CLAIMS = (
    Claim("1. DBCE is better than balanced CE", AUTO, "balanced-ce", "better"),
    Claim("2. DBCE is better than CE", AUTO, "ce", "better"),
    Claim("3. DBCE is as good as Dice + CE", AUTO, "dice-ce", "equal"),
)
GOALS = (
    Claim("DBCE is not worse than Dice + CE", AUTO, "dice-ce", "not worse"),
    Claim("Dice + DBCE is better than Dice + CE", AUTO_DICE, "dice-ce", "better"),
)


@dataclass(frozen=True)
class Difference:
    """Points of Dice that one loss is above another, with the 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        """In two lines, which fit into a narrow column."""
        return f"{self.mean:+.1f}<br>({self.low:+.1f} to {self.high:+.1f})"


def study_of(name: str) -> dict[str, Any]:
    """The settings of a study, and what it found its data to be."""
    return json.loads((STUDIES / name / "study.json").read_text(encoding="utf-8"))


def cases_of(name: str) -> pd.DataFrame:
    """The scores of a study."""
    return read_cases(STUDIES / name / "cases.csv")


def curves_of(name: str) -> pd.DataFrame:
    """Validation Dice in the course of the runs of a study."""
    return pd.read_csv(STUDIES / name / "curves.csv")


def of_seeds(table: pd.DataFrame, loss: str, seeds: np.ndarray) -> pd.DataFrame:
    """The rows of a loss under some of its seeds."""
    return table[(table["loss"] == loss) & table["seed"].isin(seeds)]


def of_same_seeds(name: str) -> pd.DataFrame:
    """The scores of the main study under the seeds that its sweep has."""
    cases = cases_of(name)
    return cases[cases["seed"].isin(cases_of(f"{name}-radii")["seed"].unique())]


def pairs(cases: pd.DataFrame, loss: str, reference: str) -> tuple[Estimate, tuple[float, float]]:
    """The difference of Dice in points, and how far its interval reaches below and above it."""
    dice = 100 * paired(cases[cases["loss"].isin([loss, reference])], [loss, reference])
    found = estimate(dice[loss] - dice[reference])
    falls = falls_of(dice[loss], dice[reference], "dice")
    return found, found.half_widths(falls=falls)


def difference(cases: pd.DataFrame, loss: str, reference: str) -> Difference:
    """On one data set; the interval is that of `dilated-ce compare`, of this difference alone."""
    found, (below, above) = pairs(cases, loss, reference)
    return Difference(found.mean, found.mean - below, found.mean + above)


def pooled(tables: list[pd.DataFrame], loss: str, reference: str) -> Difference:
    """The mean over these data sets, each counting the same: other patients and seeds of them."""
    found = [pairs(cases, loss, reference) for cases in tables]
    mean = float(np.mean([one.mean for one, _ in found]))
    # The sets are independent: half widths add as the roots of squares do (MOVER).
    below, above = np.sqrt((np.array([widths for _, widths in found]) ** 2).sum(0)) / len(found)
    return Difference(mean, mean - float(below), mean + float(above))


def verdict(kind: str, found: Difference) -> str:
    """What the interval says of the claim."""
    if kind == "better":
        if found.low > 0 and found.high <= MARGIN:
            return "within the margin"
        if found.low > 0:
            return "confirmed"
        return "refuted" if found.high < 0 else "open"
    if kind == "not worse":
        if found.low > -MARGIN:
            return "confirmed"
        return "refuted" if found.high < -MARGIN else "open"
    if found.low > -MARGIN and found.high < MARGIN:
        return "confirmed"
    if found.low > 0:
        return "better"
    if found.low > -MARGIN:
        return "not worse"
    return "refuted" if found.high < -MARGIN else "open"


def sweep(name: str) -> pd.DataFrame:
    """Mean scores along the radius, by radius and scope of the volumes, over the sweep's seeds.

    The ends come from the main study: balanced CE is R = 0 with batch volumes, CE is R = infinity.
    """
    ends = of_same_seeds(name)
    ends = ends[ends["loss"].isin(["balanced-ce", "ce"])]
    rows = []
    cases = pd.concat([ends, cases_of(f"{name}-radii")])
    for loss, of_loss in cases.groupby("loss", sort=False):
        settings = {"balance": "batch", "overlap": "sum", **parse_loss(str(loss)).settings}
        if settings["radius"] == "auto" or settings["overlap"] != "sum":
            continue
        [mean] = summarise(of_loss)
        rows.append({"radius": settings["radius"], "balance": settings["balance"], **mean.mean})
    return pd.DataFrame(rows).set_index(["radius", "balance"]).sort_index()


def show_radius(radius: float) -> str:
    """A radius as the tables and figures write it."""
    return "∞" if np.isinf(radius) else f"{radius:g}"


def title_of(loss: str) -> str:
    """A loss as the tables and figures write it, the automatic radius going without saying."""
    return parse_loss(loss).title.replace(" (R = auto)", "")
