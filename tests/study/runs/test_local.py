import errno
import json

import numpy as np
import pandas as pd
import pytest
import torch
from toy_runs import unit_maker

from dilated_ce.study.runs import local
from dilated_ce.study.runs.local import carry_out
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure, Run, StudyError
from dilated_ce.study.runs.unit import execute
from dilated_ce.study.training.loss_spec import parse_loss

LOCAL = ExecutionConfig()


@pytest.fixture
def units(tmp_path):
    return unit_maker(tmp_path)


def test_runs_leave_their_tables(units):
    (_, run, kept), _ = carry_out(units(), LOCAL)
    assert not kept
    assert isinstance(run, Run)
    assert run.cases["case"].tolist() == [f"case{n}" for n in (5, 6, 7) for _ in range(2)]
    assert run.cases["class"].tolist() == ["rim", "core"] * 3
    assert run.cases["dice"].between(0, 1).all()
    assert len(run.losses) == 3
    assert run.curve["step"].tolist() == [3]
    assert [run.prediction(f"case{n}").shape for n in (5, 6, 7)] == [(48, 56)] * 3
    assert run.info["parameters"] > 100
    assert run.info["ms_per_step"] > 0
    found = run.lesions.groupby(["case", "class"])["lesion"].count()
    assert (found >= 1).all()


def test_a_run_has_its_threads_and_leaves_those_of_the_process(units):
    before = torch.get_num_threads()
    ((_, run, _),) = carry_out(units(("ce",), threads=before + 1), LOCAL)
    assert run.info["threads"] == before + 1
    assert torch.get_num_threads() == before


def test_finished_runs_are_kept_and_others_done(units):
    first = [outcome for _, outcome, _ in carry_out(units(("ce",)), LOCAL)]
    cases = first[0].cases
    kept = [kept for _, _, kept in carry_out(units(("ce", "dice")), LOCAL)]
    assert kept == [True, False]
    again = [outcome for _, outcome, _ in carry_out(units(("ce",)), LOCAL, fresh=True)]
    pd.testing.assert_frame_equal(again[0].cases, cases)


@pytest.mark.parametrize("change", [{"steps": 4}, {"learning_rate": 0.1}, {"network": "dynunet"}])
def test_other_settings_are_another_run(units, change):
    list(carry_out(units(("ce",)), LOCAL))
    assert [kept for _, _, kept in carry_out(units(("ce",), **change), LOCAL)] == [False]
    # The first one is still there.
    assert [kept for _, _, kept in carry_out(units(("ce",)), LOCAL)] == [True]


@pytest.mark.parametrize("change", [{"threads": 2}, {"loaders": 1}])
def test_another_machine_is_the_same_run(units, change):
    list(carry_out(units(("ce",)), LOCAL))
    assert [kept for _, _, kept in carry_out(units(("ce",), **change), LOCAL)] == [True]


@pytest.mark.parametrize("file", ["run.json", "cases.csv", "losses.csv", "predictions.npz"])
def test_a_damaged_run_is_done_again(units, file):
    (unit,) = units(("ce",))
    list(carry_out([unit], LOCAL))
    (unit.folder / file).unlink()
    assert [kept for _, _, kept in carry_out([unit], LOCAL)] == [False]
    assert unit.is_finished


def test_no_damage_to_a_finished_run_goes_unseen(units):
    (unit,) = units(("ce",))
    list(carry_out([unit], LOCAL))
    for path in unit.folder.iterdir():
        whole = path.read_bytes()
        for damaged in (b"", b"{}", b"\x00\xff", whole[:-7], whole + b"\n1,2"):
            path.write_bytes(damaged)
            assert not unit.is_finished, (path.name, damaged[:9])
        path.write_bytes(whole)
    assert unit.is_finished
    path = unit.folder / "run.json"
    info = json.loads(path.read_text())
    for files in (None, {}, []):  # as before they were kept, and damaged
        path.write_text(json.dumps({**info, "files": files}))
        assert not unit.is_finished


def test_a_prediction_is_read_without_the_others(tmp_path):
    np.savez(tmp_path / "predictions.npz", names=["a", "b"], prediction1=np.ones((2, 3)))
    assert Run(parse_loss("ce"), 0, 0, tmp_path).prediction("b").sum() == 6


def failing(unit_to_fail, error):
    def do(unit):
        if unit.loss.name == unit_to_fail:
            raise error
        execute(unit)

    return do


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("of some kind\nand more"), "ValueError: of some kind"),
        (torch.OutOfMemoryError("CUDA out of memory"), "2 patches of 16 x 16; try half the"),
        (MemoryError(), "out of memory; try a smaller batch_size"),
    ],
)
def test_a_failing_run_leaves_the_others_alone(units, monkeypatch, error, message):
    do = failing("ce", error)
    monkeypatch.setattr(local, "attempt", lambda unit, attempt=local.attempt: attempt(unit, do))
    (_, failure, _), (_, run, _) = carry_out(units(), LOCAL)
    assert isinstance(failure, Failure)
    assert message in failure.error
    assert "test_local.py" in failure.trace
    assert isinstance(run, Run)
    monkeypatch.undo()
    assert [kept for _, _, kept in carry_out(units(), LOCAL)] == [True, False]


def test_a_full_disk_ends_it(units, monkeypatch):
    do = failing("dbce", OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr(local, "attempt", lambda unit, attempt=local.attempt: attempt(unit, do))
    outcomes = carry_out(units(), LOCAL)
    next(outcomes)
    with pytest.raises(StudyError, match=r"No space left on device: .*Finished runs are kept"):
        next(outcomes)
    assert units()[0].is_finished


def test_the_progress_of_a_unit(units):
    (unit,) = units(("ce",))
    assert unit.steps_done == 0
    unit.working.mkdir(parents=True)
    (unit.working / "progress").write_text("2")
    assert unit.steps_done == 2
    list(carry_out([unit], LOCAL))
    assert unit.steps_done == 3
    assert not unit.working.exists()
