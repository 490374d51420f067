"""The trainers for nnU-Net: the loss against nnU-Net's own, and whole runs of its commands."""

import contextlib
import importlib.util
import math
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from nnunet_data import LABELS, REGIONS, TRAINER, write_dataset, write_timm
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.file_path_utilities import (
    parse_dataset_trainer_plans_configuration_from_path,
)
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
from torch._dynamo import OptimizedModule
from typer.testing import CliRunner

from dilated_ce import adaptive_dilated_cross_entropy, cli, dilated_balanced_cross_entropy
from dilated_ce.integrations import nnunet
from dilated_ce.integrations.nnunet import (
    DilatedLoss,
    DilatedMixin,
    nnUNetTrainerAdaptiveDBCE,
    nnUNetTrainerAdaptiveDBCEDice,
)
from dilated_ce.study.reporting import report
from dilated_ce.study.settings.report import ReportConfig

DBCE = nnunet.__getattr__("nnUNetTrainerDBCE_R3")
DBCE_DICE = nnunet.__getattr__("nnUNetTrainerDBCEDice_R3")

ROOT = Path(__file__).parents[2]
FOLDER = Path(nnunet.__file__).with_name("nnunet_trainers")

PATCH = (8, 16, 12)
SPACING = (3.0, 1.0, 1.0)
STRIDES = [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 1)]
# The sizes of the outputs, of which nnU-Net leaves out the coarsest; and their voxels in mm.
LEVELS = [((8, 16, 12), (3, 1, 1)), ((8, 8, 6), (3, 2, 2)), ((4, 4, 3), (6, 4, 4))]

LABEL_SETS = {
    "labels": LABELS,
    "labels, ignore": {**LABELS, "ignore": 3},
    "regions": {name: label for name, label in REGIONS.items() if name != "ignore"},
    "regions, ignore": REGIONS,
}


