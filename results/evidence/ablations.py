"""Halves of the adaptive rule, each beside plain cross entropy and Dice, as losses of one's own."""

import torch
import torch.nn.functional as F
from monai.losses import DiceLoss
from torch import Tensor, nn

from dilated_ce.dilation import dilate_masks
from dilated_ce.masks import long_axes, look_up
from dilated_ce.shares import inverse_shares, root_shares


class _Ablation(nn.Module):
    """Dice + cross entropy under half plain weights."""

    def __init__(self) -> None:
        super().__init__()
        self.dice = DiceLoss(softmax=True, to_onehot_y=True)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, C, *spatial) for class indices (B, 1, *spatial)."""
        labels = target[:, 0].long()
        weights = self.weigh(labels, logits.shape[1])
        weights = 0.5 + 0.5 * weights / weights.flatten(1).mean(1).view(
            -1, *[1] * (labels.ndim - 1)
        )
        losses = F.cross_entropy(logits, labels, reduction="none")
        total: Tensor = (weights * losses).mean() + self.dice(logits, target)
        return total

    def weigh(self, labels: Tensor, num_classes: int) -> Tensor:
        """The half that is not plain, up to a factor for each image."""
        raise NotImplementedError


class WithoutDilation(_Ablation):
    """The adaptive shares, of the masks as they are."""

    def weigh(self, labels: Tensor, num_classes: int) -> Tensor:
        """(V / n_c)^(1/d) of the class of the voxel."""
        counts = F.one_hot(labels.flatten(1), num_classes).sum(1).float()
        sizes = counts.sum(1)
        shares = root_shares(counts, sizes, long_axes(labels.shape[1:]))
        return shares.gather(1, labels.flatten(1)).view_as(labels)


class WithoutShares(_Ablation):
    """The adaptive dilation, with the paper's shares."""

    def weigh(self, labels: Tensor, num_classes: int) -> Tensor:
        """The largest 1 / v_c of the neighbourhoods that hold the voxel, within the image."""
        spacing = (1.0,) * (labels.ndim - 1)
        planes, volumes, _ = dilate_masks("target", labels, num_classes, None, spacing, None)
        shares = inverse_shares(volumes.to(torch.float32))
        return look_up(planes, shares, labels.shape[0], labels.shape[1:], True)
