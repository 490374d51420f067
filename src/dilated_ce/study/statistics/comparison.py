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
from dilated_ce.study.statistics.side_by_side import Scores

FAMILY = ("dice", "nsd", "hd95", "lesion_f1", "false_alarm")


@dataclass(frozen=True)
class Comparison:
    """One loss against the reference by one score."""

    metric: str
    class_name: str | None  # None: the mean over the classes
    loss: str
    reference: str
    difference: float  # loss - reference, a fraction or in the unit of the data
    error: float  # its standard error: other patients, other seeds; NaN for one patient
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


def compare_family(scores: Scores, reference: str) -> list[Comparison]:
    """Every loss against the reference by every score of the family.

    Healthy cases decide whether false alarms are in it: the truth, and no prediction. A loss that
    shares no run with the reference is left out.

    Returns:
        The comparisons of a loss beside each other, in the order of the rows.
    """
    losses = comparable(scores, reference)
    if not losses:
        return []
    metrics = [metric for metric in FAMILY if scores.has(metric, [reference, *losses])]
    number = len(losses) * len(metrics)
    by_metric = [
        compare_to(scores, reference, losses, metric=metric, comparisons=number)
        for metric in metrics
    ]
    return [result for of_loss in zip(*by_metric, strict=True) for result in of_loss]


def compare_to(
    scores: Scores,
    reference: str,
    losses: Sequence[str] | None = None,
    *,
    metric: str = "dice",
    comparisons: int = 1,
) -> list[Comparison]:
    """Compare losses with the reference by one score, in the runs that both have.

    Args:
        scores: of all losses, or `of_class` of one class alone.
        reference: the loss to compare with.
        losses: those to be compared; all others.
        metric: which score.
        comparisons: that the intervals are to hold together with.

    Returns:
        A comparison per loss. Without a second group the interval is NaN; with one seed it says
        nothing of other seeds.

    Raises:
        ValueError: an unknown loss or metric, a score that one loss lacks, or a loss that shares no
            scored case with the reference.

    Examples:
        >>> from dilated_ce.study.statistics.side_by_side import side_by_side
        >>> cases = pd.DataFrame({"loss": ["a", "a", "a", "b", "b", "b"], "seed": 0, "fold": 0,
        ...     "case": list("xyzxyz"), "group": list("xyzxyz"), "class": "lesion",
        ...     "dice": [0.5, 0.6, 0.7, 0.6, 0.7, 0.9]})
        >>> [result] = compare_to(side_by_side(cases), "a")
        >>> round(result.difference, 3), result.improvement
        (0.133, 1.0)
    """
    if reference not in scores.losses:
        raise ValueError(
            f"reference: got {reference!r}, expected one of {', '.join(scores.losses)}"
        )
    if metric not in scores.metrics:
        raise ValueError(f"metric: got {metric!r}, expected one of {', '.join(scores.metrics)}")
    if losses is None:
        losses = [loss for loss in scores.losses if loss != reference]
    return [_compare(scores, loss, reference, metric, comparisons) for loss in losses]


def comparable(scores: Scores, reference: str) -> list[str]:
    """The losses that share a run with the reference, in the order of the rows."""
    if reference not in scores.losses:
        return []
    there = scores.runs[reference]
    return [
        loss for loss in scores.losses if loss != reference and (scores.runs[loss] & there).any()
    ]


def _compare(
    scores: Scores, loss: str, reference: str, metric: str, comparisons: int
) -> Comparison:
    pairs = scores.paired([reference, loss], metric)
    if pairs.empty:
        raise ValueError(f"{loss} and {reference} have no scored case of a run in common")
    by_run = scores.by_group[metric][[reference, loss]].dropna()
    difference = by_run[loss] - by_run[reference]
    found, falls = estimate(difference), falls_of(by_run[loss], by_run[reference], metric)
    bound = math.inf if metric in IN_UNITS else 1.0  # Student's t knows nothing of bounds
    (low, high), of_runs = (
        np.clip(
            found.interval(falls=falls, comparisons=comparisons, other_seeds=other), -bound, bound
        )
        for other in (True, False)
    )
    sign = -1 if metric in LOWER_IS_BETTER else 1
    better = (np.sign(sign * (pairs[loss] - pairs[reference])) + 1) / 2
    return Comparison(
        metric=metric,
        class_name=scores.class_name,
        loss=loss,
        reference=reference,
        difference=found.mean,
        error=found.error,
        low=float(low),
        high=float(high),
        low_of_runs=float(of_runs[0]),
        high_of_runs=float(of_runs[1]),
        comparisons=comparisons,
        improvement=_mean_over_groups(better),
        seeds=int(_unique(pairs, "fold", "seed").groupby("fold").size().max()),
        folds=len(_unique(pairs, "fold")),
        cases=len(_unique(pairs, "case")),
        groups=found.groups,
        per_seed=tuple(difference.groupby(["seed", "group"]).mean().groupby("seed").mean()),
    )


def _unique(table: pd.DataFrame, *levels: str) -> pd.DataFrame:
    """What these levels of the index hold, each once."""
    codes = {name: table.index.codes[table.index.names.index(name)] for name in levels}
    return pd.DataFrame(codes).drop_duplicates()


def falls_of(loss: pd.Series, reference: pd.Series, metric: str) -> tuple[float, float]:
    """How far below and above the mean difference a patient lies on whom one loss fails wholly.

    To fail is a score of 0, or of 1 where less is better; of a distance, the largest seen here. The
    other loss does as it does on average: one that fails lies below its own mean by that mean.
    """
    of_loss, of_reference = _mean_over_groups(loss), _mean_over_groups(reference)
    if metric not in LOWER_IS_BETTER:
        return of_loss, of_reference
    worst = max(loss.max(), reference.max()) if metric in IN_UNITS else 1.0
    return float(worst - of_reference), float(worst - of_loss)


def _mean_over_groups(values: pd.Series) -> float:
    """As `estimate` has it: each group counts once."""
    by_run = values.groupby(["fold", "seed", "group"]).mean()
    return float(by_run.groupby(["fold", "group"]).mean().mean())