@pytest.fixture
def make(monkeypatch, tmp_path):
    """A function that makes a trainer, which writes its log into a folder of this test."""
    for name in ("nnUNet_results", "nnUNet_preprocessed"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("nnUNet_compile", "f")
    return make_trainer


def make_trainer(trainer, labels="labels", configuration="3d_fullres"):
    """The trainer as nnU-Net makes it, from plans and the labels of a data set."""
    return trainer(
        plans={
            "continue_training": False,
            "dataset_name": "Dataset001_Tiny",
            "plans_name": "nnUNetPlans",
            "label_manager": "LabelManager",
            "configurations": {
                "3d_fullres": settings(PATCH, SPACING, STRIDES),
                "2d": settings(PATCH[1:], SPACING[1:], [stride[1:] for stride in STRIDES]),
            },
        },
        configuration=configuration,
        fold=0,
        dataset_json={
            "labels": LABEL_SETS[labels],
            "regions_class_order": [1, 2],
            "file_ending": ".nii.gz",
        },
        device=torch.device("cpu"),
    )


def settings(patch_size, spacing, strides):
    return {
        "data_identifier": "nnUNetPlans",
        "batch_size": 2,
        "patch_size": list(patch_size),
        "spacing": list(spacing),
        "batch_dice": True,
        "architecture": {"arch_kwargs": {"strides": [list(stride) for stride in strides]}},
    }


def make_batch(labels, levels=tuple(size for size, _ in LEVELS), batch_size=2):
    """Outputs and targets as nnU-Net makes them, with every class in every image."""
    random = torch.Generator().manual_seed(0)
    outputs, targets = [], []
    for size in levels:
        label = torch.randint(0, 3, (batch_size, 1, *size), generator=random, dtype=torch.int16)
        if "ignore" in labels:
            label[:, :, : size[0] // 2] = 3  # as many voxels in either image
        if "regions" in labels:
            masks = [(label == 1) | (label == 2), label == 2]
            label = torch.cat([*masks, label == 3] if "ignore" in labels else masks, 1)
        channels = 2 if "regions" in labels else 3
        outputs.append(
            torch.randn((batch_size, channels, *size), generator=random, requires_grad=True)
        )
        targets.append(label)
    return outputs, targets


def value_and_gradients(loss, outputs, targets):
    value = loss(outputs, targets)
    return value.detach(), torch.autograd.grad(value, outputs, allow_unused=True)


@pytest.mark.parametrize("labels", LABEL_SETS)
def test_with_an_infinite_radius_it_is_the_loss_of_nnunet(make, labels):
    trainer = make(DBCE_DICE, labels)
    trainer.radius = math.inf
    ours, theirs = trainer._build_loss(), nnUNetTrainer._build_loss(trainer)
    assert ours.weight_factors == theirs.weight_factors
    if labels == "regions, ignore":
        ours.loss.weight_ce *= 2  # theirs is the sum over the two regions there, else the mean
    outputs, targets = make_batch(labels)
    value, gradients = value_and_gradients(ours, outputs, targets)
    expected_value, expected = value_and_gradients(theirs, outputs, targets)
    torch.testing.assert_close(value, expected_value)
    torch.testing.assert_close(gradients[:2], expected[:2])
    assert gradients[2] is expected[2] is None  # the coarsest level has no weight


def loss_of_levels(labels, outputs, targets, in_mm, loss, **options):
    """The loss with deep supervision, level by level."""
    expected = 0
    for output, target, (size, millimetres), factor in zip(
        outputs, targets, LEVELS, (2 / 3, 1 / 3, 0), strict=True
    ):
        voxel = [full / here for full, here in zip(PATCH, size, strict=True)]
        if "regions" in labels:
            if "ignore" in labels:
                ignored = target[:, -1:]
                target = torch.where(ignored, 7, target[:, :-1].int())
            mode = "multilabel"
        else:
            target = target.masked_fill(target == 3, 7)
            mode = "multiclass"
        spacing = millimetres if in_mm else voxel
        expected += factor * loss(
            output, target, mode=mode, spacing=spacing, ignore_index=7, **options
        )
    return expected


@pytest.mark.parametrize("label", [-1, 3, 65537])
def test_a_label_that_is_no_class(label):
    """Whatever it would be in a narrower dtype: 65537 is 1 in 16 bits."""
    target = torch.zeros(2, 1, 8, 8)
    target[0, 0, 0, 0] = label
    with pytest.raises(ValueError, match=f"target: got label {label}, expected 0 ... 2"):
        DilatedLoss(2, full_size=(8, 8))(torch.zeros(2, 3, 8, 8), target)


@pytest.mark.parametrize("labels", LABEL_SETS)
@pytest.mark.parametrize("in_mm", [False, True])
def test_a_radius_has_the_same_length_at_every_level(make, labels, in_mm):
    trainer = make(DBCE, labels)
    trainer.radius, trainer.radius_in_mm = 4, in_mm
    outputs, targets = make_batch(labels)
    value, gradients = value_and_gradients(trainer._build_loss(), outputs, targets)
    expected = loss_of_levels(
        labels, outputs, targets, in_mm, dilated_balanced_cross_entropy, radius=4
    )
    torch.testing.assert_close(value, expected.detach())
    expected = torch.autograd.grad(expected, outputs)
    torch.testing.assert_close(gradients[:2], expected[:2])


@pytest.mark.parametrize("labels", LABEL_SETS)
def test_the_adaptive_loss_knows_the_voxels_of_every_level(make, labels):
    outputs, targets = make_batch(labels)
    value, gradients = value_and_gradients(
        make(nnUNetTrainerAdaptiveDBCE, labels)._build_loss(), outputs, targets
    )
    expected = loss_of_levels(labels, outputs, targets, False, adaptive_dilated_cross_entropy)
    torch.testing.assert_close(value, expected.detach())
    expected = torch.autograd.grad(expected, outputs)
    torch.testing.assert_close(gradients[:2], expected[:2])


def test_a_radius_in_two_dimensions(make):
    trainer = make(DBCE, configuration="2d")
    trainer.radius_in_mm = True
    loss = trainer._build_loss()
    assert loss.loss.spacing == (1, 1)
    outputs, targets = make_batch("labels", levels=[(16, 12), (8, 6), (4, 3)])
    assert loss(outputs, targets).isfinite()


@pytest.mark.parametrize("labels", ["labels, ignore", "regions, ignore"])
@pytest.mark.parametrize("trainer", [DBCE, DBCE_DICE, nnUNetTrainerAdaptiveDBCE])
def test_a_batch_without_labels_teaches_nothing(make, trainer, labels):
    loss = make(trainer, labels)._build_loss()
    outputs, targets = make_batch(labels)
    for target in targets:
        target[:] = 3
        if "regions" in labels:
            target[:, -1] = True
    value, gradients = value_and_gradients(loss, outputs, targets)
    assert value.isfinite()
    if trainer is not DBCE_DICE:
        assert value == 0
    for gradient in gradients[:2]:
        assert (gradient == 0).all()


@pytest.mark.parametrize("labels", LABEL_SETS)
def test_what_is_ignored_has_no_influence(make, labels):
    if "ignore" not in labels:
        pytest.skip("nothing is ignored")
    loss = make(DBCE_DICE, labels)._build_loss()
    outputs, targets = make_batch(labels)
    before = loss(outputs, targets)
    for output, target in zip(outputs, targets, strict=True):
        ignored = target[:, -1:] == (1 if "regions" in labels else 3)
        with torch.no_grad():
            output.masked_fill_(ignored, 20)
        if "regions" in labels:
            target[:, :-1].masked_fill_(ignored, True)
    torch.testing.assert_close(loss(outputs, targets), before)


def test_targets_of_any_dtype_and_outputs_in_half_precision(make):
    for labels in ("labels, ignore", "regions, ignore"):
        loss = make(DBCE_DICE, labels)._build_loss()
        outputs, targets = make_batch(labels)
        expected = loss(outputs, targets)
        as_floats = loss(outputs, [target.float() for target in targets])
        torch.testing.assert_close(as_floats, expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = loss([output.bfloat16() for output in outputs], targets)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half, expected, atol=0.01, rtol=0.01)


def test_a_radius_for_too_few_classes_is_told_before_the_training(make):
    trainer = make(DBCE)
    trainer.radius = (1, 2)
    with pytest.raises(ValueError, match="radius: got 2 values for 3 classes"):
        trainer._build_loss()


def test_without_deep_supervision(make):
    trainer = make(DBCE_DICE)
    trainer.enable_deep_supervision = False
    loss = trainer._build_loss()
    assert isinstance(loss, DilatedLoss)
    outputs, targets = make_batch("labels")
    assert loss(outputs[0], targets[0]).isfinite()


def test_the_compiled_dice_of_the_base_trainer_is_kept(make, monkeypatch):
    trainer = make(DBCE_DICE)
    monkeypatch.setattr(trainer, "_do_i_compile", lambda: True)
    assert isinstance(trainer._build_loss().loss.dc, OptimizedModule)
    trainer.with_dice = False
    assert trainer._build_loss().loss.dc is None


def test_the_log_says_which_loss_it_is(make, capsys):
    trainer = make(nnunet.__getattr__("nnUNetTrainerDBCEDice_R2.5mm_image"))
    trainer._build_loss()
    printed = "dilated balanced cross entropy, radius 2.5 mm, volumes of the image, and Dice"
    assert printed in capsys.readouterr().out
    assert printed in Path(trainer.log_file).read_text()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nnUNetTrainerAdaptiveDBCE", (None, False, "batch", False)),
        ("nnUNetTrainerAdaptiveDBCEDice", (None, False, "batch", True)),
        ("nnUNetTrainerDBCE_R0", (0, False, "batch", False)),
        ("nnUNetTrainerDBCE_R12", (12, False, "batch", False)),
        ("nnUNetTrainerDBCE_R4_image", (4, False, "image", False)),
        ("nnUNetTrainerDBCEDice_R2.5mm", (2.5, True, "batch", True)),
        ("nnUNetTrainerDBCEDice_R3mm_image", (3, True, "image", True)),
    ],
)
def test_nnunet_finds_the_trainers_by_name(name, expected):
    trainer = find(name)
    assert trainer is find(name)
    assert issubclass(trainer, nnUNetTrainer)
    assert trainer.__name__ == name
    assert (trainer.radius, trainer.radius_in_mm, trainer.volumes, trainer.with_dice) == expected
    folder = f"results/Dataset001_Tiny/{name}__nnUNetPlans__3d_fullres"
    assert parse_dataset_trainer_plans_configuration_from_path(folder)[1] == name


