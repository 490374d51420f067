"""`make gpu`, rehearsed on the CPU: what it finds, and what it says without a GPU."""

import csv

import gpu
import pytest
import torch


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command with a few calls; return its status and the folder that it wrote."""

    def run(*arguments):
        monkeypatch.setattr(gpu, "CALLS", 12)
        monkeypatch.setattr("sys.argv", ["gpu.py", "--out", str(tmp_path), *arguments])
        return gpu.main(), tmp_path / "rehearsal-on-a-cpu"

    return run


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_right_loss_passes_and_leaves_its_tables(run):
    status, folder = run("--device", "cpu", "--small", "--minutes", "5")
    assert (
        (folder / "summary.txt")
        .read_text(encoding="utf-8")
        .endswith("All is right: as on the CPU, and without a wait for the device.\n")
    )
    assert status == 0
    correctness = rows(folder / "correctness.csv")
    assert len(correctness) == 12
    assert {row["right"] for row in correctness} == {"True"}
    speed = rows(folder / "speed.csv")
    assert {row["method"] for row in speed} == {"F.cross_entropy", "DBCE", "Adaptive DBCE"}
    assert all(float(row["ms"]) > 0 and int(row["kernels"]) > 0 for row in speed)
    training = rows(folder / "training.csv")
    assert [row["amp"] for row in training] == ["False", "True"] * 2
    assert all(float(row["last"]) < float(row["first"]) for row in training)


def test_a_wrong_loss_and_one_that_raises_are_found(run, monkeypatch):
    right = gpu.loss_of
    calls = iter(range(10**6))

    def wrong(logits, target, **options):
        number = next(calls)  # every second call is the one on the device
        if number == 5:
            raise RuntimeError("no kernel image is available")
        return right(logits, target, **options) * (1.1 if number == 3 else 1)

    monkeypatch.setattr(gpu, "loss_of", wrong)
    status, folder = run("--device", "cpu", "--small", "--minutes", "0.5")
    assert status == 1
    bad = [row for row in rows(folder / "correctness.csv") if row["right"] == "False"]
    assert [row["note"] for row in bad] == ["differs", bad[1]["note"]]
    assert "no kernel image is available" in bad[1]["note"]
    assert "call 1 (eager): differs" in (folder / "summary.txt").read_text(encoding="utf-8")


def test_without_a_gpu_it_says_what_is_missing(run, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, folder = run()
    assert status == 1
    assert "sees no GPU here. Expected a CUDA or ROCm build of PyTorch" in capsys.readouterr().out
    assert not folder.exists()


def test_a_call_is_a_function_of_its_number():
    first, again = gpu.random_call(7), gpu.random_call(7)
    torch.testing.assert_close(first["logits"], again["logits"])
    assert first["options"] == again["options"]
    assert gpu.random_call(8)["logits"].shape != first["logits"].shape
