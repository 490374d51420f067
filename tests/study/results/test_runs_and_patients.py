"""Which rows of a report belong together: patients, runs, and names that mean one thing."""

import json

import pandas as pd
import pytest
from nnunet_results import masks, save
from written_tables import scores, write

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.reporting import report
from dilated_ce.study.settings.report import ReportConfig


def report_on(tmp_path, tables, **settings):
    """The notes of a report on tables by their methods, or on one with all of them."""
    if isinstance(tables, pd.DataFrame):
        tables = {None: tables}
    results = [
        {"method": method, "path": write(tmp_path / f"t{place}.csv", table)}
        for place, (method, table) in enumerate(tables.items())
    ]
    values = {"resamples": 200, "out": tmp_path / "out", **settings}
    report(ReportConfig(results=results, **values))
    return json.loads((tmp_path / "out" / "summary.json").read_text())["troubles"]


def by_method(table):
    """A table of each method, without its name."""
    return {
        method: part.drop(columns="method") for method, part in table.groupby("method", sort=False)
    }


def problems(tmp_path, tables, **settings):
    with pytest.raises(DataError) as caught:
        report_on(tmp_path, tables, **settings)
    return str(caught.value)


def test_cases_of_one_patient_are_asked_about(tmp_path):
    names = {f"p{case:02}": f"p{case // 6:02}_z{case % 6:03}" for case in range(24)}
    table = scores()
    table["case"] = table["case"].map(names)
    said = "several cases of one patient, such as p00_z000, p00_z001, p00_z002 and 3 more?"
    asked = report_on(tmp_path, table)[0]
    assert asked.startswith(said)
    assert "--group-by '^([^_]+)_'" in asked
    for settings in ({"group_by": "^([^_]+)_"}, {"group_by": "(.*)"}):
        assert not any("one patient" in n for n in report_on(tmp_path, table, **settings))
    told = table.assign(patient=table["case"].str[:3])
    assert not any("one patient" in note for note in report_on(tmp_path, told))
    both = pd.concat([table.assign(dataset="A"), scores().assign(dataset="B")])
    assert report_on(tmp_path, both)[0].startswith(f"A: {said}")


def test_cases_of_one_patient_are_asked_about_for_masks(tmp_path):
    _, found = masks(cases=4)
    of_patients = {f"p{place // 2}_{place % 2}": m for place, m in enumerate(found.values())}
    for folder in ("truth", "a"):
        save(tmp_path / folder, of_patients)
    notes = report_on(
        tmp_path,
        {},
        predictions=[{"method": "a", "path": tmp_path / "a"}],
        truth=tmp_path / "truth",
        jobs=1,
    )
    assert notes[0].startswith("several cases of one patient, such as p0_0, p0_1?")


def test_seeds_that_no_two_methods_share_are_an_error(tmp_path):
    table = scores(("ce", "dbce", "dice"), seeds=3)
    apart = table.assign(seed=table["seed"] + 10 * (table["method"] == "dbce"))
    said = problems(tmp_path, apart)
    assert "dbce has seed 10, 11, 12, and ce, the reference, has seed 0, 1, 2: no run is" in said
    assert "number the seeds of each method 0, 1, 2, ..." in said
    assert "dice has" not in said
    folds = scores(("ce", "dbce")).assign(case=lambda t: t["case"] + t["method"])
    folds["fold"] = (folds["method"] == "dbce").astype(int)
    assert "no run is shared, so that nothing can be compared; test all methods on the same" in (
        problems(tmp_path, folds)
    )
    one_shared = table.assign(seed=table["seed"] + 2 * (table["method"] == "dbce"))
    assert "dbce lacks seed 0, 1" in report_on(tmp_path, one_shared)


@pytest.mark.parametrize(
    "other",
    [
        lambda name: f"{name}.nii.gz",
        lambda name: f" {name} ",
        str.upper,
        lambda name: f"labels/{name}.png",
    ],
)
def test_names_of_cases_that_differ_in_form_alone(tmp_path, other):
    table = scores()
    mine = table["method"] == "dbce"
    table.loc[mine, "case"] = table["case"][mine].map(other)
    for settings in ({}, {"cases": "shared"}):
        said = problems(tmp_path, by_method(table), **settings)
        assert "names of cases differ in form alone: " in said
        assert "write them alike" in said
        assert "the score of a failure" not in said


