"""One loss against the reference by one score, and the family of all that are judged.

Scores are paired: the same classes, cases, seeds and folds under both losses. Within a run the
classes of a case are averaged, then the cases of a patient (group); what is compared is the mean
over the patients of the differences. The interval is that of `interval`.

The family is fixed before any run: every loss but the reference by every score of `FAMILY`. Their
intervals hold together, by Bonferroni, and the verdicts take them as they are, so that of all words
of a report together one in twenty reports has a wrong one. All other comparisons are exploration:
their intervals hold each on its own, and no verdict follows from them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dilated_ce.study.scores.table import IN_UNITS, LOWER_IS_BETTER
from dilated_ce.study.statistics.interval import estimate

RUN_AND_CASE = ["seed", "fold", "group", "case"]
FAMILY = ("dice", "nsd", "hd95", "lesion_f1", "false_alarm")


@dataclass(frozen=True)
class Scores:
    """One score of every loss."""

    metric: str
    table: pd.DataFrame  # by seed, fold, group, case and class; a column per loss; NaN: none
    runs: pd.DataFrame  # by seed and fold, a column per loss: whether the run is there


@dataclass(frozen=True)
class Comparison:
    """One loss against the reference by one score."""

    metric: str
    class_name: str | None  # None: the mean over the classes
    loss: str
    reference: str
    difference: float  # loss - reference, a fraction or in the unit of the data
    low: float  # 95 % interval: other patients, other seeds
    high: float
    low_of_runs: float  # 95 % interval for the networks at hand: other patients, the same seeds
    high_of_runs: float
    comparisons: int  # whose intervals hold together
    improvement: float  # share of cases in which the loss is better; half of the ties
    seeds: int  # in the fold that has most
    folds: int
    cases: int
    groups: int
    per_seed: tuple[float, ...]  # mean difference of each seed


def compare_family(cases: pd.DataFrame, reference: str) -> list[Comparison]:
    """Every loss against the reference by every score of the family.

    Healthy cases decide whether false alarms are in it: the truth, and no prediction. A loss that
    shares no run with the reference is left out.

    Returns:
        The comparisons of a loss beside each other, in the order of the rows.
    """
    losses = comparable(cases, reference)
    if not losses:
        return []
    metrics = [metric for metric in FAMILY if metric in cases and cases[metric].notna().any()]
    number = len(losses) * len(metrics)
    kept = cases[cases["loss"].isin([reference, *losses])]
    by_metric = [
        compare_to(kept, reference, metric=metric, comparisons=number) for metric in metrics
    ]
    return [result for of_loss in zip(*by_metric, strict=True) for result in of_loss]


def compare_to(
    cases: pd.DataFrame,
    reference: str,
    *,
    metric: str = "dice",
    class_name: str | None = None,
    comparisons: int = 1,
) -> list[Comparison]:
    """Compare every loss with the reference by one score, in the runs that both have.

    Args:
        cases: rows as in `cases.csv`.
        reference: the loss to compare with.
        metric: a column of scores.
        class_name: one class alone.
        comparisons: that the intervals are to hold together with.

    Returns:
        A comparison per other loss, in the order of the rows. Without a second group the interval
        is NaN; with one seed it says nothing of other seeds.

    Raises:
        ValueError: an unknown loss, metric or class, rows that are there twice, a score that one
            loss lacks, or a loss that shares no scored case with the reference.

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
    return [
        _compare(scores, loss, reference, class_name, comparisons)
        for loss in losses
        if loss != reference
    ]


def comparable(cases: pd.DataFrame, reference: str) -> list[str]:
    """The losses that share a run with the reference, in the order of the rows."""
    runs = {
        loss: set(zip(of["seed"], of["fold"], strict=True)) for loss, of in cases.groupby("loss")
    }
    return [
        loss
        for loss in dict.fromkeys(cases["loss"])
        if loss != reference and not runs[loss].isdisjoint(runs.get(reference, ()))
    ]


def paired(cases: pd.DataFrame, losses: Sequence[str], *, metric: str = "dice") -> pd.DataFrame:
    """The mean score over the classes of each case, in the runs that all of these losses have.

    Returns:
        A column per loss; a row per seed, fold, group and case.

    Raises:
        ValueError: a score that one of the losses lacks: a pair that is dropped for what a loss
            predicted would flatter it.

    Examples:
        The organ is not there, so it has no score under either loss:

        >>> cases = pd.DataFrame({"loss": ["a", "a", "b", "b"], "seed": 0, "fold": 0, "case": "x",
        ...     "group": "x", "class": ["organ", "lesion"] * 2, "dice": [None, 0.5, None, 0.6]})
        >>> paired(cases, ["a", "b"]).values.tolist()
        [[0.5, 0.6]]
    """
    return _in_common(_scores(cases, metric, None), losses)


