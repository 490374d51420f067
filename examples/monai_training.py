"""MONAI: dictionary transforms on NIfTI files, and the loss in the place of `DiceCELoss`.

    python examples/monai_training.py

What it shows, each with a short training on 3D images with voxels of 1 x 1 x 3 mm:
  1. one line replaces `DiceCELoss(to_onehot_y=True, softmax=True)`: the paper's idea;
  2. the weight map computed in the transforms, with a radius in mm from the affine matrix;
  3. deep supervision, with a radius that is the same length at every resolution;
  4. the adaptive loss, which needs no radius.
"""

import tempfile
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.data import DataLoader, Dataset, create_test_image_3d
from monai.losses import DeepSupervisionLoss
from monai.networks.nets import SegResNetDS, UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    RandFlipd,
    RandSpatialCropd,
    ScaleIntensityd,
    Transform,
)
from torch import nn

from dilated_ce.integrations.monai import (
    AdaptiveDilatedDiceCELoss,
    DilatedBalancedDiceCELoss,
    DilatedBalancedWeightsd,
)

NUM_CLASSES = 3
PATCH = (32, 32, 16)


def write_images(folder: Path, count: int = 4) -> list[dict[str, Path]]:
    """Write images with balls of two classes, and their labels, as NIfTI files."""
    random = np.random.RandomState(0)
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    files = []
    for index in range(count):
        image, label = create_test_image_3d(
            40, 40, 20, num_objs=4, rad_min=3, rad_max=6, num_seg_classes=2, random_state=random
        )
        image += random.normal(0, 0.2, image.shape)
        paths = {key: folder / f"{key}{index}.nii.gz" for key in ("image", "label")}
        nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), affine), paths["image"])
        nibabel.save(nibabel.Nifti1Image(label.astype(np.uint8), affine), paths["label"])
        files.append(paths)
    return files


def make_loader(files: list[dict[str, Path]], *more: Transform) -> DataLoader:
    """Patches (B, 1, 32, 32, 16) of the images and of their labels."""
    both = ["image", "label"]
    transforms = Compose(
        [
            LoadImaged(both),
            EnsureChannelFirstd(both),
            ScaleIntensityd("image"),
            RandSpatialCropd(both, roi_size=PATCH, random_size=False),
            RandFlipd(both, prob=0.5, spatial_axis=0),
            *more,
        ]
    )
    return DataLoader(Dataset(files, transforms.set_random_state(0)), batch_size=2, shuffle=True)


def train(network: nn.Module, criterion: nn.Module, loader: DataLoader, epochs: int = 8) -> None:
    """Train, and print the mean loss of the first and the last epoch."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    means = []
    for _ in range(epochs):
        losses = []
        for batch in loader:
            # The third argument is there only if a transform has computed it.
            maps = [batch["label_weights"]] if "label_weights" in batch else []
            loss = criterion(network(batch["image"]), batch["label"], *maps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        means.append(sum(losses) / len(losses))
    print(f"  loss {means[0]:.3f} in the first epoch, {means[-1]:.3f} in the last")


def make_unet() -> nn.Module:
    """A small UNet."""
    torch.manual_seed(0)
    return UNet(3, 1, NUM_CLASSES, channels=(8, 16, 32), strides=(2, 2))


def main() -> None:
    """Train in the four ways."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_images(Path(folder))

        print("1. in the place of DiceCELoss, radius of 3 voxels")
        criterion = DilatedBalancedDiceCELoss(to_onehot_y=True, softmax=True, radius=3)
        train(make_unet(), criterion, make_loader(files))

        print("2. weight map in the transforms, radius of 4 mm")
        # Last, so that it is that of the patch. num_workers=... of the loader takes it off the
        # training process.
        weigh = DilatedBalancedWeightsd("label", radius=4, num_classes=NUM_CLASSES, spacing="meta")
        criterion = DilatedBalancedDiceCELoss(to_onehot_y=True, softmax=True, radius=4)
        train(make_unet(), criterion, make_loader(files, weigh))

        print("3. deep supervision, radius of 4 mm at every level")
        torch.manual_seed(0)
        network = SegResNetDS(  # a list of outputs: full, half and a quarter of the resolution
            spatial_dims=3,
            init_filters=8,
            in_channels=1,
            out_channels=NUM_CLASSES,
            blocks_down=(1, 1, 1),
            dsdepth=3,
        )
        criterion = DeepSupervisionLoss(
            DilatedBalancedDiceCELoss(
                to_onehot_y=True, softmax=True, radius=4, spacing=(1, 1, 3), roi_size=PATCH
            )
        )
        train(network, criterion, make_loader(files))

        print("4. adaptive, in the place of DiceCELoss")
        criterion = AdaptiveDilatedDiceCELoss(to_onehot_y=True, softmax=True, spacing=(1, 1, 3))
        train(make_unet(), criterion, make_loader(files))


if __name__ == "__main__":
    main()
