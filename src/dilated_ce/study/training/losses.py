"""The losses that can be compared.

Every loss is called with logits (B, C, *spatial) and class indices (B, 1, *spatial), as MONAI's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.losses import DiceFocalLoss, DiceLoss, TverskyLoss
from torch import Tensor, nn

from dilated_ce import DilatedBalancedCELoss


@dataclass(frozen=True)
class Setting:
    """What the data and the machine, and not the user, say about a loss."""

    ignore_index: int | None = None  # label of the voxels that do not count
    process_group: str | None = None  # "world" if several processes train one network


def ce(setting: Setting) -> nn.Module:
    """PyTorch's own cross entropy."""
    return IndexLoss(nn.CrossEntropyLoss(ignore_index=_index(setting)))


def balanced_ce(setting: Setting) -> nn.Module:
    """Cross entropy weighted by inverse class frequencies: the radius 0."""
    return dbce(setting, 0.0)


def dbce(
    setting: Setting, radius: float | str = "auto", balance: str | None = None, overlap: str = "sum"
) -> nn.Module:
    """Dilated balanced cross entropy."""
    return DilatedBalancedCELoss(
        radius,
        balance=balance,
        overlap=overlap,
        ignore_index=_index(setting),
        process_group=setting.process_group,
    )


def dice(setting: Setting) -> nn.Module:
    """MONAI's DiceLoss with its defaults, softmax over the classes."""
    return RegionLoss(DiceLoss(), setting.ignore_index)


def dice_ce(setting: Setting) -> nn.Module:
    """Dice + cross entropy, one to one: MONAI's DiceCELoss with its defaults."""
    return SumLoss(dice(setting), ce(setting))


def dbce_dice(
    setting: Setting, radius: float | str = "auto", balance: str | None = None, overlap: str = "sum"
) -> nn.Module:
    """Dice + DBCE, one to one: `dice-ce` with its CE replaced."""
    return SumLoss(dice(setting), dbce(setting, radius, balance, overlap))


def dice_focal(setting: Setting, gamma: float = 2.0) -> nn.Module:
    """MONAI's DiceFocalLoss with its defaults, softmax over the classes."""
    if setting.ignore_index is not None:
        raise ValueError("takes no ignored voxels, and these data have some; leave it out")
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma: got {gamma:g}, expected 0 or more")
    return DiceFocalLoss(to_onehot_y=True, softmax=True, gamma=gamma)


def tversky(setting: Setting, alpha: float = 0.3, beta: float = 0.7) -> nn.Module:
    """MONAI's TverskyLoss; `alpha` weighs false positives, `beta` false negatives.

    The defaults, which care more for false negatives, are those of Salehi et al. (2017).
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: got {value:g}, expected 0 or more")
    return RegionLoss(TverskyLoss(alpha=alpha, beta=beta), setting.ignore_index)


def top_k(setting: Setting, percent: float = 10.0) -> nn.Module:
    """Cross entropy over the hardest voxels alone, 10 % by default as in nnU-Net's TopKLoss."""
    if not 0 < percent <= 100:
        raise ValueError(f"percent: got {percent:g}, expected more than 0 and at most 100")
    return IndexLoss(TopKLoss(percent, _index(setting)))


class IndexLoss(nn.Module):
    """A loss for targets (B, *spatial), called with targets (B, 1, *spatial)."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, 1, *spatial)."""
        value: Tensor = self.loss(logits, target[:, 0].long())
        return value


class TopKLoss(nn.Module):
    """The mean of the largest cross entropies of a batch."""

    def __init__(self, percent: float, ignore_index: int) -> None:
        super().__init__()
        self.percent, self.ignore_index = percent, ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, *spatial)."""
        losses = nn.functional.cross_entropy(
            logits, target, ignore_index=self.ignore_index, reduction="none"
        ).flatten()
        count = max(1, int(losses.numel() * self.percent / 100))
        return losses.topk(count, sorted=False).values.mean()


class RegionLoss(nn.Module):
    """A loss of MONAI on probabilities and one-hot targets, from which ignored voxels are cut."""

    def __init__(self, loss: nn.Module, ignore_index: int | None) -> None:
        super().__init__()
        self.loss, self.ignore_index = loss, ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, 1, *spatial)."""
        probabilities = logits.softmax(1)
        indices = target.long()
        valid = (
            torch.ones_like(indices) if self.ignore_index is None else indices != self.ignore_index
        )
        one_hot = torch.zeros_like(probabilities).scatter_(1, indices * valid, 1)
        value: Tensor = self.loss(probabilities * valid, one_hot * valid)
        return value


class SumLoss(nn.Module):
    """The sum of two losses."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both losses of `logits` against `target`."""
        total: Tensor = self.first(logits, target) + self.second(logits, target)
        return total


def _index(setting: Setting) -> int:
    """The ignored label as PyTorch wants it: -100 stands for none."""
    return -100 if setting.ignore_index is None else setting.ignore_index


LOSSES: dict[str, tuple[str, Callable[..., nn.Module]]] = {
    "ce": ("CE", ce),
    "balanced-ce": ("Balanced CE", balanced_ce),
    "dbce": ("DBCE", dbce),
    "dice": ("Dice", dice),
    "dice-ce": ("Dice + CE", dice_ce),
    "dbce-dice": ("Dice + DBCE", dbce_dice),
    "dice-focal": ("Dice + focal", dice_focal),
    "tversky": ("Tversky", tversky),
    "top-k": ("Top-k CE", top_k),
}

# Losses with a radius, of the user's or found from the labels, by what they are beside it: those of
# a kind answer the question which radius to take.
WITH_RADIUS = {"dbce": "DBCE", "dbce-dice": "Dice + DBCE"}
