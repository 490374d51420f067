"""A report from scores that are there: the right one, or one clear error."""

import json
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from written_tables import scores, write

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.outcome import Outcome
from dilated_ce.study.reporting import report
from dilated_ce.study.results.merging import merge
from dilated_ce.study.results.read import Read
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.settings.report import ReportConfig
from dilated_ce.study.statistics.comparison import compare_family
from dilated_ce.study.statistics.pooling import mean_over_data_sets
from dilated_ce.study.statistics.side_by_side import side_by_side


def report_on(tmp_path, *tables, **settings):
    """The report on tables that are written to files, and its summary."""
    paths = [write(tmp_path / f"t{n}.csv", table) for n, table in enumerate(tables)]
    values = {"resamples": 200, "out": tmp_path / "out", **settings}
    made = report(ReportConfig(results=[{"path": path} for path in paths], **values))
    return made, json.loads((tmp_path / "out" / "summary.json").read_text())


def test_numbers_are_those_of_the_statistics(tmp_path):
    table = scores(seeds=3)
    made, summary = report_on(tmp_path, table)
    rows = table.rename(columns={"method": "loss"}).assign(fold=0, group=table["case"])
    expected = compare_family(side_by_side(rows), "ce")
    found = summary["verdicts"][0]["comparisons"]
    assert [row["metric"] for row in found] == ["dice", "hd95"]
    assert [row["low"] for row in found] == pytest.approx([result.low for result in expected])
    assert summary["methods"]["dbce"]["dice"]["mean"] == pytest.approx(
        table["dice"][table["method"] == "dbce"].mean()
    )
    assert summary["sentences"][0].startswith("dbce is better than ce. Better: Dice +10.")
    assert "loss" not in json.dumps(summary)
    page = made.path.read_text()
    assert "<h2>Learning curves" not in page
    assert "<h2>What it costs" not in page
    assert "<dialog" not in page
    assert "recall" not in page.partition("<h3>All scores</h3>")[2].partition("</table>")[0]
    written = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert written["method"].tolist() == table["method"].tolist()
    assert written["dice"].tolist() == pytest.approx(table["dice"].tolist())


def test_what_is_written_can_be_read_again(tmp_path):
    _, first = report_on(tmp_path, scores(seeds=2))
    again = pd.read_csv(tmp_path / "out" / "cases.csv")
    _, second = report_on(tmp_path, again)
    assert first["verdicts"] == second["verdicts"]


def test_several_tables_are_one(tmp_path):
    table = scores(("ce", "dbce", "dice"), seeds=2)
    parts = [part for _, part in table.groupby("method", sort=False)]
    _, whole = report_on(tmp_path, table)
    _, summary = report_on(tmp_path, *parts)
    assert summary["verdicts"] == whole["verdicts"]


def test_a_method_that_is_named_again_is_a_repeat(tmp_path):
    table = scores(seeds=2)
    files = []
    for (method, seed), part in table.groupby(["method", "seed"], sort=False):
        path = write(tmp_path / f"{method}{seed}.csv", part.drop(columns=["method", "seed"]))
        files.append({"path": path, "method": method})
    made = report(ReportConfig(results=files, out=tmp_path / "out", resamples=200))
    assert sorted(made.cases["seed"].unique()) == [0, 1]
    _, whole = report_on(tmp_path, table)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["verdicts"] == whole["verdicts"]


def test_a_missing_case(tmp_path):
    table = scores()
    lacking = table[~((table["case"] == "p03") & (table["method"] == "dbce"))]
    with pytest.raises(DataError) as caught:
        report_on(tmp_path, lacking)
    assert "dbce lacks one case that others have in seed 0, fold 0: p03" in str(caught.value)
    assert "flatters the method" in str(caught.value)
    made, summary = report_on(tmp_path, lacking, cases="shared")
    assert "p03" not in set(made.cases["case"])
    assert "one case left out" in summary["troubles"][0]
    assert summary["verdicts"][0]["comparisons"][0]["cases"] == 23


def test_a_class_that_one_method_lacks_in_a_case(tmp_path):
    table = scores(seeds=2)
    gone = (table["case"] == "p03") & (table["class"] == "tumor") & (table["seed"] == 1)
    lacking = table[~(gone & (table["method"] == "dbce"))]
    with pytest.raises(DataError) as caught:
        report_on(tmp_path, lacking)
    assert str(caught.value).startswith("These results cannot be compared")
    assert (
        "dbce has no row of class tumor in one case where others have one, in seed 1, fold 0: p03"
        in str(caught.value)
    )
    made, summary = report_on(tmp_path, lacking, cases="shared")
    assert sorted(made.cases["seed"][made.cases["case"] == "p03"]) == [0] * 4
    assert "one case left out" in summary["troubles"][0]
    report_on(tmp_path, table[~gone])  # a class that no method has there is one that it lacks


