"""What the studies under results/studies/ say: differences with intervals, and the sweeps."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dilated_ce.study.report.tables import summarise
from dilated_ce.study.scores.table import read_cases
from dilated_ce.study.statistics.comparison import falls_of
from dilated_ce.study.statistics.interval import Estimate, estimate
from dilated_ce.study.statistics.side_by_side import side_by_side
from dilated_ce.study.training.loss_spec import parse_loss

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "results" / "studies"
SETS = {"kvasir": "Kvasir-SEG", "acdc": "ACDC", "hippocampus": "Hippocampus", "stare": "STARE"}


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


def of_same_seeds(name: str) -> pd.DataFrame:
    """The scores of the main study under the seeds that its sweep has."""
    cases = cases_of(name)
    return cases[cases["seed"].isin(cases_of(f"{name}-radii")["seed"].unique())]


def with_ends(name: str) -> pd.DataFrame:
    """The scores of a sweep, and of the main study under the seeds that the sweep has."""
    return pd.concat([of_same_seeds(name), cases_of(f"{name}-radii")])


def pairs(cases: pd.DataFrame, loss: str, reference: str) -> tuple[Estimate, tuple[float, float]]:
    """The difference of Dice in points, and how far its interval reaches below and above it."""
    dice = 100 * side_by_side(cases).paired([loss, reference], "dice")
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


def sweep(name: str) -> pd.DataFrame:
    """Mean scores along the radius, by radius and scope of the volumes, over the sweep's seeds.

    The ends come from the main study: balanced CE is R = 0 with batch volumes, CE is R = infinity.
    """
    rows = []
    for loss, of_loss in with_ends(name).groupby("loss", sort=False):
        settings = {"volumes": "batch", **parse_loss(str(loss)).settings}
        if "radius" in settings:
            [mean] = summarise(side_by_side(of_loss))
            rows.append({"radius": settings["radius"], "volumes": settings["volumes"], **mean.mean})
    return pd.DataFrame(rows).set_index(["radius", "volumes"]).sort_index()


def show_radius(radius: float) -> str:
    """A radius as the tables and figures write it."""
    return "∞" if np.isinf(radius) else f"{radius:g}"