@pytest.mark.parametrize(
    "name",
    [
        *("nnUNetTrainerDBCE_R", "nnUNetTrainerDBCE_R-1", "nnUNetTrainerDBCE_r2", "MyTrainer"),
        *("nnUNetTrainerAdaptiveDBCE_R4", "nnUNetTrainerDBCE_image"),
    ],
)
def test_other_names_are_not_found(name):
    assert find(name) is None


@pytest.mark.parametrize("name", ["nnUNetTrainerDBCE", "nnUNetTrainerDBCEDice"])
def test_a_name_without_a_radius_says_what_is_missing(name):
    adaptive = name.replace("Trainer", "TrainerAdaptive")
    with pytest.raises(ValueError, match=rf"{name}: got no radius.*{name}_R4.*{adaptive}"):
        find(name)


def find(name):
    """As nnU-Net looks in the folders of nnUNet_extTrainer."""
    return recursive_find_python_class(
        str(FOLDER), name, None, base_folder=str(FOLDER), cleanup_imports_from_base_folder=True
    )


def test_the_mixin_before_another_trainer(make):
    class Other(nnUNetTrainer):
        def _get_deep_supervision_scales(self):
            return super()._get_deep_supervision_scales()[:2]

    class Mine(DilatedMixin, Other):
        radius = (0, 2, 4)

    loss = make(Mine)._build_loss()
    assert isinstance(loss, DeepSupervisionWrapper)
    assert len(loss.weight_factors) == 2
    assert loss.loss.radius == (0, 2, 4)
    assert list(make(Mine).my_init_kwargs) == list(make(nnUNetTrainer).my_init_kwargs)


