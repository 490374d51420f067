"""Losses that MONAI lacks, or has for two classes only, of probabilities and one-hot targets.

Each takes probabilities and truth of the same shape (B, C, *spatial), 2D or 3D, both 0 in ignored
voxels, and returns one number that is finite, with its gradient, whatever is absent.

Why not MONAI's, of version 1.6:

- `AsymmetricUnifiedFocalLoss` takes two classes, applies no softmax though its docstring promises
  an activation, and its gradient is infinite where a class is predicted perfectly.
- `SoftclDiceLoss` adds up the skeletons of all classes before it divides, so that a thin class
  drowns in a thick one; its skeleton is used here.
- `BoundaryLoss` is not in 1.4, which we allow, and has no schedule; the distance map is the same.
"""

import torch
from monai.losses.cldice import soft_skel
from monai.transforms.utils import distance_transform_edt
from torch import Tensor, nn

SMALL = 1e-6  # under which a denominator counts as 0


class LovaszLoss(nn.Module):
    """Lovász-Softmax of Berman et al. (2018), the mean over the classes of the batch.

    The convex extension of the Jaccard loss, of the errors |truth - probability|. As in the
    authors' code, a class that no voxel of the batch has is left out; of masks that may overlap
    none is (`all_classes`), or an empty batch would teach nothing.
    """

    def __init__(self, all_classes: bool = False) -> None:
        super().__init__()
        self.all_classes = all_classes

    def forward(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        """The loss of `probabilities` (B, C, *spatial) against `truth` (B, C, *spatial)."""
        found, true = (part.movedim(1, 0).flatten(1) for part in (probabilities, truth))
        errors, order = (true - found).abs().sort(dim=1, descending=True)
        sorted_truth = true.gather(1, order)
        total = sorted_truth.sum(1, keepdim=True)
        intersection = total - sorted_truth.cumsum(1)
        union = total + (1 - sorted_truth).cumsum(1)
        jaccard = 1 - intersection / union
        steps = torch.diff(jaccard, dim=1, prepend=torch.zeros_like(total))
        losses = (errors * steps).sum(1)
        counted = torch.ones_like(losses) if self.all_classes else (total[:, 0] > 0).to(losses)
        return (losses * counted).sum() / counted.sum().clamp(min=1)


class UnifiedFocalLoss(nn.Module):
    """The asymmetric unified focal loss of Yeung et al. (2022), for any number of classes.

    `share` of the modified asymmetric focal loss and 1 - `share` of the modified asymmetric focal
    Tversky loss, with the defaults of the authors' code. The first class is the background, which
    the focal loss makes easy; all others are what the paper calls rare, which the Tversky loss
    makes hard. The sum of the focal loss is over the classes, its mean over the valid voxels.

    Args:
        share: of the focal loss, 0 to 1.
        delta: how much a missed voxel of a rare class counts beside a false one, 0 to 1.
        gamma: how much easy background and hard foreground is played down and up, 0 to 1.
    """

    def __init__(self, share: float, delta: float, gamma: float) -> None:
        super().__init__()
        self.share, self.delta, self.gamma = share, delta, gamma

    def forward(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        """The loss of `probabilities` (B, C, *spatial) against `truth` (B, C, *spatial)."""
        focal = self._focal(probabilities, truth)
        return self.share * focal + (1 - self.share) * self._focal_tversky(probabilities, truth)

    def _focal(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        likely = probabilities.clamp(SMALL, 1 - SMALL)
        entropies = -truth * likely.log()
        background = (1 - self.delta) * (1 - likely[:, 0]) ** self.gamma * entropies[:, 0]
        foreground = self.delta * entropies[:, 1:].sum(1)
        return (background + foreground).sum() / truth.sum().clamp(min=1)

    def _focal_tversky(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        axes = tuple(range(2, truth.ndim))
        hit = (probabilities * truth).sum(axes)
        missed = truth.sum(axes) - hit
        false = probabilities.sum(axes) - hit
        index = (hit + SMALL) / (hit + self.delta * missed + (1 - self.delta) * false + SMALL)
        # The gradient of the power is infinite at 0.
        short = (1 - index).clamp(min=SMALL)
        return torch.cat([short[:, :1], short[:, 1:] ** (1 - self.gamma)], 1).mean()


class SoftClDice(nn.Module):
    """The soft clDice loss of Shit et al. (2021): the mean over images and classes.

    Of tubes: how much of the predicted skeleton lies in the truth, and of the true one in the
    prediction. Skeletons are MONAI's, by `iterations` openings, about the largest half thickness.
    """

    def __init__(self, iterations: int) -> None:
        super().__init__()
        self.iterations = iterations

    def forward(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        """The loss of `probabilities` (B, C, *spatial) against `truth` (B, C, *spatial)."""
        axes = tuple(range(2, truth.ndim))
        found, true = (soft_skel(part, self.iterations) for part in (probabilities, truth))
        precision = ((found * truth).sum(axes) + 1) / (found.sum(axes) + 1)
        sensitivity = ((true * probabilities).sum(axes) + 1) / (true.sum(axes) + 1)
        return (1 - 2 * precision * sensitivity / (precision + sensitivity)).mean()


class BoundaryLoss(nn.Module):
    """The boundary loss of Kervadec et al. (2019): the mean of probability times signed distance.

    The distance of a voxel to the border of the class, in voxels, is positive outside and negative
    inside, as in the authors' code. A class that an image lacks, or that fills it, has no border
    and counts 0 there.
    """

    def forward(self, probabilities: Tensor, truth: Tensor) -> Tensor:
        """The loss of `probabilities` (B, C, *spatial) against `truth` (B, C, *spatial)."""
        return (probabilities * signed_distances(truth)).mean()


@torch.no_grad()
def signed_distances(truth: Tensor) -> Tensor:
    """The distance to the border of each mask (B, C, *spatial): negative inside, in voxels.

    Examples:
        >>> signed_distances(torch.tensor([[[[0.0, 0, 1, 1, 1, 1, 0]]]]))
        tensor([[[[ 2.,  1.,  0., -1., -1.,  0.,  1.]]]])
    """
    distances = torch.zeros_like(truth)
    for image, of_image in zip(truth, distances, strict=True):
        for index, mask in enumerate(image > 0.5):
            if mask.any() and not mask.all():
                outside = torch.as_tensor(distance_transform_edt(~mask[None]))[0]
                inside = torch.as_tensor(distance_transform_edt(mask[None]))[0]
                of_image[index] = outside - (inside - 1).clamp(min=0)
    return distances


class EqualSum(nn.Module):
    """The sum of two losses, the second scaled so that it counts as much as the first.

    Karimi and Salcudean set the scale anew after every epoch; here every batch has its own, which
    has no gradient. So the value is twice the first loss.
    """

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both losses of `logits` against `target`."""
        first, second = self.first(logits, target), self.second(logits, target)
        total: Tensor = first + second * (first / second.clamp(min=SMALL)).detach()
        return total


class Mixed(nn.Module):
    """(1 - share) times one loss + share times another."""

    def __init__(self, first: nn.Module, second: nn.Module, share: float) -> None:
        super().__init__()
        self.first, self.second, self.share = first, second, share

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The sum of both losses of `logits` against `target`."""
        first: Tensor = self.first(logits, target)
        second: Tensor = self.second(logits, target)
        return (1 - self.share) * first + self.share * second


class Rebalanced(Mixed):
    """A mixture whose second share rises from 0.01 to `final` over the training.

    The strategy that Kervadec et al. call rebalancing. Before training the share is 0.01.
    """

    START = 0.01

    def __init__(self, first: nn.Module, second: nn.Module, final: float) -> None:
        super().__init__(first, second, self.START)
        self.final = final

    def set_progress(self, step: int, steps: int) -> None:
        """Take the share of this step; the last one has `final`."""
        self.share = self.START + (self.final - self.START) * step / max(1, steps - 1)
