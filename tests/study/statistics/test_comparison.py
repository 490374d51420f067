import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_rows import draw, table

from dilated_ce.study.report.tables import differences, summarise
from dilated_ce.study.scores.table import SCORES
from dilated_ce.study.statistics import ranks
from dilated_ce.study.statistics.comparison import FAMILY, compare_family, compare_to
from dilated_ce.study.statistics.ranks import rank_stability
from dilated_ce.study.statistics.side_by_side import side_by_side


def test_differences_are_paired():
    scores = draw()
    results = compare_to(side_by_side(table(scores)), "a")
    for result, loss in zip(results, "bc", strict=True):
        difference = scores[loss] - scores["a"]
        assert result.difference == pytest.approx(difference.mean())
        assert result.per_seed == pytest.approx(difference.mean(1))
        assert result.improvement == pytest.approx((difference > 0).mean())
        assert (result.seeds, result.cases, result.groups) == (3, 20, 20)


def test_a_patient_counts_once():
    scores = draw(losses="ab", cases=4)
    groups = ["p", "p", "p", "q"]
    [result] = compare_to(side_by_side(table(scores, groups)), "a")
    difference = (scores["b"] - scores["a"]).mean(0)
    assert result.difference == pytest.approx((difference[:3].mean() + difference[3]) / 2)
    assert (result.groups, result.cases) == (2, 4)


def test_the_classes_of_a_case_are_averaged_and_can_be_alone():
    scores = draw(losses="ab")
    lesion, other = table(scores), table(draw(1, "ab")).assign(**{"class": "other"})
    both = pd.concat([lesion, other])
    [result] = compare_to(side_by_side(both), "a")
    parts = [compare_to(side_by_side(part), "a")[0].difference for part in (lesion, other)]
    assert result.difference == pytest.approx(np.mean(parts))
    [alone] = compare_to(side_by_side(both).of_class("other"), "a")
    assert alone.difference == pytest.approx(parts[1])
    assert alone.class_name == "other"
    with pytest.raises(ValueError, match="class_name: got 'x'"):
        side_by_side(both).of_class("x")


@settings(max_examples=5)
@given(seed=st.integers(0, 99), shift=st.floats(-0.1, 0.1))
def test_order_swap_and_shift(seed, shift):
    scores = {loss: 0.05 * values for loss, values in draw(seed, "ab", cases=6).items()}
    cases = table(scores)
    [result] = compare_to(side_by_side(cases), "a")
    [shuffled] = compare_to(side_by_side(cases.sample(frac=1, random_state=seed)), "a")
    assert (shuffled.low, shuffled.high) == pytest.approx((result.low, result.high))
    [swapped] = compare_to(side_by_side(cases), "b")
    assert (swapped.low, swapped.high) == pytest.approx((-result.high, -result.low))
    assert swapped.improvement == pytest.approx(1 - result.improvement)
    [moved] = compare_to(side_by_side(table({**scores, "b": scores["b"] + shift})), "a")
    assert moved.difference == pytest.approx(result.difference + shift)


def test_a_low_distance_is_an_improvement():
    scores = {"a": np.ones((1, 8)), "b": np.linspace(0, 0.9, 8)[None]}
    [result] = compare_to(side_by_side(table(scores)), "a", metric="hd95")
    assert result.difference < 0
    assert result.improvement == 1
    found = rank_stability(side_by_side(table(scores)), metric="hd95")
    assert found.loc["b", "best"] == 1


def test_equal_losses_differ_by_what_unseen_patients_might():
    scores = np.full((3, 30), 0.8)
    [result] = compare_to(side_by_side(table({"a": scores, "b": scores})), "a")
    assert (result.difference, result.improvement) == (0, 0.5)
    unseen = 0.8 * (1 - 0.1 ** (1 / 30))
    assert (result.low, result.high) == pytest.approx((-unseen, unseen))


@pytest.mark.parametrize(
    ("metric", "loss", "reference", "below", "above"),
    [
        ("dice", 0.6, 0.9, 0.6, 0.9),  # 0 - 0.9 or 0.6 - 0, where the mean difference is -0.3
        ("false_alarm", 0.3, 0.1, 0.9, 0.7),  # 0.3 - 1 or 1 - 0.1, around 0.2
        ("hd95", 5.0, 8.0, 0.0, 3.0),  # 5 - 8 or 8 - 8, the largest distance seen, around -3
    ],
)
def test_a_patient_of_an_unseen_kind_is_one_that_a_loss_fails_on(
    metric, loss, reference, below, above
):
    scores = {"a": np.full((1, 30), reference), "b": np.full((1, 30), loss)}
    cases = table(scores).rename(columns={"dice": metric, "hd95": "dice"})
    scores = side_by_side(cases.loc[:, ~cases.columns.duplicated()])
    [result] = compare_to(scores, "a", metric=metric)
    share = 1 - 0.1 ** (1 / 30)
    assert result.difference - result.low == pytest.approx(share * below)
    assert result.high - result.difference == pytest.approx(share * above)


def test_a_score_that_both_lack_is_left_out_and_one_that_one_lacks_is_an_error():
    scores = draw(losses="ab")
    for loss in "ab":
        scores[loss][:, 0] = np.nan  # no truth
    [result] = compare_to(side_by_side(table(scores)), "a")
    difference = scores["b"] - scores["a"]
    assert result.difference == pytest.approx(np.nanmean(difference[:, 1:], 0).mean())
    assert result.cases == 19
    scores["b"][0, 1] = np.nan  # nothing was predicted
    with pytest.raises(ValueError, match="dice: c1, class lesion, seed 0, fold 0 has"):
        compare_to(side_by_side(table(scores)), "a")


