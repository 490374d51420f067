"""A real Slurm: `make test-slurm` starts one of one node, and carries these out in it."""

import shutil
import subprocess
import threading
import time

import pytest
from toy_runs import Notes, tables, unit_maker

from dilated_ce.study.runs import slurm, slurm_queue
from dilated_ce.study.runs.local import carry_out
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure, Run, StudyError

ANSWERS = (
    shutil.which("sinfo") is not None
    and not subprocess.run(["sinfo"], capture_output=True, check=False).returncode
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ANSWERS, reason="no Slurm answers here; make test-slurm starts one"),
]
EXECUTION = ExecutionConfig(engine="slurm", time=15, memory=1.5)
LONG = {"losses": ("ce",), "steps": 300, "evaluations": 30}


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(slurm, "ASK_SECONDS", 1)
    monkeypatch.setattr(slurm, "LOST_SECONDS", 5)


def job_of(unit):
    """The number of the job that trains a unit, once it does."""
    while unit.steps_done < 20:
        time.sleep(0.2)
    ((number, _),) = slurm.going_on_in(slurm.folder_of(unit.runs)).items()
    return number


def later(do):
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    return thread


def test_an_array_comes_to_the_same_scores(tmp_path):
    settings = {"losses": ("ce", "dice", "focal")}
    here, there = (
        unit_maker(tmp_path / "here")(**settings),
        unit_maker(tmp_path / "there")(**settings),
    )
    list(carry_out(here, ExecutionConfig()))
    notes = Notes()
    outcomes = [outcome for _, outcome, _ in carry_out(there, EXECUTION, watcher=notes)]
    assert all(isinstance(outcome, Run) for outcome in outcomes), outcomes
    assert tables(there) == tables(here)
    assert "3 runs submitted as Slurm job" in notes.notes[0]
    assert any("running" in state for state in notes.states)
    assert any("1 waiting for Slurm" in state for state in notes.states)  # there are two CPUs
    assert [kept for _, _, kept in carry_out(there, EXECUTION)] == [True] * 3
    assert not list((tmp_path / "there" / "runs").glob(".*"))


def test_a_job_that_makes_room_goes_on_from_its_checkpoint(tmp_path):
    (here,), (there,) = (
        unit_maker(tmp_path / "here")(**LONG),
        unit_maker(tmp_path / "there")(**LONG),
    )
    list(carry_out([here], ExecutionConfig()))

    def preempt():
        number = job_of(there)
        subprocess.run(["scancel", "--signal=USR2", number], check=True)
        while not slurm_queue.jobs_named(slurm.name_of(there.runs.parent / "slurm"))[number].waits:
            time.sleep(0.2)
        # A job that was put back waits for two minutes before it may begin.
        subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], check=True)

    thread = later(preempt)
    notes = Notes()
    ((_, run, _),) = carry_out([there], EXECUTION, watcher=notes)
    thread.join()
    assert isinstance(run, Run), run
    assert tables([there]) == tables([here])
    (log,) = (tmp_path / "there" / "slurm").glob("*_log.out")
    assert "Requeued job" in log.read_text()
    assert sum("1 waiting for Slurm" in state for state in notes.states) > 0


def test_a_job_that_is_ended_is_a_failure_with_its_log(tmp_path):
    (unit,) = unit_maker(tmp_path)(**LONG)
    thread = later(lambda: subprocess.run(["scancel", job_of(unit)], check=True))
    ((_, failure, _),) = carry_out([unit], EXECUTION)
    thread.join()
    assert isinstance(failure, Failure)
    assert "ended as CANCELLED" in failure.error
    (log,) = (tmp_path / "slurm").glob("*_log.out")
    assert f"(log: {log})" in failure.error


class Impatient(Notes):
    """Presses Ctrl-C when the job runs."""

    def on_state(self, state):
        if "1 running" in state:
            raise KeyboardInterrupt


def test_jobs_outlive_the_command_and_are_not_started_twice(tmp_path):
    (unit,) = unit_maker(tmp_path)(**LONG)
    notes = Impatient()
    with pytest.raises(KeyboardInterrupt):
        list(carry_out([unit], EXECUTION, watcher=notes))
    assert "one run left to Slurm, without this command" in notes.notes[-1]
    assert "to end it: scancel " in notes.notes[-1]
    for execution, fresh, what in (
        (EXECUTION, True, "--fresh deletes"),
        (ExecutionConfig(), False, "engine: local would do a second time"),
    ):
        with pytest.raises(StudyError, match=f"Slurm has one job with runs .*{what}.*scancel"):
            list(carry_out([unit], execution, fresh))
    notes = Notes()
    ((_, run, kept),) = carry_out([unit], EXECUTION, watcher=notes)
    assert isinstance(run, Run), run
    assert not kept
    assert notes.notes == ["one run found in Slurm's queue, from an earlier start"]
    assert len(list((tmp_path / "slurm").glob("*_submission.sh"))) == 1


def test_what_slurm_refuses_is_told(tmp_path):
    units = unit_maker(tmp_path)(("ce",))
    nowhere = EXECUTION.model_copy(update={"partition": "nowhere"})
    with pytest.raises(StudyError, match=r"(?s)Slurm does not take the jobs: .*invalid partition"):
        list(carry_out(units, nowhere))
