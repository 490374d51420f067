"""Every loss of the command line as a trainer that nnU-Net finds by its name."""

import random
import re

import numpy as np
import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.file_path_utilities import (
    parse_dataset_trainer_plans_configuration_from_path,
)
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from test_nnunet import FOLDER, LABEL_SETS, make_batch, make_trainer
from torch import nn

from dilated_ce.integrations import nnunet
from dilated_ce.study.data.cases import IGNORE_INDEX
from dilated_ce.study.nnunet.names import trainer_name
from dilated_ce.study.training.loss_parts import Setting
from dilated_ce.study.training.loss_spec import LOSSES, parse_loss

HAVE_TRAINERS = (
    *("dice-ce", "ce", "dice", "top-k", "balanced-ce", "dbce", "dbce-dice"),
    *("adaptive-dbce", "adaptive-dbce-dice"),
)
TAKE_NOT_ALL = ("dice-focal", "unified-focal", "torch.nn:CrossEntropyLoss")
NAMES = {
    "dice-ce": "nnUNetTrainer",
    "ce": "nnUNetTrainerCELoss",
    "dice": "nnUNetTrainerDiceLoss",
    "top-k": "nnUNetTrainerTopk10Loss",
    "top-k:percent=20": "nnUNetTrainerLoss_top-k@percent=20",
    "balanced-ce": "nnUNetTrainerDBCE_R0",
    "dbce:radius=4": "nnUNetTrainerDBCE_R4",
    "dbce:radius=2.5,volumes=image": "nnUNetTrainerDBCE_R2.5_image",
    "dbce:radius=inf": "nnUNetTrainerLoss_dbce@radius=inf",
    "dbce-dice:radius=4": "nnUNetTrainerDBCEDice_R4",
    "adaptive-dbce": "nnUNetTrainerAdaptiveDBCE",
    "adaptive-dbce-dice": "nnUNetTrainerAdaptiveDBCEDice",
    "dice-focal:gamma=1.5": "nnUNetTrainerLoss_dice-focal@gamma=1.5",
    "ce:weight=1:5:2": "nnUNetTrainerLoss_ce@weight=1@5@2",
    "dbce:radius=4,weight=1:5:2": "nnUNetTrainerLoss_dbce@radius=4,weight=1@5@2",
    **{name: f"nnUNetTrainerLoss_{name}" for name in sorted(set(LOSSES) - set(HAVE_TRAINERS))},
    "torch.nn:CrossEntropyLoss:label_smoothing=0.1": (
        "nnUNetTrainerLoss_torch.nn@CrossEntropyLoss@label_smoothing=0.1"
    ),
}


