"""Whether one loss is better than another, and how sure that is.

Scores are paired: the same cases, seeds and folds under both losses. Within a run the classes of a
case are averaged, then the cases of a patient (group); what is compared is a table of differences
with a row per run (seed and fold) and a column per group.

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
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from dilated_ce.study.records import IN_UNITS, LOWER_IS_BETTER

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """One loss against the reference by one metric."""

    metric: str
    class_name: str | None  # None: the mean over the classes
    loss: str
    reference: str
    difference: float  # loss - reference, a fraction or in the unit of the data
    low: float  # 95 % interval: other patients, other seeds
    high: float
    low_of_runs: float  # 95 % interval for the networks at hand: other patients, the same seeds
    high_of_runs: float
    p_value: float  # Wilcoxon's signed-rank test over the groups
    p_holm: float  # the same, for as many losses as were compared
    improvement: float  # probability that the loss is better in a random case of a random seed
    improvement_low: float
    improvement_high: float
    margin: float | None
    p_equivalence: float | None  # two one-sided paired t-tests over the groups
    equivalent: bool | None
    seeds: int
    folds: int
    cases: int
    groups: int
    per_seed: tuple[float, ...]  # mean difference of each seed


def compare_to(
    cases: pd.DataFrame,
    reference: str,
    *,
    metric: str = "dice",
    class_name: str | None = None,
    margin: float | None = None,
    resamples: int = 5000,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every loss with the reference.

    Pairs with a score that has no meaning on either side are left out, and so are runs that only
    one of the two losses has.

    Args:
        cases: rows as in `cases.csv`.
        reference: the loss to compare with.
        metric: a column of scores.
        class_name: one class alone.
        margin: difference within which two losses count as equivalent, in the metric's unit.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        A comparison per other loss, in the order of the rows. Without a second group the interval
        is NaN; with one seed it says nothing of other seeds.

    Raises:
        ValueError: an unknown loss, metric or class, rows that are there twice, or a loss that
            shares no scored case with the reference.

    Example:
        >>> cases = pd.DataFrame({"loss": ["a", "a", "a", "b", "b", "b"], "seed": 0, "fold": 0,
        ...     "case": list("xyzxyz"), "group": list("xyzxyz"), "class": "lesion",
        ...     "dice": [0.5, 0.6, 0.7, 0.6, 0.7, 0.9]})
        >>> [result] = compare_to(cases, "a")
        >>> round(result.difference, 3), result.improvement
        (0.133, 1.0)
    """
    scores = _scores(cases, metric, class_name)
    losses = list(dict.fromkeys(cases["loss"]))
    if reference not in losses:
        raise ValueError(f"reference: got {reference!r}, expected one of {', '.join(losses)}")
    results = [
        _compare(scores, loss, reference, metric, class_name, margin, resamples, seed)
        for loss in losses
        if loss != reference
    ]
    if not results:
        return []
    corrected = multipletests([result.p_value for result in results], method="holm")[1]
    return [
        Comparison(**{**vars(result), "p_holm": float(p)})
        for result, p in zip(results, corrected, strict=True)
    ]


def comparable(
    cases: pd.DataFrame, reference: str, *, metric: str = "dice", class_name: str | None = None
) -> list[str]:
    """The losses that share a scored case of a run with the reference, in the order of the rows."""
    scores = _scores(cases, metric, class_name)
    runs = {loss: set(part.droplevel("loss").index) for loss, part in scores.groupby("loss")}
    mine = runs.get(reference, set())
    return [
        loss
        for loss in dict.fromkeys(cases["loss"])
        if loss != reference and mine & runs.get(loss, set())
    ]


def mean_interval(
    values: pd.Series, resamples: int = 5000, seed: int = 0, *, other_seeds: bool = True
) -> tuple[float, float]:
    """The 95 % interval of a mean over patients and runs; NaN with a single patient.

    Args:
        values: indexed by seed, fold and group, and more if wanted.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        other_seeds: the mean over seeds in general; else over those at hand.
    """
    return _Table(values).interval(resamples, np.random.default_rng(seed), other_seeds)


def rank_stability(
    cases: pd.DataFrame, *, metric: str = "dice", resamples: int = 5000, seed: int = 0
) -> pd.DataFrame:
    """How firm the order of the losses is when patients and seeds are drawn anew.

    Returns:
        By loss: mean_rank, best (how often it is the first), rank_low and rank_high (95 %).
    """
    scores = (
        _scores(cases, metric, None).unstack("loss").dropna()[list(dict.fromkeys(cases["loss"]))]
    )
    if scores.empty:
        raise ValueError("no run and case has a score under every loss")
    names = scores.columns.tolist()
    tables = [_Table(scores[name]) for name in names]
    random = np.random.default_rng(seed)
    draws = tables[0].draw(resamples, random)
    sign = 1 if metric in LOWER_IS_BETTER else -1
    means = np.stack([sign * table.resampled(draws) for table in tables])
    ranks = stats.rankdata(means, axis=0)
    return pd.DataFrame(
        {
            "mean_rank": ranks.mean(1),
            "best": (ranks == ranks.min(0)).mean(1),
            "rank_low": np.quantile(ranks, 0.025, axis=1),
            "rank_high": np.quantile(ranks, 0.975, axis=1),
        },
        index=pd.Index(names, name="loss"),
    )


