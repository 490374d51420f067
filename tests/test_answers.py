"""The analysis of the evidence study, on scores that are made up: the words that they deserve."""

import answer_figures
import answer_tables
import answers
import claims
import numpy as np
import pandas as pd
import pytest
import questions
import sets
from questions import Question, answer, on_data_set, over_data_sets
from sensitivity import sensitivity

from dilated_ce.study.statistics.pooling import mean_over_data_sets

NAMES = ("one", "two", "three", "four", "five")


def table(shifts, *, seed=0, patients=60, folds=1, seeds=3, noise=0.03, **scores):
    """Scores of arms whose Dice differs by these shifts, patient by patient."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(patients):
        level = random.uniform(0.5, 0.8)
        for run in range(seeds if folds == 1 else 1):
            fold = number % folds
            for arm, shift in shifts.items():
                rows.append(
                    {"loss": arm, "arm": arm, "rate": 0.003, "seed": fold if folds > 1 else run,
                     "fold": fold, "case": f"c{number}", "group": f"g{number}", "class": "lesion",
                     "dice": level + shift + noise * random.normal(),
                     **{name: of(arm, random) for name, of in scores.items()}}
                )  # fmt: skip
    return pd.DataFrame(rows)


def of_shifts(question, shifts, **options):
    """What is found on data sets on which the arm differs so."""
    arms = [{question.arm: shift, question.reference: 0.0} for shift in shifts]
    return {
        name: on_data_set(table(of, seed=n, **options), question)
        for n, (name, of) in enumerate(zip(NAMES, arms, strict=False))
    }


def word(question, shifts, **options):
    by_set = of_shifts(question, shifts, **options)
    return answer(question, by_set, over_data_sets(by_set, question.together))


BETTER = Question("1", "dbce", "ce", "better")
LIKE = Question("3", "dbce", "dice-ce", "like")
SAFE = Question("4", "adaptive-dbce-dice", "dice-ce", "safe")


@pytest.mark.parametrize(
    ("question", "shifts", "expected"),
    [
        (BETTER, (0.05, 0.06, 0.05, 0.04, 0.05), "confirmed"),
        (BETTER, (-0.05, -0.06, -0.05, -0.04, -0.05), "refuted"),
        (BETTER, (0.1, -0.1, 0.05, -0.05, 0.0), "open"),
        (LIKE, (0.001, -0.001, 0.002, 0.0, 0.0), "confirmed"),
        (LIKE, (0.05, 0.06, 0.05, 0.04, 0.05), "refuted (better)"),
        (LIKE, (-0.05, -0.06, -0.05, -0.04, -0.05), "refuted"),
        (LIKE, (0.05, -0.05, 0.05, -0.05, 0.0), "open"),
        (SAFE, (0.02, 0.03, 0.02, 0.03, 0.025), "met"),
        (SAFE, (0.05, 0.05, 0.05, 0.05, -0.08), "failed"),
        (SAFE, (0.0, 0.0, 0.0, 0.0, 0.0), "open"),
    ],
)
def test_words(question, shifts, expected):
    found = word(question, shifts)
    assert found.word == expected
    if expected == "failed":
        assert found.against == ("five",)


def test_a_set_on_the_other_side_is_named():
    found = word(BETTER, (0.3, 0.3, 0.3, 0.3, -0.06))
    assert found.against == ("five",)


@pytest.mark.parametrize("worse", [True, False])
@pytest.mark.parametrize("score", ["hd95", "lesion_precision", "false_alarm"])
def test_what_got_worse_makes_it_a_trade_off(score, worse):
    units = {"hd95": 10.0}.get(score, 0.3)
    sign = (-1 if score == "lesion_precision" else 1) * (1 if worse else -1)

    def of(arm, random):
        return units * (1 + 0.3 * sign * (arm == "dbce")) + 0.01 * random.normal()

    by_set = of_shifts(BETTER, (0.05, 0.06, 0.05, 0.04, 0.05), **{score: of})
    if score == "false_alarm":  # counts on the healthy set alone
        pooled = over_data_sets(by_set, 3)
        assert answer(BETTER, by_set, pooled).worse == ()
        by_set[questions.HEALTHY] = by_set.pop("five")
    found = answer(BETTER, by_set, over_data_sets(by_set, 3))
    assert found.worse == ((score,) if worse else ())
    assert found.word == ("confirmed, trade-off" if worse else "confirmed")


def test_whether_it_is_safe_is_told_without_patients_of_unseen_kinds_too():
    """They widen the interval of a small data set by far more than the margin."""
    by_set = of_shifts(SAFE, (0.02, 0.03, 0.02, 0.03, 0.025), patients=20, noise=0.005)
    pooled = over_data_sets(by_set, SAFE.together)
    assert answer(SAFE, by_set, pooled).word == "open"
    assert questions.plainly_safe(by_set, pooled) == "met"


def test_other_analyses_of_the_same_differences():
    def of(arm, random):
        return (20 + random.normal()) * (1.5 if arm == "dbce" else 1)

    by_set = of_shifts(BETTER, (0.05, 0.06, 0.3), hd95=of)
    table = sensitivity(by_set, BETTER).set_index(["score", "analysis"])
    differences = [by_set[name].set_index("score").loc["dice", "difference"] for name in NAMES[:3]]
    alike = table.loc[("dice", "every data set counts the same")]
    assert alike["difference"] == pytest.approx(np.mean(differences))
    assert table.loc[("dice", "without three"), "difference"] < 0.08 < alike["difference"]
    assert table.loc[("hd95", "mean logarithm of the ratio"), "difference"] == pytest.approx(
        0.5, abs=0.01
    )
    assert (table["low"] < table["difference"]).all()


def test_distance_makes_it_unsafe():
    shifts = (0.02, 0.03, 0.02, 0.03, 0.025)

    def farther(by):
        return lambda arm, random: 10 + by * (arm == SAFE.arm) + 0.1 * random.normal()

    assert word(SAFE, shifts, hd95=farther(0)).word == "met"
    assert word(SAFE, shifts, hd95=farther(0.5)).word == "open"  # wholly worse, by a twentieth
    found = word(SAFE, shifts, hd95=farther(2))  # by a fifth
    assert found.word == "failed"
    assert found.against == NAMES


def test_means_over_sets_leave_out_the_healthy_one_and_take_distances_as_shares():
    def of(arm, random):
        return 20 + 4 * (arm == "dbce") + random.normal()

    by_set = of_shifts(BETTER, (0.05, 0.06, 0.02), hd95=of)
    by_set[questions.HEALTHY] = of_shifts(BETTER, (0.9,))["one"]
    pooled = over_data_sets(by_set, 3).set_index("score")
    rows = [by_set[name].set_index("score") for name in NAMES[:3]]
    expected = mean_over_data_sets(
        [row.loc["dice", "difference"] for row in rows],
        [row.loc["dice", "error"] for row in rows],
        comparisons=3,
    )
    assert pooled.loc["dice", "low"] == pytest.approx(expected.low)
    assert pooled.loc["dice", "sets"] == 3
    assert pooled.loc["hd95", "difference"] == pytest.approx(0.2, abs=0.02)
    alone = over_data_sets(by_set, 1).set_index("score")
    assert alone.loc["dice", "low"] > pooled.loc["dice", "low"]


def test_a_set_where_no_patient_differs_does_not_make_all_count_the_same():
    """As where every arm finds all lesions: it is weighed as if one patient differed by all."""

    def found(arm, random):
        return random.uniform(0.4, 0.8)

    by_set = of_shifts(BETTER, (0.05, 0.06, 0.02), lesion_recall=found)
    table = by_set["two"]
    here = table["score"] == "lesion_recall"
    table.loc[here, ["difference", "error"]] = 0.0
    pooled = over_data_sets(by_set, 3).set_index("score").loc["lesion_recall"]
    rows = [of.set_index("score").loc["lesion_recall"] for of in by_set.values()]
    errors = [row["error"] or 1 / row["patients"] for row in rows]
    expected = mean_over_data_sets([row["difference"] for row in rows], errors, comparisons=3)
    assert pooled["low"] == pytest.approx(expected.low)
    assert pooled["high"] > pooled["low"]
    assert expected.weighted
    for name in NAMES:  # nor if it is so on every set
        if name in by_set:
            of = by_set[name]
            of.loc[of["score"] == "lesion_recall", ["difference", "error"]] = 0.0
    pooled = over_data_sets(by_set, 3).set_index("score").loc["lesion_recall"]
    assert pooled["high"] > 0.005


def part_of_one(arm, random):
    return random.uniform(0.4, 0.8)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """The tables of three small data sets, of which one is cross-validated."""
    found = {
        "kvasir": sets.Set("x", {}),
        "busi": sets.Set("x", {"folds": 5}),
        "nuclei": sets.Set("x", {}),
        "healthy": sets.Set("x", {"folds": 5}),
    }
    for module in (answers, claims):
        monkeypatch.setattr(module, "SETS", found)
        monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(sets, "LONG_FOLDS", 2)
    monkeypatch.setattr(answers, "LONG_STEPS", {"kvasir": 9, "busi": 9})
    shifts = {arm: 0.01 * n for n, arm in enumerate(sets.MAIN)}
    for number, (name, what) in enumerate(found.items()):
        folds = what.options.get("folds", 1)
        for file, seeds in (("cases.csv", 5), ("cases_long.csv", 1)):
            (tmp_path / name).mkdir(exist_ok=True)
            made = table(shifts, seed=number, patients=30, folds=folds, seeds=seeds,
                         hd95=lambda arm, random: 5 + random.normal(),
                         true_voxels=lambda arm, random: 9,
                         predicted_voxels=lambda arm, random: int(random.uniform() < 0.9),
                         **dict.fromkeys(("precision", "recall"), part_of_one))  # fmt: skip
            # A rival is under way; its runs lie beside the others.
            rival = made[(made["arm"] == "ce") & (made["seed"] == 0)].assign(arm="dice", dice=0.1)
            pd.concat([made, rival]).to_csv(tmp_path / name / file, index=False)
    return tmp_path


def test_it_writes_the_tables_when_all_runs_are_there(study, monkeypatch):
    monkeypatch.setattr("sys.argv", ["answers.py", "--group", "main", "long"])
    answers.main()
    said = pd.read_csv(study / "answers.csv")
    assert set(said[said["group"] == "main"]["question"].astype(str)) == {"1", "2", "3", "4"}
    assert set(said["over"]) == {"all", "without kvasir"}
    pooled = pd.read_csv(study / "over_sets.csv")
    spared = pooled[(pooled["over"] != "all") & (pooled["group"] == "main")]
    assert set(spared["sets"]) == {2}
    assert set(pooled[pooled["over"] == "all"]["sets"]) == {2, 3}  # of the long ones, and of all
    by_set = pd.read_csv(study / "by_set.csv").set_index(
        ["group", "set", "arm", "reference", "score"]
    )
    cases = pd.read_csv(study / "kvasir" / "cases.csv").set_index(["arm", "seed", "case"])["dice"]
    found = by_set.loc[("main", "kvasir", "dbce", "ce", "dice")]
    assert found["difference"] == pytest.approx(
        (cases["dbce"] - cases["ce"]).groupby("case").mean().mean(), abs=1e-5
    )
    scores = pd.read_csv(study / "scores.csv").set_index(["group", "set", "arm"])
    assert scores.loc[("main", "kvasir", "dbce"), "dice"] == pytest.approx(
        cases["dbce"].groupby("case").mean().mean(), abs=1e-5
    )
    assert found["mean"] == scores.loc[("main", "kvasir", "dbce"), "dice"]
    assert set(scores.index.get_level_values("arm")) == set(sets.MAIN)
    empty = (
        pd.read_csv(study / "nuclei" / "cases.csv").query("arm == 'ce'")["predicted_voxels"] == 0
    )
    assert scores.loc[("main", "nuclei", "ce"), "empty"] == pytest.approx(empty.mean(), abs=1e-5)
    # Folds have a network each: how they differ is part of the error over data sets.
    folds = pd.read_csv(study / "busi" / "cases.csv").set_index(["arm", "fold", "case"])["dice"]
    difference = (folds["dbce"] - folds["ce"]).groupby("fold").mean()
    found = by_set.loc[("main", "busi", "dbce", "ce", "dice")]
    expected = max(difference.std() / 5**0.5, found["error_of_patients"])
    assert found["error"] == pytest.approx(expected, abs=1e-5)
    taken = pd.read_csv(study / "choices.csv")
    assert set(taken["arm"]) == set(sets.MAIN)  # without the rival that is under way
    assert set(taken["set"]) == {"kvasir", "busi", "nuclei"}


def test_the_test_parts_stay_closed_while_a_run_is_missing(study, monkeypatch):
    path = study / "busi" / "cases.csv"
    cases = pd.read_csv(path)
    cases[(cases["arm"] != "dbce-dice") | (cases["fold"] != 4)].to_csv(path, index=False)
    monkeypatch.setattr("sys.argv", ["answers.py", "--group", "main"])
    with pytest.raises(SystemExit, match="1 runs are missing, such as busi dbce-dice seed 4 fold"):
        answers.main()
    assert not (study / "answers.csv").exists()
    # Not asked for by name, it is left out; the long one is whole, and is opened.
    monkeypatch.setattr("sys.argv", ["answers.py"])
    answers.main()
    assert set(pd.read_csv(study / "answers.csv")["group"]) == {"long"}
    for file in ("cases.csv", "cases_long.csv"):
        (study / "kvasir" / file).unlink()
    with pytest.raises(SystemExit, match="No group is whole"):
        answers.main()


def test_every_arm_is_in_a_question():
    for group, (arms, _) in sets.GROUPS.items():
        asked = questions.QUESTIONS["main" if group == "long" else group]
        assert set(arms) <= {arm for q in asked for arm in (q.arm, q.reference)}


def test_the_tables_of_the_pages(study, monkeypatch):
    monkeypatch.setattr("sys.argv", ["answers.py", "--group", "main", "long"])
    answers.main()
    monkeypatch.setattr(answer_tables, "EVIDENCE", study)
    by_set = pd.read_csv(study / "by_set.csv").set_index(
        ["group", "set", "question", "arm", "reference", "score"]
    )
    words = answer_tables.words_table().splitlines()
    assert words[0].startswith("|  | DBCE is better than balanced CE | ")
    assert words[0].count("|") == 2 + 1 + 4  # four questions, the last without kvasir as well
    said = pd.read_csv(study / "answers.csv").query("group == 'main'")["word"]
    assert words[2] == f"| the word | {' | '.join(f'**{word}**' for word in said)} |"
    assert words[5] == f"| sets where Dice is lower | {' | '.join(['none'] * 5)} |"
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in words[2:]}
    over = pd.read_csv(study / "over_sets.csv").set_index(
        ["group", "over", "arm", "reference", "score"]
    )
    of = over.loc[("main", "without kvasir", "adaptive-dbce-dice", "dice-ce", "hd95")]
    assert rows["| HD95, % (less is better)"][4].startswith(f"{100 * of['difference']:+.1f} (")
    table = answer_tables.differences_table("adaptive-dbce-dice", "dice-ce")
    one = by_set.loc[("main", "kvasir", "4", "adaptive-dbce-dice", "dice-ce", "dice")]
    line = next(line for line in table.splitlines() if line.startswith("| Kvasir-SEG"))
    assert f"| {100 * one['difference']:+.1f} ({100 * one['low']:+.1f} to" in line
    of_long = answer_tables.differences_table("adaptive-dbce-dice", "dice-ce", "long")
    assert "healthy" not in of_long
    assert "false alarms" not in of_long
    assert of_long.splitlines()[-1].startswith("| **over 2 sets** (95 %) |  | ")
    assert "| Kvasir-SEG | 30 | " in table
    assert table.splitlines()[-2].startswith("| **over 3 sets** (95 %) |  | ")
    assert table.splitlines()[-1].startswith("| the same without Kvasir-SEG |  | ")
    of = over.loc[("main", "without kvasir", "adaptive-dbce", "dice-ce", "dice")]
    alone = answer_tables.differences_table("adaptive-dbce", "dice-ce").splitlines()[-1]
    assert f"| {100 * of['difference']:+.1f} ({100 * of['low']:+.1f} to" in alone
    assert "(98.3 %)" in answer_tables.differences_table("dbce", "ce")
    assert table.splitlines()[-3].startswith("| BUSI with healthy cases | ")
    alarms = by_set.reset_index()
    of_healthy = (alarms["set"] == "healthy") & (alarms["score"] == "recall")
    alarms = alarms.assign(score=alarms["score"].mask(of_healthy, "false_alarm"))
    alarms.to_csv(study / "by_set.csv", index=False)
    one = alarms.set_index(list(by_set.index.names)).loc[
        ("main", "healthy", "4", "adaptive-dbce-dice", "dice-ce", "false_alarm")
    ]
    shown = answer_tables.differences_table("adaptive-dbce-dice", "dice-ce").splitlines()[-3]
    assert shown.endswith(f" ({100 * one['low']:+.1f} to {100 * one['high']:+.1f}) |")
    others = answer_tables.sensitivity_table().splitlines()
    assert others[0].startswith("|  | DBCE is better than balanced CE | ")
    ours = "| Adaptive DBCE alone minus Dice + CE | Adaptive DBCE alone minus CE |"
    assert others[0].endswith(ours)
    analyses = [line.split(" | ")[0] for line in others[2:]]
    assert analyses == [f"| Dice: {what}" for what in (
        "as the protocol says", "errors of patients and seeds alone",
        "every data set counts the same", "without Kvasir-SEG", "without BUSI", "without nuclei",
    )] + ["| HD95, %: mean logarithm of the ratio"]  # fmt: skip
    scores = answer_tables.scores_table("dice", "long").splitlines()
    assert scores[0] == "|  | Kvasir-SEG | BUSI |"
    assert len(scores) == 2 + len(sets.MAIN)
    for name, gain in {"kvasir": 0.04, "nuclei": -0.01, "healthy": 0.5}.items():
        pd.DataFrame(
            {"step": [2, 4, 6] * 2, "dice": [0.1, 0.2, 0.2 + gain, 0.1, 0.3, 0.3 + gain],
             "arm": "ce", "seed": [0, 0, 0, 1, 1, 1], "fold": 0}
        ).to_csv(study / name / "curves.csv", index=False)  # fmt: skip
    learning = answer_tables.learning_table().splitlines()
    assert learning[0] == "|  | Kvasir-SEG | nuclei |"
    assert learning[2:] == ["| CE | +4.0 | -1.0 |"]
    curves = pd.read_csv(study / "kvasir" / "curves.csv")
    pd.concat([curves, curves[curves["seed"] == 0].assign(arm="dice", dice=0.9)]).to_csv(
        study / "kvasir" / "curves.csv", index=False
    )  # a rival that is under way, and is the only arm on another set
    curves.assign(arm="dice").to_csv(study / "busi" / "curves.csv", index=False)
    assert answer_tables.learning_table().splitlines() == learning
    # A fold that was broken off has some of the arms only, and is in no row.
    pd.DataFrame(
        {"step": [2, 4, 6] * 3, "dice": [0.1, 0.2, 0.3, 0.1, 0.2, 0.4, 0.1, 0.2, 0.9],
         "arm": ["ce"] * 3 + ["dbce"] * 3 + ["ce"] * 3, "seed": 0, "fold": [0] * 6 + [1] * 3}
    ).to_csv(study / "busi" / "curves_long.csv", index=False)  # fmt: skip
    learning = answer_tables.learning_table("curves_long.csv").splitlines()
    assert learning[2:] == ["| CE | +10.0 |", "| DBCE | +20.0 |"]
    chosen = answer_tables.choices_table()
    assert "| CE | 0.003 | 0.003 | 0.003 |" in chosen


def test_short_and_long_stand_side_by_side_on_the_same_cases(study, monkeypatch):
    monkeypatch.setattr("sys.argv", ["answers.py", "--group", "main", "long"])
    answers.main()
    by_set = pd.read_csv(study / "by_set.csv").set_index(["group", "set", "arm", "reference"])
    cases = pd.read_csv(study / "busi" / "cases.csv").query("fold < 2")  # as the long one has
    means = cases[cases["arm"].isin(["dbce", "ce"])].pivot_table("dice", "arm", "fold").mean(axis=1)
    found = by_set.loc[("short", "busi", "dbce", "ce")].set_index("score").loc["dice"]
    assert found["difference"] == pytest.approx(means["dbce"] - means["ce"], abs=2e-3)
    assert found["patients"] < by_set.loc[("main", "busi", "dbce", "ce")]["patients"].max()
    assert set(by_set.loc["short"].index.get_level_values("set")) == {"kvasir", "busi"}

    monkeypatch.setattr(answer_tables, "EVIDENCE", study)
    table = answer_tables.lasting_table([("dbce", "ce"), ("adaptive-dbce", "dice-ce")])
    first, _, *rows = table.splitlines()
    assert first == "|  | Kvasir-SEG | BUSI | over 2 sets |"
    assert [row.split(" | ")[0] for row in rows] == [
        f"| {pair}, {schedule}"
        for pair in ("DBCE minus CE", "Adaptive DBCE minus Dice + CE")
        for schedule in ("short", "long")
    ]
    assert f"{100 * found['difference']:+.1f} ({100 * found['low']:+.1f} to" in rows[0]
    assert rows[0].endswith(", at 98.3 % |")
    assert rows[2].endswith(", at 95 % |")


def test_the_figures_of_the_pages(study, monkeypatch):
    monkeypatch.setattr("sys.argv", ["answers.py", "--group", "main"])
    answers.main()
    monkeypatch.setattr(answer_tables, "EVIDENCE", study)
    figure = answer_figures.differences()
    assert len(figure.axes) == 4 * len(answer_figures.SCORES)  # questions and scores
    first = figure.axes[0]
    assert first.get_title(loc="left").startswith("DBCE is better than balanced CE: ")
    by_set = answer_tables.on_sets("dbce", "balanced-ce").loc[("kvasir", "dice")]
    interval = first.lines[0].get_xdata()
    assert interval == pytest.approx(100 * by_set[["low", "high"]].to_numpy(float))
    assert [label.get_text() for label in first.get_yticklabels()] == [
        *(answer_tables.SETS[name] for name in ("kvasir", "busi", "nuclei")), "over the sets"
    ]  # fmt: skip
    distance = figure.axes[1].lines[0].get_xdata()  # % of the reference
    row = answer_tables.on_sets("dbce", "balanced-ce").loc[("kvasir", "hd95")]
    assert distance[0] == pytest.approx(100 * row["low"] / row["of_reference"])


def test_the_figure_along_the_radius(tmp_path):
    for name in ("kvasir", "nuclei"):
        (tmp_path / name).mkdir()
        rows = [("ce", 0.003, 0.5), ("ce", 0.009, 0.9), ("balanced-ce", 0.003, 0.4),
                ("dice-ce", 0.003, 0.6), ("dbce:radius=2", 0.003, 0.5),
                ("dbce:radius=1", 0.003, 0.3), ("dbce-dice:radius=1", 0.003, 0.7),
                ("dbce:radius=2", 0.009, 0.8)]  # fmt: skip
        table = pd.DataFrame(rows, columns=list(claims.TRIAL_COLUMNS))
        table.to_csv(tmp_path / name / "trials.csv", index=False)
    first, second, *rest = answer_figures.along_radius(tmp_path).axes
    assert (first.get_title(), second.get_title()) == ("Kvasir-SEG", "nuclei")
    radii, dice = first.lines[0].get_data()
    assert (list(radii), list(dice)) == ([1, 2], [30, 50])
    assert [line.get_ydata()[0] for line in first.lines[2:]] == [50, 40, 60]
    assert not any(axes.axison for axes in rest)


def test_sets_are_named_by_those_that_are_left_where_these_are_fewer():
    every = [name for name in answer_tables.SETS if name != "healthy"]
    assert answer_tables._titles("") == "none"
    assert answer_tables._titles("stare busi") == "STARE, BUSI"
    assert answer_tables._titles(" ".join(every[1:])) == "all but Kvasir-SEG"
    assert answer_tables._titles(" ".join(every)) == "all"
