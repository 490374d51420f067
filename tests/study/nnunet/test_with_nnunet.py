"""`compare --trainer nnunet` from its settings to the report, with a stand-in for the training."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from fake_nnunet import CASES
from typer.testing import CliRunner

from dilated_ce import cli
from dilated_ce.study.nnunet import process

LOSSES = ("dice-ce", "dbce-dice:radius=4")
TRAINERS = ("nnUNetTrainer_3epochs_seed0", "nnUNetTrainerDBCEDice_R4_3epochs_seed0")


@pytest.fixture
def run(monkeypatch, workplace, tmp_path):
    """Call the command line in this process: exit code and what it printed, without line breaks."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments, seeds=1, epochs=3):
        done = CliRunner().invoke(
            cli.app,
            [
                *("compare", "--trainer", "nnunet", "--dataset", "1", "--device", "cpu"),
                *("--losses", ",".join(LOSSES), "--epochs", str(epochs), "--seeds", str(seeds)),
                *("--set", "statistics.resamples=200", "--out", str(tmp_path / "out")),
                *map(str, arguments),
            ],
        )
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, re.sub(r"\s+", " ", done.output)

    return call


@pytest.fixture
def results(tmp_path):
    return tmp_path / "out" / "nnUNet_results" / "Dataset001_Tiny"


def fold_of(results, trainer=TRAINERS[0], fold=0):
    return results / f"{trainer}__nnUNetPlans__3d_fullres" / f"fold_{fold}"


def dice_by_hand(prediction, truth, label):
    found, true = (np.asarray(nibabel.load(path).dataobj) == label for path in (prediction, truth))
    return 2 * (found & true).sum() / (found.sum() + true.sum())


def test_python_does_what_the_command_line_does(run, workplace, tmp_path):
    from dilated_ce.study import compare

    arguments = {"device": "cpu", "epochs": 3, "seeds": 1, "resamples": 200}
    outcome = compare(
        trainer="nnunet", dataset=1, losses=list(LOSSES), out=tmp_path / "python",
        progress=False, **arguments,
    )  # fmt: skip
    assert run()[0] == 0
    theirs = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert outcome.cases["dice"].tolist() == theirs["dice"].tolist()
    assert set(outcome.means.index) == set(LOSSES)


def test_from_the_settings_to_the_report(run, results, workplace, tmp_path):
    code, text = run(seeds=2)
    assert code == 0, text
    assert "Dataset001_Tiny: 3d_fullres of nnUNetPlans on cpu, 3 epochs." in text
    assert "8/8 Dice + DBCE (R = 4), seed 1, fold 1: Dice" in text
    cases = pd.read_csv(tmp_path / "out" / "cases.csv")
    assert len(cases) == 2 * 2 * len(CASES) * 2  # losses, seeds, cases, classes
    assert set(cases["loss"]) == set(LOSSES)
    for row in cases.itertuples():
        name = TRAINERS[LOSSES.index(row.loss)].replace("seed0", f"seed{row.seed}")
        file = f"{row.case}.nii.gz"
        expected = dice_by_hand(
            fold_of(results, name, row.fold) / "validation" / file,
            workplace / "gt_segmentations" / file,
            {"rim": 1, "core": 2}[getattr(row, "_6", None) or cases.loc[row.Index, "class"]],
        )
        assert row.dice == pytest.approx(expected)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    for loss in LOSSES:
        mean = cases[cases["loss"] == loss].groupby("case")["dice"].mean().mean()
        assert summary["losses"][loss]["dice"]["mean"] == pytest.approx(mean)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Dice + DBCE (R = 4)" in page
    assert "nnU-Net 2." in page
    study = json.loads((tmp_path / "out" / "study.json").read_text())
    assert study["config"]["nnunet"]["dataset"] == 1
    record = json.loads((fold_of(results) / "dilated_ce.json").read_text())
    assert record["settings"]["trainer"] == TRAINERS[0]
    printed = (fold_of(results) / "dilated_ce.log").read_text()
    assert f"Dataset001_Tiny 3d_fullres 0 -tr {TRAINERS[0]} -p nnUNetPlans -device cpu" in printed


