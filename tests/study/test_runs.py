import dataclasses
import json

import numpy as np
import pytest
from conftest import TINY

from dilated_ce.study import runs
from dilated_ce.study.data import make_synthetic
from dilated_ce.study.losses import parse_loss
from dilated_ce.study.metrics import score
from dilated_ce.study.report import write_report
from dilated_ce.study.runs import StudyError, run_study, write_atomically
from dilated_ce.study.summary import read_cases


def only_ce(config):
    return config.model_copy(update={"losses": (parse_loss("ce"),), "seeds": 1})


def kept(config, data, **options):
    return [was_kept for _, was_kept in run_study(config, data, **options)]


def test_what_a_study_leaves_behind(tiny_config, tiny_data):
    finished = [run for run, _ in run_study(tiny_config, tiny_data)]
    assert [(str(run.loss), run.seed) for run in finished] == [
        (str(loss), seed) for seed in (0, 1) for loss in tiny_config.losses
    ]
    table = read_cases(tiny_config.out / "cases.csv")
    columns = "loss radius balance overlap seed case class dice recall precision"
    assert " ".join(table.columns) == columns
    assert len(table) == 3 * 2 * len(tiny_data.test)
    assert set(table["radius"]) == {np.inf, 2, 1}
    assert set(table.loc[table["radius"] == 2, "balance"]) == {"batch"}
    assert table.loc[table["loss"] == "ce", "balance"].isna().all()
    for run in finished:
        assert len(run.losses) == TINY.steps
        assert run.curve["step"].tolist() == [TINY.steps]
        for case in tiny_data.test:
            [expected] = score(run.predictions[case.name], case.labels, num_classes=2)
            row = run.cases.set_index("case").loc[case.name]
            assert row["dice"] == pytest.approx(expected.dice)
    described = json.loads((tiny_config.out / "study.json").read_text())
    assert described["data"]["sha256"] == tiny_data.digest
    assert described["config"]["losses"] == list(map(str, tiny_config.losses))
    assert set(described["seconds"]) == {run.folder.name for run in finished}


def test_finished_runs_are_kept_and_missing_ones_are_made(tiny_config, tiny_data):
    assert kept(tiny_config, tiny_data) == [False] * 6
    before = (tiny_config.out / "cases.csv").read_bytes()
    assert kept(tiny_config, tiny_data) == [True] * 6
    folders = sorted((tiny_config.out / "runs").iterdir())
    (folders[0] / "run.json").unlink()  # as if it had never been finished
    (folders[1] / "run.json").write_text("{")
    assert sorted(kept(tiny_config, tiny_data)) == [False] * 2 + [True] * 4
    assert kept(tiny_config, tiny_data, fresh=True) == [False] * 6
    assert (tiny_config.out / "cases.csv").read_bytes() == before


def test_a_study_that_was_killed_goes_on_to_the_same_table(tiny_config, tiny_data, monkeypatch):
    whole = tiny_config.model_copy(update={"out": tiny_config.out / "whole"})
    kept(whole, tiny_data)

    save, calls = runs._save, []

    def dies_while_saving(run, result, data, info):
        calls.append(run)
        if len(calls) == 3:
            save(run, result, data, info)
            run.folder.rename(run.folder.with_name(f".{run.folder.name}.partial"))
            raise KeyboardInterrupt
        save(run, result, data, info)

    monkeypatch.setattr(runs, "_save", dies_while_saving)
    with pytest.raises(KeyboardInterrupt):
        kept(tiny_config, tiny_data)
    assert not (tiny_config.out / "cases.csv").exists()
    monkeypatch.undo()
    assert kept(tiny_config, tiny_data) == [True] * 2 + [False] * 4
    assert (tiny_config.out / "cases.csv").read_bytes() == (whole.out / "cases.csv").read_bytes()
    assert not list((tiny_config.out / "runs").glob(".*"))


def test_what_shapes_a_run_makes_it_be_redone(tiny_config, tiny_data):
    one = only_ce(tiny_config)
    kept(one, tiny_data)
    two = one.model_copy(update={"losses": tuple(map(parse_loss, ("ce", "dice-ce")))})
    assert kept(two, tiny_data) == [True, False]
    more_steps = one.model_copy(update={"training": TINY.model_copy(update={"steps": 4})})
    assert kept(more_steps, tiny_data) == [False]


def test_another_version_of_a_library_makes_a_run_be_redone(tiny_config, tiny_data, monkeypatch):
    one = only_ce(tiny_config)
    kept(one, tiny_data)
    monkeypatch.setattr(runs, "__version__", "9.9")
    assert kept(one, tiny_data) == [False]


def test_a_study_of_other_data_is_not_overwritten(tiny_config, tiny_data):
    one, other = only_ce(tiny_config), make_synthetic(num_cases=6, size=48)
    kept(one, tiny_data)
    before = (one.out / "cases.csv").read_bytes()
    with pytest.raises(StudyError, match=r"holds a study of other data .* --out, or .* --fresh"):
        kept(one, other)
    assert (one.out / "cases.csv").read_bytes() == before
    assert kept(one, tiny_data) == [True]
    assert kept(one, other, fresh=True) == [False]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", b"[1]"),
        ("cases.csv", None),
        ("curve.csv", b""),
        ("losses.csv", b"step,loss\n"),
        ("predictions.npz", b"PK damaged"),
    ],
)
def test_a_damaged_run_is_made_again(tiny_config, tiny_data, name, content):
    one = only_ce(tiny_config)
    [(run, _)] = run_study(one, tiny_data)
    path = run.folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    assert kept(one, tiny_data) == [False]
    assert kept(one, tiny_data) == [True]


@pytest.mark.parametrize("name", ["file", "allow_pickle", "names", "null", "NA", "nan", "1"])
def test_a_case_may_have_any_name(tiny_config, tiny_data, name):
    test = (dataclasses.replace(tiny_data.test[0], name=name), *tiny_data.test[1:])
    data = dataclasses.replace(tiny_data, test=test, classes=("background", name))
    [(run, _)] = run_study(only_ce(tiny_config), data)
    assert run.cases["case"].tolist() == [name, tiny_data.test[1].name]
    assert set(run.cases["class"]) == {name}
    assert set(run.predictions) == {name, tiny_data.test[1].name}
    assert write_report(only_ce(tiny_config), data, [run]).exists()


def test_a_collapse_and_a_divergence_are_seen(tiny_config, tiny_data):
    one = only_ce(tiny_config)
    [(run, _)] = run_study(one, tiny_data)
    cases, losses = run.cases, run.losses
    cases["recall"] = 0.5
    cases.to_csv(run.folder / "cases.csv", index=False)
    assert not run.collapsed
    assert not run.diverged
    cases["recall"] = 0.0
    cases.to_csv(run.folder / "cases.csv", index=False)
    losses.loc[1, "loss"] = np.nan
    losses.to_csv(run.folder / "losses.csv", index=False)
    assert run.collapsed
    assert run.diverged


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    write_atomically(path, "old")
    monkeypatch.setattr(type(path), "replace", lambda *args: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