def _scores(cases: pd.DataFrame, metric: str, class_name: str | None) -> pd.Series:
    """Mean per loss, seed, fold and group; index sorted, so that the order of rows is nothing."""
    if metric not in cases:
        raise ValueError(f"metric: got {metric!r}, expected a column of the scores")
    if class_name is not None:
        if class_name not in set(cases["class"]):
            raise ValueError(f"class_name: got {class_name!r}, which no row has")
        cases = cases[cases["class"] == class_name]
    keys = ["loss", "seed", "fold", "group", "case"]
    twice = cases.duplicated([*keys, "class"])
    if twice.any():
        row = cases[twice].iloc[0]
        raise ValueError(f"got the row of {row['loss']}, seed {row['seed']}, {row['case']} twice")
    return cases.groupby(keys)[metric].mean().dropna()


def _compare(
    scores: pd.Series,
    loss: str,
    reference: str,
    metric: str,
    class_name: str | None,
    margin: float | None,
    resamples: int,
    seed: int,
) -> Comparison:
    pairs = (
        pd.concat(
            {side: scores.xs(name, level="loss") for side, name in (("a", loss), ("b", reference))},
            axis=1,
            join="inner",
        )
        if {loss, reference} <= set(scores.index.get_level_values("loss"))
        else pd.DataFrame()
    )
    if pairs.empty:
        raise ValueError(f"{loss} and {reference} have no scored case of a run in common")
    difference = pairs["a"] - pairs["b"]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    better = (np.sign(sign * difference) + 1) / 2
    table, wins = _Table(difference), _Table(better)
    bound = math.inf if metric in IN_UNITS else 1.0  # Student's t knows nothing of bounds
    (low, high), of_runs = (
        np.clip(mean_interval(difference, resamples, seed, other_seeds=other), -bound, bound)
        for other in (True, False)
    )
    draws = wins.resampled(wins.draw(resamples, np.random.default_rng(seed)))
    groups = table.group_means
    equivalence = _equivalence(groups, margin)
    return Comparison(
        metric=metric,
        class_name=class_name,
        loss=loss,
        reference=reference,
        difference=float(groups.mean()),
        low=float(low),
        high=float(high),
        low_of_runs=float(of_runs[0]),
        high_of_runs=float(of_runs[1]),
        p_value=_wilcoxon(groups),
        p_holm=math.nan,
        improvement=float(wins.group_means.mean()),
        improvement_low=float(np.quantile(draws, 0.025).clip(0, 1)),
        improvement_high=float(np.quantile(draws, 0.975).clip(0, 1)),
        margin=margin,
        p_equivalence=equivalence,
        equivalent=None if equivalence is None else bool(equivalence < 1 - CONFIDENCE),
        seeds=difference.index.get_level_values("seed").nunique(),
        folds=difference.index.get_level_values("fold").nunique(),
        cases=difference.index.get_level_values("case").nunique(),
        groups=len(groups),
        per_seed=tuple(difference.groupby(["seed", "group"]).mean().groupby("seed").mean()),
    )


def _wilcoxon(groups: NDArray[np.float64]) -> float:
    """Wilcoxon's test; groups without a difference are left out, as Wilcoxon did."""
    if not groups.any():
        return 1.0
    return float(stats.wilcoxon(groups, zero_method="wilcox").pvalue)


def _equivalence(groups: NDArray[np.float64], margin: float | None) -> float | None:
    if margin is None:
        return None
    if len(groups) < 2:
        return math.nan
    if np.ptp(groups) == 0:  # t has no meaning without a spread
        return 0.0 if abs(groups[0]) < margin else 1.0
    return float(ttost_paired(groups, np.zeros_like(groups), -margin, margin)[0])


class _Table:
    """Values by run and group, in the form that the bootstrap resamples."""

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
        self, resamples: int, random: np.random.Generator, other_seeds: bool
    ) -> tuple[float, float]:
        """The 95 % interval of the mean."""
        if len(self.group_means) < 2:
            return math.nan, math.nan
        groups, runs = self._deviations(self.draw(resamples, random))
        deviations = _stretch(len(self.group_means) - 1) * groups
        if other_seeds:
            deviations += _stretch(sum(len(values) - 1 for values in self.runs)) * runs
        tail = (1 - CONFIDENCE) / 2
        low, high = self.group_means.mean() + np.quantile(deviations, [tail, 1 - tail])
        return float(low), float(high)


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
    spread = of_seeds.var(ddof=1)
    if spread == 0:
        return 0.0
    residual = table - of_seeds - np.nanmean(table, axis=1, keepdims=True) + np.nanmean(table)
    noise = np.nansum(residual**2) / ((groups - 1) * (seeds - 1)) / groups
    return math.sqrt(max(0.0, 1 - noise / spread))


def _stretch(freedom: int) -> float:
    """Student's t over the normal distribution; 0 without a freedom."""
    upper = (1 + CONFIDENCE) / 2
    return float(stats.t.ppf(upper, freedom) / stats.norm.ppf(upper)) if freedom > 0 else 0.0


def _unbiased(count: int) -> float:
    """Scales the spread of the Bayesian bootstrap to that of a mean of `count` units."""
    return math.sqrt((count + 1) / (count - 1)) if count > 1 else 0.0