def test_numbers_of_cases_that_differ_in_form_alone(tmp_path):
    table = scores()
    table["case"] = table["case"].str[1:].astype(int).astype(str)
    mine = table["method"] == "dbce"
    table.loc[mine, "case"] += ".0"
    tables = {name: part.assign(case=part["case"].astype(str)) for name, part in
              by_method(table).items()}  # fmt: skip
    assert "differ in form alone: '0' and '0.0', '1' and '1.0'" in problems(tmp_path, tables)


def test_names_of_methods_that_differ_in_form_alone(tmp_path):
    table = scores(("base", "ours"))
    table.loc[(table["method"] == "base") & (table["case"] > "p11"), "method"] = "BASE"
    said = problems(tmp_path, table)
    assert "names of methods differ in form alone: 'base' and 'BASE'" in said
    assert "lacks" not in said


def test_folds_that_are_written_in_two_ways_are_the_same(tmp_path):
    table = scores().assign(fold=lambda t: t["case"].str[1:].astype(int) % 3)
    tables = by_method(table)
    tables["ce"] = tables["ce"].assign(fold="fold_" + tables["ce"]["fold"].astype(str))
    assert report_on(tmp_path, tables) == report_on(tmp_path, by_method(table))


def test_folds_of_one_source_alone(tmp_path):
    table = scores().assign(fold=lambda t: t["case"].str[1:].astype(int) % 3)
    tables = by_method(table)
    said = problems(tmp_path, {**tables, "dbce": tables["dbce"].drop(columns="fold")})
    assert (
        "16 cases in several folds, as the folds of the methods differ (p01: fold 1 under" in said
    )
    assert "dbce without folds" in said
    assert "--column seed=fold" not in said
    assert "lacks" not in said
    other = tables["dbce"].assign(fold=2 - tables["dbce"]["fold"])
    said = problems(tmp_path, {**tables, "dbce": other})
    assert "(p00: fold 0 under ce, fold 2 under dbce)" in said


def test_patients_of_one_source_alone(tmp_path):
    tables = by_method(scores())
    tables["ce"] = tables["ce"].assign(patient_id="x" + tables["ce"]["case"])
    said = problems(tmp_path, tables)
    assert "cases of two patients: p00, p01, p02 and 21 more (p00: xp00, p00): " in said
    assert "or say it for all: --group-by" in said
    report_on(tmp_path, tables, group_by="(.*)")


def test_what_tells_rows_apart_that_are_there_twice(tmp_path):
    table = scores()
    named = table.assign(patient=table["case"], session="s1")
    said = problems(tmp_path, named, columns={"case": "session", "group": "patient"})
    assert "they are of other patients (p00, p01, p02 and 21 more)" in said
    assert "cases of two patients" not in said
    said = problems(tmp_path, pd.concat([table, table.iloc[:2]]))
    assert "2 rows there twice" in said
    assert "they have the same scores, too: keep one of them" in said
    other = table.iloc[:2].assign(dice=0.9)
    assert "say so in a column seed" in problems(tmp_path, pd.concat([table, other]))


def test_one_result_under_two_names(tmp_path):
    table = scores(("ce", "dbce", "dice"))
    again = table[table["method"] == "ce"].assign(method="mine")
    said = "ce and mine have the same Dice in all of 48 rows: one result under two names?"
    assert said in report_on(tmp_path, pd.concat([table, again]))
    assert not any("two names" in note for note in report_on(tmp_path, table))


def test_a_recall_of_zero_does_not_show_that_the_truth_holds_the_class(tmp_path):
    """MedPy and scikit-learn write 0 where there is nothing to be found."""
    table = scores(classes=("tumor",)).assign(recall=lambda t: t["dice"]).drop(columns="hd95")
    first = table["case"] == "p00"
    table.loc[first & (table["method"] == "ce"), ["dice", "recall"]] = 0
    table.loc[first & (table["method"] == "dbce"), ["dice", "recall"]] = None
    said = problems(tmp_path, table)
    assert "dbce has an empty Dice in one place where ce has 0 (p00)" in said
    assert "the truth holds the class" not in said
    report_on(tmp_path, table, scoring={"empty": "score"})
    table.loc[first & (table["method"] == "ce"), ["dice", "recall"]] = 0.1
    assert "although the truth holds the class" in problems(tmp_path, table)
