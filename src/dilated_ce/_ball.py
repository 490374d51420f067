"""The structuring element: an exact Euclidean ball as a stack of line segments."""

import math
from functools import lru_cache


@lru_cache(maxsize=256)
def ball_lines(
    radius: float, spacing: tuple[float, ...], shape: tuple[int, ...]
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """The ball as line segments along the last axis, clipped to what fits into `shape`.

    Returns:
        At index h the offsets (dz, dy) >= 0 whose segment has the half-length h, in voxels;
        without those whose segment is as long in the slice dz + 1 of the ball. The ball is the
        union, over all (dz, dy, h), of the boxes [-dz, dz] x {-dy, dy} x [-h, h].

    A voxel at the offset (dz, dy, dx) belongs to the ball if the norm of (dz sz, dy sy, dx sx),
    computed in double precision, is at most `radius`: the very comparison that
    `scipy.ndimage.distance_transform_edt(..., sampling=spacing) <= radius` makes, so that both
    agree to the last bit. (So 3 voxels of 0.1 do not fit into 0.3, as 3 * 0.1 > 0.3 in doubles.)

    Examples:
        >>> ball_lines(2.0, (1.0, 1.0, 1.0), (1, 9, 9))  # a disk: rows of 5, 3, 3, 1 and 1 pixels
        (((0, 2),), ((0, 1),), ((0, 0),))
    """
    lines: list[list[tuple[int, int]]] = [[] for _ in range(shape[2])]
    longest = [-1] * shape[1]  # by dy, of the slice dz + 1
    for dz in reversed(range(shape[0])):
        half_length = shape[2] - 1  # never grows as dy does, so one walk down finds them all
        for dy in range(shape[1]):
            while half_length >= 0 and norm(dz, dy, half_length, spacing) > radius:
                half_length -= 1
            if half_length < 0:
                break
            if half_length > longest[dy]:
                lines[half_length].append((dz, dy))
                longest[dy] = half_length
    while lines and not lines[-1]:
        lines.pop()
    return tuple(tuple(offsets) for offsets in lines)


def norm(dz: int, dy: int, dx: int, spacing: tuple[float, ...]) -> float:
    z, y, x = dz * spacing[0], dy * spacing[1], dx * spacing[2]
    return math.sqrt(z * z + y * y + x * x)
