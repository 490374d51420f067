"""Losses of one's own are tried before any training, and regions are trained as masks."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from study.data import test_description as volumes
from toy import make_dataset

from dilated_ce import dilated_balanced_cross_entropy
from dilated_ce.study import api
from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.data.reading import DataConfig, open_data
from dilated_ce.study.planning import plan_units
from dilated_ce.study.runs.unit import execute
from dilated_ce.study.settings.compare import CompareConfig, SettingsError
from dilated_ce.study.training.infer import predict
from dilated_ce.study.training.loss_parts import Setting, target_of
from dilated_ce.study.training.loss_spec import parse_loss

MASKS = Setting(overlapping=True)
IGNORING = Setting(255, overlapping=True)
CODES = torch.randint(0, 4, (2, 1, 9, 8), generator=torch.manual_seed(0)).to(torch.uint8)
TARGET = target_of(CODES, 3, MASKS)
LOGITS = torch.randn(2, 2, 9, 8, generator=torch.manual_seed(1))
ENTRIES = F.binary_cross_entropy_with_logits(LOGITS, TARGET, reduction="none").flatten()


@pytest.fixture
def config(tmp_path):
    def make(*losses, **settings):
        training = {"patch_size": (16,), "batch_size": 2, "channels": (4, 8), "steps": 2}
        return CompareConfig(losses=losses, training=training, out=tmp_path / "out", **settings)

    return make


@pytest.fixture
def prepared(tmp_path):
    return prepare(make_dataset(), tmp_path / "prepared")


@pytest.mark.parametrize(
    "loss",
    [
        "torch.nn:CrossEntropyLoss",
        "torch.nn:CrossEntropyLoss:label_smoothing=0.1",
        "monai.losses:DiceLoss:to_onehot_y=true,softmax=true",
    ],
)
def test_losses_that_fit(config, prepared, loss):
    api.try_out(config(loss), make_dataset(), prepared)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("torch.nn:MSELoss", "PyTorch's MSELoss takes no class indices"),
        ("torch.nn:KLDivLoss", "takes no class indices"),
        ("torch.nn:BCEWithLogitsLoss", "takes no class indices"),
        ("torch.nn:CrossEntropyLoss:reduction=none", r"it returns \(2, 16, 16\), expected"),
        ("monai.losses:DiceLoss", "different shape"),
        ("torch.nn:Identity", "takes 2 positional arguments but 3 were given"),
        ("torch.nn:CosineSimilarity", r"it returns \(2, 16, 16\)"),
    ],
)
def test_losses_that_fail_before_any_training(config, prepared, loss, message):
    with pytest.raises(SettingsError, match=rf"--losses {loss}: .*{message}.* It is called with"):
        api.try_out(config("ce", loss), make_dataset(), prepared)


def test_a_loss_in_a_file_is_named_with_its_line(config, prepared, tmp_path, monkeypatch):
    lines = [
        "import torch",
        "class Loss(torch.nn.Module):",
        "    def forward(self, logits, target):",
        "        return torch.nn.functional.cross_entropy(logits, target)",
        "class Nothing(torch.nn.Module):",
        "    def forward(self, logits, target):",
        "        return (logits * float('nan')).sum()",
        "class Flat(torch.nn.Module):",
        "    def forward(self, logits, target):",
        "        return torch.zeros(())",
    ]
    (tmp_path / "tried.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    own = config("tried:Loss", "tried:Nothing", "tried:Flat")
    with pytest.raises(SettingsError) as caught:
        api.try_out(own, make_dataset(), prepared)
    first, second, third = str(caught.value).splitlines()
    assert first.startswith("--losses tried:Loss: tried.py line 4: ")
    assert "loss(logits, target[:, 0].long())" in first
    assert second.endswith("gives nan for a batch of random logits, expected a number")
    assert "it returns a number without a gradient" in third


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("ce", ENTRIES.mean()),
        ("top-k:percent=25", ENTRIES.sort().values[-72:].mean()),
        ("dice", DiceLoss(sigmoid=True)(LOGITS, TARGET)),
        ("dice-ce", DiceLoss(sigmoid=True)(LOGITS, TARGET) + ENTRIES.mean()),
        ("dbce:radius=2", dilated_balanced_cross_entropy(LOGITS, TARGET, 2, mode="multilabel")),
        ("torch.nn:BCEWithLogitsLoss", ENTRIES.mean()),
    ],
)
def test_losses_of_masks(loss, expected):
    torch.testing.assert_close(parse_loss(loss).build(MASKS)(LOGITS, TARGET), expected)


@pytest.mark.parametrize(
    "loss", ["ce", "dice", "dbce:radius=2", "adaptive-dbce", "tversky", "adaptive-dbce-dice"]
)
def test_ignored_voxels_have_no_gradient(loss):
    codes = CODES.clone()
    codes[:, :, :3] = 255
    logits = LOGITS.clone().requires_grad_()
    parse_loss(loss).build(IGNORING)(logits, target_of(codes, 3, IGNORING)).backward()
    assert (logits.grad[:, :, :3] == 0).all()
    assert (logits.grad[:, :, 3:] != 0).any()


def test_a_loss_for_classes_alone():
    with pytest.raises(ValueError, match="for classes that do not overlap"):
        parse_loss("torch.nn:CrossEntropyLoss").build(MASKS)


def test_a_run_on_regions(config, tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    folder = volumes.write(tmp_path / "data", count=6, labels=labels, regions_class_order=[1, 2])
    data = open_data(DataConfig(path=folder))
    prepared = prepare(data, tmp_path / "out" / "prepared")
    assert (prepared.overlapping, prepared.num_outputs) == (True, 2)
    settings = config("ce", data={"path": folder})
    training = settings.training.model_copy(update={"patch_size": (8,)})
    (unit, *_) = plan_units(settings.model_copy(update={"training": training}), data, prepared)
    execute(unit)
    scores = (unit.folder / "cases.csv").read_text().splitlines()
    assert len(scores) == 1 + 2 * len(data.folds[0].test)
    voxels = [int(row.split(",")[-2]) for row in scores[1:3]]
    case = data.by_name[data.folds[0].test[0]]
    truth = volumes.labels_of(int(case.name[1:]))
    assert voxels == [np.count_nonzero(truth), np.count_nonzero(truth == 2)]
    assert json.loads((unit.folder / "run.json").read_text())["loss"] == "ce"


def test_a_prediction_of_regions_may_overlap(config):
    class Network(torch.nn.Module):
        def forward(self, image):
            return torch.cat([image, image - 1], 1)

    case = volumes_case(np.array([[-2.0, 0.5, 3.0]] * 16, np.float32).repeat(6, 1)[:, :16])
    training = CompareConfig(losses=("ce",), out="x").training
    sides = training.model_copy(update={"patch_size": (16, 16), "precision": "32-true"})
    found, probabilities = predict(Network(), case, sides, torch.device("cpu"), overlapping=True)
    np.testing.assert_array_equal(found[0], np.array([0, 1, 3], np.uint8).repeat(6)[:16])
    assert probabilities.shape == (2, 16, 16)


def volumes_case(image):
    from dilated_ce.study.data.cases import Case

    return Case("a", image[None], np.zeros(image.shape, np.uint8))
