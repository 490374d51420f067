"""Differences over several data sets, against statsmodels."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from dilated_ce.study.statistics.pooling import mean_over_data_sets, smallest_error


@pytest.mark.parametrize("number", [2, 3, 5, 20])
@pytest.mark.parametrize("seed", range(3))
def test_against_statsmodels(number, seed):
    random = np.random.default_rng([number, seed])
    differences = random.normal(0.02, 0.05, number)
    errors = random.uniform(0.005, 0.02, number)
    found = mean_over_data_sets(differences, errors)
    expected = combine_effects(
        differences,
        errors**2,
        method_re="iterated",
        use_t=True,
        alpha=0.05,
        atol=1e-14,
        maxiter=500,
    )
    if found.between:  # Paule and Mandel's equation; statsmodels finds no root of it now and then
        weights = 1 / (errors**2 + found.between**2)
        spread = (weights * (differences - found.mean) ** 2).sum()
        assert spread == pytest.approx(number - 1)
    if expected.tau2 == 0:
        return
    assert found.mean == pytest.approx(expected.mean_effect_re, rel=1e-5)
    assert found.between == pytest.approx(np.sqrt(expected.tau2), rel=1e-4)
    half = stats.t.isf(0.025, number - 1) * expected.sd_eff_w_re_hksj
    assert (found.low, found.high) == pytest.approx(
        (expected.mean_effect_re - half, expected.mean_effect_re + half), rel=1e-4
    )
    if number == 2:
        assert np.isnan(found.low_of_next)
    else:
        half = stats.t.isf(0.025, number - 2) * np.hypot(found.between, expected.sd_eff_w_re_hksj)
        assert found.high_of_next == pytest.approx(found.mean + half, rel=1e-4)


def test_data_sets_that_agree_are_no_surer_than_one_effect():
    """Hartung and Knapp's own variance would be near 0 where data sets agree by chance."""
    found = mean_over_data_sets([0.02, 0.02, 0.02], [0.01, 0.02, 0.02])
    error = 1 / np.sqrt(sum(1 / e**2 for e in (0.01, 0.02, 0.02)))
    assert found.between == 0
    assert found.high - found.mean == pytest.approx(stats.t.isf(0.025, 2) * error)


def test_the_interval_holds_as_often_as_it_says():
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        errors = random.uniform(0.01, 0.05, 6)
        true = random.normal(0.03, 0.02, 6)
        found = mean_over_data_sets(true + errors * random.normal(size=6), errors)
        held += found.low <= 0.03 <= found.high
    assert held / 400 > 0.93


def test_a_data_set_without_spread_counts_as_the_others():
    found = mean_over_data_sets([0.0, 0.04], [0.0, 0.02])
    assert not found.weighted
    assert found.mean == 0.02
    half = stats.t.isf(0.025, 1) * 0.02
    assert (found.low, found.high) == pytest.approx((0.02 - half, 0.02 + half))
    assert mean_over_data_sets([0.1, 0.2], [np.nan, 0.1]).mean == pytest.approx(0.15)


def test_comparisons_widen_and_bounds_hold():
    one = mean_over_data_sets([0.5, 0.9, 0.2], [0.1, 0.1, 0.1])
    ten = mean_over_data_sets([0.5, 0.9, 0.2], [0.1, 0.1, 0.1], comparisons=10, bound=1.0)
    assert ten.low < one.low
    assert ten.low >= -1
    assert ten.high == 1


def test_a_set_without_differences_is_weighed_by_its_patients():
    """Its error is 0 as estimated; of so many patients one more may differ by all there is."""
    assert smallest_error(0.0, 50, 1.0) == 0.02
    assert smallest_error(0.001, 50, 1.0) == 0.001
    assert smallest_error(0.0, 50, math.inf) == 0.0
    assert math.isnan(smallest_error(math.nan, 1, 1.0))
