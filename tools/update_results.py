"""Write the tables and figures of docs/results.md from the files under results/studies/.

python tools/update_results.py           rewrite what lies between the markers, and the figures
python tools/update_results.py --check   fail if docs/results.md is not what the files say

The claims and the goals are stated here, before any run, and come out as they come out.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dilated_ce.study.bootstrap import CONFIDENCE, Scores
from dilated_ce.study.records import read_cases

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "results" / "studies"
SETS = {"kvasir": "Kvasir-SEG", "acdc": "ACDC", "hippocampus": "Hippocampus", "stare": "STARE"}
MARGIN = 1.5  # points of Dice within which losses count as equal
RESAMPLES = 20000

AUTO, AUTO_DICE = "dbce", "dbce-dice"


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
        return f"{self.mean:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def cases_of(name: str) -> pd.DataFrame:
    """The scores of a study."""
    return read_cases(STUDIES / name / "cases.csv")


def pairs(cases: pd.DataFrame, loss: str, reference: str) -> Scores:
    """Differences of Dice by seed, fold and patient, in points."""
    keys = ["seed", "fold", "group", "case"]
    dice = {
        name: 100 * cases[cases["loss"] == name].groupby(keys)["dice"].mean()
        for name in (loss, reference)
    }
    return Scores((dice[loss] - dice[reference]).dropna())


def difference(cases: pd.DataFrame, loss: str, reference: str) -> Difference:
    """On one data set; the interval is that of `dilated-ce compare`."""
    scores = pairs(cases, loss, reference)
    return Difference(float(scores.group_means.mean()), *scores.interval(RESAMPLES))


def pooled(tables: list[pd.DataFrame], loss: str, reference: str) -> Difference:
    """The mean over these data sets, each counting the same: other patients and seeds of them."""
    scores = [pairs(cases, loss, reference) for cases in tables]
    mean = float(np.mean([one.group_means.mean() for one in scores]))
    spread = np.mean(
        [one.deviations(RESAMPLES, np.random.default_rng(seed)) for seed, one in enumerate(scores)],
        axis=0,
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = mean + np.quantile(spread, [tail, 1 - tail])
    return Difference(mean, float(low), float(high))


def verdict(kind: str, found: Difference) -> str:
    """What the interval says of the claim."""
    if kind == "better":
        if found.low > 0:
            return "confirmed"
        return "refuted" if found.high < 0 else "open"
    if kind == "not worse":
        if found.low > -MARGIN:
            return "confirmed"
        return "refuted" if found.high < -MARGIN else "open"
    if found.low > 0:
        return "better"
    if found.low > -MARGIN and found.high < MARGIN:
        return "confirmed"
    if found.low > -MARGIN:
        return "not worse"
    return "refuted" if found.high < -MARGIN else "open"


def claims_table(claims: tuple[Claim, ...]) -> str:
    """A row per claim: the difference on each data set and on all, and what it says."""
    tables = {name: cases_of(name) for name in SETS}
    lines = [_row(["", *SETS.values(), "all four"]), _row(["---", *["---"] * (len(SETS) + 1)])]
    for claim in claims:
        found = [difference(cases, claim.loss, claim.reference) for cases in tables.values()]
        found.append(pooled(list(tables.values()), claim.loss, claim.reference))
        cells = [f"{one}<br>{verdict(claim.kind, one)}" for one in found]
        lines.append(_row([claim.text, *cells]))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
