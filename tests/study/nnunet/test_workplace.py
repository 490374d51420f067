"""What nnU-Net lacks is told before any training, with the command that makes it."""

import json
import re
import shutil
from importlib import metadata

import pytest
from typer.testing import CliRunner

from dilated_ce import cli
from dilated_ce.study.data.cases import DataError
from dilated_ce.study.nnunet.log import parse_log, read_logs
from dilated_ce.study.nnunet.planning import plan_units
from dilated_ce.study.nnunet.settings import NnunetConfig
from dilated_ce.study.nnunet.workplace import find_workplace
from dilated_ce.study.settings.compare import SettingsError
from dilated_ce.study.settings.file import build_config, build_nnunet_config
from dilated_ce.study.training.loss_spec import parse_losses


def find(**settings):
    return find_workplace(NnunetConfig(**{"dataset": 1, **settings}))


@pytest.mark.parametrize("dataset", [1, "1", "Dataset001_Tiny"])
def test_a_data_set_by_number_or_name(workplace, dataset):
    place = find(dataset=dataset)
    assert place.name == "Dataset001_Tiny"
    assert place.folds == (0, 1)
    assert find(dataset=dataset, folds=1).folds == (1,)
    assert place.setting.num_outputs == 3


def test_a_configuration_may_inherit_what_is_preprocessed(workplace):
    assert find(configuration="3d_bigger").name == "Dataset001_Tiny"


def test_without_its_folder(workplace, monkeypatch, tmp_path):
    monkeypatch.delenv("nnUNet_preprocessed")
    with pytest.raises(DataError, match=r"nnUNet_preprocessed is not set.*export nnUNet_prepro"):
        find()
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"nnUNet_preprocessed is .*nowhere, which is no folder"):
        find()
    monkeypatch.setenv("nnUNet_preprocessed", str(workplace.parent))
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"nnUNet_raw is .*nowhere, which is no folder"):
        find()


def test_other_data_sets(workplace, monkeypatch, tmp_path):
    with pytest.raises(DataError, match=r"dataset 7 is not in .* \(there: Dataset001_Tiny\)"):
        find(dataset=7)
    (workplace.parent / "Dataset001_Other").mkdir()
    with pytest.raises(DataError, match="got Dataset001_Other, Dataset001_Tiny in"):
        find()
    assert find(dataset="Dataset001_Tiny").name == "Dataset001_Tiny"
    raw = tmp_path / "raw"
    (raw / "Dataset002_Raw").mkdir(parents=True)
    monkeypatch.setenv("nnUNet_raw", str(raw))
    with pytest.raises(DataError, match=r"nnUNetv2_plan_and_preprocess -d 2 -c 3d_fullres$"):
        find(dataset=2)


def test_what_is_not_planned_or_preprocessed(workplace):
    with pytest.raises(
        DataError, match=r"3d_fulres: nnUNetPlans has none .* one of 3d_fullres, 3d_"
    ):
        find(configuration="3d_fulres")
    with pytest.raises(
        DataError, match=r"There are the plans nnUNetPlans: --plans\. Otherwise first"
    ):
        find(plans="nnUNetResEncUNetLPlans")
    with pytest.raises(
        DataError, match=r"nnUNetv2_preprocess -d 1 -plans_name nnUNetPlans -c 3d_l"
    ):
        find(configuration="3d_lowres")
    with pytest.raises(DataError, match="second stage of a cascade"):
        find(configuration="3d_cascade_fullres")
    (workplace / "nnUNetPlans.json").unlink()
    with pytest.raises(DataError, match=r"is not planned: .* nnUNetv2_plan_and_preprocess -d 1"):
        find()
    (workplace / "nnUNetPlans.json").write_text("{")
    with pytest.raises(DataError, match=r"nnUNetPlans.json cannot be read"):
        find()


def test_folds_that_are_not_there(workplace):
    with pytest.raises(
        DataError, match=r"fold 2 is in none of the 2 splits(.|\n)*fold 4 is in none"
    ):
        find(folds=(0, 2, 4))
    (workplace / "nnUNetPlans_3d_fullres" / "case_02.b2nd").unlink()
    with pytest.raises(DataError, match=r"fold 1 has cases that are not preprocessed \(case_02\)"):
        find()


@pytest.mark.parametrize("splits", [[], {"train": ["case_00"]}, [{"train": ["case_00"]}], [3]])
def test_splits_of_another_form(workplace, splits):
    (workplace / "splits_final.json").write_text(json.dumps(splits))
    with pytest.raises(DataError, match="expected a list with the cases of each fold"):
        find()


def test_more_gpus_than_there_are(workplace, tmp_path):
    with pytest.raises(DataError, match=r"device auto: PyTorch sees .* expected 99; take fewer"):
        plan_units(parse_losses("ce"), 1, find(devices=99), tmp_path)


def test_without_splits_those_that_nnunet_would_draw(workplace):
    (workplace / "splits_final.json").unlink()
    place = find()
    assert place.folds == (0, 1, 2, 3, 4)
    assert not (workplace / "splits_final.json").exists()  # a dry run writes nothing
    place.write_splits()
    assert json.loads((workplace / "splits_final.json").read_text()) == place.splits
    assert sorted(case for fold in place.splits for case in fold["val"]) == [
        f"case_{number:02d}" for number in range(6)
    ]
    (workplace / "splits_final.json").unlink()
    for case in (0, 1):
        (workplace / "nnUNetPlans_3d_fullres" / f"case_{case:02d}.b2nd").unlink()
    with pytest.raises(DataError, match="five folds need 5 cases, and 4 are preprocessed"):
        find()


