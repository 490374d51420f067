"""Student's intervals of scipy and components of variance of statsmodels' kind, and simulations."""

import math

import numpy as np
import pandas as pd
import pytest
from coverage_of_intervals import coverage
from family_of_losses import errors
from scipy import stats

from dilated_ce.study.statistics.interval import estimate


def values(table):
    """Values (folds, seeds, groups) as a series."""
    index = pd.MultiIndex.from_product(
        [range(side) for side in table.shape], names=["fold", "seed", "group"]
    )
    return pd.Series(table.ravel(), index)


def test_one_seed_is_students_interval():
    difference = np.random.default_rng(0).normal(size=(1, 1, 25))
    expected = stats.t.interval(0.95, 24, difference.mean(), stats.sem(difference[0, 0]))
    assert estimate(values(difference)).interval() == pytest.approx(expected)


def test_seeds_alone_are_students_interval():
    seeds = np.random.default_rng(0).normal(size=(1, 4, 1))
    same_for_all = np.broadcast_to(seeds, (1, 4, 25)).copy()
    expected = stats.t.interval(0.95, 3, seeds.mean(), stats.sem(seeds[0, :, 0]))
    found = estimate(values(same_for_all))
    assert found.interval() == pytest.approx(expected)
    assert found.interval(other_seeds=False) == pytest.approx((seeds.mean(),) * 2)


def test_parts_add_as_the_roots_of_squares_do():
    table = np.random.default_rng(0).normal(size=(1, 3, 25))
    found = estimate(values(table))
    patients = stats.t.isf(0.025, 24) * stats.sem(table.mean((0, 1)))
    seeds = stats.t.isf(0.025, 2) * stats.sem(table.mean((0, 2)))
    unseen = 0.8 * (1 - 0.1 ** (1 / 25))
    low, high = found.half_widths(falls=(0.8, 0.0))
    assert low == pytest.approx(math.hypot(patients, seeds, unseen))
    assert high == pytest.approx(math.hypot(patients, seeds))


def test_bonferroni():
    found = estimate(values(np.random.default_rng(0).normal(size=(1, 1, 25))))
    expected = stats.t.isf(0.025 / 7, 24) * found.error_of_groups
    assert found.half_widths(comparisons=7)[0] == pytest.approx(expected)


def test_the_runs_of_folds_are_pooled_and_count_by_their_patients():
    table = np.random.default_rng(0).normal(size=(2, 3, 4))
    runs = table.mean(2)
    variance = runs.var(1, ddof=1).mean()
    found = estimate(values(table))
    assert found.freedom_of_runs == 4
    assert found.error_of_runs == pytest.approx(math.sqrt(variance / 3 * (0.25 + 0.25)))


def test_a_fold_whose_seed_failed_borrows_the_spread_of_the_others():
    table = np.random.default_rng(0).normal(size=(2, 3, 4))
    series = values(table)
    kept = series[
        (series.index.get_level_values("fold") == 0) | (series.index.get_level_values("seed") == 0)
    ]
    found = estimate(kept)
    variance = table[0].mean(1).var(ddof=1)
    assert found.freedom_of_runs == 2
    assert found.error_of_runs == pytest.approx(math.sqrt(variance * (0.25 / 3 + 0.25)))


MODELS = [
    {"seeds": 3, "groups": 30, "seed_effect": 0.02},
    {"seeds": 2, "groups": 30, "seed_effect": 0.02, "folds": 4},
    {"seeds": 3, "groups": 30, "skewed": True},
]


@pytest.mark.parametrize("model", MODELS)
def test_the_interval_holds_the_truth_as_often_as_it_says(model):
    # 150 studies: the standard error of the share is 1.8 points.
    assert coverage(150, **model) >= 0.93


@pytest.mark.parametrize("groups", [30, 100])
@pytest.mark.parametrize("share", [0.02, 0.05])
def test_a_few_catastrophic_patients_do_not_break_it(groups, share):
    """Student's interval alone holds the truth in 60 to 95 of 100 such studies."""
    model = {"seeds": 3, "groups": groups, "patient_effect": 0.02}
    assert coverage(150, tail="patient", share=share, **model) >= 0.9


def test_losses_that_do_not_differ_seldom_get_a_word():
    words, raw = errors(12, losses=8, seeds=3, groups=30, seed_effect=0.0)
    assert words <= 1 / 12
    assert raw >= words
