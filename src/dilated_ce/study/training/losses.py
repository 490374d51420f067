"""The losses that can be compared.

Every loss is called with logits (B, C, *spatial) and class indices (B, 1, *spatial), as MONAI's;
where classes overlap, with masks (B, C, *spatial) of 0 and 1 for the foreground classes, and the
ignored label where nobody labelled.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from monai.losses import DiceFocalLoss, DiceLoss, TverskyLoss
from torch import Tensor, nn

from dilated_ce import AdaptiveDilatedCELoss, DilatedBalancedCELoss
from dilated_ce.study.data.cases import region_code


@dataclass(frozen=True)
class Setting:
    """What the data and the machine, and not the user, say about a loss."""

    ignore_index: int | None = None  # label of the voxels that do not count
    process_group: str | None = None  # "world" if several processes train one network
    overlapping: bool = False  # the target is a mask for each class


def ce(setting: Setting) -> nn.Module:
    """PyTorch's own cross entropy; of masks the binary one."""
    if setting.overlapping:
        return BinaryCE(setting.ignore_index)
    return IndexLoss(nn.CrossEntropyLoss(ignore_index=_index(setting)))


def balanced_ce(setting: Setting) -> nn.Module:
    """Cross entropy weighted by inverse class frequencies: the radius 0."""
    return dbce(setting, 0.0)


def dbce(setting: Setting, radius: float, volumes: str = "batch") -> nn.Module:
    """Dilated balanced cross entropy, the paper's idea."""
    return DilatedBalancedCELoss(
        radius,
        volumes=volumes,
        mode="multilabel" if setting.overlapping else "multiclass",
        ignore_index=_index(setting),
        process_group=setting.process_group,
    )


def adaptive_dbce(setting: Setting) -> nn.Module:
    """Adaptive dilated cross entropy, which is ours."""
    return AdaptiveDilatedCELoss(
        mode="multilabel" if setting.overlapping else "multiclass",
        ignore_index=_index(setting),
        process_group=setting.process_group,
    )


def dice(setting: Setting) -> nn.Module:
    """MONAI's DiceLoss with its defaults, softmax over the classes, or a sigmoid for each."""
    return RegionLoss(DiceLoss(), setting)


def dice_ce(setting: Setting) -> nn.Module:
    """Dice + cross entropy, one to one: MONAI's DiceCELoss with its defaults."""
    return SumLoss(dice(setting), ce(setting))


def dbce_dice(setting: Setting, radius: float, volumes: str = "batch") -> nn.Module:
    """Dice + DBCE, one to one: `dice-ce` with its CE replaced."""
    return SumLoss(dice(setting), dbce(setting, radius, volumes))


def adaptive_dbce_dice(setting: Setting) -> nn.Module:
    """Dice + adaptive DBCE, one to one: `dice-ce` with its CE replaced."""
    return SumLoss(dice(setting), adaptive_dbce(setting))


def dice_focal(setting: Setting, gamma: float = 2.0) -> nn.Module:
    """MONAI's DiceFocalLoss with its defaults, softmax over the classes."""
    if setting.ignore_index is not None:
        raise ValueError("takes no ignored voxels, and these data have some; leave it out")
    if not 0 <= gamma < math.inf:
        raise ValueError(f"gamma: got {gamma:g}, expected 0 or more")
    if setting.overlapping:
        return DiceFocalLoss(sigmoid=True, gamma=gamma)
    return DiceFocalLoss(to_onehot_y=True, softmax=True, gamma=gamma)


def tversky(setting: Setting, alpha: float = 0.3, beta: float = 0.7) -> nn.Module:
    """MONAI's TverskyLoss; `alpha` weighs false positives, `beta` false negatives.

    The defaults, which care more for false negatives, are those of Salehi et al. (2017).
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: got {value:g}, expected 0 or more")
    return RegionLoss(TverskyLoss(alpha=alpha, beta=beta), setting)


def top_k(setting: Setting, percent: float = 10.0) -> nn.Module:
    """Cross entropy over the hardest voxels alone, 10 % by default as in nnU-Net's TopKLoss."""
    if not 0 < percent <= 100:
        raise ValueError(f"percent: got {percent:g}, expected more than 0 and at most 100")
    if setting.overlapping:
        return BinaryCE(setting.ignore_index, percent)
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
        return _mean_of_largest(losses, self.percent)


