"""The candidates for the adaptive rule: slow, clear reference code in torch.

A rule turns labels into weights. Every class of an image has a neighbourhood: its mask, dilated by
an exact Euclidean ball. A voxel weighs by the smallest neighbourhood that holds it. No class is
special, the background neither. Radii are rungs of one ladder, R^2 = 4, 8, 16, ... cap^2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FAR = 2**14  # a squared distance beyond any cap; with the square of one more step still an int16


@dataclass(frozen=True)
class Rule:
    """One candidate.

    Args:
        power: p of the share (V / v_c)^p in 2D; in 3D 2/3 of it, so that 1/2 is a ratio of lengths
            in both.
        cap: the largest radius, in voxels.
        factor: of the radius d |M| / |dM|.
        plain: share of plain cross entropy mixed in, after the rest has mean 1 in each image.
        scope: volumes of the "image" or of the "batch".
        reach: "own", the radius of the class alone; "all", every rung of the ladder, each with its
            share, whatever the class's own radius.
        slope: with "all", by how much the share may grow at most from one rung to the next narrower
            one; the widest starts from 1.
    """

    power: float = 0.5
    cap: int = 16
    factor: float = 1.0
    plain: float = 0.0
    scope: str = "image"
    reach: str = "own"
    slope: float = math.inf

    def weigh(self, labels: Tensor, num_classes: int) -> Tensor:
        """The weight of every voxel of labels (B, *spatial); 1 on average over the batch."""
        masks = torch.stack([labels == c for c in range(num_classes)], 1)
        axes = tuple(range(2, masks.ndim))
        per_class = (*masks.shape[:2], *[1] * len(axes))
        distance = squared_distance(masks, self.cap)
        own = rungs(masks, self.cap, self.factor)
        ladder = [own] if self.reach == "own" else list(range(2, top(self.cap) + 1))
        weights = torch.zeros(labels.shape)
        for rung in ladder:
            inside = distance <= (torch.zeros_like(own) + 2.0**rung).float().view(per_class)
            volume = inside.sum(axes).double()
            whole = labels[0].numel()
            if self.scope == "batch":
                volume, whole = volume.sum(0, keepdim=True).expand_as(own), labels.numel()
            share = self.share(whole / volume.clamp(min=1), rung, len(axes))
            weights = torch.maximum(weights, (inside * share.float().view(per_class)).amax(1))
        if self.plain:
            mean = weights.mean([axis - 1 for axis in axes], keepdim=True)
            weights = (1 - self.plain) * weights / mean + self.plain
        return weights / weights.mean()

    def share(self, ratio, rung, dims):
        """How much a neighbourhood counts that holds one part in `ratio` of the voxels."""
        share = ratio ** (self.power * 2 / dims)
        if self.slope < math.inf:
            share = share.clip(max=self.slope ** (top(self.cap) + 1 - rung))
        return share


def top(cap: int) -> int:
    """The rung of the largest radius: R^2 = 2^rung."""
    return round(2 * math.log2(cap))


def rungs(masks: Tensor, cap: int, factor: float = 1.0) -> Tensor:
    """The rung of every mask (B, C, *spatial): of d |M| / |dM|, |dM| in faces between labels."""
    axes = tuple(range(2, masks.ndim))
    faces = sum(
        (masks.narrow(a, 1, n := masks.shape[a] - 1) != masks.narrow(a, 0, n)).sum(axes)
        for a in axes
    )
    radius = factor * len(axes) * masks.sum(axes).double() / faces  # no faces: infinite, or 0 / 0
    return (2 * radius.nan_to_num(nan=2.0).clamp(2, cap).log2()).round()


def squared_distance(masks: Tensor, cap: int) -> Tensor:
    """Squared Euclidean distance to each mask (B, C, *spatial), exact up to `cap`."""
    distance = torch.zeros(masks.shape, dtype=torch.int16).masked_fill_(~masks, FAR)
    for axis in range(2, masks.ndim):
        before, size = distance, distance.shape[axis]
        distance = before.clone()
        for step in range(1, min(cap, size - 1) + 1):
            moved = before.clamp(max=FAR) + step**2
            low, high = (0, size - step), (step, size - step)
            for here, there in ((low, high), (high, low)):
                view = distance.narrow(axis, *here)
                torch.minimum(view, moved.narrow(axis, *there), out=view)
    return distance


CANDIDATES = {
    "p12_cap8": Rule(cap=8),
    "p12_cap16": Rule(),
    "p12_cap16_mix": Rule(plain=0.5),
    "p13_cap16": Rule(power=1 / 3),
    "all_cap16": Rule(reach="all"),
    "slope_cap16": Rule(reach="all", slope=1.25),
    "p12_cap8_batch": Rule(cap=8, scope="batch"),
    "p12_cap8_mix": Rule(cap=8, plain=0.5),
    "p13_cap8": Rule(power=1 / 3, cap=8),
    "p23_cap16": Rule(power=2 / 3),
    "p12_x2_cap16": Rule(factor=2),
}
