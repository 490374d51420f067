"""The three modes of segmentation_models.pytorch, with its shapes and its `ignore_index=None`.

    python examples/smp.py

What it shows: `DilatedBalancedCELoss(radius, mode=...)` takes the `mode`, the logits and the masks
that `smp.losses` take, and so does `AdaptiveDilatedCELoss(mode=...)`. Where the package is not
installed, a small network with the same interface stands in for `smp.Unet`; the lines that concern
the loss are the same.
"""

import torch
from torch import Tensor, nn

from dilated_ce import DilatedBalancedCELoss

try:
    import segmentation_models_pytorch as smp
except ImportError:
    smp = None


def make_network(classes: int) -> nn.Module:
    """`smp.Unet`, or what stands in for it: images (N, 3, H, W) to logits (N, classes, H, W)."""
    if smp is not None:
        return smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=classes)
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, classes, 5, padding=2),
    )


def make_batch(mode: str) -> tuple[Tensor, Tensor]:
    """Noisy images (4, 3, 64, 64) of two overlapping discs, and masks in the shape of `mode`."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.arange(64)
    centre = torch.randint(16, 48, (4, 2, 1, 1), generator=generator)
    squared = (axis[:, None] - centre[:, 0]) ** 2 + (axis - centre[:, 1]) ** 2
    outer, inner = squared <= 64, squared <= 9
    images = torch.randn(4, 3, 64, 64, generator=generator)
    images += (outer.float() + inner.float())[:, None]
    masks = {
        "binary": outer[:, None].float(),  # (N, 1, H, W), and (N, H, W) as well
        "multiclass": outer.long() + inner.long(),  # (N, H, W)
        "multilabel": torch.stack([outer, inner], dim=1).float(),  # (N, C, H, W)
    }
    return images, masks[mode]


def train(mode: str, classes: int, steps: int = 20) -> list[float]:
    """Train and return the loss of every step."""
    torch.manual_seed(0)
    network = make_network(classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    # Instead of smp.losses.FocalLoss(mode), or beside smp.losses.DiceLoss(mode).
    criterion = DilatedBalancedCELoss(radius=3, mode=mode, ignore_index=None)
    images, masks = make_batch(mode)
    losses = []
    for _ in range(steps):
        loss = criterion(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    """Train in each mode."""
    print("network:", "a stand-in for smp.Unet" if smp is None else "smp.Unet")
    for mode, classes in {"binary": 1, "multiclass": 3, "multilabel": 2}.items():
        losses = train(mode, classes)
        print(f"{mode}: loss {losses[0]:.3f} at the start, {losses[-1]:.3f} at the end")


if __name__ == "__main__":
    main()