def _scores(cases: pd.DataFrame, metric: str, class_name: str | None) -> Scores:
    """The scores, whatever the order of the rows."""
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
    return Scores(
        metric,
        cases.set_index(keys)[metric].unstack("loss").sort_index(),
        cases.groupby(["seed", "fold", "loss"]).size().unstack("loss").notna(),
    )


def _in_common(scores: Scores, losses: Sequence[str]) -> pd.DataFrame:
    """`paired`, of the scores of `_scores`."""
    table = scores.table.reindex(columns=list(losses))
    # A run that one of them lacks is left out: it failed, whatever it would have predicted.
    shared = scores.runs.reindex(columns=list(losses), fill_value=False).all(axis=1)
    table = table[table.index.droplevel(["group", "case", "class"]).isin(shared.index[shared])]
    there = table.notna()
    lacking = there.any(axis=1) & ~there.all(axis=1)
    if lacking.any():
        seed, fold, _, case, class_name = lacking.index[lacking][0]
        row = table[lacking].iloc[0]
        has, lacks = row.notna().idxmax(), row.isna().idxmax()
        raise ValueError(
            f"{scores.metric}: {case}, class {class_name}, seed {seed}, fold {fold} has a score "
            f"under {has} and none under {lacks}. Expected one under both, or under none for want "
            "of truth: a pair that is dropped for what was predicted flatters a loss. Score a "
            "class that a case lacks 1 if nothing of it is predicted, else 0."
        )
    return table.dropna().groupby(RUN_AND_CASE).mean()


def _compare(
    scores: Scores,
    loss: str,
    reference: str,
    class_name: str | None,
    comparisons: int,
) -> Comparison:
    pairs = _in_common(scores, [loss, reference])
    if pairs.empty:
        raise ValueError(f"{loss} and {reference} have no scored case of a run in common")
    by_run = pairs.groupby(["fold", "seed", "group"]).mean()
    difference = by_run[loss] - by_run[reference]
    found, falls = estimate(difference), falls_of(by_run[loss], by_run[reference], scores.metric)
    bound = math.inf if scores.metric in IN_UNITS else 1.0  # Student's t knows nothing of bounds
    (low, high), of_runs = (
        np.clip(
            found.interval(falls=falls, comparisons=comparisons, other_seeds=other), -bound, bound
        )
        for other in (True, False)
    )
    sign = -1 if scores.metric in LOWER_IS_BETTER else 1
    better = (np.sign(sign * (pairs[loss] - pairs[reference])) + 1) / 2
    return Comparison(
        metric=scores.metric,
        class_name=class_name,
        loss=loss,
        reference=reference,
        difference=found.mean,
        low=float(low),
        high=float(high),
        low_of_runs=float(of_runs[0]),
        high_of_runs=float(of_runs[1]),
        comparisons=comparisons,
        improvement=_mean_over_groups(better),
        seeds=int(pairs.reset_index().groupby("fold")["seed"].nunique().max()),
        folds=pairs.index.get_level_values("fold").nunique(),
        cases=pairs.index.get_level_values("case").nunique(),
        groups=found.groups,
        per_seed=tuple(difference.groupby(["seed", "group"]).mean().groupby("seed").mean()),
    )


def falls_of(loss: pd.Series, reference: pd.Series, metric: str) -> tuple[float, float]:
    """How far below and above the mean difference a patient lies on whom one loss fails wholly.

    To fail is a score of 0, or of 1 where less is better; of a distance, the largest seen here.
    """
    means = [_mean_over_groups(scores) for scores in (reference, loss)]
    if metric not in LOWER_IS_BETTER:
        return means[0], means[1]  # the loss falls to 0; the reference does
    worst = max(loss.max(), reference.max()) if metric in IN_UNITS else 1.0
    return float(worst - means[1]), float(worst - means[0])


def _mean_over_groups(values: pd.Series) -> float:
    """As `estimate` has it: each group counts once."""
    by_run = values.groupby(["fold", "seed", "group"]).mean()
    return float(by_run.groupby(["fold", "group"]).mean().mean())
