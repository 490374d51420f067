"""The study from Python: the names of the command line, the same runs, and tables to go on with."""

import inspect
import json
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from dilated_ce.cli.compare import compare as command
from dilated_ce.study import compare
from dilated_ce.study.outcome import Outcome
from dilated_ce.study.report.tables import show
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.settings.compare import SettingsError
from dilated_ce.study.settings.names import NAMES, SECTIONS, dotted

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


def test_the_names_are_those_of_the_command_line():
    options = set(inspect.signature(command).parameters)
    assert options - {"settings", "set_", "dry_run", "fresh"} - set(NAMES) == {"learning_rate"} - {
        *NAMES
    }
    fields = [field for model in SECTIONS.values() for field in model.model_fields]
    assert len(fields) == len(set(fields))  # else a short name would mean two things
    assert not set(fields) & {*SECTIONS, "losses", "seeds", "tune", "out"}


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
