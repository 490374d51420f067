"""Verdicts and their words: what a statistician would write."""

import numpy as np
import pandas as pd
import pytest

from dilated_ce.study.report.sentences import limits, sentence
from dilated_ce.study.statistics.comparison import FAMILY, compare_family
from dilated_ce.study.statistics.side_by_side import side_by_side
from dilated_ce.study.statistics.verdict import judge_family

TITLES = {"a": "A", "b": "B"}
BASE = {"dice": 0.8, "nsd": 0.8, "hd95": 10.0, "lesion_f1": 0.7, "false_alarm": 0.2}


def rows(seeds=5, patients=100, noise=0.005, of_seeds=0.0, **differences):
    """Scores of two losses that differ by so much."""
    random = np.random.default_rng(0)
    table = []
    for seed in range(seeds):
        shift = of_seeds * (seed - (seeds - 1) / 2)
        for case in range(patients):
            for loss in "ab":
                scores = dict(BASE)
                for name in FAMILY if loss == "b" else ():
                    scale = 10 if name == "hd95" else 1
                    scores[name] += differences.get(name, 0) + scale * noise * random.normal()
                    scores[name] += shift if name == "dice" else 0
                who = {"loss": loss, "seed": seed, "fold": 0, "case": str(case), "group": str(case)}
                table.append({**who, "class": "x", **scores})
    return pd.DataFrame(table)


def judge(table, margin=0.015):
    [verdict] = judge_family(compare_family(side_by_side(table), "a"), margin)
    return verdict, sentence(verdict, TITLES, "px", {("b", "lesion_recall"): 0.03})


@pytest.mark.parametrize(
    ("model", "word", "said"),
    [
        ({"dice": 0.1}, "better", "B is better than A. Better: Dice +10.0 points (95 % interval +"),
        ({"dice": -0.1}, "worse", "B is worse than A. Worse: Dice -10."),
        (
            {"dice": 0.1, "hd95": 12.0},
            "trade-off",
            "B is a trade-off against A. Better: Dice +10.0 points (95 % interval ",
        ),
        ({"dice": 0.1, "hd95": 12.0}, "trade-off", "Worse: HD95 +12.0 px (+"),
        ({"hd95": 12.0}, "worse", "B is worse than A. Worse: HD95 +12.0 px"),
        ({"false_alarm": 0.3}, "worse", "Worse: false alarms +30."),
        ({"false_alarm": 0.3}, "worse", "; of 100 healthy patients)"),
        ({"patients": 400}, "equivalent", "B is as good as A, within 1.5 points of Dice. Within"),
        ({"patients": 400, "dice": 0.005, "noise": 0}, "equivalent", "Dice +0.5 points"),
        ({"noise": 0.3}, "not told apart", "B and A are not told apart: Dice "),
        ({"dice": 0.1, "seeds": 1}, "better in these runs", "one seed says nothing about others"),
        (
            {"dice": 0.1, "of_seeds": 0.08},
            "better in these runs",
            "B is better than A for these networks, but other seeds might differ",
        ),
        ({"dice": -0.5, "patients": 19}, "too few", "B beside A: 19 test cases can't"),
    ],
)
def test_verdicts(model, word, said):
    verdict, text = judge(rows(**model))
    assert verdict.word == word
    assert said in text
    assert text.count("95 % interval") == 1


def test_a_loss_that_is_worse_for_these_networks_alone_is_not_called_better():
    table = rows(dice=0.1)
    worse = 10 * np.array([0.5, 1.0, 1.5, 1.0, 0.2])
    table.loc[table["loss"] == "b", "hd95"] += worse[table["seed"][table["loss"] == "b"]]
    verdict, text = judge(table)
    assert verdict.word == "trade-off"
    assert "Worse for these networks: HD95" in text


def test_every_score_of_the_family_is_told():
    _, text = judge(rows(dice=0.1))
    for name in ("Dice", "surface Dice", "HD95", "lesion F1", "recall +3.0", "false alarms"):
        assert name in text