def test_the_mixin_after_the_trainer_is_an_error():
    with pytest.raises(
        TypeError, match=r"got the parents \(nnUNetTrainer, DilatedMixin\), expected"
    ):
        type("Mine", (nnUNetTrainer, DilatedMixin), {})


def test_a_trainer_with_another_loss_is_an_error(make):
    class OnlyDice(nnUNetTrainer):
        def _build_loss(self):
            return MemoryEfficientSoftDiceLoss()

    with pytest.raises(TypeError, match="Mine: got the loss MemoryEfficientSoftDiceLoss"):
        make(type("Mine", (DilatedMixin, OnlyDice), {}))._build_loss()


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [("radius", -1, "radius: got -1"), ("volumes", "all", "volumes: got 'all'")],
)
def test_wrong_settings_are_named_before_the_training(make, setting, value, message):
    trainer = make(type("Mine", (DBCE,), {setting: value}))
    with pytest.raises(ValueError, match=message):
        trainer._build_loss()


def check_process(rank, port):
    whole_batch = {
        # nnU-Net gathers its Dice loss over parts of the same size.
        nnUNetTrainerAdaptiveDBCEDice: (4, [slice(0, 2), slice(2, 4)]),
        DBCE: (3, [slice(0, 1), slice(1, 3)]),
    }
    address = f"tcp://127.0.0.1:{port}"
    for trainer, (batch_size, parts) in whole_batch.items():
        for labels in LABEL_SETS:
            outputs, targets = make_batch(labels, batch_size=batch_size)
            for target in targets:
                if "regions" not in labels:
                    target[:1][target[:1] == 2] = 1  # a class that only the second process sees
            whole = make_trainer(trainer, labels)._build_loss()
            value, gradients = value_and_gradients(whole, outputs, targets)

            dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
            part_value, part_gradients = value_and_gradients(
                make_trainer(trainer, labels)._build_loss(),
                [output[parts[rank]].detach().requires_grad_() for output in outputs],
                [target[parts[rank]] for target in targets],
            )
            # DistributedDataParallel averages the gradients over the processes. The coarsest level
            # weighs nothing in one process, and 1e-6 in several.
            for gradient, expected in zip(part_gradients[:2], gradients[:2], strict=True):
                torch.testing.assert_close(
                    gradient / 2, expected[parts[rank]], rtol=1e-4, atol=1e-7
                )
            dist.all_reduce(part_value)
            torch.testing.assert_close(part_value / 2, value, rtol=1e-4, atol=1e-5)
            dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without distributed")
