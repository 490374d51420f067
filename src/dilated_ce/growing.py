"""Exact dilation of class masks by Euclidean balls, for all classes at once.

How it works. Masks are bits, 8 in a byte (`masks.py`), so that an OR of shifted planes dilates 8
masks by any structuring element. Lines and slices get as many empty voxels behind them as the ball
reaches, so that a shift along any axis is a shift of one long row: what leaves a line falls into
the gap. A ball is a stack of discs and a disc is a stack of rows (`ball.py`). Each row is made of
shorter ones, and each disc of the disc before it and the rows that are longer; it goes to every
slice of a ball that it is. Rows are dropped when they are used, or kept where several discs need
them and they are few. Balls of several radii share all of this: each holds the smaller ones, and a
mask takes part in those up to its own radius, by an AND with a byte that lies on the device.
Nothing is a float, nothing is read back from the device, and the result is exact.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dilated_ce.ball import Disc, Shape, Spacing, discs, norm
from dilated_ce.masks import Masks
from dilated_ce.pieces import PIECE, copy, piece, pieces, zeros

WORD = 8  # bytes
# All rows are kept if they take up to so many bytes; else only the last ones, and so many discs are
# made of them while they grow.
KEPT, TOGETHER = 2**26, 8
PILED = 32  # rows of an image: balls that reach further are made of discs, and not piled up
_WIDTHS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, WORD: torch.int64}


def dilate(
    masks: Masks, radii: Sequence[float], larger: Tensor | None, spacing: Sequence[float]
) -> Masks:
    """The masks, each dilated by the ball of its radius.

    Args:
        masks: as they are.
        radii: of the balls, ascending.
        larger: which masks have a larger radius than each but the last, bool
            (len(radii) - 1, B, C); None if there is only one radius.
        spacing: size of a voxel along each spatial axis.
    """
    # All are (depth, height, width), and an image has a depth of 1.
    ones = (1,) * (3 - len(spacing))
    shape: Shape = (*ones, *masks.planes.shape[1:])
    voxel: Spacing = (*(1.0 for _ in ones), *spacing)  # type: ignore[assignment]
    if shape[1] == 1:
        shape, voxel = (1, shape[0], shape[2]), (1.0, voxel[0], voxel[2])
    diagonal = norm(shape[0] - 1, shape[1] - 1, shape[2] - 1, voxel)
    local = tuple(radius for radius in radii if radius < diagonal)
    if shape[0] == 1 and len(local) > 1 and local[-1] <= PILED * voxel[1]:
        # Rows as slices with a height of 1, of which each mask takes those of its own ball.
        shape, voxel = (shape[1], 1, shape[2]), (voxel[1], 1.0, voxel[2])
    planes = masks.planes.view(-1, *shape)
    bits = None if larger is None else masks.select(larger)
    if local:
        dilated = _dilate_by(discs(local, voxel, shape), planes, bits)
    else:
        dilated = torch.zeros_like(planes)
    if len(local) < len(radii):  # the others reach over the whole image
        own = masks.select(masks.volumes() > 0)
        if local:
            assert bits is not None
            own = own & bits[len(local) - 1]
        dilated |= own.to(torch.uint8).view(-1, 1, 1, 1)
    return replace(masks, planes=dilated.view(masks.planes.shape))


def _dilate_by(balls: Sequence[Disc], planes: Tensor, bits: Tensor | None) -> Tensor:
    """Dilate planes (P, D, H, W) by the balls whose slices these discs are.

    Args:
        balls: the discs.
        planes: of the masks.
        bits: the bits of each plane that belong to a larger ball than each, int64 (balls - 1, P);
            None for one ball.
    """
    num_planes, depth, height, width = planes.shape
    reach_x = max(half for disc in balls for _, half in disc.rows)
    reach_y = max(dy for disc in balls for dy, _ in disc.rows)
    reach_z = max(slices.last for disc in balls for slices in disc.slices)
    # Sizes in bytes, a voxel each, and all of them whole words: of a line, a slice and a plane with
    # the empty voxels behind them. `gap` on either side holds what leaves a line.
    gap = _whole_words(reach_x)
    line = _whole_words(width + reach_x)
    area = (height + (reach_y if depth > 1 else 0)) * line
    length = depth * area
    # What a part needs of others, on either side: of lines all that the ball reaches. Slices of a
    # volume are too large for that, and go to others instead; `above` holds what leaves the volume.
    lines = height == 1 and depth > 1
    border = (reach_z if lines else reach_y) * line
    above = 0 if lines else reach_z * area
    source = zeros(planes, (num_planes, gap + border + length + border + gap))
    inner = source.narrow(1, gap + border, length).view(num_planes, depth, -1, line)
    copy(inner[:, :, :height, :width], planes)
    shape = (num_planes, (above + length + above) // WORD)
    if lines:
        dilated = planes.new_empty(shape, dtype=torch.int64)
    else:
        dilated = zeros(planes, shape, torch.int64)
    # The same byte 8 times.
    wide = None if bits is None else (bits * 0x0101_0101_0101_0101)[..., None]
    # Rows that several discs need are kept if there is room for them.
    row_bytes = 2 * (border + gap) + min(length, WORD * PIECE)
    keep = len(balls) > 1 and (reach_x + 1) * row_bytes <= KEPT
    groups = [balls[group] for group in pieces(len(balls), 1 if keep else TOGETHER)]
    # The rows of each group, as (half-length, dy, disc): the short ones first, as they are grown.
    rows_of = [
        sorted((half, dy, at) for at, disc in enumerate(group) for dy, half in disc.rows)
        for group in groups
    ]
    copies = reach_x if keep else min(reach_x, WORD) + len(groups[0])
    copies += reach_z if lines else 0
    halo = 2 * border if lines else 0
    for which, part in _parts(source, length, border + gap, copies, halo):
        part_bytes = part.stop - part.start
        near = source[which].narrow(1, part.start, gap + border + part_bytes + border + gap)
        start, size = part.start // WORD, part_bytes // WORD  # words, as all below
        if lines:
            own = None if wide is None else wide[:, which]
            piled = _pile_up(_grow_rows(near, reach_x, gap), balls, own, line // WORD)
            dilated[which].narrow(1, start, size).copy_(piled.narrow(1, border // WORD, size))
            continue
        kept = list(_grow_rows(near, reach_x, gap)) if keep else None
        disc = dilated.new_zeros(near.shape[0], size)
        for group, wanted in zip(groups, rows_of, strict=True):
            # The first goes on from the disc before, the others are put on top of it.
            several = [disc, *(torch.zeros_like(disc) for _ in group[1:])]
            if group[0].from_nothing:
                disc.zero_()
            rows, grown = iter(kept or _grow_rows(near, reach_x, gap)), -1
            for half, dy, at in wanted:
                while grown < half:
                    grown, row = grown + 1, next(rows)
                for lines_off in {dy, -dy}:
                    first_word = (border + lines_off * line) // WORD
                    several[at].bitwise_or_(row.narrow(1, first_word, size))
            for at, (from_nothing, _, slices) in enumerate(group):
                disc = several[at]
                if at > 0 and not from_nothing:
                    disc.bitwise_or_(several[at - 1])
                for ball, first, last, _ in slices:
                    mine = disc if ball == 0 or wide is None else disc & wide[ball - 1, which]
                    for dz in range(first, last + 1):
                        for slices_off in {dz, -dz}:
                            first_word = (above + slices_off * area) // WORD + start
                            dilated[which].narrow(1, first_word, size).bitwise_or_(mine)
    found = dilated.view(torch.uint8).narrow(1, above, length)
    result = torch.empty_like(planes)
    copy(result, found.view(num_planes, depth, -1, line)[:, :, :height, :width])
    return result


def _pile_up(
    rows: Iterator[Tensor], balls: Sequence[Disc], wide: Tensor | None, line: int
) -> Tensor:
    """Words (P, n) dilated by the balls whose slices are single rows.

    The k-th slice has to move by k lines, up and down. Pairs of them are put together first, and
    then pairs of pairs: slice 2 j + 1 moves by one line onto slice 2 j, and with it by 2 j. So it
    comes to 2 j - 1 lines, too, where it does no harm: slices are nested, and it lies in slice
    2 j - 1, which comes there anyway.

    Args:
        rows: the words, dilated by rows of the half-lengths 0, 1, 2 ...
        balls: as discs of one row each.
        wide: the bits that belong to each ball but the first, (balls - 1, P, 1); None for one ball.
        line: words from a line to the next.
    """
    depth = 1 + max(slices.last for disc in balls for slices in disc.slices)
    grown, row = 0, next(rows)
    stack = row.new_empty(depth, *row.shape)
    together = piece(stack) // row.numel()
    for _, ((_, half),), slices in balls:
        while grown < half:
            grown, row = grown + 1, next(rows)
        for ball, first, last, new in slices:
            own: Any = -1 if ball == 0 or wide is None else wide[ball - 1]
            mine = row if new else row & own
            for part in pieces(last + 1 - first, together):
                to = stack[first : last + 1][part]
                if new:
                    torch.bitwise_and(mine.expand_as(to), own, out=to)
                else:
                    to.bitwise_or_(mine)
    while len(stack) > 1:
        even, odd = stack[: len(stack) - 1 : 2], stack[1::2]
        size = stack.shape[2] - line
        for part in pieces(len(odd), together):
            for here, there in ((line, 0), (0, line)):
                moved = odd[part].narrow(2, there, size)
                even[part].narrow(2, here, size).bitwise_or_(moved)
        stack, line = stack[::2], 2 * line
    return stack[0]


def _parts(
    source: Tensor, length: int, border: int, copies: int, halo: int
) -> Iterator[tuple[slice, slice]]:
    """Parts of planes to work on at a time: several of these, or an equal share of one.

    Args:
        source: of the planes.
        length: of a plane, in bytes.
        border: bytes that a part needs on either side, and which it should be longer than.
        copies: how many copies of a part are made.
        halo: bytes around a part that are worked on, too.

    Yields:
        Which planes, and which bytes of each.
    """
    most = WORD * piece(source)  # bytes of a part, on all its planes
    if source.device.type != "cpu":
        most //= WORD * (copies + 3)
    together = max(1, most // (min(length, max(8 * border, WORD)) + halo))
    for which in pieces(source.shape[0], together):
        planes = which.stop - which.start
        number = -(-length * planes // max(most - halo * planes, most // 2))
        for part in pieces(length, _whole_words(-(-length // number))):
            yield which, part


def _grow_rows(near: Tensor, reach: int, gap: int) -> Iterator[Tensor]:
    """Bytes (P, n) dilated by rows of the half-lengths 0, 1, 2 ... `reach`: words, without gaps.

    Two rows of the half-length h - a, moved apart by a each way, make one of h if a is at most
    h - a. Moves by 2, 4 and 8 bytes are moves by one number that is as wide. As many bytes as the
    half-length are wrong at both ends, as they lack neighbours: they lie in the gap.
    """
    rows = deque([near], maxlen=WORD)
    for half in range(reach + 1):
        if half > 0:
            move = next(move for move in (8, 4, 2, 1) if 2 * move <= half or move == 1)
            row = torch.empty_like(near, memory_format=torch.contiguous_format)
            shorter, longer = rows[-move].view(_WIDTHS[move]), row.view(_WIDTHS[move])
            inner = longer.shape[1] - 2
            for part in pieces(inner, piece(near) // near.shape[0]):
                count = part.stop - part.start
                to = longer.narrow(1, part.start + 1, count)
                right = shorter.narrow(1, part.start + 2, count)
                torch.bitwise_or(shorter.narrow(1, part.start, count), right, out=to)
                if half == 1:
                    to.bitwise_or_(shorter.narrow(1, part.start + 1, count))
            rows.append(row)
        yield rows[-1].narrow(1, gap, near.shape[1] - 2 * gap).view(torch.int64)


def _whole_words(size: int) -> int:
    """The next multiple of a word."""
    return -(-size // WORD) * WORD
