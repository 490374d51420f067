import pytest

from dilated_ce.study.runs import ray_cluster
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.threads import THREADS, keep_threads, known_threads, threads_elsewhere
from dilated_ce.study.training.settings import TrainingConfig

SLURM, RAY = ExecutionConfig(engine="slurm"), ExecutionConfig(engine="ray", address="auto")


@pytest.fixture(autouse=True)
def no_number_given(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("device", "execution", "threads"),
    [
        ("cpu", SLURM, 1),
        ("gpu", SLURM, 4),
        ("auto", ExecutionConfig(engine="slurm", gpus_per_run=0), 1),
        ("auto", ExecutionConfig(engine="slurm", gpus_per_run=1), 4),
        ("cpu", RAY, 1),
        ("gpu", RAY, 6),
        ("auto", RAY, 6),
    ],
)
def test_threads_are_of_where_the_runs_go(tmp_path, monkeypatch, device, execution, threads):
    monkeypatch.setattr(ray_cluster, "cores_of_a_gpu", lambda execution: 6)
    assert threads_elsewhere(TrainingConfig(device=device), execution, tmp_path) == threads


def test_a_study_keeps_its_number(tmp_path, monkeypatch):
    keep_threads(tmp_path, 3)
    assert known_threads(tmp_path) == 3
    assert threads_elsewhere(TrainingConfig(), RAY, tmp_path) == 3  # and no cluster is asked
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_elsewhere(TrainingConfig(), RAY, tmp_path) == 2


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"threads": "many"}', '{"threads": 0}'])
def test_a_damaged_note_is_none(tmp_path, text):
    (tmp_path / THREADS).write_text(text)
    assert known_threads(tmp_path) is None