def test_what_is_finished_is_kept_and_folds_are_added(run, results):
    assert run("--folds", "0")[0] == 0
    before = (fold_of(results) / "validation" / "summary.json").stat().st_mtime_ns
    code, text = run("--folds", "0,1")
    assert code == 0, text
    assert text.count("kept from an earlier time") == 2
    assert (fold_of(results) / "validation" / "summary.json").stat().st_mtime_ns == before
    code, text = run("--folds", "0")
    assert "fold 1" not in text


def test_one_that_fails_is_told_and_done_again(run, results, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "DBCEDice")
    code, text = run()
    assert code == 3
    assert "fold 0: failed: RuntimeError: the data are upside down (nnU-Net ended with" in text
    assert "Dice + CE, seed 0, fold 1: Dice" in text
    assert "the data are upside down" in (tmp_path / "out" / "report.html").read_text()
    assert set(pd.read_csv(tmp_path / "out" / "cases.csv")["loss"]) == {"dice-ce"}
    monkeypatch.delenv("FAKE_FAIL")
    code, text = run()
    assert code == 0, text
    assert text.count("kept from an earlier time") == 2
    assert "upside down" not in (tmp_path / "out" / "report.html").read_text()


def test_all_fail(run, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "nnUNetTrainer")
    code, text = run()
    assert code == 1
    assert "all runs failed; the first one: RuntimeError: the data are upside down" in text
    errors = (tmp_path / "out" / "error.txt").read_text()
    assert 'raise RuntimeError("the data are upside down")' in errors