def test_two_processes_give_the_gradient_of_one(make, free_port):
    mp.spawn(check_process, args=(free_port,), nprocs=2)


def test_the_command_prints_the_folder_and_nothing_else():
    done = subprocess.run(
        [Path(sys.executable).with_name("dilated-ce"), "nnunet-path"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "20", "FORCE_COLOR": "1"},
    )
    assert done.stdout == f"{FOLDER}\n"
    assert done.stderr == ""
    assert [path.name for path in FOLDER.glob("*.py")] == ["dilated_ce_trainers.py"]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (None, "nnU-Net is not installed here: pip install 'dilated-ce[nnunet]'"),
        ("2.7.3", "got nnU-Net 2.7.3, expected 2.8 or newer: pip install 'dilated-ce[nnunet]'"),
        ("2.10", None),
        ("3.0rc1", None),
    ],
)
def test_the_command_asks_for_a_new_nnunet(monkeypatch, version, message):
    def find_version(name):
        assert name == "nnunetv2"
        if version is None:
            raise metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(metadata, "version", find_version)
    done = CliRunner().invoke(cli.app, ["nnunet-path"])
    assert done.exit_code == (0 if message is None else 1)
    assert (message or "") in done.stderr
    assert bool(done.stdout) == (message is None)


@pytest.fixture
def workplace(tmp_path):
    """Folders for nnU-Net with a data set, a trainer of our own, and a function that runs there."""
    raw, results, own = tmp_path / "raw", tmp_path / "results", tmp_path / "my trainers"
    own.mkdir()
    (own / "tiny.py").write_text(TRAINER)
    environment = {
        **os.environ,
        "nnUNet_raw": str(raw),
        "nnUNet_preprocessed": str(tmp_path / "preprocessed"),
        "nnUNet_results": str(results),
        "nnUNet_extTrainer": str(own),
        # One process each: other tests run beside it.
        "nnUNet_n_proc_DA": "1",
        "nnUNet_def_n_proc": "1",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if importlib.util.find_spec("timm") is None:
        write_timm(tmp_path / "stand-ins")
        environment["PYTHONPATH"] = str(tmp_path / "stand-ins")

    def run(command, *arguments, code=0, **variables):
        # A file and not a pipe: what dies leaves workers behind, which would keep a pipe open.
        with (tmp_path / "printed.txt").open("w+") as file:
            process = subprocess.Popen(
                [command, *map(str, arguments)],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**environment, **variables},
                start_new_session=True,
            )
            try:
                returned = process.wait(timeout=300)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            file.seek(0)
            printed = file.read()
        assert returned == code, printed
        return printed

    return raw, results, run


def check_segmentation(path, labels):
    segmentation = np.asarray(nibabel.load(path).dataobj)
    assert segmentation.shape == (24, 28, 20)
    assert set(np.unique(segmentation)) <= labels


