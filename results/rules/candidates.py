"""The candidates for the adaptive rule: slow, clear reference code in torch.

A rule turns labels into weights. Every class of an image has a neighbourhood: its mask, dilated by
an exact Euclidean ball. A voxel weighs by the smallest neighbourhood that holds it. No class is
special, the background neither. Radii are rungs of one ladder, R^2 = 4, 8, 16, ... cap^2.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rule:
    """One candidate.

    Args:
        power: p of the share (V / v_c)^p; 0 stands for the share 1 + log(V / v_c).
        cap: the largest radius, in voxels.
        factor: of the radius d |M| / |dM|.
        plain: share of plain cross entropy mixed in, after the rest has mean 1 in each image.
        scope: volumes of the "image" or of the "batch".
        reach: "own", the radius of the class alone; "wider", that rung and every wider one, each
            with its share; "all", every rung, whatever the class's own radius.
    """

    power: float = 0.5
    cap: int = 16
    factor: float = 1.0
    plain: float = 0.0
    scope: str = "image"
    reach: str = "own"

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
            share = self._share(whole / volume.clamp(min=1))
            if self.reach == "wider":
                share = share.where(own <= rung, 0.0)
            weights = torch.maximum(weights, (inside * share.float().view(per_class)).amax(1))
        if self.plain:
            mean = weights.mean([axis - 1 for axis in axes], keepdim=True)
            weights = (1 - self.plain) * weights / mean + self.plain
        return weights / weights.mean()

    def _share(self, ratio: Tensor) -> Tensor:
        return ratio**self.power if self.power else 1 + ratio.log()


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
    distance = torch.zeros(masks.shape).masked_fill_(~masks, math.inf)
    for axis in range(2, masks.ndim):
        before, size = distance, distance.shape[axis]
        distance = before.clone()
        for step in range(1, min(cap, size - 1) + 1):
            moved = before + step**2
            low, high = (0, size - step), (step, size - step)
            for here, there in ((low, high), (high, low)):
                view = distance.narrow(axis, *here)
                torch.minimum(view, moved.narrow(axis, *there), out=view)
    return distance


CANDIDATES = {
    "p12_cap16": Rule(),
    "p12_cap8": Rule(cap=8),
    "p12_cap16_mix": Rule(plain=0.5),
    "p13_cap16": Rule(power=1 / 3),
    "p23_cap16": Rule(power=2 / 3),
    "p12_x2_cap16": Rule(factor=2),
    "p12_cap8_batch": Rule(cap=8, scope="batch"),
    "wider_p12_cap16": Rule(reach="wider"),
    "all_p12_cap16": Rule(reach="all"),
    "log_cap16": Rule(power=0),
}
