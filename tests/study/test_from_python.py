"""The study from Python: the names of the command line, the same runs, and tables to go on with."""

import importlib
import inspect
import json
import subprocess
import sys
import types

import numpy as np
import pandas as pd
import pytest
import yaml

import dilated_ce.study
from dilated_ce.cli.compare import compare as command
from dilated_ce.cli.report import report as report_command
from dilated_ce.study import compare, report
from dilated_ce.study.data.cases import DataError
from dilated_ce.study.outcome import Outcome
from dilated_ce.study.report.tables import show
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.settings.compare import CompareConfig, SettingsError
from dilated_ce.study.settings.names import NAMES, OF_NNUNET, OF_REPORT, SECTIONS, dotted

TINY = {"batch_size": 2, "patch_size": 16, "channels": [4, 8], "device": "cpu", "resamples": 200}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from PIL import Image

    root = tmp_path_factory.mktemp("door")
    for part in ("images", "masks"):
        (root / "data" / part).mkdir(parents=True)
        for number in range(8):
            grey = Image.new("L", (24, 24), 40 + number)
            grey.paste(255, (4, 4, 12 + number, 14))
            grey.point(lambda value: 255 * (value > 200)).save(
                root / "data" / part / f"<b>{number}.png"
            )
    losses = ["ce", "dice-ce"]
    return compare(root / "data", losses=losses, seeds=2, steps=2, out=root / "out", **TINY)


def test_it_is_the_study_of_the_command_line(made):
    study = json.loads((made.folder / "study.json").read_text())
    assert study["config"]["losses"] == ["ce", "dice-ce"]
    assert study["training"]["steps"] == 2
    assert made.path.is_file()
    assert len(made.cases) == 2 * 2 * made.cases["case"].nunique()


def test_the_tables_are_those_of_the_report(made):
    by_loss = made.cases.groupby("loss")["dice"].mean()
    assert made.means["dice"].to_dict() == pytest.approx(by_loss.to_dict())
    judged = made.differences[made.differences["judged"]]
    assert set(judged["loss"]) == {"ce"}
    assert made.reference == "dice-ce"
    dice = judged[judged["metric"] == "dice"].iloc[0]
    assert dice["difference"] == pytest.approx(by_loss["ce"] - by_loss["dice-ce"])
    assert dice["low"] <= dice["difference"] <= dice["high"]
    assert made.verdicts["ce"] == "too few"
    assert show("dice", by_loss["ce"]) in made.table.loc["CE", "Dice"]
    assert " to " in made.table.loc["CE", "Dice"]
    assert not made.differences["judged"].all()


def test_it_shows_itself(made):
    page = made._repr_html_()
    assert "report.html" in page
    assert "<table" in page
    assert all(line.split(":")[0] in page for line in made.sentences)
    assert str(made.path) in repr(made)
    evil = Outcome(made.folder)
    evil.summary = {**evil.summary, "troubles": ["<img src=x>"]}
    assert "<img" not in evil._repr_html_()


def test_finished_runs_are_kept_and_progress_goes_to_stderr(made, capsys):
    again = compare(
        made.folder.parent / "data",
        losses="ce,dice-ce",
        seeds=2,
        steps=2,
        out=made.folder,
        **TINY,
    )
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("kept from an earlier time") == 4
    pd.testing.assert_frame_equal(again.cases, made.cases)
    silent = {"settings": made.folder / "settings.yaml", "progress": False}
    values = {"losses": ["ce", "dice-ce"], "seeds": 2, "training": {"steps": 2}}
    silent["settings"].write_text(yaml.safe_dump(values))
    compare(made.folder.parent / "data", out=made.folder, **silent, **TINY)
    assert capsys.readouterr() == ("", "")


def test_compile_is_the_flag_of_the_command_line(monkeypatch):
    seen = []

    def gather(path, options):
        seen.append(options["training.forward"])
        raise StudyError("far enough")

    monkeypatch.setattr("dilated_ce.study.settings.file.gather", gather)
    for flag in (True, False):
        with pytest.raises(StudyError, match="far enough"):
            compare("data", compile=flag)
    assert seen == ["compiled", "eager"]


