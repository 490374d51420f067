"""`dilated-ce report` on the terminal: names and paths, what it says, and how it ends."""

import re

import pandas as pd
import pytest
from typer.testing import CliRunner

from dilated_ce import cli


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Call it in a folder of its own: exit code and what it printed, without line breaks."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        done = CliRunner().invoke(cli.app, ["report", *map(str, arguments)])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        plain = re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", "", done.output)
        return done.exit_code, re.sub(r"\s+", " ", plain)

    return call


def write(path, methods=("a", "b"), cases=22, lead=0.2, **columns):
    rows = [
        (method, f"p{case}", 0.5 + 0.01 * (case % 7) + lead * place)
        for place, method in enumerate(methods)
        for case in range(cases)
    ]
    table = pd.DataFrame(rows, columns=["method", "case", "dice"]).assign(**columns)
    table.to_csv(path, index=False)
    return table


def test_a_table(run, tmp_path):
    write("scores.csv")
    code, text = run("scores.csv")
    assert code == 0
    assert "reference: a" in text
    assert "b is better than a for these networks; one seed says nothing about others" in text
    assert "Report: runs/report/report.html" in text
    assert (tmp_path / "runs" / "report" / "summary.json").exists()


def test_names_hold_equals_signs_and_so_do_paths(run, tmp_path):
    table = write("dbce=4.csv")
    table[table["method"] == "a"].drop(columns="method").to_csv("a.csv", index=False)
    table[table["method"] == "b"].drop(columns="method").to_csv("r=4.csv", index=False)
    code, text = run("--method", "dbce:radius=4=r=4.csv", "ce=a.csv", "--reference", "ce")
    assert code == 0
    assert "dbce:radius=4 is better than ce" in text
    code, text = run("dbce=4.csv")  # a path that is there
    assert code == 0
    assert "b is better than a" in text


def test_several_data_sets(run):
    for name, lead in (("Heart", 0.1), ("Liver", 0.2), ("Spleen", 0.15)):
        write(f"{name}.csv", lead=lead, dataset=name)
    code, text = run("Heart.csv", "Liver.csv", "Spleen.csv", "--out", "out")
    assert code == 0
    assert "b beside a, mean of data sets: Dice +15.0 points (95 % interval" in text


def test_what_is_wrong_is_one_error(run, tmp_path):
    table = write("scores.csv")
    table.iloc[1:].to_csv("scores.csv", index=False)
    code, text = run("scores.csv")
    assert code == 1
    assert "error: These results cannot be compared" in text
    assert "a lacks one case that others have in seed 0, fold 0: p0" in text
    assert not (tmp_path / "runs" / "report" / "report.html").exists()
    code, text = run("scores.csv", "--cases", "shared")
    assert code == 0
    assert "one case left out that not all methods have" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no results: name tables or results folders of nnU-Net"),
        (("nowhere.csv",), "'nowhere.csv': no such file or folder"),
        (("--method", "scores.csv"), "got 'scores.csv', expected NAME=PATH"),
        (("--predictions", "a=."), "truth is missing"),
        (("scores.csv", "--metric", "nsd"), "expected dice among them"),
        (("scores.csv", "--metric", "DSC"), "got DSC, expected some of dice, recall"),
        (("scores.csv", "--scale", "promille"), "got 'promille'"),
        (("scores.csv", "--columns-of", "patients"), "got 'patients'"),
        (("scores.csv", "--column", "dice"), "expected WHAT=COLUMN"),
        (("scores.csv", "--group-by", "p"), "has no group"),
        (("scores.csv", "--margin", "0"), "got 0.0"),
    ],
)
def test_wrong_options(run, arguments, said):
    write("scores.csv")
    code, text = run(*arguments)
    assert code == 2
    assert said in text
