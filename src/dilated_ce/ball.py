"""The structuring elements: exact Euclidean balls as stacks of discs, and discs as rows.

A voxel at the offset (dz, dy, dx) belongs to the ball if the norm of (dz sz, dy sy, dx sx), in
double precision, is at most the radius: the very comparison that
`scipy.ndimage.distance_transform_edt(..., sampling=spacing) <= radius` makes, so that both agree to
the last bit. (So 3 voxels of 0.1 do not fit into 0.3, as 3 * 0.1 > 0.3 in doubles.)
"""

import math
from functools import lru_cache
from typing import NamedTuple

Spacing = tuple[float, float, float]
Shape = tuple[int, int, int]


class Disc(NamedTuple):
    """A slice of balls, made of the disc before it by adding rows."""

    from_nothing: bool  # and not from the disc before
    rows: tuple[tuple[int, int], ...]  # (dy, half-length): rows at -dy and dy, both from -h to h
    slices: tuple["Slices", ...]  # what it is of these balls


class Slices(NamedTuple):
    """Neighbouring slices of a ball, at -last to -first and at first to last, that are one disc."""

    ball: int
    first: int
    last: int
    new: bool  # whether no smaller disc is such a slice of a ball


def norm(dz: int, dy: int, dx: int, spacing: Spacing) -> float:
    """The length of an offset."""
    z, y, x = dz * spacing[0], dy * spacing[1], dx * spacing[2]
    return math.sqrt(z * z + y * y + x * x)


@lru_cache(maxsize=256)
def discs(radii: tuple[float, ...], spacing: Spacing, shape: Shape) -> tuple[Disc, ...]:
    """The discs that are the slices of balls, the smallest first, clipped to `shape`.

    All slices are nested, those of one ball and those of different balls, so that each disc needs
    only the rows that are longer than those of the disc before. Where a slice is that of the ball
    before, too, it is left out: who has the larger ball has the smaller ones.

    Args:
        radii: of the balls, ascending.
        spacing: size of a voxel.
        shape: of the image.

    Examples:
        The ball of a radius of 2 has five slices of three kinds: a voxel at -2 and 2, a disc with
        3 rows at -1 and 1, to which the row of the middle and new ones are added at 0:

        >>> for disc in discs((2.0,), (1.0, 1.0, 1.0), (9, 9, 9)):
        ...     print(disc.rows, *disc.slices)
        ((0, 0),) Slices(ball=0, first=2, last=2, new=True)
        ((0, 1), (1, 1)) Slices(ball=0, first=1, last=1, new=True)
        ((0, 2), (2, 0)) Slices(ball=0, first=0, last=0, new=True)

        Two balls in an image, which is one slice:

        >>> for disc in discs((1.0, 2.0), (1.0, 1.0, 1.0), (1, 9, 9)):
        ...     print(disc.rows, *disc.slices)
        ((0, 1), (1, 0)) Slices(ball=0, first=0, last=0, new=True)
        ((0, 2), (1, 1), (2, 0)) Slices(ball=1, first=0, last=0, new=False)
    """
    uses: dict[tuple[int, ...], list[Slices]] = {}
    smaller: dict[int, tuple[int, ...]] = {}  # the slices of the ball before
    for ball, radius in enumerate(radii):
        for dz in range(shape[0]):
            rows = _half_lengths(radius, dz, spacing, shape)
            if not rows:
                break
            if rows != smaller.get(dz):
                places, new = uses.setdefault(rows, []), dz not in smaller
                if places and places[-1] == (ball, places[-1].first, dz - 1, new):
                    places[-1] = places[-1]._replace(last=dz)
                else:
                    places.append(Slices(ball, dz, dz, new))
            smaller[dz] = rows
    found: list[Disc] = []
    before: tuple[int, ...] = ()
    for rows in sorted(uses, key=lambda rows: (sum(rows) + len(rows), rows)):
        # Rounding may tell two slices apart that are the same disc; neither holds the other then.
        nested = len(before) <= len(rows) and all(
            short <= long for short, long in zip(before, rows, strict=False)
        )
        if not nested:
            before = ()
        longer = tuple(
            (dy, half) for dy, half in enumerate(rows) if dy >= len(before) or half > before[dy]
        )
        found.append(Disc(not nested, longer, tuple(uses[rows])))
        before = rows
    return tuple(found)


def _half_lengths(radius: float, dz: int, spacing: Spacing, shape: Shape) -> tuple[int, ...]:
    """The half-length of the row at each dy >= 0 of the slice dz of a ball."""
    rows = []
    half = shape[2] - 1  # never grows as dy does, so one walk down finds them all
    if radius / spacing[2] < half:
        half = int(radius / spacing[2]) + 1
    for dy in range(shape[1]):
        while half >= 0 and norm(dz, dy, half, spacing) > radius:
            half -= 1
        if half < 0:
            break
        rows.append(half)
    return tuple(rows)
