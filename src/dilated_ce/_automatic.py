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

Where the volumes are those of the image, too, the classes do not have equal shares (`by_size`).
With V voxels in the image and K other classes in it beside the largest, a voxel of the image weighs
1, and GAIN / K sqrt(V / |D_c|) more for every other class c whose dilated mask holds it:

    mean of CE over the image + GAIN/K sum over c of sqrt(|D_c| / V) mean of CE over D_c

That is half way between balanced classes, whose neighbourhoods count the same whatever their size,
and plain cross entropy, in which they count by their size. Equal shares would leave the image at
large, where false positives far from any object lie, the cheaper the smaller the objects are, and
the more classes there are.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from dilated_ce._packing import Packing, count

LEAST = 2.0
GAIN = 2.0


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
    counts = [count(planes, packing, batch)]
    for axis in range(1, planes.ndim):
        pairs = planes.shape[axis] - 1
        faces = planes.narrow(axis, 0, pairs) ^ planes.narrow(axis, 1, pairs)
        if valid is not None:  # the edge of what is not known is no border either
            faces &= valid.narrow(axis, 0, pairs) & valid.narrow(axis, 1, pairs)
        counts.append(count(faces, packing, batch))
    # On the CPU, as not every device has float64.
    volume, *faces_by_axis = torch.stack(counts).cpu().double()
    # The area of a face is that of its voxel over the voxel's size across it.
    surface = torch.zeros_like(volume)
    for faces, size in zip(faces_by_axis, spacing, strict=True):
        surface += faces / size
    finest = min(spacing)
    in_voxels = (axes * volume / surface / finest).clamp(min=LEAST)
    powers = torch.where(volume == volume.amax(1, keepdim=True), math.inf, 2 * in_voxels.log2())
    powers = torch.where(volume > 0, powers.round(), -math.inf)
    # Here, as devices differ in the last bit of a root: 2 sqrt(2) has to hold the voxel (2, 2).
    return [[finest * math.sqrt(2.0**power) for power in image] for image in powers.tolist()]


def by_size(volumes: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    """How much each class counts in each image, (B, C).

    1 for the largest class, whose mask is everywhere, GAIN / K sqrt(v / V) for one of K others.
    Where other masks are everywhere, too, nothing tells which is the largest class's: they count
    alike, and together as much as by that rule.

    Args:
        volumes: of the masks dilated by their automatic radius, (B, C), in voxels.
        dtype: of the result.

    Examples:
        >>> by_size(torch.tensor([[100, 25, 4, 0], [100, 100, 4, 0]]))
        tensor([[1.0000, 0.5000, 0.2000, 0.0000],
                [1.0000, 1.0000, 0.2000, 0.0000]], dtype=torch.float64)
    """
    volumes = volumes.to(dtype)
    whole = volumes.amax(1, keepdim=True)
    there = volumes > 0
    everywhere = there & (volumes == whole)
    gain = GAIN / (there.sum(1, keepdim=True) - 1).clamp(min=1).to(dtype)
    many = everywhere.sum(1, keepdim=True).clamp(min=1).to(dtype)
    shared = (1 + (many - 1) * gain) / many
    return torch.where(everywhere, shared, torch.where(there, gain * (volumes / whole).sqrt(), 0))


def same_radius(
    radii: Sequence[Sequence[float]], packing: Packing
) -> Iterator[tuple[float, dict[int, int]]]:
    """The masks that have the same radius, as (radius, the bits of these masks by plane).

    Args:
        radii: of each class in each image.
        packing: where the masks lie.

    Examples:
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