@pytest.mark.slow
def test_nnunet_trains_goes_on_validates_and_predicts(workplace, tmp_path):
    raw, results, run = workplace
    data = write_dataset(raw, "Dataset001_Labels", LABELS)
    run("nnUNetv2_plan_and_preprocess", "-d", 1, "-c", "3d_fullres")
    train = ("nnUNetv2_train", 1, "3d_fullres", 0, "-tr", "TinyTrainer", "-device", "cpu")

    printed = run(*train, code=9, DIE_AFTER="1")
    assert (
        "dilated balanced cross entropy, radius 2.5 mm, volumes of the batch, and Dice" in printed
    )
    assert "spacing=(1.5, 1.0, 1.0)" in printed
    fold = results / "Dataset001_Labels" / "TinyTrainer__nnUNetPlans__3d_fullres" / "fold_0"
    assert (fold / "checkpoint_latest.pth").exists()
    assert not (fold / "checkpoint_final.pth").exists()

    printed = run(*train, "--c")
    assert "Epoch 1" in printed
    assert "Epoch 0" not in printed
    assert "Mean Validation Dice" in printed
    (case,) = (fold / "validation").glob("*.nii.gz")
    check_segmentation(case, {0, 1, 2})

    # What was trained with a trainer of ours is found by its name again.
    checkpoint = torch.load(fold / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["trainer_name"] == "TinyTrainer"
    checkpoint["trainer_name"] = "nnUNetTrainerDBCE_R2.5mm"
    torch.save(checkpoint, fold / "checkpoint_final.pth")
    folder = fold.parent.with_name("nnUNetTrainerDBCE_R2.5mm__nnUNetPlans__3d_fullres")
    fold.parent.rename(folder)
    predict = ("nnUNetv2_predict", "-i", data / "imagesTs", "-o", tmp_path / "out", "-d", 1)
    run(
        *(*predict, "-c", "3d_fullres", "-f", 0, "-tr", "nnUNetTrainerDBCE_R2.5mm"),
        *("-device", "cpu", "-npp", 1, "-nps", 1),
        nnUNet_extTrainer=str(FOLDER),
    )
    check_segmentation(tmp_path / "out" / "case0.nii.gz", {0, 1, 2})


@pytest.mark.slow
def test_a_report_of_two_trainers_is_that_of_their_predictions(workplace, tmp_path):
    raw, results, run = workplace
    write_dataset(raw, "Dataset001_Labels", LABELS)
    run("nnUNetv2_plan_and_preprocess", "-d", 1, "-c", "3d_fullres")
    for trainer in ("TinyTrainer", "OtherTrainer"):
        for fold in (0, 1):
            run("nnUNetv2_train", 1, "3d_fullres", fold, "-tr", trainer, "-device", "cpu")
    folders = results / "Dataset001_Labels"
    made = report(ReportConfig(results=[{"path": folders}], out=tmp_path / "report"))
    assert list(made.cases["loss"].unique()) == ["OtherTrainer", "TinyTrainer"]
    assert len(made.cases) == 2 * 2 * 2  # of trainers, folds with a case each, classes
    assert set(made.cases["class"]) == {"rim", "core"}
    for row in made.cases.to_dict("records"):
        folder = folders / f"{row['loss']}__nnUNetPlans__3d_fullres"
        label = LABELS[row["class"]]
        found, true = (
            np.asarray(nibabel.load(place / f"{row['case']}.nii.gz").dataobj) == label
            for place in (
                folder / f"fold_{row['fold']}" / "validation",
                raw / "Dataset001_Labels" / "labelsTr",
            )
        )
        total = found.sum() + true.sum()
        assert row["dice"] == pytest.approx(2 * (found & true).sum() / total)
        assert np.isfinite(row["hd95"])
    assert made.notes == ()  # the Dice of nnU-Net's summaries is that of the files


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a script for a Unix shell")
def test_the_example_with_regions_and_an_ignore_label(workplace):
    raw, results, run = workplace
    write_dataset(raw, "Dataset002_Regions", REGIONS)
    printed = run(ROOT / "examples" / "nnunet.sh", 2, "TinyTrainer", "cpu")
    assert "regions=True, ignore_label=3" in printed
    assert "Epoch 1" in printed
    assert "Mean Validation Dice" in printed
    check_segmentation(results / "predictions_2" / "case0.nii.gz", {0, 1, 2})


@pytest.mark.skipif(os.name == "nt", reason="a script for a Unix shell")
def test_the_example_says_what_is_missing():
    environment = {"PATH": os.environ["PATH"]}
    for arguments, message in [([], "which data set?"), (["4"], "nnUNet_raw is not set")]:
        done = subprocess.run(
            [ROOT / "examples" / "nnunet.sh", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode != 0
        assert message in done.stderr
