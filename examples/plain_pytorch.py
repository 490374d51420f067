"""A plain PyTorch training loop with the loss: discs of 2% foreground, one CPU, seconds.

    python examples/plain_pytorch.py

What it shows: one line replaces `nn.CrossEntropyLoss()`. Everything else stays as it was. In its
place `AdaptiveDilatedCELoss()` needs no radius.
"""

import torch
from torch import Tensor, nn

from dilated_ce import DilatedBalancedCELoss


def make_batch(size: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy images (B, 1, 64, 64) with one small bright disc each, and their labels (B, 64, 64)."""
    centre = torch.randint(10, 54, (size, 2, 1, 1), generator=random)
    axis = torch.arange(64)
    labels = (axis[:, None] - centre[:, 0]) ** 2 + (axis - centre[:, 1]) ** 2 <= 25
    noise = torch.randn(size, 1, 64, 64, generator=random)
    return labels[:, None] + noise, labels.long()


def train(steps: int = 60) -> list[float]:
    """Train and return the loss of every step."""
    torch.manual_seed(0)
    random = torch.Generator().manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 2, 5, padding=2),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    criterion = DilatedBalancedCELoss(radius=3)  # instead of nn.CrossEntropyLoss()
    losses = []
    for _ in range(steps):
        images, labels = make_batch(8, random)
        loss = criterion(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


if __name__ == "__main__":
    history = train()
    print(f"loss: {history[0]:.3f} at the start, {history[-1]:.3f} after {len(history)} steps")
