"""A difference over several data sets, which are taken as a sample of data sets like these.

Each data set has its difference with a standard error, of its patients and its seeds. The true
differences of data sets differ, too: this is a random-effects model. The spread between data sets
is the estimate of Paule and Mandel (1982), the interval of the mean that of Hartung and Knapp
(Statistics in Medicine 2001), with Student's t for one data set less than there are, and never
narrower than if all data sets had the same true difference. The prediction interval, for one more
data set like these, is that of Higgins, Thompson and Spiegelhalter (JRSS A 2009).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from dilated_ce.study.scores.table import IN_UNITS
from dilated_ce.study.statistics.comparison import Comparison
from dilated_ce.study.statistics.interval import CONFIDENCE


@dataclass(frozen=True)
class Mean:
    """A mean over data sets."""

    mean: float
    low: float  # 95 % interval
    high: float
    low_of_next: float  # 95 % interval of one more data set; NaN below three
    high_of_next: float
    between: float  # standard deviation of the true differences between data sets
    weighted: bool  # by their errors; else every data set counts the same


@dataclass(frozen=True)
class Pooled:
    """One loss against the reference by one score, over data sets."""

    metric: str
    loss: str
    reference: str
    over: Mean
    comparisons: int  # whose intervals hold together
    data_sets: tuple[str, ...]
    differences: tuple[Comparison, ...]  # of each data set


def pool(by_data_set: Mapping[str, Sequence[Comparison]]) -> list[Pooled]:
    """The pooled differences of all losses and scores that two data sets or more have.

    The intervals of all of them hold together, by Bonferroni.

    Args:
        by_data_set: the comparisons with the reference, as `compare_family` gives them.
    """
    found: dict[tuple[str, str], dict[str, Comparison]] = {}
    for name, comparisons in by_data_set.items():
        for comparison in comparisons:
            found.setdefault((comparison.loss, comparison.metric), {})[name] = comparison
    several = {key: of for key, of in found.items() if len(of) > 1}
    results = []
    for (loss, metric), of in several.items():
        parts = tuple(of.values())
        bound = math.inf if metric in IN_UNITS else 1.0
        over = mean_over_data_sets(
            [part.difference for part in parts],
            [smallest_error(part.error, part.groups, bound) for part in parts],
            comparisons=len(several),
            bound=bound,
        )
        reference = parts[0].reference
        results.append(Pooled(metric, loss, reference, over, len(several), tuple(of), parts))
    return results


def smallest_error(error: float, patients: int, bound: float) -> float:
    """The standard error of a difference; where it is 0, that of one patient who differs.

    If no patient of a data set differs, as where every method finds all lesions, the data set
    would outweigh all others, or could not be weighed at all. But of `patients` others one might
    differ, at most by `bound`: that moves the mean by bound / patients, which is also its error.

    Args:
        error: as estimated from the patients; NaN if there is one alone.
        patients: that it is estimated from.
        bound: the largest difference that there can be; of distances there is none, so that their
            error is left as it is.

    Examples:
        >>> smallest_error(0.0, 50, 1.0), smallest_error(0.01, 50, 1.0)
        (0.02, 0.01)
    """
    return bound / patients if error == 0 and math.isfinite(bound) else error


def mean_over_data_sets(
    differences: Sequence[float],
    errors: Sequence[float],
    *,
    comparisons: int = 1,
    bound: float = math.inf,
) -> Mean:
    """The mean of differences with these standard errors.

    A data set whose error is 0 or unknown, as that of a single patient, cannot be weighed: then
    each counts the same, and the interval is Student's of the differences themselves.

    Args:
        differences: of each data set, at least two.
        errors: their standard errors.
        comparisons: of so many intervals all hold together, by Bonferroni.
        bound: the largest difference that there can be.

    Examples:
        >>> found = mean_over_data_sets([0.02, 0.04, 0.03], [0.01, 0.01, 0.01])
        >>> round(found.mean, 4), round(found.low, 4), round(found.high, 4)
        (0.03, 0.0052, 0.0548)
    """
    values, variances = np.array(differences), np.square(errors)
    number = len(values)
    weighted = bool((variances > 0).all())
    if weighted:
        between = _between(values, variances)
        weights = 1 / (variances + between)
        mean = float((weights * values).sum() / weights.sum())
        spread = float((weights * (values - mean) ** 2).sum() / (number - 1))
        variance = max(1.0, spread) / weights.sum()
    else:
        mean, between = float(values.mean()), float(values.var(ddof=1))
        variance = between / number
    tail = (1 - CONFIDENCE) / 2
    half = stats.t.isf(tail / comparisons, number - 1) * math.sqrt(variance)
    of_next = (
        stats.t.isf(tail, number - 2) * math.sqrt(between + variance) if number > 2 else math.nan
    )
    low, high, low_of_next, high_of_next = np.clip(
        [mean - half, mean + half, mean - of_next, mean + of_next], -bound, bound
    ).tolist()
    return Mean(mean, low, high, low_of_next, high_of_next, math.sqrt(between), weighted)


def _between(values: np.ndarray, variances: np.ndarray) -> float:
    """The variance of the true values, with which they spread as they should: Paule and Mandel."""

    def excess(between: float) -> float:
        weights = 1 / (variances + between)
        mean = (weights * values).sum() / weights.sum()
        return float((weights * (values - mean) ** 2).sum() - (len(values) - 1))

    if excess(0.0) <= 0:
        return 0.0
    return float(optimize.brentq(excess, 0.0, np.ptp(values) ** 2 * len(values), xtol=1e-14))
