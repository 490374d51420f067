"""Jobs of Slurm without a Slurm: submitit's local executor, and answers written by hand."""

import os
import time
from typing import ClassVar

import cloudpickle
import pytest
import submitit
from submitit.helpers import DelayedSubmission
from toy_runs import Notes, unit_maker

from dilated_ce.study.nnunet.unit import Length
from dilated_ce.study.runs import slurm, slurm_job, slurm_queue, spreading
from dilated_ce.study.runs.attempt import attempt
from dilated_ce.study.runs.elsewhere import Probe
from dilated_ce.study.runs.local import carry_out
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.slurm_job import Job, notice_seconds
from dilated_ce.study.runs.slurm_queue import State
from dilated_ce.study.runs.store import Failure, Run, StudyError
from dilated_ce.study.training.settings import ResolvedTraining

EXECUTION = ExecutionConfig(engine="slurm")


def resolved(**settings):
    values = {"batch_size": 4, "patch_size": (16,), "learning_rate": 1, "threads": 2, **settings}
    return ResolvedTraining(**values)


def asked(training, tmp_path, number=1, **settings):
    execution = ExecutionConfig(engine="slurm", **settings)
    return "\n".join(slurm.script(training, execution, tmp_path / "slurm", number))


def test_what_slurm_is_asked_for(tmp_path):
    text = asked(
        resolved(device="gpu", devices=2, loaders=1),
        tmp_path,
        30,
        workers=5,
        memory=12.5,
        partition="gpus",
        time="1:30:00",
        slurm={"account": "mine", "mail-type": "END", "tmp": "5G", "setup": ["module load x"]},
    )
    for line in (
        "--array=0-29%5",
        "--cpus-per-task=4",
        "--gpus-per-node=2",
        "--mem=12500M",
        "--partition=gpus",
        "--time=90",
        "--account=mine",
        "--mail-type=END",
        "--tmp=5G",
        "--requeue",
        "--signal=USR2@90",
        f"--job-name={slurm.name_of(tmp_path / 'slurm')}",
    ):
        assert f"#SBATCH {line}\n" in text, line
    assert "\nmodule load x\n" in text
    assert "wckey" not in text
    assert "--cpus-per-task=4 " in text.splitlines()[-1]  # srun's


def test_what_is_left_open_is_not_asked_for(tmp_path):
    text = asked(resolved(device="cpu"), tmp_path)
    assert "--time=240" in text
    assert not any(word in text for word in ("gpu", "--mem", "partition", "array"))


@pytest.mark.parametrize(
    ("training", "slurm", "said", "not_said"),
    [
        (resolved(device="gpu"), {"gres": "gpu:a100:1"}, "--gres=gpu:a100:1", "gpus-per-node"),
        (resolved(device="gpu"), {"gpus": 1}, "--gpus=1", "gpus-per-node"),
        (Length(9, "cuda", 1), {}, "--cpus-per-task=12", "mem"),
        (Length(9, "cuda", 1), {"cpus_per_task": 6}, "--cpus-per-task=6", "=12"),
    ],
)
def test_who_says_it_in_another_way_is_heard(tmp_path, training, slurm, said, not_said):
    text = asked(training, tmp_path, slurm=slurm)
    assert said in text
    assert not_said not in text


@pytest.fixture
def unit(tmp_path):
    (made,) = unit_maker(tmp_path)(("ce",))
    return made


@pytest.fixture
def queue(monkeypatch):
    """What squeue would say."""
    states = {}
    monkeypatch.setattr(slurm_queue, "jobs_named", lambda name: states)
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(slurm, "ASK_SECONDS", 0)
    monkeypatch.setattr(slurm, "LOST_SECONDS", 0.05)
    return states


class Local(submitit.LocalExecutor):
    """Jobs that are processes of this machine."""

    jobs: ClassVar[list] = []

    def submit(self, *call):
        self.jobs.append(super().submit(*call))
        return self.jobs[-1]

    def update_parameters(self, **parameters):
        super().update_parameters(timeout_min=30, stderr_to_stdout=True)


