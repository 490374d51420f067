"""What Adaptive DBCE makes of labels: the radius of every class, and what its voxels weigh."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dilated_ce import adaptive_dilated_weights
from dilated_ce.dilation import dilate_masks
from dilated_ce.inspection.tallies import PLACES, radii_by_image
from dilated_ce.masks import look_up


@dataclass(frozen=True)
class Adaptive:
    """Counts of images, and their weights as of one batch; C classes, N images.

    The voxels are told apart by place: background beyond the neighbourhoods of all foreground
    classes, background within them, and each foreground class.
    """

    radii: NDArray[np.float64]  # (N, C), in the data's unit; 0 without the class
    volumes: NDArray[np.int64]  # (N, C): voxels of the neighbourhoods
    spread: NDArray[np.float64]  # (N,): the largest weight over the smallest; NaN with one class
    voxels: NDArray[np.int64]  # (C + 1,), by place
    weights: NDArray[np.float64]  # (C + 1,): the sums of their weights

    @staticmethod
    def sum(parts: Sequence["Adaptive"]) -> "Adaptive":
        """All images of the parts."""
        return Adaptive(
            *(np.concatenate([getattr(p, name) for p in parts]) for name in _BY_IMAGE),
            *(np.sum([getattr(p, name) for p in parts], axis=0) for name in ("voxels", "weights")),
        )

    def weight_of(self, index: int) -> float:
        """The mean weight of a voxel of a class, 1 over all voxels; NaN if there are none."""
        return self._mean(slice(0, 2) if index == 0 else slice(index + 1, index + 2))

    def places(self) -> dict[str, float]:
        """The mean weights by place and the imbalance, with the names of `Measured.weights`.

        The imbalance is the largest over the smallest weight, the median over the images with two
        classes or more.
        """
        several = self.spread[~np.isnan(self.spread)]
        row = {"imbalance": float(np.median(several)) if len(several) else 1.0}
        for name, place in zip(PLACES, (slice(2, None), slice(1, 2), slice(0, 1)), strict=True):
            row[name] = self._mean(place)
            row[f"{name}_share"] = float(self.voxels[place].sum() / max(1, self.voxels.sum()))
        return row

    def _mean(self, place: slice) -> float:
        voxels, weights = self.voxels[place].sum(), self.weights[place].sum()
        if voxels == 0:
            return float("nan")
        return float(weights / voxels * self.voxels.sum() / self.weights.sum())


_BY_IMAGE = ("radii", "volumes", "spread")


def tally_adaptive(
    images: NDArray[np.uint8],
    num_classes: int,
    spacing: Sequence[float],
    ignore_index: int | None,
) -> Adaptive:
    """Find what Adaptive DBCE makes of images (B, *spatial) of one case.

    Examples:
        A voxel of class 1 among 15 others. Both classes are dilated by 2 voxels, to 5 and to 16:

        >>> image = np.zeros((1, 16), np.uint8)
        >>> image[0, 8] = 1
        >>> found = tally_adaptive(image, 2, [1.0], None)
        >>> found.volumes, found.spread.round(4)
        (array([[16,  5]]), array([1.8186]))
        >>> found.voxels  # 11 beyond the neighbourhood of class 1, 4 within it, and the voxel
        array([11,  4,  1])
    """
    labels = torch.from_numpy(np.ascontiguousarray(images))
    batch, shape = labels.shape[0], labels.shape[1:]
    planes, volumes, _ = dilate_masks("labels", labels, num_classes, None, spacing, ignore_index)
    weights = adaptive_dilated_weights(
        labels, num_classes=num_classes, spacing=spacing, ignore_index=ignore_index
    ).numpy()
    of_foreground = torch.tensor([[0.0] + [1.0] * (num_classes - 1)])
    near = look_up(planes, of_foreground, batch, shape, True).numpy() > 0
    place = images.astype(np.int64) + 1
    place[(images == 0) & ~near] = 0
    valid = np.ones(images.shape, bool) if ignore_index is None else images != ignore_index
    places = place[valid]
    axes = tuple(range(1, images.ndim))
    spread = weights.max(axes, initial=0) / weights.min(axes, initial=np.inf, where=valid)
    several = (volumes.numpy() > 0).sum(1) > 1
    return Adaptive(
        radii_by_image(images, num_classes, spacing, ignore_index),
        volumes.numpy(),
        np.where(several, spread, np.nan).astype(np.float64),
        np.bincount(places, minlength=num_classes + 1),
        np.bincount(places, weights[valid], minlength=num_classes + 1).astype(np.float64),
    )