class BinaryCE(nn.Module):
    """The binary cross entropy of masks that may overlap: its mean, or that of the largest."""

    def __init__(self, ignore_index: int | None, percent: float = 100.0) -> None:
        super().__init__()
        self.ignore_index, self.percent = ignore_index, percent

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, C, *spatial)."""
        valid = target != _index(self)
        losses = nn.functional.binary_cross_entropy_with_logits(
            logits, target * valid, reduction="none"
        )
        if self.percent < 100:
            return _mean_of_largest((losses * valid).flatten(), self.percent)
        return (losses * valid).sum() / valid.sum()


def _mean_of_largest(losses: Tensor, percent: float) -> Tensor:
    count = max(1, int(losses.numel() * percent / 100))
    return losses.topk(count, sorted=False).values.mean()


class RegionLoss(nn.Module):
    """A loss of MONAI on probabilities and one-hot targets, from which ignored voxels are cut."""

    def __init__(self, loss: nn.Module, setting: Setting) -> None:
        super().__init__()
        self.loss, self.ignore_index = loss, setting.ignore_index
        self.overlapping = setting.overlapping

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, 1 or C, *spatial)."""
        if self.overlapping:
            valid = target != _index(self)
            return self._of_valid(logits.sigmoid(), target, valid)
        probabilities = logits.softmax(1)
        indices = target.long()
        valid = (
            torch.ones_like(indices) if self.ignore_index is None else indices != self.ignore_index
        )
        one_hot = torch.zeros_like(probabilities).scatter_(1, indices * valid, 1)
        return self._of_valid(probabilities, one_hot, valid)

    def _of_valid(self, probabilities: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        value: Tensor = self.loss(probabilities * valid, truth * valid)
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


def _index(of: Setting | BinaryCE | RegionLoss) -> int:
    """The ignored label as PyTorch wants it: -100 stands for none."""
    return -100 if of.ignore_index is None else of.ignore_index


def target_of(labels: Tensor, num_classes: int, setting: Setting) -> Tensor:
    """What a loss is called with: the labels (B, 1, *spatial), or masks of what overlaps.

    Examples:
        >>> codes = torch.tensor([[[0, 1, 3, 255]]])
        >>> target_of(codes, 3, Setting(255, overlapping=True))[0]
        tensor([[  0.,   1.,   1., 255.],
                [  0.,   0.,   1., 255.]])
    """
    if not setting.overlapping:
        return labels
    codes = [region_code(index) for index in range(1, num_classes)]
    masks = torch.cat([(labels & code) > 0 for code in codes], 1).float()
    return masks.masked_fill(labels == _index(setting), _index(setting))


LOSSES: dict[str, tuple[str, Callable[..., nn.Module]]] = {
    "ce": ("CE", ce),
    "balanced-ce": ("Balanced CE", balanced_ce),
    "dbce": ("DBCE", dbce),
    "adaptive-dbce": ("Adaptive DBCE", adaptive_dbce),
    "dice": ("Dice", dice),
    "dice-ce": ("Dice + CE", dice_ce),
    "dbce-dice": ("Dice + DBCE", dbce_dice),
    "adaptive-dbce-dice": ("Dice + Adaptive DBCE", adaptive_dbce_dice),
    "dice-focal": ("Dice + focal", dice_focal),
    "tversky": ("Tversky", tversky),
    "top-k": ("Top-k CE", top_k),
}

# Losses with a radius, of the user's or found from the labels, by what they are beside it: those of
# a kind answer the question which radius to take.
WITH_RADIUS = {
    "dbce": "DBCE",
    "adaptive-dbce": "DBCE",
    "dbce-dice": "Dice + DBCE",
    "adaptive-dbce-dice": "Dice + DBCE",
}
