import pytest

from dilated_ce.study import machine
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.sharing import (
    gpus_of_runs,
    runs_at_once,
    threads_of_a_run,
)
from dilated_ce.study.training.settings import ResolvedTraining, TrainingConfig


def resolved(threads, devices=1, device="auto"):
    return ResolvedTraining(
        batch_size=devices,
        patch_size=(16, 16),
        learning_rate=1,
        threads=threads,
        devices=devices,
        device=device,
    )


@pytest.fixture
def with_machine(monkeypatch):
    def make(cores, gpus=0):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(machine, "cores", lambda: cores)
        monkeypatch.setattr(machine, "has_gpu", lambda: gpus > 0)
        monkeypatch.setattr(machine, "gpus", lambda: [str(number) for number in range(gpus)])

    return make


@pytest.mark.parametrize(
    ("cores", "runs", "devices", "threads", "at_once"),
    [(2, 10, 1, 1, 2), (16, 10, 1, 1, 16), (16, 3, 1, 5, 3), (1, 3, 1, 1, 1), (16, 2, 2, 4, 2)],
)
def test_on_cpus_all_cores_have_a_run(with_machine, cores, runs, devices, threads, at_once):
    with_machine(cores)
    assert threads_of_a_run(TrainingConfig(devices=devices), runs) == threads
    assert runs_at_once(resolved(threads, devices), ExecutionConfig()) == at_once
    assert gpus_of_runs(resolved(threads, devices), at_once) == [None] * at_once


@pytest.mark.parametrize(
    ("gpus", "devices", "threads", "of_each"),
    [(2, 1, 8, ["0", "1"]), (4, 2, 4, ["0,1", "2,3"]), (3, 2, 5, ["0,1"]), (32, 1, 1, None)],
)
def test_each_gpu_has_a_run(with_machine, gpus, devices, threads, of_each):
    with_machine(16, gpus)
    training = resolved(threads, devices)
    assert threads_of_a_run(TrainingConfig(), 10) == threads
    at_once = runs_at_once(training, ExecutionConfig())
    assert gpus_of_runs(training, at_once) == (of_each or [str(n) for n in range(32)])


def test_runs_may_share_gpus_where_that_is_asked_for(with_machine):
    with_machine(8, 2)
    assert runs_at_once(resolved(1), ExecutionConfig(workers=3)) == 3
    assert gpus_of_runs(resolved(1), 3) == ["0", "1", "0"]
    assert gpus_of_runs(resolved(1, device="cpu"), 3) == [None] * 3


def test_what_the_user_says_of_threads_counts(with_machine, monkeypatch):
    with_machine(8)
    assert runs_at_once(resolved(4), ExecutionConfig()) == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_of_a_run(TrainingConfig(), 100) == 3


def test_memory_of_this_machine():
    free = machine.free_memory()
    assert free is None or free > 0
    assert machine.memory_of(2**22 + 1) == (0, 0)  # no process has such a number
