"""A mean of paired differences with its 95 % interval: other patients, and other seeds.

Chance enters in three ways, and each has a part of the interval's half width:

- which patients were tested: t x standard error of the patients' means, n - 1 degrees of freedom;
- which seeds were drawn: t x standard error of the runs' means, pooled over the folds. What differs
  between runs by the noise of their cases is in both parts, which errs on the safe side: to take it
  off, as one would of an analysis of variance, leaves nothing where two seeds agree by chance;
- which kinds of patients the test part lacks: of a kind that none of n patients is of there may be
  1 - 0.1^(1/n) in all (else one would be there in nine of ten studies), and at worst one of the two
  losses fails on them wholly. A few catastrophic patients are what makes means of Dice uncertain,
  and without this part the interval is far too sure where the sample happens to hold none.

The parts are added as the roots of squares are: this is MOVER, the method of variance estimates
recovery (Zou and Donner, Statistics in Medicine 2008; for components of variance Graybill and Wang,
JASA 1980), with Student's quantiles for each part. `benchmarks/coverage_of_intervals.py` measures
how often the interval holds the truth. What another *training set* would give is in no part of it.
"""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
UNSEEN = 0.1  # chance that a kind of patient as frequent as we allow for is missing in the sample


@dataclass(frozen=True)
class Estimate:
    """A mean, and how it spreads."""

    mean: float
    groups: int  # patients, or the like
    error_of_groups: float  # standard error: other patients
    error_of_runs: float  # standard error: other seeds; NaN where no fold has two of them
    freedom_of_runs: int

    @property
    def error(self) -> float:
        """The standard error of the mean: of other patients, and of other seeds if it is known."""
        of_runs = self.error_of_runs if self.freedom_of_runs else 0.0
        return math.hypot(self.error_of_groups, of_runs)

    def interval(
        self,
        *,
        falls: tuple[float, float] = (0.0, 0.0),
        comparisons: int = 1,
        other_seeds: bool = True,
    ) -> tuple[float, float]:
        """The interval; NaN for a single group.

        Args:
            falls: how far below and above the mean a patient of an unseen kind may lie.
            comparisons: of so many intervals all hold together, by Bonferroni.
            other_seeds: for seeds in general, if there are two; else for those at hand.
        """
        low, high = self.half_widths(falls=falls, comparisons=comparisons, other_seeds=other_seeds)
        return self.mean - low, self.mean + high

    def half_widths(
        self,
        *,
        falls: tuple[float, float] = (0.0, 0.0),
        comparisons: int = 1,
        other_seeds: bool = True,
    ) -> tuple[float, float]:
        """How far the interval reaches below and above the mean; see `interval`."""
        if self.groups < 2:
            return math.nan, math.nan
        tail = (1 - CONFIDENCE) / 2 / comparisons
        parts = [stats.t.isf(tail, self.groups - 1) * self.error_of_groups]
        if other_seeds and self.freedom_of_runs:
            parts.append(stats.t.isf(tail, self.freedom_of_runs) * self.error_of_runs)
        unseen = 1 - UNSEEN ** (1 / self.groups)
        low, high = (math.hypot(*parts, unseen * fall) for fall in falls)
        return float(low), float(high)


def estimate(values: pd.Series) -> Estimate:
    """The mean over patients of values by seed, fold and group (and more, if wanted).

    The values of a group are averaged within each run, then over the seeds; a group counts once.

    Examples:
        >>> names = ["seed", "fold", "group"]
        >>> index = pd.MultiIndex.from_product([[0, 1], [0], ["p", "q"]], names=names)
        >>> found = estimate(pd.Series([1.0, 3.0, 2.0, 4.0], index))
        >>> found.mean, found.error_of_groups, found.error_of_runs
        (2.5, 1.0, 0.5)
    """
    table = values.groupby(["fold", "group", "seed"]).mean().unstack("seed")
    groups = table.mean(axis=1)
    # A row of runs for each fold, and the fold's share of the groups.
    by_fold = [of_fold.to_numpy() for _, of_fold in table.groupby("fold")]
    runs = [np.nanmean(of_fold[:, ~np.isnan(of_fold).all(0)], axis=0) for of_fold in by_fold]
    shares = np.array([len(of_fold) / len(table) for of_fold in by_fold])
    seeds = np.array([len(of_fold) for of_fold in runs])
    freedom = int((seeds - 1).sum())
    squares = sum(((of_fold - of_fold.mean()) ** 2).sum() for of_fold in runs)
    return Estimate(
        mean=float(groups.mean()),
        groups=len(groups),
        error_of_groups=float(groups.sem()),
        error_of_runs=math.sqrt(squares / freedom * (shares**2 / seeds).sum())
        if freedom
        else math.nan,
        freedom_of_runs=freedom,
    )