def test_the_names_are_those_of_the_command_line():
    of_compare = set(inspect.signature(command).parameters)
    of_nnunet = {"dataset", "configuration", "plans", "epochs"}
    flags = {"fresh", "compile"}  # which `compare` takes itself
    assert of_compare - {"settings", "set_", "dry_run", *flags, *of_nnunet} <= set(NAMES)
    assert {"trainer", "losses", "seeds", "reference", "out", *of_nnunet} <= set(OF_NNUNET)
    of_report = set(inspect.signature(report_command).parameters)
    assert of_report - {"results", "method", "predictions"} <= set(OF_REPORT)
    fields = [field for model in SECTIONS.values() for field in model.model_fields]
    assert len(fields) == len(set(fields))  # else a short name would mean two things
    assert not set(fields) & set(CompareConfig.model_fields)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"step": 3}, TypeError, "got step, which is no setting; did you mean steps?"),
        ({"zzz": 3}, TypeError, "got zzz, which is no setting; expected one of"),
        ({"lr": 1, "learning_rate": 2}, TypeError, "learning_rate and another name of"),
        ({"losses": "ce,nice"}, SettingsError, "losses: .*nice"),
        ({"losses": ["nice"]}, SettingsError, "losses.0: .*nice"),
        ({"steps": 0}, SettingsError, "training.steps: got 0"),
        ({"tune": {"step": 1}}, SettingsError, "tune.step: is no setting"),
        ({"data": None}, SettingsError, "data.path is missing"),
        ({"trainer": "nnunet"}, TypeError, "got data, which is no setting; did you mean dataset?"),
        ({"trainer": "nnunet", "data": None}, SettingsError, "nnunet.dataset is missing"),
    ],
)
def test_what_is_wrong_is_said(arguments, error, message):
    with pytest.raises(error, match=message):
        compare(**{"data": "nowhere", **arguments})


def test_sections_and_their_parts():
    found = dotted({"training": {"steps": 1, "optimizer": "sgd"}, "steps": 2, "tune": {}})
    assert found == {"training.steps": 2, "training.optimizer": "sgd", "tune": {}}


def test_a_folder_without_a_report(tmp_path):
    with pytest.raises(StudyError, match="holds no report"):
        Outcome(tmp_path)


def test_the_import_is_light():
    code = "import sys, dilated_ce.study; print({'torch', 'pydantic', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pydantic" not in done.stdout
    assert "pandas" not in done.stdout


@pytest.fixture
def scores(tmp_path):
    random = np.random.default_rng(0)
    for name in ("ours", "ours again", "theirs"):
        rows = [(f"case{n}", "liver", random.uniform(0.7, 0.9)) for n in range(25)]
        table = pd.DataFrame(rows, columns=["case", "class", "DSC"])
        table.to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path


def test_a_report_on_results_that_are_there(scores, capsys):
    again = pd.read_csv(scores / "theirs.csv").assign(DSC=lambda table: 0.99 * table["DSC"])
    again.to_csv(scores / "theirs again.csv", index=False)
    made = report(
        method={
            "ours": [scores / "ours.csv", scores / "ours again.csv"],
            "theirs": [scores / "theirs.csv", scores / "theirs again.csv"],
        },
        reference="theirs",
        column={"dice": "DSC"},
        resamples=200,
        out=scores / "out",
    )
    assert capsys.readouterr().out == ""
    assert made.word == "method"
    ours = [pd.read_csv(scores / f"{name}.csv")["DSC"].mean() for name in ("ours", "ours again")]
    assert made.means.loc["ours", "dice"] == pytest.approx(np.mean(ours))
    assert set(made.cases["method"]) == {"ours", "theirs"}
    [judged] = made.differences[made.differences["judged"]].to_dict("records")
    assert judged["method"] == "ours"
    assert judged["difference"] == pytest.approx(
        np.mean(ours) - 0.995 * pd.read_csv(scores / "theirs.csv")["DSC"].mean()
    )
    assert "report.html" in made._repr_html_()
    assert list(made.table.index) == ["ours", "theirs"]
    assert made.path.is_file()


def test_several_data_sets_are_pooled_and_each_is_there(scores):
    for number in range(3):
        for name in ("ours", "theirs"):
            table = pd.read_csv(scores / f"{name}.csv").assign(dataset=f"set {number}", method=name)
            table["DSC"] += 0.01 * number
            table.to_csv(scores / f"{name} {number}.csv", index=False)
    tables = [scores / f"{name} {n}.csv" for n in range(3) for name in ("ours", "theirs")]
    made = report(*tables, resamples=200, out=scores / "out", progress=False)
    assert list(made.data_sets) == ["set 0", "set 1", "set 2"]
    assert len(made.pooled) >= 1
    assert made.differences.empty
    assert not made.data_sets["set 1"].differences.empty
    assert "<table" in made._repr_html_()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"referense": "a"}, TypeError, "referense, which is no setting; did you mean reference?"),
        ({}, SettingsError, "no results: name tables"),
        ({"predictions": {"a": "x"}}, SettingsError, "truth is missing"),
        ({"method": {"a": "nowhere.csv"}}, DataError, "nowhere.csv"),
    ],
)
def test_what_is_wrong_with_a_report_is_said(tmp_path, arguments, error, message):
    with pytest.raises(error, match=message):
        report(**arguments, out=tmp_path / "out")


def test_the_function_stays_where_the_package_of_the_same_name_is_imported():
    importlib.import_module("dilated_ce.study.report.page")
    assert isinstance(dilated_ce.study.report, types.FunctionType)
