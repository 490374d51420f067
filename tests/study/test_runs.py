import json

import numpy as np
import pandas as pd
import pytest
from conftest import TINY

from dilated_ce.study import runs
from dilated_ce.study.data import make_synthetic
from dilated_ce.study.metrics import score
from dilated_ce.study.runs import run_study, write_atomically


def kept(config, data, **options):
    return [was_kept for _, was_kept in run_study(config, data, **options)]


def test_what_a_study_leaves_behind(tiny_config, tiny_data):
    finished = [run for run, _ in run_study(tiny_config, tiny_data)]
    assert [(str(run.loss), run.seed) for run in finished] == [
        (loss, seed) for seed in (0, 1) for loss in tiny_config.losses
    ]
    table = pd.read_csv(tiny_config.out / "cases.csv")
    assert list(table.columns) == [
        "loss", "radius", "balance", "seed", "case", "class", "dice", "recall", "precision",
    ]  # fmt: skip
    assert len(table) == 3 * 2 * len(tiny_data.test)
    assert set(table["radius"]) == {np.inf, 2, 1}
    for run in finished:
        assert len(run.losses) == TINY.steps
        assert run.curve["step"].tolist() == [TINY.steps]
        for case in tiny_data.test:
            [expected] = score(run.prediction(case.name), case.labels, num_classes=2)
            row = run.cases.set_index("case").loc[case.name]
            assert row["dice"] == pytest.approx(expected.dice)
    described = json.loads((tiny_config.out / "study.json").read_text())
    assert described["data"]["sha256"] == tiny_data.digest
    assert described["config"]["losses"] == list(tiny_config.losses)


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
    one = tiny_config.model_copy(update={"losses": ("ce",), "seeds": 1})
    kept(one, tiny_data)
    assert kept(one.model_copy(update={"losses": ("ce", "dice-ce")}), tiny_data) == [True, False]
    more_steps = one.model_copy(update={"training": TINY.model_copy(update={"steps": 4})})
    assert kept(more_steps, tiny_data) == [False]
    assert kept(more_steps, make_synthetic(num_cases=6, size=48)) == [False]


def test_a_collapse_and_a_divergence_are_seen(tiny_config, tiny_data):
    one = tiny_config.model_copy(update={"losses": ("ce",), "seeds": 1})
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