def test_a_run_in_a_job(unit, queue, monkeypatch):
    monkeypatch.setattr(slurm, "_executor", Local)
    monkeypatch.setattr(slurm, "_job", submitit.LocalJob)
    started = []

    def running(name):
        started.extend(slurm.folder_of(unit.runs).glob("*_submitted.pkl"))
        return {path.name.split("_")[0]: State("RUNNING") for path in started}

    monkeypatch.setattr(slurm_queue, "jobs_named", running)
    notes = Notes()
    ((_, run, _),) = carry_out([unit], EXECUTION, watcher=notes)
    assert isinstance(run, Run), run
    assert unit.is_finished
    assert run.info["threads"] == 1
    Local.jobs.pop()._process.wait()
    assert list(dict.fromkeys(notes.states)) == ["1 running", ""]
    assert "one run submitted as Slurm job" in notes.notes[0]
    assert not list(unit.runs.glob(".*"))  # the probe is gone


def outcome(unit, result, states, queue):
    """What comes of a job with this result, or none, in these states."""
    folder = slurm.folder_of(unit.runs)
    folder.mkdir()
    if result is not None:
        (folder / "7_0_result.pkl").write_bytes(cloudpickle.dumps(result))
    (folder / "7_0_log.out").write_text("what it printed")
    queue.update(states)
    waiting = {"7": unit}
    ((_, failure),) = slurm._wait_for(waiting, folder, "name", Notes())
    assert not waiting
    return failure


TRACE = "Traceback (most recent call last):\n  File 1\nStudyError: the job had 9 minutes"


@pytest.mark.parametrize(
    ("result", "states", "message"),
    [
        (("error", TRACE), {}, "the job had 9 minutes (log: "),
        (None, {}, "Slurm job 7 is gone from Slurm's list and left no result (log: "),
        (None, {"7": State("OUT_OF_MEMORY")}, "ended as OUT_OF_MEMORY and left no result; ask for"),
        (None, {"7": State("NODE_FAIL", "Down")}, "ended as NODE_FAIL (Down) and left no result"),
    ],
)
def test_jobs_that_fail_say_where_they_have_printed(unit, queue, result, states, message):
    failure = outcome(unit, result, states, queue)
    assert message in failure.error
    assert failure.error.endswith("7_0_log.out)")
    assert "what it printed" in failure.trace or "Traceback" in failure.trace


def test_jobs_hand_their_outcome_back(unit, queue):
    assert outcome(unit, ("success", None), {}, queue) is None


def test_a_failure_of_the_training_comes_with_the_log(unit, queue):
    said = Failure(unit.loss, 0, 0, "ValueError: of some kind", "its trace")
    failure = outcome(unit, ("success", said), {}, queue)
    assert failure.error.startswith("ValueError: of some kind (log: ")
    assert failure.trace == "its trace"


def test_a_full_disk_stays_one(unit, queue):
    said = Failure(unit.loss, 0, 0, "No space left", "its trace", of_disk=True)
    assert outcome(unit, ("success", said), {}, queue) == said


def test_a_silent_slurm_is_asked_again(unit, queue, monkeypatch):
    answers = iter([None, {"7": State("PENDING", "Priority")}, {"7": State("FAILED")}])
    last = {"7": State("FAILED")}
    monkeypatch.setattr(slurm_queue, "jobs_named", lambda name: next(answers, last))
    slurm.folder_of(unit.runs).mkdir()
    notes = Notes()
    ((_, failure),) = slurm._wait_for({"7": unit}, slurm.folder_of(unit.runs), "name", notes)
    assert "ended as FAILED" in failure.error
    assert notes.states[:2] == [
        "Slurm does not answer; asking again",
        "1 waiting for Slurm (Priority)",
    ]


