"""`make gpu-study`: what it says is missing, and a rehearsal on the CPU with nnU-Net itself."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import gpu_study
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent / "integrations"))
from nnunet_data import LABELS, write_dataset, write_timm

LOSSES = gpu_study.LOSSES.split(",")


@pytest.fixture
def data(tmp_path):
    write_dataset(tmp_path / "data", "Dataset004_Hippocampus", LABELS)
    return tmp_path / "data"


def test_it_says_all_that_is_missing(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("DILATED_CE_DATA", str(tmp_path))
    assert gpu_study.main(["--work", str(tmp_path / "work")]) == 1
    said = capsys.readouterr().err
    assert "a GPU: PyTorch sees none here. With --device cpu" in said
    assert f"Dataset004_Hippocampus or Task04_Hippocampus in {tmp_path}" in said
    monkeypatch.delenv("DILATED_CE_DATA")
    assert gpu_study.main(["--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert "GPU" not in said
    assert "name their folder, DILATED_CE_DATA=DIR or --data DIR" in said
    assert not (tmp_path / "work").exists()


def test_what_nnunet_says_is_told(capsys, monkeypatch, data, tmp_path):
    def fail(arguments, environment, output):
        raise gpu_study.NnunetError("RuntimeError: no image in it")

    monkeypatch.setattr(gpu_study, "run_command", fail)
    options = ["--data", str(data), "--device", "cpu", "--work", str(tmp_path / "work")]
    assert gpu_study.main([*options, "--only", "nnunet-hippocampus"]) == 1
    assert "nnunet-hippocampus: RuntimeError: no image in it" in capsys.readouterr().err


def test_the_evidence_study_comes_after_it(monkeypatch, data):
    calls = []

    def run(arguments, env):
        calls.append((arguments, env))
        return subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(gpu_study.subprocess, "run", run)
    options = ["--data", str(data), "--device", "cpu", "--only", "claims"]
    assert gpu_study.main(options) == 0
    [(arguments, environment)] = calls
    assert Path(arguments[1]).is_file()
    assert arguments[2:] == ["run", "--group", "main"]
    assert environment["DILATED_CE_DATA"] == str(data.resolve())


def test_another_batch_size_is_another_configuration_of_the_plans(tmp_path):
    plans = tmp_path / "nnUNet_preprocessed" / "Dataset004_Hippocampus" / "nnUNetPlans.json"
    plans.parent.mkdir(parents=True)
    content = {"configurations": {"3d_fullres": {"batch_size": 9}}}
    plans.write_text(json.dumps(content))
    assert gpu_study.name_configuration(tmp_path, None) == "3d_fullres"
    assert json.loads(plans.read_text()) == content
    assert gpu_study.name_configuration(tmp_path, 2) == "3d_fullres_batch2"
    assert json.loads(plans.read_text())["configurations"] == {
        "3d_fullres": {"batch_size": 9},
        "3d_fullres_batch2": {"inherits_from": "3d_fullres", "batch_size": 2},
    }


@pytest.mark.slow
def test_a_rehearsal_from_the_data_to_the_tables(capfd, monkeypatch, data, tmp_path):
    for name, value in {
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(gpu_study.ROOT) / "src"),
    }.items():
        monkeypatch.setenv(name, value)
    if importlib.util.find_spec("timm") is None:
        write_timm(tmp_path / "stand-ins")
        places = f"{tmp_path / 'stand-ins'}:{gpu_study.ROOT / 'src'}"
        monkeypatch.setenv("PYTHONPATH", places)
    options = [
        *("--data", str(data), "--device", "cpu", "--epochs", "1", "--folds", "0", "--seeds", "1"),
        *("--work", str(tmp_path / "work"), "--results", str(tmp_path / "results")),
        *("--set", "nnunet.iterations=1", "--set", "statistics.resamples=200", "--workers", "2"),
        *("--only", "nnunet-hippocampus", "--batch-size", "2"),
    ]
    assert gpu_study.main(options) == 0, capfd.readouterr()
    folder = tmp_path / "results" / "nnunet-hippocampus"
    assert {path.name for path in folder.iterdir()} == {*gpu_study.TABLES, "machine.json"}

    # The report is that of nnU-Net's predictions, computed here by hand.
    cases = pd.read_csv(folder / "cases.csv")
    assert sorted(cases["loss"].unique()) == sorted(LOSSES)
    work = tmp_path / "work" / "nnunet-hippocampus"
    trainings = work / "out" / "nnUNet_results" / "Dataset004_Hippocampus"
    truth = work / "nnUNet_preprocessed" / "Dataset004_Hippocampus" / "gt_segmentations"
    trainers = ("nnUNetTrainer", "nnUNetTrainerDBCEDice_R4", "nnUNetTrainerAdaptiveDBCEDice")
    for loss, trainer in zip(LOSSES, trainers, strict=True):
        name = f"{trainer}_1epochs_1iterations_seed0__nnUNetPlans__3d_fullres_batch2"
        predictions = list((trainings / name / "fold_0" / "validation").glob("*.nii.gz"))
        assert len(predictions) == 1
        for path in predictions:
            case = path.name.removesuffix(".nii.gz")
            masks = [np.asarray(nibabel.load(p).dataobj) for p in (path, truth / path.name)]
            for label, class_name in enumerate(("rim", "core"), start=1):
                found, true = (mask == label for mask in masks)
                (row,) = cases[
                    (cases[["loss", "case", "class"]] == [loss, case, class_name]).all(axis=1)
                ].to_dict("records")
                assert row["true_voxels"] == true.sum() > 0
                expected = 2 * (found & true).sum() / (found.sum() + true.sum())
                assert row["dice"] == pytest.approx(expected)
    summary = json.loads((folder / "summary.json").read_text())
    by_hand = cases.groupby(["loss", "case"])["dice"].mean().groupby("loss").mean()
    for loss in LOSSES:
        assert summary["losses"][loss]["dice"]["mean"] == pytest.approx(by_hand[loss])

    capfd.readouterr()
    assert gpu_study.main(options) == 0
    printed = capfd.readouterr().out
    assert printed.count("kept from an earlier time") == 3
    assert "preprocessing" not in printed
