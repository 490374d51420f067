"""A data set of a few tiny volumes as nnU-Net takes it, and a trainer that takes seconds."""

import json
from pathlib import Path

import nibabel
import numpy as np

LABELS = {"background": 0, "rim": 1, "core": 2}
REGIONS = {"background": 0, "whole": [1, 2], "core": [2], "ignore": 3}

# 2 epochs of 2 steps. With DIE_AFTER in the environment it is killed in the epoch of that number.
TRAINER = """
import os

from dilated_ce.integrations.nnunet import nnUNetTrainerAdaptiveDBCEDice


class TinyTrainer(nnUNetTrainerAdaptiveDBCEDice):
    radius = 2.5
    radius_in_mm = True

    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 2
        self.num_iterations_per_epoch = self.num_val_iterations_per_epoch = 2
        self.save_every = 1

    def on_epoch_start(self):
        if os.environ.get("DIE_AFTER") == str(self.current_epoch):
            os._exit(9)
        super().on_epoch_start()


class OtherTrainer(TinyTrainer):
    radius = 1
"""


def write_dataset(raw: Path, name: str, labels: dict, cases: int = 6) -> Path:
    """Noisy volumes with a bright core in a less bright rim; some voxels get the ignore label."""
    random = np.random.default_rng(0)
    folder = raw / name
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / part).mkdir(parents=True)
    grid = np.stack(np.meshgrid(*map(np.arange, (24, 28, 20)), indexing="ij"))
    for case in range(cases):
        centre = random.uniform((9, 10, 8), (15, 18, 12)).reshape(3, 1, 1, 1)
        distance = np.sqrt(((grid - centre) ** 2).sum(0))
        label = (distance < 7).astype(np.uint8) + (distance < 4)
        image = label + random.normal(scale=0.3, size=label.shape)
        if "ignore" in labels:
            label[:, :5] = labels["ignore"]
        affine = np.diag([1, 1, 1.5, 1])
        part = "imagesTr" if case else "imagesTs"
        nibabel.save(
            nibabel.Nifti1Image(image.astype(np.float32), affine),
            folder / part / f"case{case}_0000.nii.gz",
        )
        if case:
            nibabel.save(
                nibabel.Nifti1Image(label, affine), folder / "labelsTr" / f"case{case}.nii.gz"
            )
    description = {
        "channel_names": {"0": "MRI"},
        "labels": labels,
        "numTraining": cases - 1,
        "file_ending": ".nii.gz",
    }
    if any(isinstance(label, list) for label in labels.values()):
        description["regions_class_order"] = [1, 2]
    (folder / "dataset.json").write_text(json.dumps(description))
    return folder


def write_timm(folder: Path) -> None:
    """A stand-in for timm, which nnU-Net imports for transformers when it looks for a trainer.

    No network that plans name is made of it, and it needs a torchvision built for the very torch.
    """
    for file in ("__init__.py", "layers.py", "models/__init__.py", "models/eva.py"):
        path = folder / "timm" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "def __getattr__(name):\n"
            "    if name.startswith('__'):\n"
            "        raise AttributeError(name)\n"
            "    return type(name, (), {})\n"
        )
