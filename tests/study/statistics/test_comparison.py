import math

import numpy as np
import pandas as pd
import pytest
from coverage_of_intervals import coverage
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from dilated_ce.study.statistics.comparison import compare_to, rank_stability


def table(scores, groups=None):
    """Scores (loss, seed, case) as rows."""
    names = [f"c{number}" for number in range(next(iter(scores.values())).shape[1])]
    rows = [
        (loss, seed, 0, name, (groups or names)[place], "lesion", value)
        for loss, values in scores.items()
        for seed, of_seed in enumerate(values)
        for place, (name, value) in enumerate(zip(names, of_seed, strict=True))
    ]
    columns = ["loss", "seed", "fold", "case", "group", "class", "dice"]
    return pd.DataFrame(rows, columns=columns).assign(hd95=lambda rows: rows["dice"])


def draw(seed=0, losses="abc", seeds=3, cases=20):
    random = np.random.default_rng(seed)
    return {loss: random.random((seeds, cases)) + 0.1 * n for n, loss in enumerate(losses)}


def test_tests_are_those_of_scipy_and_statsmodels():
    scores = draw()
    results = compare_to(table(scores), "a", margin=0.2)
    differences = [(scores[loss] - scores["a"]).mean(0) for loss in "bc"]
    p = [stats.wilcoxon(difference).pvalue for difference in differences]
    assert [result.p_value for result in results] == pytest.approx(p)
    holm = multipletests(p, method="holm")[1]
    assert [result.p_holm for result in results] == pytest.approx(holm)
    for result, loss in zip(results, "bc", strict=True):
        tost = ttost_paired(scores[loss].mean(0), scores["a"].mean(0), -0.2, 0.2)[0]
        assert result.p_equivalence == pytest.approx(tost)
        assert result.equivalent == (tost < 0.05)
        difference = scores[loss] - scores["a"]
        assert result.difference == pytest.approx(difference.mean())
        assert result.per_seed == pytest.approx(difference.mean(1))
        assert result.improvement == pytest.approx((difference > 0).mean())
        assert (result.seeds, result.cases, result.groups) == (3, 20, 20)


def test_one_seed_is_students_interval():
    # With normal differences the stretched bootstrap comes close to it.
    random = np.random.default_rng(0)
    difference = random.normal(size=(1, 200))
    [result] = compare_to(table({"a": 0 * difference, "b": difference}), "a", resamples=20_000)
    expected = stats.t.interval(0.95, 199, difference.mean(), stats.sem(difference[0]))
    assert (result.low, result.high) == pytest.approx(expected, abs=0.02)


def test_a_patient_counts_once():
    scores = draw(losses="ab", cases=4)
    groups = ["p", "p", "p", "q"]
    [result] = compare_to(table(scores, groups), "a")
    difference = (scores["b"] - scores["a"]).mean(0)
    assert result.difference == pytest.approx((difference[:3].mean() + difference[3]) / 2)
    assert (result.groups, result.cases) == (2, 4)


def test_the_classes_of_a_case_are_averaged_and_can_be_alone():
    scores = draw(losses="ab")
    lesion, other = table(scores), table(draw(1, "ab")).assign(**{"class": "other"})
    both = pd.concat([lesion, other])
    [result] = compare_to(both, "a")
    parts = [compare_to(part, "a")[0].difference for part in (lesion, other)]
    assert result.difference == pytest.approx(np.mean(parts))
    [alone] = compare_to(both, "a", class_name="other")
    assert alone.difference == pytest.approx(parts[1])
    assert alone.class_name == "other"


@settings(max_examples=3)
@given(seed=st.integers(0, 99), shift=st.floats(-0.1, 0.1))
def test_order_swap_and_shift(seed, shift):
    # Small differences: the interval ends at those that are possible.
    scores = {loss: 0.05 * values for loss, values in draw(seed, "ab", cases=6).items()}
    cases = table(scores)
    [result] = compare_to(cases, "a", resamples=500)
    [shuffled] = compare_to(cases.sample(frac=1, random_state=seed), "a", resamples=500)
    assert (shuffled.low, shuffled.high) == pytest.approx((result.low, result.high))
    [swapped] = compare_to(cases, "b", resamples=500)
    assert swapped.difference == pytest.approx(-result.difference)
    assert swapped.p_value == pytest.approx(result.p_value)
    assert swapped.improvement == pytest.approx(1 - result.improvement)
    [moved] = compare_to(table({**scores, "b": scores["b"] + shift}), "a", resamples=500)
    assert moved.low == pytest.approx(result.low + shift)
    assert moved.high == pytest.approx(result.high + shift)


