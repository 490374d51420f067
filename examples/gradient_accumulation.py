"""Gradient accumulation that is exact: 4 micro-batches have the gradient of the whole batch.

    python examples/gradient_accumulation.py

What it shows: balanced over each micro-batch on its own, the gradients do not add up to that of the
batch. Balanced by the volumes of the whole data set, counted once before the training, they do.
"""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dilated_ce import DilatedBalancedCELoss, dilate_labels

RADIUS = 3
NUM_CLASSES = 3


def make_dataset(size: int = 32) -> TensorDataset:
    """Noisy images (1, 48, 48) with discs of any size, class 2 in few of them; labels (48, 48)."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.arange(48)
    centre = torch.randint(12, 36, (size, 2, 1, 1), generator=generator)
    squared = (axis[:, None] - centre[:, 0]) ** 2 + (axis - centre[:, 1]) ** 2
    labels = (squared <= torch.randint(4, 100, (size, 1, 1), generator=generator)).long()
    labels[::5][squared[::5] <= 2] = 2
    images = labels[:, None] + torch.randn(size, 1, 48, 48, generator=generator)
    return TensorDataset(images.double(), labels)


def count_volumes(loader: DataLoader) -> tuple[Tensor, int]:
    """The volumes (C,) of the dilated masks over the data set, and its number of voxels."""
    volumes = torch.zeros(NUM_CLASSES, dtype=torch.int64)
    num_voxels = 0
    for _, labels in loader:
        volumes += dilate_labels(labels, RADIUS, num_classes=NUM_CLASSES).sum((0, 2, 3))
        num_voxels += labels.numel()  # the valid ones, where some are unlabelled
    return volumes, num_voxels


def gradient(network: nn.Module, criterion: nn.Module, micro_batches: list) -> Tensor:
    """The gradient accumulated over the micro-batches, as one vector."""
    network.zero_grad()
    for images, labels in micro_batches:
        (criterion(network(images), labels) / len(micro_batches)).backward()
    return torch.cat([parameter.grad.flatten() for parameter in network.parameters()])


def main() -> None:
    """Compare the gradients and print how far they are from each other."""
    dataset = make_dataset()
    volumes, num_voxels = count_volumes(DataLoader(dataset, batch_size=8))
    print(f"volumes of the dilated masks: {volumes.tolist()}, in {num_voxels} voxels")

    torch.manual_seed(0)
    # In double precision, to tell an exact result from one that is close.
    network = nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, NUM_CLASSES, 5, padding=2)
    ).double()
    images, labels = next(iter(DataLoader(dataset, batch_size=8, shuffle=True)))
    micro_batches = list(zip(images.chunk(4), labels.chunk(4), strict=True))

    for name, criterion in {
        "by the batch": DilatedBalancedCELoss(RADIUS),
        "by the data set": DilatedBalancedCELoss(RADIUS, volumes=volumes, num_voxels=num_voxels),
    }.items():
        of_batch = gradient(network, criterion, [(images, labels)])
        accumulated = gradient(network, criterion, micro_batches)
        difference = (accumulated - of_batch).norm() / of_batch.norm()
        print(f"balanced {name}: 4 micro-batches are {difference:.1e} from the batch")


if __name__ == "__main__":
    main()
