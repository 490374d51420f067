"""The voxels of one image, counted: how many of each place lie in the dilated mask of each class.

These counts are all that mean weights need: with the volume v_c of class c, a place weighs
sum over c of (its voxels in D_c) / v_c, whatever the image looks like.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dilated_ce import dilate_labels
from dilated_ce.masks import Masks
from dilated_ce.radius import choose_radii
from dilated_ce.target import valid_voxels, without_ignored

# Foreground; background within the radius of it; background beyond.
PLACES = ("foreground", "rim", "far")


@dataclass(frozen=True)
class Tally:
    """Counts of an image, or summed over images, for R radii and C classes."""

    places: NDArray[np.int64]  # (R, 3): voxels of each place
    by_class: NDArray[np.int64]  # (R, 3, C): those of them in the dilated mask of each class

    @property
    def volumes(self) -> NDArray[np.int64]:
        """The volumes of the dilated masks (R, C)."""
        return self.by_class.sum(1)

    @property
    def num_voxels(self) -> int:
        """The valid voxels."""
        return int(self.places[0].sum())

    @property
    def num_present(self) -> int:
        """The classes that occur."""
        return int(np.count_nonzero(self.volumes[0]))

    @property
    def imbalance(self) -> NDArray[np.float64]:
        """The largest over the smallest 1 / v_c of the classes that occur (R,); NaN if none do."""
        volumes = self.volumes[:, self.volumes[0] > 0]
        if volumes.shape[1] == 0:
            return np.full(len(volumes), np.nan)
        return volumes.max(1) / volumes.min(1)

    @property
    def shares(self) -> NDArray[np.float64]:
        """The weight of each place, the weights of all voxels summing to `num_present` (R, 3)."""
        volumes = self.volumes[:, None]
        inverse = np.divide(1, volumes, out=np.zeros(volumes.shape), where=volumes > 0)
        return (self.by_class * inverse).sum(2)


def tally(
    labels: NDArray[np.uint8],
    radii: Sequence[float],
    num_classes: int,
    spacing: tuple[float, ...],
    ignore_index: int | None,
) -> Tally:
    """Count the voxels of one image.

    Args:
        labels: class indices (*spatial).
        radii: in the unit of `spacing`.
        num_classes: background included.
        spacing: size of a voxel along each axis.
        ignore_index: label of the voxels that are not counted.

    Raises:
        ValueError: a label that is neither a class nor ignored.
    """
    background = labels == 0
    foreground = ~background if ignore_index is None else ~background & (labels != ignore_index)
    num_background, num_foreground = np.count_nonzero(background), np.count_nonzero(foreground)
    places = np.zeros((len(radii), 3), np.int64)
    by_class = np.zeros((len(radii), 3, num_classes), np.int64)
    for index, radius in enumerate(radii):
        # Farther from the foreground than the radius, every voxel lies in D_0 alone, and what is
        # there changes no mask nearer by: of a large image only the surroundings are dilated.
        window = near(foreground, radius, spacing)
        masks = dilate_labels(
            torch.from_numpy(np.ascontiguousarray(labels[window])[None]),
            radius,
            num_classes=num_classes,
            spacing=spacing,
            ignore_index=ignore_index,
        )[0].numpy()
        rim = background[window] & masks[1:].any(0)
        num_rim = np.count_nonzero(rim)
        places[index] = num_foreground, num_rim, num_background - num_rim
        for c, mask in enumerate(masks):
            inside = np.count_nonzero(mask & foreground[window])
            by_class[index, :2, c] = inside, np.count_nonzero(mask & rim)
        by_class[index, 2, 0] = num_background - num_rim
    return Tally(places, by_class)


def near(mask: NDArray[np.bool_], radius: float, spacing: Sequence[float]) -> tuple[slice, ...]:
    """The box around `mask` that holds every voxel within `radius` of it; empty for an empty mask.

    Examples:
        >>> near(np.arange(20) == 10, 2.0, [1.0])  # with a voxel to spare
        (slice(7, 14, None),)
    """
    window = []
    for axis, (side, size) in enumerate(zip(mask.shape, spacing, strict=True)):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        if len(places) == 0:
            return (slice(0, 0),) * mask.ndim
        reach = int(min(radius / size, side)) + 1  # a voxel to spare for rounding
        first, last = int(places[0]), int(places[-1])
        window.append(slice(max(0, first - reach), min(side, last + 1 + reach)))
    return tuple(window)


def radii_by_image(
    images: NDArray[np.uint8],
    num_classes: int,
    spacing: Sequence[float],
    ignore_index: int | None,
) -> NDArray[np.float64]:
    """The adaptive radius of each class in each image (B, C); 0 where there is no such class.

    Examples:
        >>> image = np.zeros((1, 9, 9), np.uint8)
        >>> image[:, :, 3:7] = 1  # a band 4 wide: the axes, 2, times its area over its two sides
        >>> radii_by_image(image, 2, (1.0, 1.0), None)
        array([[5.65685425, 4.        ]])
    """
    labels = torch.from_numpy(images)
    valid = valid_voxels(labels, ignore_index)
    masks = Masks.of(without_ignored(labels, valid), valid, num_classes)
    radii, larger = choose_radii(masks, spacing)
    taken = np.array(radii)[larger.sum(0).numpy()]
    return np.where(masks.volumes().numpy() > 0, taken, 0.0)


def sum_depths(mask: NDArray[np.bool_], spacing: Sequence[float]) -> tuple[float, int]:
    """The sum of the distances of the voxels of `mask` to its complement, and their number.

    Voxels outside the image are no complement. Where the mask fills the image it is (0, 0).

    Examples:
        >>> sum_depths(np.array([0, 1, 1, 1, 0], bool), [1.0])
        (4.0, 3)
    """
    # The nearest voxel of the complement is never outside the box around the mask, grown by one.
    inside = mask[near(mask, 0, spacing)]
    if inside.all():  # an empty mask, too
        return 0.0, 0
    depth = ndimage.distance_transform_edt(inside, sampling=spacing)
    return float(depth.sum()), int(np.count_nonzero(inside))
