"""What the losses are put together from: how a study calls them, masks them and adds them up."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dilated_ce.study.data.cases import region_code


@dataclass(frozen=True)
class Setting:
    """What the data and the machine, and not the user, say about a loss."""

    ignore_index: int | None = None  # label of the voxels that do not count
    process_group: str | None = None  # "world" if several processes train one network
    overlapping: bool = False  # the target is a mask for each class
    num_outputs: int | None = None  # channels of the logits, if they are known yet

    @property
    def index(self) -> int:
        """The ignored label as PyTorch wants it: -100 stands for none."""
        return -100 if self.ignore_index is None else self.ignore_index


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
    return masks.masked_fill(labels == setting.index, setting.index)


def set_progress(loss: nn.Module, step: int, steps: int) -> None:
    """Tell a loss how far the training is, if it asks: it, and all modules in it.

    A loss with a schedule has a method `set_progress(step, steps)`. It is called before every
    training step with the number of the step, from 0, and how many there are; also when a run goes
    on after an interruption. So the schedule is a function of these two numbers alone.

    Examples:
        >>> class Warmed(nn.Module):
        ...     def set_progress(self, step, steps):
        ...         self.share = step / steps
        >>> loss = SumLoss(Warmed(), nn.CrossEntropyLoss())
        >>> set_progress(loss, 25, 100)
        >>> loss.first.share
        0.25
    """
    for part in loss.modules():
        asks = getattr(part, "set_progress", None)
        if callable(asks):
            asks(step, steps)


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
    """The binary cross entropy of masks that may overlap: its mean, or that of the largest.

    `weight` (C,) is how much the foreground of each mask counts, PyTorch's `pos_weight`.
    """

    weight: Tensor | None

    def __init__(
        self, setting: Setting, percent: float = 100.0, weight: Tensor | None = None
    ) -> None:
        super().__init__()
        self.index, self.percent = setting.index, percent
        self.register_buffer("weight", weight)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, C, *spatial)."""
        valid = target != self.index
        weight = None if self.weight is None else self.weight.view(-1, *[1] * (logits.ndim - 2))
        losses = nn.functional.binary_cross_entropy_with_logits(
            logits, target * valid, reduction="none", pos_weight=weight
        )
        if self.percent < 100:
            return _mean_of_largest((losses * valid).flatten(), self.percent)
        return (losses * valid).sum() / valid.sum()


def _mean_of_largest(losses: Tensor, percent: float) -> Tensor:
    count = max(1, int(losses.numel() * percent / 100))
    return losses.topk(count, sorted=False).values.mean()


class RegionLoss(nn.Module):
    """A loss on probabilities and one-hot targets, from which ignored voxels are cut.

    In these voxels both are 0. With `foreground` the background's channel is left out.
    """

    def __init__(self, loss: nn.Module, setting: Setting, foreground: bool = False) -> None:
        super().__init__()
        self.loss, self.ignore_index = loss, setting.ignore_index
        self.index, self.overlapping = setting.index, setting.overlapping
        self.first = 1 if foreground and not setting.overlapping else 0

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, 1 or C, *spatial)."""
        if self.overlapping:
            valid = target != self.index
            return self._of_valid(logits.sigmoid(), target, valid)
        probabilities = logits.softmax(1)
        indices = target.long()
        valid = (
            torch.ones_like(indices) if self.ignore_index is None else indices != self.ignore_index
        )
        one_hot = torch.zeros_like(probabilities).scatter_(1, indices * valid, 1)
        return self._of_valid(probabilities, one_hot, valid)

    def _of_valid(self, probabilities: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
        kept = slice(self.first, None)
        value: Tensor = self.loss((probabilities * valid)[:, kept], (truth * valid)[:, kept])
        return value


class FocalPart(nn.Module):
    """A loss of MONAI's that keeps the entries (B, C, *spatial), averaged over the valid voxels.

    Over the entries where classes overlap, as each of them is a decision of its own.
    """

    def __init__(self, loss: nn.Module, setting: Setting) -> None:
        super().__init__()
        self.loss, self.index, self.overlapping = loss, setting.index, setting.overlapping

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, 1 or C, *spatial)."""
        valid = target != self.index
        entries = self.loss(logits, target * valid)
        total: Tensor = (entries * valid).sum() / valid.sum().clamp(min=1)
        return total


class SumLoss(nn.Module):
    """The sum of two losses."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both losses of `logits` against `target`."""
        total: Tensor = self.first(logits, target) + self.second(logits, target)
        return total