def test_a_run_without_a_single_score_is_no_run_that_failed():
    scores = draw(losses="ab")
    scores["b"][1] = np.nan
    with pytest.raises(ValueError, match=r"seed 1, fold 0 has a score under a and none under b"):
        compare_to(side_by_side(table(scores)), "a")


def test_runs_that_one_loss_lacks_are_left_out():
    cases = table(draw(losses="ab"))
    lacking = cases[~((cases["loss"] == "b") & (cases["seed"] == 2))]
    [result] = compare_to(side_by_side(lacking), "a")
    [expected] = compare_to(side_by_side(cases[cases["seed"] < 2]), "a")
    assert result == expected
    assert result.seeds == 2
    assert len(side_by_side(lacking).paired(["a", "b"], "dice")) == 40


def test_two_seeds_of_different_folds_tell_nothing_of_other_seeds():
    cases = table(draw(losses="ab", seeds=2, cases=40)).assign(fold=lambda rows: rows["seed"])
    [result] = compare_to(side_by_side(cases), "a")
    assert (result.seeds, result.folds) == (1, 2)
    assert (result.low, result.high) == (result.low_of_runs, result.high_of_runs)


def test_a_single_patient_has_no_interval():
    [result] = compare_to(side_by_side(table(draw(losses="ab", cases=1))), "a")
    assert math.isnan(result.low)


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (lambda rows: rows, {"reference": "z"}, "reference: got 'z', expected one of a, b"),
        (lambda rows: rows, {"metric": "nsd"}, "metric: got 'nsd'"),
        (lambda rows: pd.concat([rows, rows[:1]]), {}, "got the row of a, seed 0, c0 twice"),
        (
            lambda rows: rows[(rows["loss"] == "a") == (rows["seed"] == 0)],
            {},
            "b and a have no scored case of a run in common",
        ),
    ],
)
def test_what_cannot_be_compared(change, arguments, message):
    rows = change(table(draw(losses="ab")))
    with pytest.raises(ValueError, match=message):
        compare_to(side_by_side(rows), **{"reference": "a", **arguments})


def test_the_family_is_every_loss_by_every_score_and_known_from_the_truth():
    cases = table(draw()).assign(nsd=0.5, lesion_f1=0.5, false_alarm=math.nan)
    results = compare_family(side_by_side(cases), "a")
    names = ["dice", "nsd", "hd95", "lesion_f1"]
    assert [(result.loss, result.metric) for result in results] == [
        (loss, name) for loss in "bc" for name in names
    ]
    assert {result.comparisons for result in results} == {8}
    healthy = compare_family(side_by_side(cases.assign(false_alarm=0.0)), "a")
    assert {result.comparisons for result in healthy} == {10}
    [alone, _] = compare_to(side_by_side(cases), "a")
    assert results[0].high > alone.high


def test_ranks_of_clear_and_of_equal_losses():
    scores = draw(losses="a")["a"]
    noise = np.random.default_rng(1).normal(scale=0.01, size=scores.shape)
    cases = table({"low": scores, "high": scores + 0.5, "twin": scores + noise})
    found = rank_stability(side_by_side(cases))
    assert found.loc["high", "best"] == 1
    assert found.loc["high", ["rank_low", "rank_high"]].tolist() == [1, 1]
    assert found.loc["low", "mean_rank"] + found.loc["twin", "mean_rank"] == pytest.approx(5)
    assert 1.9 < found.loc["twin", "mean_rank"] < 3.1


def test_the_bootstrap_of_the_ranks_is_the_same_in_parts(monkeypatch):
    cases = table(draw(), [f"p{number // 2}" for number in range(20)])
    scores = side_by_side(cases.assign(fold=cases["case"].str[-1].astype(int) % 2))
    expected = rank_stability(scores, resamples=300)
    monkeypatch.setattr(ranks, "PART", 7)
    pd.testing.assert_frame_equal(rank_stability(scores, resamples=300), expected)


def test_the_ranks_are_those_of_weights_for_every_score():
    """The pigeonhole bootstrap written out: a weight for each patient and each run."""
    cases = table(draw(cases=8))
    cases = cases[(cases["seed"] != 2) | (cases["case"] < "c5")]  # a run that lacks three
    found = rank_stability(side_by_side(cases), resamples=200)
    random = np.random.default_rng(0)
    runs, patients = random.dirichlet(np.ones(3), 200), random.exponential(size=(200, 8))
    wide = cases.set_index(["seed", "case", "loss"])["dice"].unstack("loss")
    weights = [[runs[:, seed] * patients[:, int(case[1:])]] for seed, case in wide.index]
    means = np.concatenate(weights).T @ wide.to_numpy() / np.concatenate(weights).sum(0)[:, None]
    order = (-means).argsort(1).argsort(1) + 1
    assert found["mean_rank"].tolist() == pytest.approx(order.mean(0))


def test_the_rows_are_gone_through_once_for_all_scores_and_losses(monkeypatch):
    """Where every comparison grouped all rows anew, large studies took many minutes."""
    rows = pd.concat([table(draw(losses="abcde")).assign(**{"class": name}) for name in "xy"])
    cases = rows.assign(**dict.fromkeys(SCORES, rows["dice"]))
    passes, group = [], pd.DataFrame.groupby

    def counted(table, *arguments, **options):
        passes.append(len(table))
        return group(table, *arguments, **options)

    monkeypatch.setattr(pd.DataFrame, "groupby", counted)
    scores = side_by_side(cases)
    assert len(compare_family(scores, "a")) == 4 * len(FAMILY)
    assert len(differences(scores, "a", ["x", "y"])) == 4 * (2 + len(SCORES) - len(FAMILY))
    summarise(scores)
    rank_stability(scores)
    assert passes.count(len(cases)) == 1  # which runs there are
    assert passes.count(len(scores.table)) == 1
