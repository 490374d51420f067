"""Whether one loss is better than another, and how sure that is.

Scores are paired: the same classes, cases, seeds and folds under both losses. Within a run the
classes of a case are averaged, then the cases of a patient (group); what is compared is a table of
differences with a row per run (seed and fold) and a column per group.

The interval is that of `bootstrap`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from dilated_ce.study.scores.table import IN_UNITS, LOWER_IS_BETTER
from dilated_ce.study.statistics.bootstrap import CONFIDENCE, Scores

RUN_AND_CASE = ["seed", "fold", "group", "case"]


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

    A class of a case whose score has no meaning under one of the two losses is left out, and so are
    runs that only one of them has.

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

    Examples:
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
    return [replace(result, p_holm=float(p)) for result, p in zip(results, corrected, strict=True)]


def comparable(
    cases: pd.DataFrame, reference: str, *, metric: str = "dice", class_name: str | None = None
) -> list[str]:
    """The losses that share a scored case of a run with the reference, in the order of the rows."""
    scores = _scores(cases, metric, class_name)
    return [
        loss
        for loss in dict.fromkeys(cases["loss"])
        if loss != reference and len(_in_common(scores, [loss, reference]))
    ]


def paired(cases: pd.DataFrame, losses: Sequence[str], *, metric: str = "dice") -> pd.DataFrame:
    """The mean score over the classes of each case that all of these losses have a score of.

    Returns:
        A column per loss; a row per seed, fold, group and case.

    Examples:
        Loss b has no score of the organ, so that nothing of it counts:

        >>> cases = pd.DataFrame({"loss": ["a", "a", "b", "b"], "seed": 0, "fold": 0, "case": "x",
        ...     "group": "x", "class": ["organ", "lesion"] * 2, "dice": [0.9, 0.5, None, 0.6]})
        >>> paired(cases, ["a", "b"]).values.tolist()
        [[0.5, 0.6]]
    """
    return _in_common(_scores(cases, metric, None), losses)


def rank_stability(
    cases: pd.DataFrame, *, metric: str = "dice", resamples: int = 5000, seed: int = 0
) -> pd.DataFrame:
    """How firm the order of the losses is when patients and seeds are drawn anew.

    Returns:
        By loss: mean_rank, best (how often it is the first), rank_low and rank_high (95 %).
    """
    scores = paired(cases, list(dict.fromkeys(cases["loss"])), metric=metric)
    if scores.empty:
        raise ValueError("no run and case has a score under every loss")
    names = scores.columns.tolist()
    tables = [Scores(scores[name]) for name in names]
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
    """Scores that have a meaning, by loss, run, case and class; the order of rows is nothing."""
    if metric not in cases:
        raise ValueError(f"metric: got {metric!r}, expected a column of the scores")
    if class_name is not None:
        if class_name not in set(cases["class"]):
            raise ValueError(f"class_name: got {class_name!r}, which no row has")
        cases = cases[cases["class"] == class_name]
    keys = [*RUN_AND_CASE, "class", "loss"]
    twice = cases.duplicated(keys)
    if twice.any():
        row = cases[twice].iloc[0]
        raise ValueError(f"got the row of {row['loss']}, seed {row['seed']}, {row['case']} twice")
    return cases.set_index(keys)[metric].sort_index().dropna()


def _in_common(scores: pd.Series, losses: Sequence[str]) -> pd.DataFrame:
    """`paired`, of the scores of `_scores`."""
    if not set(losses) <= set(scores.index.get_level_values("loss")):
        return pd.DataFrame(columns=list(losses))
    return scores.unstack("loss")[list(losses)].dropna().groupby(RUN_AND_CASE).mean()


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
    pairs = _in_common(scores, [loss, reference])
    if pairs.empty:
        raise ValueError(f"{loss} and {reference} have no scored case of a run in common")
    difference = pairs[loss] - pairs[reference]
    sign = -1 if metric in LOWER_IS_BETTER else 1
    better = (np.sign(sign * difference) + 1) / 2
    table, wins = Scores(difference), Scores(better)
    bound = math.inf if metric in IN_UNITS else 1.0  # Student's t knows nothing of bounds
    (low, high), of_runs = (
        np.clip(table.interval(resamples, seed, other_seeds=other), -bound, bound)
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
