"""Losses that look at lesions one by one, as losses of one's own for `dilated-ce compare`.

cd examples
dilated-ce compare --data my_data --losses dice-ce,blob_losses:BlobLoss,blob_losses:InverseCE

Small lesions drown in large ones where voxels are counted. Both losses find the lesions, connected
components of a foreground class in the labels, and give each the same say.
"""

import numpy as np
import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss
from scipy import ndimage


def lesions_of(labels, index):
    """The number of the lesion in each voxel (*spatial), 0 for none, and how many there are."""
    mask = (labels == index).cpu().numpy()
    numbers, count = ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    return torch.as_tensor(numbers, device=labels.device), count


class BlobLoss(torch.nn.Module):
    """blob loss (Kofler et al., 2023): Dice + CE of the whole, and of each lesion by itself.

    A lesion is judged in the image without the other lesions of its class.
    """

    def __init__(self, whole=2.0, blobs=1.0):
        super().__init__()
        self.whole, self.blobs = whole, blobs
        self.dice_ce = DiceCELoss(to_onehot_y=True, softmax=True)

    def forward(self, logits, target):
        """The loss of logits (B, C, *spatial) against class indices (B, 1, *spatial)."""
        losses = []
        for scores, labels in zip(logits, target[:, 0], strict=True):
            for index in range(1, len(scores)):
                lesions, count = lesions_of(labels, index)
                losses += [self.of(scores, index, lesions, n) for n in range(1, count + 1)]
        whole = self.whole * self.dice_ce(logits, target)
        return whole + self.blobs * torch.stack(losses).mean() if losses else whole

    @staticmethod
    def of(scores, index, lesions, number):
        """Dice + binary CE of one lesion, where no other lesion lies."""
        seen = (lesions == 0) | (lesions == number)
        truth = (lesions[seen] == number).float()
        # Whether it is this class and not another one, as a logit.
        others = torch.cat([scores[:index], scores[index + 1 :]]).logsumexp(0)
        logit = (scores[index] - others)[seen]
        found = logit.sigmoid()
        dice = 1 - 2 * (found * truth).sum() / (found.sum() + truth.sum())
        return dice + F.binary_cross_entropy_with_logits(logit, truth)


class InverseCE(torch.nn.Module):
    """Cross entropy with inverse weighting (Shirokikh et al., 2020).

    In each image every lesion, and the background, has the same weight in sum.
    """

    def forward(self, logits, target):
        """The loss of logits (B, C, *spatial) against class indices (B, 1, *spatial)."""
        weights = torch.stack([self.weights(labels, logits.shape[1]) for labels in target[:, 0]])
        return (weights * F.cross_entropy(logits, target[:, 0].long(), reduction="none")).mean()

    @staticmethod
    def weights(labels, classes):
        """The weight of each voxel (*spatial), with the mean 1."""
        parts = [labels == 0] if (labels == 0).any() else []
        for index in range(1, classes):
            lesions, count = lesions_of(labels, index)
            parts += [lesions == number for number in range(1, count + 1)]
        return sum(part * (labels.numel() / len(parts) / part.sum()) for part in parts)