def test_a_seed_that_failed_leaves_the_others_with_their_seeds(run, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_FAIL", "DBCEDice_R4_3epochs_seed0")
    assert run(seeds=2)[0] == 3
    cases = pd.read_csv(tmp_path / "out" / "cases.csv")
    seeds = cases.groupby("loss")["seed"].unique()
    assert list(seeds[LOSSES[1]]) == [1]
    assert sorted(seeds[LOSSES[0]]) == [0, 1]


def test_other_settings_do_not_go_on_from_there(run, results, workplace):
    assert run()[0] == 0
    plans = json.loads((workplace / "nnUNetPlans.json").read_text())
    plans["configurations"]["3d_fullres"]["batch_size"] = 3
    (workplace / "nnUNetPlans.json").write_text(json.dumps(plans))
    for option in ("--dry-run", "--folds=0"):
        code, text = run(option)
        assert code == 1
        assert "there are runs of other settings, and nothing goes on from them" in text
        assert "dice-ce, seed 0, fold 0: nnUNetPlans.json: " in text
    assert run(epochs=4)[0] == 0  # lies beside them
    code, text = run("--fresh")
    assert code == 0
    assert "kept" not in text
    (fold_of(results) / "dilated_ce.json").unlink()
    assert "dilated_ce.json is missing or damaged" in run()[1]


def test_another_comparison_keeps_its_folder(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cases.csv").write_text("mine")
    code, text = run()
    assert code == 1
    assert "would overwrite (cases.csv); choose another folder with --out" in text
    (tmp_path / "out" / "study.json").write_text(
        json.dumps({"data": {"name": "polyps"}, "config": {"trainer": "own"}})
    )
    assert "holds another comparison (of polyps, trainer own)" in run()[1]
    assert (tmp_path / "out" / "cases.csv").read_text() == "mine"


def interrupt(log_folder):
    """Press Ctrl-C in the second epoch."""

    def wait():
        for _ in range(400):
            time.sleep(0.05)
            if any("Epoch 1" in path.read_text() for path in log_folder.glob("training_log_*")):
                break
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait).start()


@pytest.fixture
def ctrl_c():
    """Ctrl-C as in a terminal: the processes of pytest-xdist ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_interrupted_it_goes_on_from_the_checkpoint(run, results, monkeypatch):
    code, text = run("--dry-run")
    assert "How long an epoch takes is not known before the first one" in text
    monkeypatch.setenv("FAKE_STOP", "1")
    interrupt(fold_of(results))
    begun = time.monotonic()
    code, text = run()
    assert code == 130
    assert "Interrupted. Finished runs and the checkpoints of others are kept in" in text
    assert time.monotonic() - begun < 40  # it would have slept for 60 seconds
    assert not process._going_on
    monkeypatch.delenv("FAKE_STOP")
    code, text = run("--dry-run")
    assert code == 0
    assert "In all about 28 seconds of training" in text  # 11 epochs are left
    code, text = run()
    assert code == 0, text
    first, second = sorted(fold_of(results).glob("training_log_*"), key=lambda p: p.stat().st_mtime)
    assert "Epoch 0" in first.read_text()
    assert "Epoch 0" not in second.read_text()
    assert (fold_of(results) / "dilated_ce.log").read_text().count("arguments:") == 2


def test_several_at_once(run, monkeypatch):
    code, text = run("--workers", "2")
    assert code == 0, text
    assert "4/4" in text


def test_a_run_without_scores_is_a_failure(run, results, workplace, monkeypatch):
    splits = json.loads((workplace / "splits_final.json").read_text())
    script = Path(str(workplace.parents[1] / "nnUNetv2_train"))
    script.write_text(
        script.read_text().replace('"metric_per_case": rows', '"metric_per_case": []')
    )
    code, text = run("--folds", "0")
    assert code == 1
    assert "nnU-Net ended well and left no scores of all cases in" in text
    assert splits


def test_settings_in_a_file(run, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(
        "trainer: nnunet\nnnunet: {dataset: 1, folds: [1], epochs: 2, iterations: 5, device: cpu}\n"
        f"losses: [ce, tversky]\nseeds: 1\nout: {tmp_path / 'other'}\n"
        "statistics: {resamples: 200, reference: tversky}\n"
    )
    done = CliRunner().invoke(cli.app, ["compare", str(path)])
    assert done.exit_code == 0, done.output
    names = {p.name.split("__")[0] for p in (tmp_path / "other").glob("nnUNet_results/*/*")}
    assert names == {
        "nnUNetTrainerCELoss_2epochs_5iterations_seed0",
        "nnUNetTrainerLoss_tversky_2epochs_5iterations_seed0",
    }
    summary = json.loads((tmp_path / "other" / "summary.json").read_text())
    assert summary["reference"] == "tversky"


def test_patients_of_several_cases(run, tmp_path):
    assert run("--group-by", r"case_(\d)")[0] == 0
    assert set(pd.read_csv(tmp_path / "out" / "cases.csv")["group"]) == {0}
    code, text = run("--group-by", r"patient_(\d)")
    assert code == 1
    assert "group_by 'patient_(\\\\d)' finds no patient in case_00, case_01, case_02" in text


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no sessions here")
def test_a_command_ends_with_the_one_who_asked_for_it(tmp_path):
    """Even if that one is killed: its end of the pipe is closed then."""
    supervisor = Path(process.__file__).with_name("supervise.py")
    program = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)"
    started = subprocess.Popen(
        [sys.executable, "-I", supervisor, sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    number = int(started.stdout.readline())
    started.stdin.close()
    assert started.wait(20) == -signal.SIGKILL
    started.stdout.close()
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        if "State:\tZ" in Path(f"/proc/{number}/status").read_text():
            return  # dead, and waits for its parent
        time.sleep(0.05)
    raise AssertionError("it goes on")


@pytest.mark.parametrize(
    ("program", "line"),
    [
        ("import sys; sys.exit(3)", "nnU-Net ended with exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "nnU-Net was killed by signal 9"),
        ("raise KeyError('x')", "KeyError: 'x' (nnU-Net ended with exit code 1)"),
    ],
)
def test_how_a_command_failed(tmp_path, program, line):
    with pytest.raises(process.NnunetError) as caught:
        process.run_command([sys.executable, "-c", program], os.environ, tmp_path / "log")
    assert str(caught.value).splitlines()[0] == line


def test_a_command_that_is_not_there(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(process.NnunetError, match="nnUNetv2_nothing is not there: pip install"):
        process.command("nnUNetv2_nothing")