@pytest.fixture
def folders(monkeypatch, tmp_path):
    for name in ("nnUNet_results", "nnUNet_preprocessed"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("nnUNet_compile", "f")
    return tmp_path


def find(name):
    """As nnU-Net looks in the folders of nnUNet_extTrainer."""
    return recursive_find_python_class(
        str(FOLDER), name, None, base_folder=str(FOLDER), cleanup_imports_from_base_folder=True
    )


def setting_of(labels):
    regions, ignored = "regions" in labels, None
    if "ignore" in labels:
        ignored = IGNORE_INDEX if regions else 3
    return Setting(ignored, None, regions, 2 if regions else 3)


def test_every_loss_has_a_trainer_of_its_own():
    assert {parse_loss(loss).name for loss in NAMES} >= set(LOSSES)
    assert len(set(NAMES.values())) == len(NAMES)


@pytest.mark.filterwarnings("ignore:size_average")  # of nnU-Net's top-k
@pytest.mark.parametrize("loss", NAMES)
def test_the_name_tells_loss_epochs_and_seed_and_nnunet_finds_it(folders, loss):
    name = trainer_name(parse_loss(loss), epochs=70, seed=3, iterations=25)
    assert name == f"{NAMES[loss]}_70epochs_25iterations_seed3"
    trainer = find(name)
    assert trainer is find(name)
    assert trainer.__name__ == name
    made = make_trainer(trainer)
    assert (made.num_epochs, made.save_every) == (70, 3)
    assert (made.num_iterations_per_epoch, made.num_val_iterations_per_epoch) == (25, 5)
    assert made.seed == 3
    assert list(made.my_init_kwargs) == list(make_trainer(nnUNetTrainer).my_init_kwargs)
    folder = f"results/Dataset001_Tiny/{name}__nnUNetPlans__3d_fullres"
    assert parse_dataset_trainer_plans_configuration_from_path(folder)[1] == name
    outputs, targets = make_batch("labels")
    assert made._build_loss()(outputs, targets).isfinite()


@pytest.mark.parametrize("labels", ["labels, ignore", "regions, ignore"])
@pytest.mark.filterwarnings("ignore:size_average")  # of nnU-Net's top-k
@pytest.mark.parametrize("loss", NAMES)
def test_every_trainer_takes_regions_and_ignored_voxels(folders, loss, labels):
    spec, setting = parse_loss(loss), setting_of(labels)
    try:
        spec.build(setting)
    except ValueError:  # which is told before any training
        assert spec.name in TAKE_NOT_ALL or "weight" in loss
        return
    trainer = find(trainer_name(spec, epochs=1, seed=0, setting=setting))
    outputs, targets = make_batch(labels)
    value = make_trainer(trainer, labels)._build_loss()(outputs, targets)
    assert value.isfinite()
    assert all(g.isfinite().all() for g in torch.autograd.grad(value, outputs[:2]))


@pytest.mark.parametrize("labels", LABEL_SETS)
@pytest.mark.parametrize("loss", ["tversky:alpha=0.4", "dbce:radius=inf", "top-k:percent=20"])
def test_a_loss_that_nnunet_lacks_is_that_of_the_study(folders, loss, labels):
    spec, regions, setting = parse_loss(loss), "regions" in labels, setting_of(labels)
    outputs, targets = make_batch(labels)
    trainer = find(trainer_name(spec, epochs=1, seed=0, setting=setting))
    value = make_trainer(trainer, labels)._build_loss()(outputs, targets)
    expected = 0
    plain = spec.build(setting)
    for output, target, factor in zip(outputs, targets, (2 / 3, 1 / 3, 0), strict=True):
        if regions and "ignore" in labels:
            target = torch.where(target[:, -1:] == 1, IGNORE_INDEX, target[:, :-1].float())
        expected += factor * plain(output, target.float() if regions else target)
    torch.testing.assert_close(value, expected)


def test_a_loss_computes_in_float32_under_autocast(folders):
    trainer = make_trainer(find("nnUNetTrainerLoss_tversky_1epochs_seed0"))
    loss = trainer._build_loss()
    outputs, targets = make_batch("labels")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss([output.bfloat16() for output in outputs], targets)
    assert value.dtype == torch.float32


def test_a_name_that_no_folder_can_have_is_refused(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my__losses.py").write_text("from torch.nn import CrossEntropyLoss as Loss\n")
    with pytest.raises(ValueError, match="nnU-Net has a folder by the name"):
        trainer_name(parse_loss("my__losses:Loss"), epochs=1, seed=0)


@pytest.mark.parametrize(
    "name",
    [
        *("nnUNetTrainerLoss_nothing_1epochs_seed0", "MyTrainer_5epochs", "re_5epochs"),
        *("nnUNetTrainerDBCE_R4_0epochs", "nnUNetTrainerDBCE_R4_seed0_5epochs"),
    ],
)
def test_other_names_are_not_found(name):
    if "Loss_nothing" in name:
        with pytest.raises(ValueError, match="unknown loss 'nothing'"):
            find(name)
    else:
        assert find(name) is None


def weights_and_draws(trainer_class, monkeypatch, epoch=0):
    monkeypatch.setattr(
        nnUNetTrainer,
        "initialize",
        lambda trainer: vars(trainer).update(network=nn.Linear(3, 3), was_initialized=True),
    )
    monkeypatch.setattr(nnUNetTrainer, "on_train_start", lambda trainer: None)
    trainer = make_trainer(trainer_class)
    trainer.current_epoch = epoch
    trainer.on_train_start()
    drawn = (random.random(), np.random.random(), torch.rand(1).item())  # noqa: NPY002
    return trainer.network.weight.tolist(), drawn


def test_a_seed_gives_the_weights_and_what_is_drawn(folders, monkeypatch):
    one, same, other = (
        weights_and_draws(nnunet.__getattr__(f"nnUNetTrainer{name}"), monkeypatch)
        for name in ("_5epochs_seed0", "DBCE_R4_9epochs_seed0", "_5epochs_seed1")
    )
    assert one == same  # under another loss: the losses are compared from the same weights
    assert one[0] != other[0]
    assert not set(one[1]) & set(other[1])
    later = weights_and_draws(nnunet.__getattr__("nnUNetTrainer_5epochs_seed0"), monkeypatch, 3)
    assert later[0] == one[0]
    assert not set(one[1]) & set(later[1])  # it goes on, and does not begin again


def test_without_a_seed_nothing_is_set(folders, monkeypatch):
    torch.manual_seed(1)
    first = weights_and_draws(nnunet.__getattr__("nnUNetTrainerDBCE_R4_9epochs"), monkeypatch)
    second = weights_and_draws(nnunet.__getattr__("nnUNetTrainerDBCE_R4_9epochs"), monkeypatch)
    assert first[0] != second[0]


def test_a_checkpoint_is_written_whole_or_not_at_all(folders, monkeypatch, tmp_path):
    path = tmp_path / "checkpoint_latest.pth"
    path.write_text("whole")

    def killed(trainer, filename):
        with open(filename, "w") as file:  # noqa: PTH123
            file.write("ha")
        raise KeyboardInterrupt

    monkeypatch.setattr(nnUNetTrainer, "save_checkpoint", killed)
    trainer = make_trainer(nnunet.__getattr__("nnUNetTrainer_5epochs_seed0"))
    with pytest.raises(KeyboardInterrupt):
        trainer.save_checkpoint(str(path))
    assert path.read_text() == "whole"
    monkeypatch.setattr(nnUNetTrainer, "save_checkpoint", lambda t, name: open(name, "w").close())  # noqa: PTH123
    trainer.save_checkpoint(str(path))
    assert path.read_text() == ""
    assert not re.findall("partial", " ".join(p.name for p in tmp_path.iterdir()))
