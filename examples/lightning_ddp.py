"""A LightningModule with the loss, trained by two processes on the CPU.

    python examples/lightning_ddp.py

What it shows: the loss is made in `__init__`, before Lightning has started the other processes:
"world" is looked up when the loss is computed. On one device the same module works as it is.
"""

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dilated_ce import DilatedBalancedCELoss


class Segmenter(lightning.LightningModule):
    """A small network for images (B, 1, H, W) and labels (B, H, W) with two classes."""

    def __init__(self, radius: float) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.network = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 16, 5, padding=2),
            nn.ReLU(),
            nn.Conv2d(16, 2, 5, padding=2),
        )
        self.criterion = DilatedBalancedCELoss(radius, process_group="world")

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """The loss of this process's part of the batch."""
        images, labels = batch
        loss = self.criterion(self.network(images), labels)
        # The mean over the processes is the loss of the whole batch.
        self.log("loss", loss, sync_dist=True, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        """Print the mean loss of the epoch, once."""
        loss = self.trainer.callback_metrics["loss"].item()
        processes = self.trainer.world_size
        self.print(f"epoch {self.current_epoch}, {processes} processes: loss {loss:.3f}")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def make_dataset(size: int = 64) -> TensorDataset:
    """Noisy images (1, 64, 64) with one small bright disc each, and their labels (64, 64)."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.arange(64)
    centre = torch.randint(10, 54, (size, 2, 1, 1), generator=generator)
    labels = (axis[:, None] - centre[:, 0]) ** 2 + (axis - centre[:, 1]) ** 2 <= 25
    images = labels[:, None] + torch.randn(size, 1, 64, 64, generator=generator)
    return TensorDataset(images, labels.long())


def main() -> None:
    """Train for a few epochs."""
    lightning.seed_everything(0, verbose=False)
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=3,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Segmenter(radius=3), DataLoader(make_dataset(), batch_size=4, shuffle=True))
    # Its threads have to end before the program does, or it may be aborted there.
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
