"""A study in Python, from the data to the report."""

import json

import pytest
from toy import make_dataset

from dilated_ce.study.api import compare
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.settings.file import build_config

TRAINING = {"steps": 2, "batch_size": 2, "patch_size": 16, "channels": [4, 8], "device": "cpu"}


def config(out, **settings):
    values = {"losses": ["ce", "dice"], "seeds": 1, "out": out, "training": TRAINING}
    return build_config({**values, "statistics": {"resamples": 200}, **settings})


def test_a_study_in_python(tmp_path, capsys):
    results = compare(config(tmp_path), lambda *_: make_dataset())
    assert [str(run.loss) for run in results.runs] == ["ce", "dice"]
    assert (tmp_path / "report.html").exists()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [verdict["loss"] for verdict in summary["verdicts"]] == ["dice"]
    assert capsys.readouterr().out == ""


def test_rates_are_searched_on_every_fold(tmp_path):
    data = make_dataset()
    (split,) = data.folds
    other = type(split)(split.train[1:], split.train[:1], split.validation)
    data = make_dataset(folds=(split, other))
    settings = config(tmp_path, losses=["ce"], tune={"factors": (0.5, 1, 2), "steps": 1})
    results = compare(settings, lambda *_: data)
    assert {(run.fold, run.info["fold"]) for run in results.trials} == {(0, 0), (1, 1)}
    for run in results.trials:
        judged = set(run.cases["case"])
        assert judged == set(data.folds[run.fold].validation)
    study = json.loads((tmp_path / "study.json").read_text())
    assert [list(rates) for rates in study["learning_rates"]] == [["ce"], ["ce"]]


def test_a_folder_is_one_studys(tmp_path):
    compare(config(tmp_path), lambda *_: make_dataset())
    with pytest.raises(StudyError, match="holds a study of other data"):
        compare(config(tmp_path), lambda *_: make_dataset(name="others"))