def test_no_run_is_started_a_second_time(unit, queue, monkeypatch):
    folder = slurm.folder_of(unit.runs)
    folder.mkdir()
    job = Job(attempt, Probe(unit.runs, (unit.prepared,)), EXECUTION, 9)
    DelayedSubmission(job, unit).dump(folder / "7_submitted.pkl")
    queue["7"] = State("RUNNING")
    for execution, fresh in ((EXECUTION, True), (ExecutionConfig(), False)):
        monkeypatch.setattr(slurm_queue, "is_here", lambda: True)
        with pytest.raises(StudyError, match=r"Slurm has one job with runs.*scancel 7"):
            spreading.under_way(unit.runs, execution, fresh, Notes())
    assert spreading.under_way(unit.runs, EXECUTION, False, Notes()) == {unit.folder}
    # Half a run that the job is about to finish is left alone, and no other job is made.
    unit.folder.mkdir(parents=True)
    monkeypatch.setattr(slurm, "_submit", lambda *arguments: pytest.fail("submitted again"))
    assert attempt(unit) is None
    (unit.folder / "cases.csv").rename(unit.folder / "late.csv")

    def finish():
        (unit.folder / "late.csv").rename(unit.folder / "cases.csv")
        (folder / "7_0_result.pkl").write_bytes(cloudpickle.dumps(("success", None)))
        return {}

    monkeypatch.setattr(slurm_queue, "in_words", lambda states: finish() and "")
    ((_, run, kept),) = carry_out([unit], EXECUTION)
    assert isinstance(run, Run), run
    assert not kept
    # Where nobody can be asked, that is said.
    notes = Notes()
    monkeypatch.setattr(slurm_queue, "is_here", lambda: False)
    assert spreading.under_way(unit.runs, ExecutionConfig(), False, notes) == set()
    assert "no squeue" in notes.notes[0]


def test_jobs_that_nobody_knows_of_stop_the_command(unit, monkeypatch):
    folder = slurm.folder_of(unit.runs)
    folder.mkdir()
    (folder / "7_submitted.pkl").touch()
    monkeypatch.setattr(slurm_queue, "jobs_named", lambda name: None)
    with pytest.raises(StudyError, match="so that no run is done twice"):
        list(carry_out([unit], EXECUTION))


def test_a_machine_without_slurm(unit, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(StudyError, match="there is no srun on this machine"):
        list(carry_out([unit], EXECUTION))


def test_a_job_that_comes_no_further_ends(unit, monkeypatch):
    job = Job(attempt, Probe(unit.runs), EXECUTION, minutes=60)
    job.started = time.monotonic() - 1800  # another job takes its place
    assert job.checkpoint(unit).args == (unit,)
    job.started = time.monotonic() - 3500
    with pytest.raises(StudyError, match="60 minutes, and there was no new checkpoint"):
        job.checkpoint(unit)
    unit.working.mkdir(parents=True)
    (unit.working / "last.ckpt").touch()
    assert job.checkpoint(unit).function is job
    job.had = slurm_job.newest_checkpoint(unit)
    with pytest.raises(StudyError):
        job.checkpoint(unit)


def test_a_job_is_told_early_enough():
    assert [notice_seconds(minutes) for minutes in (1, 5, 60)] == [12, 60, 90]


SQUEUE = """#!/bin/sh
[ "$SLURM_IS_DOWN" ] && exit 1
echo "4711_3|RUNNING|None"
echo "4711_4|PENDING|Resources"
echo "4711_5|TIMEOUT|TimeLimit"
echo "$@" >"$(dirname "$0")/asked"
"""


def test_slurm_is_asked_by_squeue(tmp_path, monkeypatch):
    (tmp_path / "squeue").write_text(SQUEUE)
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert slurm_queue.is_here()
    states = slurm_queue.jobs_named("mine")
    assert states == {
        "4711_3": State("RUNNING"),
        "4711_4": State("PENDING", "Resources"),
        "4711_5": State("TIMEOUT", "TimeLimit"),
    }
    assert [state.is_over for state in states.values()] == [False, False, True]
    assert slurm_queue.in_words(states.values()) == "1 running, 1 waiting for Slurm (Resources)"
    assert "--name=mine" in (tmp_path / "asked").read_text()
    monkeypatch.setenv("SLURM_IS_DOWN", "1")
    assert slurm_queue.jobs_named("mine") is None
