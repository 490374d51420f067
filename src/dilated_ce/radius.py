"""The radius of each mask: given by the user, or found from the labels (ours).

The adaptive rule takes a class as far as its objects are thick: the radius of the ball with the
same volume over surface,

    R = d |M| / |dM|        d: number of axes with more than one voxel

|dM| is the area of the voxel faces that part the class from others; the border of the image is
none. Faces overstate what is round: R is 0.8 r for a disc of radius r, 0.7 r for a ball; it is the
width of a band in 2D. R is kept between LEAST and MOST voxels of the finest axis and rounded to a
power of sqrt 2 of them, so that all masks share the balls of one short ladder. No border is surer
than LEAST voxels; and the cost of the ladder, whatever the labels, is that of its largest ball.
The rule is the same for all classes, and for a class that fills its image R is the largest.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dilated_ce.masks import BITS, Masks, count_bits, countable, long_axes
from dilated_ce.pieces import copy, small_parts, zeros

LEAST, MOST = 2.0, 8.0  # voxels
STEPS = round(2 * math.log2(MOST / LEAST))  # of the ladder, each a factor of sqrt 2


def ladder(finest: float) -> tuple[float, ...]:
    """The radii to choose from, in the units of the spacing.

    Args:
        finest: the spacing of the finest axis, of those with more than one voxel.

    Examples:
        >>> [f"{radius:.2f}" for radius in ladder(1.0)]
        ['2.00', '2.83', '4.00', '5.66', '8.00']
    """
    return tuple(finest * math.sqrt(LEAST**2 * 2**step) for step in range(STEPS + 1))


def choose_radii(masks: Masks, spacing: Sequence[float]) -> tuple[tuple[float, ...], Tensor]:
    """The ladder, and which rung of it each mask takes; nothing waits for the device.

    Args:
        masks: of the labels.
        spacing: size of a voxel along each spatial axis.

    Returns:
        The radii, ascending, and bool (len(radii) - 1, B, C): which masks have a larger one than
        each of them.
    """
    planes = masks.planes
    size = planes[0].numel()
    bytes_ = zeros(planes, (planes.ndim, planes.shape[0], countable(size)))
    counted = bytes_.narrow(2, 0, size).view(planes.ndim, *planes.shape)
    copy(counted[0], planes)  # the masks, and then their faces by axis
    for axis in range(1, planes.ndim):
        faces = counted[axis].narrow(axis, 0, planes.shape[axis] - 1)
        for face, one, other in small_parts(faces, *_neighbours(planes, axis)):
            torch.bitwise_xor(one, other, out=face)
        if masks.inside is not None:  # the edge of what is not known is no border
            for face, one, other in small_parts(faces, *_neighbours(masks.inside, axis)):
                face.bitwise_and_(one).bitwise_and_(other)
    by_bit = count_bits(bytes_.flatten(0, 1))
    by_bit = by_bit.to(torch.float32, memory_format=torch.contiguous_format)
    counts = masks.by_image(by_bit.view(planes.ndim, -1, BITS))
    sides = planes.shape[1:]
    long = [voxel for voxel, side in zip(spacing, sides, strict=True) if side > 1]
    finest = min(long or spacing)
    # Of the surface as if all faces were those of the first axis, which lie `thick` voxels apart.
    thick = spacing[0] / finest
    surface = counts[1]
    for area, voxel in zip(counts[2:], spacing[1:], strict=True):
        surface = surface.add(area, alpha=spacing[0] / voxel)
    volume = counts[0] * (long_axes(sides) * thick)
    # Half-way to the next rung, on the scale of logarithms.
    first = math.log2(LEAST) + 0.25
    steps = torch.arange(first, first + STEPS / 2, 0.5, dtype=counts.dtype, device=planes.device)
    return ladder(finest), volume >= 2 ** steps[:, None, None] * surface


def _neighbours(planes: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Every voxel but the last ones along an axis, and the voxel behind each."""
    pairs = planes.shape[axis] - 1
    return planes.narrow(axis, 0, pairs), planes.narrow(axis, 1, pairs)