def test_a_low_distance_is_an_improvement():
    scores = {"a": np.ones((1, 8)), "b": np.linspace(0, 0.9, 8)[None]}
    [result] = compare_to(table(scores), "a", metric="hd95")
    assert result.difference < 0
    assert result.improvement == 1
    ranks = rank_stability(table(scores), metric="hd95")
    assert ranks.loc["b", "best"] == 1


def test_equal_losses_are_equal():
    scores = draw(losses="a")["a"]
    [result] = compare_to(table({"a": scores, "b": scores}), "a", margin=0.01)
    assert (result.difference, result.low, result.high) == (0, 0, 0)
    assert (result.p_value, result.improvement) == (1, 0.5)
    assert result.equivalent


def test_scores_without_a_meaning_are_left_out_in_pairs():
    scores = draw(losses="ab")
    scores["a"][:, 0] = np.nan
    scores["b"][0, 1] = np.nan
    [result] = compare_to(table(scores), "a")
    difference = scores["b"] - scores["a"]
    assert result.difference == pytest.approx(np.nanmean(difference[:, 1:], 0).mean())
    assert result.cases == 19


def test_a_class_counts_where_both_losses_have_a_score_of_it():
    """Else the class that one loss lacks would stand for a difference of the others."""
    lesion, organ = table({"a": np.full((1, 3), 0.9), "b": np.full((1, 3), 0.9)}), table(draw(1))
    organ = organ[organ["loss"].isin(["a", "b"]) & (organ["seed"] == 0)][lambda t: t["case"] < "c3"]
    organ = organ[organ["case"].isin(["c0", "c1", "c2"])].assign(**{"class": "organ"})
    organ.loc[(organ["loss"] == "a") & (organ["case"] == "c0"), "dice"] = np.nan
    both = pd.concat([lesion, organ])
    [result] = compare_to(both, "a")
    of_organ = organ.pivot(index="case", columns="loss", values="dice")
    halves = ((of_organ["b"] - of_organ["a"]) / 2).fillna(0)  # lesion alone in c0: no difference
    assert result.difference == pytest.approx(halves.mean())
    assert result.cases == 3


def test_runs_that_one_loss_lacks_are_left_out():
    cases = table(draw(losses="ab"))
    lacking = cases[~((cases["loss"] == "b") & (cases["seed"] == 2))]
    [result] = compare_to(lacking, "a")
    [expected] = compare_to(cases[cases["seed"] < 2], "a")
    assert result == expected
    assert result.seeds == 2


def test_a_single_patient_has_no_interval():
    [result] = compare_to(table(draw(losses="ab", cases=1)), "a", margin=1)
    assert math.isnan(result.low)
    assert math.isnan(result.p_equivalence)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda rows: rows, {"reference": "z"}, "reference: got 'z', expected one of a, b"),
        (lambda rows: rows, {"metric": "nsd"}, "metric: got 'nsd'"),
        (lambda rows: rows, {"class_name": "x"}, "class_name: got 'x'"),
        (lambda rows: pd.concat([rows, rows[:1]]), {}, "got the row of a, seed 0, c0 twice"),
        (
            lambda rows: rows[(rows["loss"] == "a") == (rows["seed"] == 0)],
            {},
            "b and a have no scored case of a run in common",
        ),
    ],
)
def test_what_cannot_be_compared(change, arguments, message):
    with pytest.raises(ValueError, match=message):
        compare_to(change(table(draw(losses="ab"))), **{"reference": "a", **arguments})


def test_ranks_of_clear_and_of_equal_losses():
    scores = draw(losses="a")["a"]
    noise = np.random.default_rng(1).normal(scale=0.01, size=scores.shape)
    ranks = rank_stability(table({"low": scores, "high": scores + 0.5, "twin": scores + noise}))
    assert ranks.loc["high", "best"] == 1
    assert ranks.loc["high", ["rank_low", "rank_high"]].tolist() == [1, 1]
    assert ranks.loc["low", "mean_rank"] + ranks.loc["twin", "mean_rank"] == pytest.approx(5)
    assert 1.9 < ranks.loc["twin", "mean_rank"] < 3.1


MODELS = [
    {"seeds": 3, "groups": 20, "seed_effect": 0.02},
    {"seeds": 2, "groups": 20, "seed_effect": 0.02, "folds": 4},
    {"seeds": 2, "groups": 50, "seed_effect": 0.1},
]


@pytest.mark.parametrize("model", MODELS)
def test_the_interval_holds_the_truth_as_often_as_it_says(model):
    # 600 studies: the standard error of the share is 0.9 points.
    assert 0.92 <= coverage(600, **model) <= 0.98
