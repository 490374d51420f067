"""Rules for the radius that were tried beside `radius="auto"`, as losses for `dilated-ce compare`.

They are here to be compared and not to be used: distances come from scipy, image by image. A study
names one as `radius_rules:RuleLoss:rule=depth`, with this folder on PYTHONPATH (`make studies` puts
it there).

    depth    R is `factor` times the mean inner distance of the class: r / 3 for a disc of radius r
    growth   R is the smallest at which the dilated mask has `factor` times the voxels of the mask
    size     R is `factor` times d |M| / |dM|: with 1 the radius of "auto"
    ladder   the mean of the weight maps under R = 1, 2, 4, ... 32 and infinity
    follow   R is the 75th percentile of how far from the class the network's false positives lie, a
             running mean over the batches, from a quarter of the image on; one per class
    anneal   weights that go, from the first step to the last, from those of "size" to plain CE

The largest class has an infinite radius under depth, growth and size, and under follow. How much
the classes count in an image:

    equal    all the same
    half     the largest as much as all the others together
    root     the largest 1, each of K others 2/K times the root of its dilated share of the image:
             size and root are "auto"
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

LADDER = (1, 2, 4, 8, 16, 32, math.inf)
PERCENTILE, MOMENTUM = 75, 0.98


class RuleLoss(nn.Module):
    """Cross entropy under the weights of a rule.

    Args:
        rule: one of those above.
        factor: of the rule.
        balance: volumes of the "image" or of the "batch".
        shares: of the classes, one of those above.
        plain: share of plain cross entropy that is mixed in, 0 to 1.
        steps: of the training, for "anneal".
    """

    def __init__(
        self,
        rule: str = "depth",
        factor: float = 1.0,
        balance: str = "image",
        shares: str = "root",
        plain: float = 0.0,
        steps: int = 1,
    ) -> None:
        super().__init__()
        if rule not in ("depth", "growth", "size", "ladder", "follow", "anneal"):
            raise ValueError(f"rule: got {rule!r}, see radius_rules.py")
        if shares not in ("equal", "half", "root"):
            raise ValueError(f"shares: got {shares!r}, see radius_rules.py")
        self.rule, self.factor, self.balance = rule, factor, balance
        self.shares, self.plain, self.steps = shares, plain, steps
        self.step = 0
        self.followed: dict[int, float] = {}  # by class

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, 1, *spatial)."""
        labels = target[:, 0].long()
        predicted = logits.argmax(1).cpu().numpy() if self.rule == "follow" else None
        weights = self.weigh(labels.cpu().numpy(), logits.shape[1], predicted)
        self.step += 1
        losses = F.cross_entropy(logits.float(), labels, reduction="none")
        return (losses * torch.from_numpy(weights).to(losses)).mean()

    def weigh(
        self, labels: NDArray[np.int64], num_classes: int, predicted: NDArray[np.int64] | None
    ) -> NDArray[np.float64]:
        """The weight of every voxel, 1 on average."""
        shares = np.zeros((len(labels), num_classes, *labels.shape[1:]))
        for index, image in enumerate(labels):
            present = [c for c in range(num_classes) if (image == c).any()]
            largest = max(present, key=lambda c: int((image == c).sum()))
            for c in present:
                mask = image == c
                distance = distance_transform_edt(~mask) if not mask.all() else 0.0 * mask
                if predicted is not None and not mask.all():
                    self._follow(c, distance[(predicted[index] == c) & ~mask], image.shape)
                for radius in self._radii(c, mask, distance, c == largest):
                    dilated = distance <= radius
                    volume = dilated.sum() if self.balance == "image" else 1
                    scale = self._scale(c == largest, len(present) - 1, float(dilated.mean()))
                    shares[index, c] += scale * dilated / volume
        if self.balance == "batch":
            axes = (0, *range(2, shares.ndim))
            volumes = shares.sum(axes, keepdims=True)
            shares = np.divide(shares, volumes, out=shares, where=volumes > 0)
        weights = shares.sum(1)
        weights *= weights.size / weights.sum()
        plain = min(1.0, self.step / self.steps) if self.rule == "anneal" else self.plain
        return (1 - plain) * weights + plain

    def _scale(self, is_largest: bool, others: int, dilated: float) -> float:
        """How much a class counts; `dilated` is the share of the image in its neighbourhood."""
        if is_largest or self.shares == "equal":
            return 1.0
        return (1 if self.shares == "half" else 2 * math.sqrt(dilated)) / others

    def _radii(
        self, c: int, mask: NDArray[np.bool_], distance: NDArray[np.float64], is_largest: bool
    ) -> tuple[float, ...]:
        if self.rule == "ladder":
            return LADDER
        if is_largest or mask.all():
            return (math.inf,)
        if self.rule == "follow":
            return (self.followed.get(c, max(mask.shape) / 4),)
        if self.rule == "depth":
            return (self.factor * float(distance_transform_edt(mask)[mask].mean()),)
        if self.rule == "growth":
            wanted = math.ceil(self.factor * mask.sum())
            if wanted >= mask.size:
                return (math.inf,)
            return (float(np.partition(distance.ravel(), wanted - 1)[wanted - 1]),)
        surface = sum(int(np.count_nonzero(np.diff(mask, axis=axis))) for axis in range(mask.ndim))
        return (self.factor * mask.ndim * int(mask.sum()) / surface,)

    def _follow(self, c: int, distances: NDArray[np.float64], shape: tuple[int, ...]) -> None:
        before = self.followed.get(c, max(shape) / 4)
        if len(distances):
            now = float(np.percentile(distances, PERCENTILE))
            self.followed[c] = MOMENTUM * before + (1 - MOMENTUM) * now