def test_too_few_healthy_patients_are_told_and_decide_nothing():
    table = rows(false_alarm=0.5)
    table.loc[table["case"].astype(int) >= 10, "false_alarm"] = np.nan
    verdict, text = judge(table)
    assert "Too few patients: false alarms +5" in text
    assert verdict.word != "worse"


def test_a_statistician_reads_a_folder_of_hard_scores():
    """Healthy patients, a fold that failed under one loss, ties, and one catastrophic patient."""
    random = np.random.default_rng(0)
    table = []
    for seed in range(5):
        for patient in range(120):
            fold, healthy = patient % 2, patient >= 60
            hard = 0.3 if fold == 1 else 0.0
            tied = 0.8 - hard + 0.05 * random.normal()  # the same under both
            for loss in "ab":
                if loss == "b" and fold == 1 and seed == 4:
                    continue  # failed
                score = tied
                if healthy:
                    score = 0.0 if loss == "b" and patient % 4 == 0 else 1.0
                elif patient == 0 and loss == "b":
                    score = 0.0  # catastrophic
                alarm = float(score == 0) if healthy else np.nan
                scores = {"dice": score, "nsd": score, "hd95": 60.0 * (1 - score)}
                scores |= {"lesion_f1": score, "false_alarm": alarm}
                who = {"loss": loss, "seed": seed, "fold": fold, "case": str(patient)}
                table.append({**who, "group": str(patient), "class": "x", **scores})
    table = pd.DataFrame(table)
    verdict, text = judge(table)
    by_metric = {comparison.metric: comparison for comparison, _ in verdict.sides}
    # Half of 30 of 60 healthy patients in fold 0, none in fold 1: 15 of 60.
    false_alarms = by_metric["false_alarm"]
    assert false_alarms.groups == 60
    assert false_alarms.difference == pytest.approx(0.25)
    # Ties are no evidence: the 15 patients with a false alarm and the catastrophic one are.
    assert by_metric["dice"].difference == pytest.approx((-15 - 0.8) / 120, abs=0.01)
    assert by_metric["dice"].improvement == pytest.approx(0.5 * (120 - 16) / 120)
    # The failed fold of a seed is left out of the pairs, and of nothing else.
    assert (by_metric["dice"].seeds, by_metric["dice"].groups) == (5, 120)
    assert verdict.word == "worse"
    assert "Worse: " in text
    assert "false alarms +25.0 points" in text
    assert "Better" not in text
    # Without the healthy patients one catastrophic patient is no verdict.
    ill = table[table["case"].astype(int) < 60].assign(false_alarm=np.nan)
    verdict, text = judge(ill)
    assert verdict.word == "not told apart"
    assert "false alarms" not in text


def test_what_a_comparison_cannot_say():
    verdict, _ = judge(rows(noise=0.3))
    said = " ".join(limits([verdict], seeds=2, groups=100, cases=100))
    assert "for all 5 differences of the first table together" in said
    assert "another training set" in said
    assert "2 seeds say little" in said
    assert "need not be equal" in said


@pytest.mark.parametrize("difference", [0.008, -0.008])
@pytest.mark.parametrize("model", [{"seeds": 1}, {"seeds": 2, "of_seeds": 0.02}])
def test_within_the_margin_nothing_is_better_for_these_networks_either(difference, model):
    table = rows(patients=800, dice=difference, **model)
    verdict, said = judge(table)
    [result] = [one for one, _ in verdict.sides if one.metric == "dice"]
    assert 0 < min(abs(result.low_of_runs), abs(result.high_of_runs)) < 0.015  # 0 is not in it
    assert verdict.word == "not told apart", said
    assert judge(table, margin=0.001)[0].word.endswith("in these runs")


def test_the_interval_is_the_one_that_the_word_rests_on():
    _, said = judge(rows(dice=0.1, of_seeds=0.08))
    [result] = compare_family(side_by_side(rows(dice=0.1, of_seeds=0.08)), "a")[:1]
    assert result.low < 0 < result.low_of_runs
    ends = f"{100 * result.low_of_runs:+.1f} to {100 * result.high_of_runs:+.1f}"
    assert f"Better for these networks: Dice +10.0 points (95 % interval {ends})" in said
