"""The mean of scores over patients and seeds, and how it varies when both are drawn anew.

The interval has two sources of chance: which patients were in the test part, and which seeds were
drawn. Both are resampled by the Bayesian bootstrap (Rubin, Annals of Statistics 1981), patients
for all seeds at once, as the seeds share them. What a seed differs from the others by the noise of
its cases alone is part of the patients' spread already and is taken off the seeds' (the components
of variance of a two-way layout). Few seeds make any bootstrap too narrow, so the spread of n units
is scaled by sqrt((n + 1) / (n - 1)), which makes its variance unbiased, and by Student's t with
n - 1 degrees of freedom over the normal distribution (Hesterberg, The American Statistician 2015),
each source by its own. That combination is ours; `benchmarks/coverage_of_intervals.py` measures how
often the interval holds the truth.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95


class Scores:
    """Values by run and group, in the form that the bootstrap resamples.

    Args:
        values: indexed by seed, fold and group, and more if wanted.
    """

    def __init__(self, values: pd.Series) -> None:
        by_group = values.groupby(["fold", "seed", "group"]).mean()
        means = by_group.groupby(["fold", "group"]).mean()
        self.group_means = means.to_numpy()
        tables = [
            by_group.xs(fold, level="fold").unstack("seed").to_numpy()
            for fold in means.index.get_level_values("fold").unique()
        ]
        # Mean over the groups of each run, a row of seeds per fold, and the fold's share of groups.
        self.runs = [np.nanmean(table, axis=0) for table in tables]
        self.own = [_own_spread(table) for table in tables]
        self.shares = means.groupby("fold").size().to_numpy() / len(means)

    def draw(
        self, resamples: int, random: np.random.Generator
    ) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        """Weights of the groups, and of the runs of each fold, for each resample."""
        groups = _dirichlet(len(self.group_means), resamples, random)
        return groups, [_dirichlet(len(runs), resamples, random) for runs in self.runs]

    def resampled(
        self, draws: tuple[NDArray[np.float64], list[NDArray[np.float64]]]
    ) -> NDArray[np.float64]:
        """The mean under each resample."""
        groups, runs = self._deviations(draws)
        return self.group_means.mean() + groups + runs

    def _deviations(
        self, draws: tuple[NDArray[np.float64], list[NDArray[np.float64]]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the choice of groups, and what that of seeds, does to the mean."""
        weights, run_weights = draws
        groups = weights @ self.group_means - self.group_means.mean()
        runs = np.zeros(len(groups))
        for share, values, own, of_fold in zip(
            self.shares, self.runs, self.own, run_weights, strict=True
        ):
            runs += share * own * _unbiased(len(values)) * (of_fold @ values - values.mean())
        return _unbiased(len(self.group_means)) * groups, runs

    def interval(
        self, resamples: int = 5000, seed: int = 0, *, other_seeds: bool = True
    ) -> tuple[float, float]:
        """The 95 % interval of the mean; NaN with a single group.

        Args:
            resamples: of the bootstrap.
            seed: of the bootstrap.
            other_seeds: for seeds in general; else for those at hand.
        """
        if len(self.group_means) < 2:
            return math.nan, math.nan
        deviations = self.deviations(resamples, np.random.default_rng(seed), other_seeds)
        tail = (1 - CONFIDENCE) / 2
        low, high = self.group_means.mean() + np.quantile(deviations, [tail, 1 - tail])
        return float(low), float(high)

    def deviations(
        self, resamples: int, random: np.random.Generator, other_seeds: bool = True
    ) -> NDArray[np.float64]:
        """How far the mean may lie from that at hand, once per resample; see `interval`."""
        groups, runs = self._deviations(self.draw(resamples, random))
        deviations = _stretch(len(self.group_means) - 1) * groups
        if other_seeds:
            deviations += _stretch(sum(len(values) - 1 for values in self.runs)) * runs
        return deviations


def _dirichlet(count: int, resamples: int, random: np.random.Generator) -> NDArray[np.float64]:
    weights: NDArray[np.float64] = random.dirichlet(np.ones(count), resamples)
    return weights


def _own_spread(table: NDArray[np.float64]) -> float:
    """The share of the spread of runs that is their own, and not the noise of their cases.

    Args:
        table: groups by seeds; NaN where a run has no score.
    """
    groups, seeds = table.shape
    if groups < 2 or seeds < 2:
        return 1.0  # nobody knows
    of_seeds = np.nanmean(table, axis=0)
    variance = of_seeds.var(ddof=1)
    if variance == 0:
        return 0.0
    residual = table - of_seeds - np.nanmean(table, axis=1, keepdims=True) + np.nanmean(table)
    noise = np.nansum(residual**2) / ((groups - 1) * (seeds - 1)) / groups
    return math.sqrt(max(0.0, 1 - noise / variance))


def _stretch(freedom: int) -> float:
    """Student's t over the normal distribution; 0 without a freedom."""
    upper = (1 + CONFIDENCE) / 2
    return float(stats.t.ppf(upper, freedom) / stats.norm.ppf(upper)) if freedom > 0 else 0.0


def _unbiased(count: int) -> float:
    """Scales the spread of the Bayesian bootstrap to that of a mean of `count` units."""
    return math.sqrt((count + 1) / (count - 1)) if count > 1 else 0.0
