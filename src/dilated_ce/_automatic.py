"""`radius="auto"`: a radius for each class of each image, from the labels alone.

The largest class of an image has the whole image as its neighbourhood: its radius is infinite. The
radius of any other class is that of the ball with the same volume over surface, or LEAST voxels if
that is more,

    R = max(d |M| / |dM|, LEAST s)        d: number of axes, s: the finest voxel size

in the units of `spacing`, rounded to s times a power of sqrt(2), so that images share the work.
|dM| is the area of the voxel faces that part the class from others; the border of the image is
none. Faces overstate what is round: R is 0.8 r for a disc of radius r, 0.7 r for a ball. It is the
width of a band in 2D. So a class reaches as far as its objects are thick, whatever their number.
No border is surer than a voxel or two, so R does not fall below LEAST voxels for small objects.

Where the volumes are those of the image, too, the largest class has half of the image's weight and
the others share the other half (`halves`): the loss of an image is

    1/2 mean of CE over the image + 1/2 mean, over the other classes c, of the mean of CE over D_c

With two classes that is what equal shares give. With more of them, equal shares would make the
image at large, where false positives far from any object lie, the cheaper the more classes there
are.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dilated_ce._packing import Packing, count

LEAST = 2.0


def automatic_radii(
    planes: Tensor, packing: Packing, batch: int, spacing: Sequence[float], valid: Tensor | None
) -> list[list[float]]:
    """The radius of each class in each image, B times C; 0 for a class that is not there.

    On a GPU the host waits here, for what the radii are.

    Args:
        planes: packed masks (P, *spatial).
        packing: how they are packed.
        batch: number of images B.
        spacing: size of a voxel along each spatial axis.
        valid: the bits of the voxels that count, (P, *spatial), as `valid_planes` gives them; None
            if all do.
    """
    # A slice is the same in 2D and as the only one of a volume.
    axes = sum(side > 1 for side in planes.shape[1:])
    surface = torch.zeros(batch, packing.num_classes, dtype=torch.float64, device=planes.device)
    for axis, size in enumerate(spacing, start=1):
        pairs = planes.shape[axis] - 1
        faces = planes.narrow(axis, 0, pairs) ^ planes.narrow(axis, 1, pairs)
        if valid is not None:  # the edge of what is not known is no border either
            faces &= valid.narrow(axis, 0, pairs) & valid.narrow(axis, 1, pairs)
        surface += count(faces, packing, batch) / size  # a face is its voxel over its size across
    volume = count(planes, packing, batch)
    finest = min(spacing)
    in_voxels = (axes * volume / surface / finest).clamp(min=LEAST)
    powers = torch.where(volume == volume.amax(1, keepdim=True), math.inf, 2 * in_voxels.log2())
    powers = torch.where(volume > 0, powers.round(), -math.inf)
    # Here, as devices differ in the last bit of a root: 2 sqrt(2) has to hold the voxel (2, 2).
    return [[finest * math.sqrt(2.0**power) for power in image] for image in powers.tolist()]


def halves(volumes: Tensor) -> Tensor:
    """How much each class counts in each image, 1 on average over its classes: float64 (B, C).

    Args:
        volumes: of the masks dilated by their automatic radius, (B, C), in voxels.

    Example:
        >>> halves(torch.tensor([[100, 20, 10, 0]]))
        tensor([[1.5000, 0.7500, 0.7500, 0.0000]], dtype=torch.float64)
    """
    there = volumes > 0
    # The mask of the largest class has become the whole image, and others may have, too.
    everywhere = there & (volumes == volumes.amax(1, keepdim=True))
    others = there & ~everywhere
    num, num_everywhere, num_others = (
        mask.sum(1, keepdim=True).double() for mask in (there, everywhere, others)
    )
    half = torch.where(everywhere, num / (2 * num_everywhere), num / (2 * num_others))
    return torch.where(num_others > 0, half, 1) * there


def same_radius(
    radii: Sequence[Sequence[float]], packing: Packing
) -> Iterator[tuple[float, dict[int, int]]]:
    """The masks that have the same radius, as (radius, the bits of these masks by plane).

    Args:
        radii: of each class in each image.
        packing: where the masks lie.

    Example:
        >>> list(same_radius([(math.inf, 2.0), (math.inf, 4.0)], Packing(2)))
        [(inf, {0: 5}), (2.0, {0: 2}), (4.0, {0: 8})]
    """
    found: dict[float, dict[int, int]] = {}
    for image, of_image in enumerate(radii):
        group, lane = divmod(image, packing.images_per_plane)
        for class_index, radius in enumerate(of_image):
            place, bit = packing.place(lane, class_index)
            plane = group * packing.planes_per_image + place
            bits = found.setdefault(radius, {})
            bits[plane] = bits.get(plane, 0) | bit
    yield from found.items()
