import shutil
from dataclasses import replace

import pytest
from toy_runs import unit_maker

from dilated_ce.study.runs import elsewhere
from dilated_ce.study.runs.attempt import attempt
from dilated_ce.study.runs.elsewhere import (
    Probe,
    answer,
    appears,
    confirmed,
    do_elsewhere,
    verified,
)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(elsewhere, "PATIENCE_SECONDS", 0.5)


@pytest.fixture
def probe(tmp_path):
    made = Probe(tmp_path, (tmp_path / "prepared",))
    (tmp_path / "prepared").mkdir()
    made.place()
    return made


def test_a_machine_that_sees_the_folder_leaves_a_file(probe, tmp_path):
    host, trouble, path = answer(probe)
    assert trouble is None
    assert path.parent == tmp_path
    assert confirmed(host, trouble, path) is None
    probe.remove()
    assert [path.name for path in tmp_path.iterdir()] == ["prepared"]


def test_a_machine_without_the_folder(probe, tmp_path):
    probe.remove()
    _, trouble, path = answer(probe)
    assert f"does not see {probe.file}, which the machine of the command does" in trouble
    assert not path.exists()
    probe.place()
    (tmp_path / "prepared").rmdir()
    assert f"does not see {tmp_path / 'prepared'}" in probe.trouble()


def test_a_folder_of_the_same_name_on_another_disk(probe):
    host, trouble, path = answer(probe)
    path.unlink()
    assert f"{host} wrote {path}, which this machine does not see" in confirmed(host, trouble, path)


def test_other_code_is_another_study(probe):
    other = replace(probe, code={**probe.code, "torch": "1.0", "numbers": "3"})
    assert "torch" in other.trouble()
    assert "numbers missing there and 3 here" in other.trouble()
    assert "install the same on all machines" in other.trouble()


def test_a_file_may_take_its_time(tmp_path, monkeypatch):
    seen = iter([False, False, True])
    monkeypatch.setattr(type(tmp_path), "exists", lambda self: next(seen))
    assert appears(tmp_path / "file", 60)


def test_nothing_is_trained_where_the_folder_is_not(probe, tmp_path):
    (unit,) = unit_maker(tmp_path)(("ce",))
    probe.remove()
    failure = do_elsewhere(unit, attempt, probe)
    assert "does not see" in failure.error
    assert not unit.folder.exists()
    assert not unit.working.exists()


def test_a_finished_run_is_believed_when_it_is_here(probe, tmp_path):
    (unit,) = unit_maker(tmp_path)(("ce",))
    assert verified(unit, do_elsewhere(unit, attempt, probe)) is None
    assert unit.is_finished
    whole = tmp_path / "whole"
    shutil.move(unit.folder, whole)
    failure = verified(unit, None)
    assert f"it ended well on another machine, and {unit.folder} is not here" in failure.error
    assert (failure.seed, failure.loss) == (unit.seed, unit.loss)
    shutil.move(whole, unit.folder)
    (unit.folder / "cases.csv").write_text("half")
    assert "or not whole" in verified(unit, None).error
    assert verified(unit, failure) is failure