@pytest.mark.parametrize(
    ("installed", "message"),
    [(None, "nnU-Net is not installed here"), ("2.7.1", "got nnU-Net 2.7.1, expected 2.8")],
)
def test_without_nnunet(workplace, monkeypatch, installed, message):
    def version(name):
        if installed is None:
            raise metadata.PackageNotFoundError
        return installed

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(DataError, match=rf"--trainer nnunet: {message}.*pip install"):
        find()


def test_losses_that_do_not_fit_the_labels_are_told_together(workplace, tmp_path):
    description = json.loads((workplace / "dataset.json").read_text())
    description["labels"]["ignore"] = 3
    (workplace / "dataset.json").write_text(json.dumps(description))
    losses = parse_losses("dice-focal,ce:weight=1:2,dice")
    with pytest.raises(
        DataError, match=r"on Dataset001_Tiny in(.|\n)*dice-focal: (.|\n)*weight=1:2: "
    ):
        plan_units(losses, 1, find(device="cpu"), tmp_path)
    (unit,) = plan_units(losses[2:], 1, find(device="cpu", folds=0), tmp_path)
    assert unit.trainer == "nnUNetTrainerLoss_dice_1000epochs_seed0"  # theirs ignores no voxels


@pytest.mark.parametrize("dataset", [-1, "Hippocampus", "Dataset4_X", "Dataset004_a/b", True])
def test_datasets_that_are_none(dataset):
    with pytest.raises(SettingsError, match=r"nnunet.dataset: got"):
        build_nnunet_config(
            {"losses": ["ce"], "trainer": "nnunet", "out": "x", "nnunet": {"dataset": dataset}}
        )


def test_settings_of_the_other_trainer_are_named():
    values = {"losses": ["ce"], "out": "x"}
    with pytest.raises(SettingsError, match="nnunet: is for trainer: nnunet"):
        build_config({**values, "nnunet": {"dataset": 4}})
    with pytest.raises(SettingsError, match="data, training: for trainer: own"):
        build_nnunet_config(
            {**values, "nnunet": {"dataset": 4}, "data": {"path": "y"}, "training": {"steps": 3}}
        )
    with pytest.raises(SettingsError, match="is no setting; expected one of dataset, configur"):
        build_nnunet_config({**values, "nnunet": {"dataset": 4, "epoch": 3}})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--data", "x", "--steps", "3", "--tune", "lr", "--set", "training.optimizer=sgd"),
            "--data, --steps, --tune, --set training.optimizer: nnU-Net has its own",
        ),
        (("--folds", "a"), "got 'a', expected numbers of folds, such as 0,1"),
    ],
)
def test_options_that_mean_nothing_to_nnunet(monkeypatch, arguments, message):
    monkeypatch.setenv("COLUMNS", "300")
    done = CliRunner().invoke(
        cli.app, ["compare", "--trainer", "nnunet", "--dataset", "1", *arguments]
    )
    assert done.exit_code == 2
    assert message in re.sub(r"[│\s]+", " ", done.output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--dataset", "4", "--epochs", "3"),
            "--dataset, --epochs: these are for --trainer nnunet",
        ),
        (("--folds", "0,1"), "got '0,1', expected how many, such as 5"),
    ],
)
def test_options_that_mean_nothing_to_our_trainer(monkeypatch, arguments, message):
    monkeypatch.setenv("COLUMNS", "300")
    done = CliRunner().invoke(cli.app, ["compare", "--data", "x", *arguments])
    assert done.exit_code == 2
    assert message in re.sub(r"[│\s]+", " ", done.output)


def test_no_data_set_is_named(monkeypatch):
    done = CliRunner().invoke(cli.app, ["compare", "--trainer", "nnunet"])
    assert done.exit_code == 1
    assert "name nnU-Net's data set with --dataset" in done.output


LOG = """
2026-01-01 10:00:00.500000: Using splits from existing split file: splits_final.json
2026-01-01 10:00:00.500000:
2026-01-01 10:00:00.500000: Epoch {number}
2026-01-01 10:00:00.500000: Current learning rate: 0.01
2026-01-01 10:00:09.500000: train_loss {loss}
2026-01-01 10:00:09.500000: val_loss 0.5
2026-01-01 10:00:09.500000: Pseudo dice {dice}
2026-01-01 10:00:09.500000: Epoch time: 9.25 s
"""


@pytest.mark.parametrize(
    ("dice", "mean"),
    [
        ("[np.float64(0.5), np.float64(0.75)]", 0.625),
        ("[np.float32(0.0), np.float32(1.0), nan]", 0.5),
        ("[0.25, 1e-05]", 0.125005),
        ("[0.5]", 0.5),
        ("[np.float64(nan)]", None),
    ],
)
def test_logs_of_every_numpy(dice, mean):
    (epoch,) = parse_log(LOG.format(number=12, loss="nan", dice=dice))
    assert (epoch.number, epoch.seconds) == (12, 9.25)
    assert epoch.loss != epoch.loss
    assert (epoch.dice == pytest.approx(mean)) if mean is not None else epoch.dice != epoch.dice


def test_a_run_that_went_back_to_its_checkpoint(tmp_path):
    logs = [
        "".join(LOG.format(number=n, loss=-n, dice="[0.5]") for n in part)
        for part in (range(7), range(5, 6))
    ]
    for number, log in enumerate(logs):
        path = tmp_path / f"training_log_2026_1_1_{9 + number}_00_00.txt"
        path.write_text(log)
        shutil.copystat(tmp_path, path)
    assert [epoch.number for epoch in read_logs(tmp_path)] == [0, 1, 2, 3, 4, 5]
    assert read_logs(tmp_path / "nowhere") == []