def test_a_data_set_without_the_reference(tmp_path):
    parts = [
        scores(methods, cases=3).assign(dataset=name)
        for name, methods in (("A", ("ce", "mine")), ("B", ("mine", "other")))
    ]
    for said in ({}, {"reference": "ce"}):
        with pytest.raises(DataError) as caught:
            report_on(tmp_path, *parts, **said)
        assert str(caught.value).startswith("These results cannot be compared")
        assert "data set B: has no results of ce, the reference; got mine, other" in str(
            caught.value
        )
        assert "or take one that all have: --reference 'mine'" in str(caught.value)
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".lock"]
    made, _ = report_on(tmp_path, *parts, reference="mine")
    assert made.reference == "mine"


def in_folder(folder):
    """Names and contents of all its files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_report_stays_until_the_next_one_is_whole(tmp_path, monkeypatch):
    report_on(tmp_path, scores(cases=3))
    (tmp_path / "out" / "lesions.csv").write_text("of an earlier report")
    before = in_folder(tmp_path / "out")
    assert set(before) == {
        *("report.json", "cases.csv", "lesions.csv", "summary.json", "report.html")
    }
    with pytest.raises(DataError):
        report_on(tmp_path, scores(cases=3).iloc[1:])
    assert in_folder(tmp_path / "out") == before
    several = [scores(cases=3).assign(dataset=name) for name in "AB"]

    def fails(*_, **__):
        raise ValueError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("dilated_ce.study.reporting.write_pooled", fails)
        with pytest.raises(ValueError, match="the disk is full"):
            report_on(tmp_path, *several)
    assert in_folder(tmp_path / "out") == before
    made, _ = report_on(tmp_path, *several)
    assert made.path == tmp_path / "out" / "report.html"
    after = in_folder(tmp_path / "out")
    assert "lesions.csv" not in after
    assert {"01-A/report.html", "02-B/report.html", "report.json"} <= set(after)
    assert after["report.html"] != before["report.html"]
    assert not (tmp_path / "out" / ".new").exists()


def test_what_is_read_is_not_overwritten(tmp_path, monkeypatch):
    tables = [scores(cases=3).assign(dataset=name) for name in "AB"]
    report_on(tmp_path, *tables)
    before = in_folder(tmp_path / "out")
    (tmp_path / "link.csv").symlink_to(tmp_path / "out" / "cases.csv")
    monkeypatch.chdir(tmp_path)
    for source in ("out/cases.csv", "link.csv", "out/01-A/../01-A/cases.csv"):
        with pytest.raises(StudyError, match=r"overwrite what it reads .*--out"):
            report(ReportConfig(results=[{"path": source}], out=tmp_path / "out"))
    assert in_folder(tmp_path / "out") == before
    made = report(
        ReportConfig(results=[{"path": "out/cases.csv"}], out=tmp_path / "new", resamples=200)
    )
    assert len(made.cases) == sum(map(len, tables))


def test_a_case_twice(tmp_path):
    table = scores()
    with pytest.raises(DataError, match="2 rows there twice"):
        report_on(tmp_path, pd.concat([table, table.iloc[:2]]))


def test_an_empty_cell_means_that_nobody_holds_the_class(tmp_path):
    table = scores()
    where = (table["case"] == "p00") & (table["class"] == "tumor")
    table.loc[where, "dice"] = [np.nan, 0.0]  # the other has a false alarm
    with pytest.raises(
        DataError, match=r"ce has an empty Dice in one place where dbce has 0 \(p00\)"
    ):
        report_on(tmp_path, table.drop(columns="hd95"))  # it may as well have failed
    how = {"scoring": {"empty": "score"}}
    made, summary = report_on(tmp_path, table.drop(columns="hd95"), **how)
    taken = made.cases[(made.cases["case"] == "p00") & (made.cases["class"] == "tumor")]
    assert taken["dice"].tolist() == [1.0, 0.0]
    assert "one empty cell of Dice (ce: 1): taken as a class that" in summary["troubles"][0]
    made, summary = report_on(tmp_path, table.drop(columns="hd95"), scoring={"empty": "skip"})
    taken = made.cases[(made.cases["case"] == "p00") & (made.cases["class"] == "tumor")]
    assert taken["dice"].isna().all()
    table.loc[where, "dice"] = [np.nan, 0.5]
    with pytest.raises(DataError, match="one empty Dice although the truth holds the class"):
        report_on(tmp_path, table)


@pytest.mark.parametrize(
    "said", [{"true_voxels": 0}, {"false_alarm": [0.0, 1.0]}, {"recall": np.nan}]
)
def test_an_empty_cell_beside_a_zero_where_the_truth_is_known(said):
    """Then nothing is asked: the 0 is a false alarm."""
    [[name, value]] = said.items()
    table = scores().drop(columns="hd95").rename(columns={"method": "loss"})
    table[name] = {"true_voxels": 90, "false_alarm": np.nan, "recall": 0.5}[name]
    where = (table["case"] == "p00") & (table["class"] == "tumor")
    table.loc[where, "dice"] = [np.nan, 0.0]
    table.loc[where, name] = value
    merged = merge([Read(table)])
    cases = merged.cases
    taken = cases[(cases["case"] == "p00") & (cases["class"] == "tumor")]
    assert taken["dice"].tolist() == [1.0, 0.0]


def test_an_empty_cell_beside_a_zero_of_another_seed(tmp_path):
    table = scores(seeds=2).drop(columns="hd95")
    where = (table["case"] == "p00") & (table["class"] == "tumor")
    table.loc[where, "dice"] = [np.nan, np.nan, 0.0, np.nan]
    with pytest.raises(DataError) as caught:
        report_on(tmp_path, table)
    said = str(caught.value)
    assert "ce has an empty Dice in one place where ce has 0" in said
    assert "dbce has an empty Dice in 2 places where ce has 0" in said


def test_a_class_that_is_empty_everywhere_is_in_no_mean(tmp_path):
    table = scores().drop(columns="hd95")
    without = table[table["class"] == "liver"]
    table.loc[table["class"] == "tumor", "dice"] = np.nan
    made, summary = report_on(tmp_path, table)
    assert made.cases["dice"].tolist() == pytest.approx(without["dice"].tolist())
    assert (
        "class tumor: no case holds it, and no method predicts it: left out"
        in (summary["troubles"])
    )


def test_an_empty_cell_is_a_failure_where_any_row_shows_the_class(tmp_path):
    """Beside a 0 too: another seed found something, or there is a recall."""
    table = scores(seeds=2).drop(columns="hd95")
    here = (table["case"] == "p00") & (table["class"] == "tumor") & (table["seed"] == 0)
    table.loc[here, "dice"] = [np.nan, 0.0]
    with pytest.raises(DataError, match="one empty Dice although the truth holds the class"):
        report_on(tmp_path, table)
    table = scores().drop(columns="hd95").assign(recall=0.5)
    here = (table["case"] == "p00") & (table["class"] == "tumor")
    table.loc[here, "dice"] = [np.nan, 0.0]
    with pytest.raises(DataError, match="one empty Dice although the truth holds the class"):
        report_on(tmp_path, table)
    table = scores().drop(columns="hd95")
    table.loc[table["method"] == "ce", "dice"] = np.nan
    with pytest.raises(DataError, match="ce: Dice is empty in all rows"):
        report_on(tmp_path, table)


def test_a_case_that_several_folds_test_is_no_other_patient(tmp_path):
    """Five trainings that are judged on one test set."""
    table = scores(seeds=3).rename(columns={"seed": "fold"})
    with pytest.raises(DataError, match=r"24 cases in several folds .* --column seed=fold"):
        report_on(tmp_path, table)
    _, summary = report_on(tmp_path, table, columns={"seed": "fold"})
    [found] = [row for row in summary["verdicts"][0]["comparisons"] if row["metric"] == "dice"]
    assert (found["groups"], found["seeds"]) == (24, 3)


def test_seeds_that_have_names_are_the_same_in_all_tables(tmp_path):
    one, two = scores(("ce",), seeds=2), scores(("dbce",), seeds=2)
    one["seed"] = one["seed"].map({0: "alpha", 1: "beta"})
    two["seed"] = two["seed"].map({0: "beta", 1: "gamma"})
    made, summary = report_on(tmp_path, one, two)
    seeds = made.cases.groupby("loss")["seed"].unique().map(sorted)
    assert seeds.to_dict() == {"ce": [0, 1], "dbce": [1, 2]}
    assert (
        "seeds have names, and get numbers: alpha is 0, beta is 1, gamma is 2"
        in (summary["troubles"])
    )


def test_results_that_are_given_twice_are_no_other_training(tmp_path):
    ce, dbce = (scores((name,)).drop(columns="seed") for name in ("ce", "dbce"))
    path, other = write(tmp_path / "a.csv", ce), write(tmp_path / "b.csv", dbce)
    given = [{"path": path, "method": "ce"}] * 2 + [{"path": other, "method": "dbce"}]
    with pytest.raises(DataError, match=r"a\.csv: given 2 times"):
        report(ReportConfig(results=given, out=tmp_path / "out"))
    copy = write(tmp_path / "copy.csv", ce)
    given[1] = {"path": copy, "method": "ce"}
    with pytest.raises(DataError, match=r"ce, fold 0: seeds 0, 1 have the same Dice in all of 48"):
        report(ReportConfig(results=given, out=tmp_path / "out"))


def test_methods_that_were_judged_by_other_labels_are_not_compared():
    """As summaries of nnU-Net say, which hold the number of true voxels."""
    table = scores().rename(columns={"method": "loss"}).assign(true_voxels=100)
    table.loc[(table["loss"] == "dbce") & (table["case"] == "p03"), "true_voxels"] = 200
    with pytest.raises(DataError, match=r"2 truths of different sizes .*p03, liver: 100 voxels un"):
        merge([Read(table)])


def test_iou_in_per_cent(tmp_path):
    table = scores().drop(columns="hd95")
    dice = table.pop("dice")
    made, _ = report_on(tmp_path, table.assign(iou=100 * dice / (2 - dice)), scale="percent")
    np.testing.assert_allclose(made.cases["dice"], dice, rtol=1e-9)


def test_a_distance_that_is_missing_for_one_method_is_left_out_and_said(tmp_path):
    table = scores()
    table.loc[1, "hd95"] = np.nan
    _, summary = report_on(tmp_path, table)
    assert "hd95 is left out: it is missing in one row" in summary["troubles"][0]
    assert [row["metric"] for row in summary["verdicts"][0]["comparisons"]] == ["dice"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dice": np.inf}, "no score is infinite"),
        ({"dice": 55.0}, "dice: one value outside of 0 to 1"),
        ({"dice": 1.01}, "dice: one value outside of 0 to 1"),
    ],
)
def test_scores_that_cannot_be(tmp_path, change, said):
    table = scores()
    for name, value in change.items():
        table.loc[0, name] = value
    with pytest.raises(DataError, match=said):
        report_on(tmp_path, table)


def test_all_problems_at_once(tmp_path):
    first, second = scores(("ce",)), scores(("dbce",), classes=("liver", "tumour"), cases=23)
    bad = scores(("dice",))
    bad.loc[0, "dice"] = 7.0
    with pytest.raises(DataError) as caught:
        report_on(tmp_path, pd.concat([first, first.iloc[:1]]), second, bad)
    for said in ("there twice", "the classes differ", "dbce lacks one case", "outside of 0 to 1"):
        assert said in str(caught.value)


def test_one_method_is_a_table_of_means(tmp_path):
    made, summary = report_on(tmp_path, scores(("ce",)))
    assert summary["verdicts"] == []
    assert "one method compared" in made.path.read_text()
    assert "there is one method, ce: nothing is compared" in summary["troubles"]


def test_methods_or_classes(tmp_path):
    wide = scores(("ce",)).pivot(index="case", columns="class", values="dice").add_suffix("_dice")
    with pytest.raises(
        DataError, match=r"liver, tumor .* methods or classes\? Say --columns-of me"
    ):
        report_on(tmp_path, wide.reset_index())
    long = scores(("t0",)).drop(columns=["class", "seed"]).drop_duplicates("case")
    with pytest.raises(DataError, match=r"methods or classes\?"):
        report_on(tmp_path, wide.reset_index(), long.assign(seed=1))
    _, summary = report_on(tmp_path, wide.reset_index(), columns_of="methods")
    assert [row["method"] for row in summary["verdicts"]] == ["tumor"]
    made, summary = report_on(tmp_path, wide.reset_index(), columns_of="classes")
    assert summary["verdicts"] == []
    assert set(made.cases["class"]) == {"liver", "tumor"}


def test_one_case_has_no_interval(tmp_path):
    _, summary = report_on(tmp_path, scores(cases=1))
    assert "one test case can't carry a verdict" in summary["sentences"][0]
    assert summary["verdicts"][0]["comparisons"][0]["low"] is None


def test_forty_methods(tmp_path):
    names = tuple(f"method {number}" for number in range(40))
    made, summary = report_on(tmp_path, scores(names, cases=21, classes=("x",)))
    assert len(summary["verdicts"]) == 39
    assert summary["verdicts"][0]["comparisons"][0]["comparisons"] == 78
    assert "40 methods compared" in made.path.read_text()


def test_names_with_commas_and_letters_of_the_world(tmp_path):
    names = ("Dice, CE", "<b>損失</b> ü")
    made, summary = report_on(tmp_path, scores(names))
    assert list(summary["methods"]) == list(names)
    page = made.path.read_text()
    assert "<b>損失" not in page
    assert "&lt;b&gt;損失&lt;/b&gt; ü" in page
    assert pd.read_csv(tmp_path / "out" / "cases.csv")["method"].unique().tolist() == list(names)


def test_patients_are_found_in_names(tmp_path):
    table = scores(cases=40)
    table["case"] = [f"pat{int(case[1:]) // 2}_{case}" for case in table["case"]]
    _, summary = report_on(tmp_path, table, group_by=r"pat(\d+)_")
    assert summary["verdicts"][0]["comparisons"][0]["groups"] == 20
    with pytest.raises(DataError, match="finds no patient in pat0_p00"):
        report_on(tmp_path, table, group_by=r"person(\d+)")


def test_missing_folds_and_seeds_are_said(tmp_path):
    table = pd.concat([scores(seeds=2).assign(fold=fold) for fold in range(2)])
    table = table.assign(case=table["case"] + table["fold"].astype(str))
    table = table[(table["method"] == "ce") | (table["fold"] == 0)]
    _, summary = report_on(tmp_path, table)
    assert "dbce lacks fold 1" in summary["troubles"]


def test_the_reference(tmp_path):
    _, summary = report_on(tmp_path, scores(("a", "b", "c")), reference="b")
    assert [row["method"] for row in summary["verdicts"]] == ["a", "c"]
    assert summary["reference"] == "b"
    with pytest.raises(DataError, match="--reference: got 'd', expected one of a, b, c"):
        report_on(tmp_path, scores(("a", "b", "c")), reference="d")


def test_a_folder_of_somebody_elses_is_left_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cases.csv").write_text("mine")
    with pytest.raises(StudyError, match="would overwrite"):
        report_on(tmp_path, scores())
    assert (tmp_path / "out" / "cases.csv").read_text() == "mine"


def test_several_data_sets_are_pooled(tmp_path):
    parts = [
        scores(cases=22 + number, shift=number).assign(dataset=name)
        for number, name in enumerate(("Heart", "Liver, CT", "Spleen"))
    ]
    made, summary = report_on(tmp_path, *parts)
    pooled = {row["metric"]: row for row in summary["pooled"]}
    assert set(pooled) == {"dice", "hd95"}
    dice = pooled["dice"]
    assert dice["comparisons"] == 2
    found = [row["difference"] for row in dice["data_sets"].values()]
    by_hand = [
        part["dice"][part["method"] == "dbce"].mean() - part["dice"][part["method"] == "ce"].mean()
        for part in parts
    ]
    assert found == pytest.approx(by_hand)
    expected = mean_over_data_sets(
        found, [row["error"] for row in dice["data_sets"].values()], comparisons=2
    )
    assert (dice["mean"], dice["low"]) == pytest.approx((expected.mean, expected.low))
    assert summary["sentences"][0].startswith("dbce beside ce, mean of data sets: Dice +")
    assert "one more data set" in summary["sentences"][0]
    page = made.path.read_text()
    assert "takes these as a random sample of data sets like them" in page
    assert "2 methods on 3 data sets" in page
    for link in summary["data_sets"].values():
        own = (tmp_path / "out" / link).read_text()
        assert f'href="{quote(link)}"' in page
        assert "2 methods compared" in own
    written = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert written["dataset"].nunique() == 3
    assert "dbce beside ce, mean of data sets" in Outcome(tmp_path / "out")._repr_html_()
    _, again = report_on(tmp_path, written)
    assert again["pooled"] == summary["pooled"]


def test_a_data_set_that_is_not_told(tmp_path):
    first = scores(("ce",)).assign(dataset="Heart")
    made, _ = report_on(tmp_path, first, scores(("dbce",)))  # there is only one that it can be
    assert set(made.cases["dataset"]) == {"Heart"}
    with pytest.raises(DataError, match="others do not say of which data set"):
        report_on(tmp_path, first, scores(("ce",)).assign(dataset="Liver"), scores(("dbce",)))
