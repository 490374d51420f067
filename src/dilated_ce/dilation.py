"""Exact dilation of class masks by Euclidean balls, for all classes at once.

How it works. Masks are bits, 8 in a byte (`masks.py`), so that an OR of shifted planes dilates 8
masks by any structuring element. Lines and slices get as many empty voxels behind them as the ball
reaches, so that a shift along any axis is a shift of one long row: what leaves a line falls into
the gap. A ball is a stack of discs and a disc is a stack of rows (`ball.py`). Each row is made of
shorter ones, and each disc of the disc before it and the rows that are longer; it goes to every
slice of a ball that it is. Balls of several radii share all of this: each holds the smaller ones,
and a mask takes part in those up to its own radius, by an AND with a byte that lies on the device.
Nothing is a float, nothing is read back from the device, and the result is exact.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from dilated_ce.ball import Disc, Shape, Spacing, discs, norm
from dilated_ce.masks import Masks, unpack
from dilated_ce.operators import operator
from dilated_ce.options import (
    Radius,
    as_radii,
    as_spacing,
    check_ignore_index,
    check_num_classes,
)
from dilated_ce.pieces import copy, piece, pieces, zeros
from dilated_ce.radius import choose_radii
from dilated_ce.target import as_labels, check_labels, on_host

WORD = 8  # bytes
# Bytes that the bits of the images at hand may take, with all copies; beyond it they go in turns.
SCRATCH = 2**29
_WIDTHS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, WORD: torch.int64}


def dilate_labels(
    labels: Tensor,
    radius: Radius,
    *,
    num_classes: int,
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """Dilate the mask of every class by the Euclidean ball of the given radius.

    With M_c = {x : labels(x) = c} the mask of class c in one image, a voxel x belongs to the
    dilated mask D_c if and only if the Euclidean distance from x to M_c is at most `radius`. This
    is exact, for any spacing, and holds in each image on its own. A class that is absent from an
    image has an empty dilated mask there. "At most" is decided in double precision, as by
    `scipy.ndimage.distance_transform_edt(..., sampling=spacing) <= radius`: 3 voxels of 0.8 mm do
    not fit into 2.4, as 3 * 0.8 > 2.4 in doubles. Where that matters, give the radius a margin.

    The paper (arXiv:2412.06045) dilates the class masks; the exact ball, its physical units and the
    treatment of ignored voxels are our choices.

    Args:
        labels: class indices (B, *spatial), any integer dtype, 1 to 3 spatial axes; without a
            channel axis, and with a batch axis, so that one 2D image is (1, H, W).
        radius: >= 0, `math.inf`, or one such number per class; in the units of `spacing`.
        num_classes: number of classes C, background included.
        spacing: size of a voxel along each spatial axis, in the order of the axes; 1 when None.
        ignore_index: label of the voxels that belong to no mask: they start no dilation and no
            dilated mask holds them. None when every voxel has a class.

    Returns:
        bool tensor (B, C, *spatial).

    Raises:
        TypeError: labels that are not integers, or another argument of the wrong type.
        ValueError: a label outside 0 ... C - 1 (on CUDA a device-side assertion), a number out of
            its range, or shapes and lengths that do not match.

    Examples:
        >>> import torch
        >>> from dilated_ce import dilate_labels
        >>> labels = torch.tensor([[0, 0, 0, 0, 1, 0, 0]])
        >>> dilate_labels(labels, 1, num_classes=2).int()
        tensor([[[1, 1, 1, 1, 1, 1, 1],
                 [0, 0, 0, 1, 1, 1, 0]]], dtype=torch.int32)

        With voxels of 0.5 mm a radius of 1 mm reaches two voxels:

        >>> dilate_labels(labels, 1.0, num_classes=2, spacing=[0.5])[0, 1].int()
        tensor([0, 0, 1, 1, 1, 1, 1], dtype=torch.int32)
    """
    labels = as_labels("labels", labels)
    check_num_classes(num_classes)
    check_ignore_index(ignore_index)
    radii = as_radii(radius, num_classes)
    voxel_size = as_spacing(spacing, labels.ndim - 1)
    found, _, _ = dilate_masks("labels", labels, num_classes, radii, voxel_size, ignore_index)
    return unpack(found, labels.shape[0], num_classes, labels.shape[1:])


def _fake_dilated(
    name: str,
    labels: Tensor,
    num_classes: int,
    radii: Sequence[float] | None,
    spacing: Sequence[float],
    ignore_index: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    batch = labels.shape[0]
    size = Masks(labels, batch, num_classes).num_planes * math.prod(labels.shape[1:])
    return (
        labels.new_empty((size,), dtype=torch.uint8),
        labels.new_empty((batch, num_classes), dtype=torch.int64),
        labels.new_empty((batch,), dtype=torch.int64),
    )


@operator(
    "dilate_masks(str name, Tensor labels, int num_classes, float[]? radii, float[] spacing, "
    "int? ignore_index) -> (Tensor, Tensor, Tensor)",
    _fake_dilated,
)
def dilate_masks(
    name: str,
    labels: Tensor,
    num_classes: int,
    radii: Sequence[float] | None,
    spacing: Sequence[float],
    ignore_index: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The dilated class masks as bits, and what the weights are made of.

    Args:
        name: of the labels, for the message if one of them is out of range.
        labels: class indices (B, *spatial), which are checked here; the rest is taken as checked.
        num_classes: number of classes C.
        radii: one per class; or as many for each of several equal runs of images; or None: each
            mask has its own, by `radius.choose_radii`.
        spacing: size of a voxel along each spatial axis.
        ignore_index: label of the voxels that belong to no mask, or None.

    Returns:
        The planes of the dilated `Masks` as one row, since exporters take a number of planes for
        one that is 1 or is not; their volumes, int64 (B, C), in voxels; and the number of valid
        voxels of each image, int64 (B,).
    """
    layout = Masks.empty(labels[:0], num_classes)
    balls, larger = None, None
    if radii is not None:
        balls, larger = _choose_given(radii, labels, num_classes)
    # The bits, their faces and copies with gaps: about so many bytes for an image.
    need = math.prod(labels.shape[1:]) * layout.depth * (labels.ndim + 3)
    together = layout.lanes * max(1, SCRATCH // max(need, 1))
    parts = []
    for images in pieces(labels.shape[0], together):
        own = None if larger is None else larger[:, images]
        masks, valid = _checked_masks(name, labels[images], num_classes, ignore_index)
        parts.append(_dilate_images(masks, valid, balls, own, spacing))
    if len(parts) == 1:
        return parts[0]
    if not parts:
        nothing = labels.new_empty((0, num_classes), dtype=torch.int64)
        return layout.planes.flatten(), nothing, nothing.sum(1)
    planes, volumes, sizes = zip(*parts, strict=True)
    return torch.cat(planes), torch.cat(volumes), torch.cat(sizes)


def _choose_given(
    radii: Sequence[float], labels: Tensor, num_classes: int
) -> tuple[tuple[float, ...], Tensor | None]:
    """The different radii, ascending, and which masks of (B, C) have a larger one than each."""
    balls = tuple(sorted(set(radii)))
    if len(balls) == 1:
        return balls, None
    # By single numbers, as an accelerator would wait for a list.
    place = torch.arange(len(radii), device=labels.device)
    ball = torch.zeros_like(place)
    for index, radius in enumerate(radii):
        ball += balls.index(radius) * (place == index)
    runs = ball.view(-1, num_classes)
    ball = runs.repeat_interleave(labels.shape[0] // len(runs), 0)
    return balls, torch.arange(len(balls) - 1, device=labels.device)[:, None, None] < ball


def _dilate_images(
    masks: Masks,
    valid: Tensor | None,
    balls: tuple[float, ...] | None,
    larger: Tensor | None,
    spacing: Sequence[float],
) -> tuple[Tensor, Tensor, Tensor]:
    """What `dilate_masks` returns, for so many images as there is room for."""
    if valid is None:
        size = math.prod(masks.planes.shape[1:])
        sizes = torch.full((masks.batch,), size, device=masks.planes.device)
    else:
        sizes = valid.flatten(1).sum(1)
    if masks.planes.numel() == 0:
        volumes = sizes.new_zeros((masks.batch, masks.num_classes))
        return masks.planes.flatten(), volumes, sizes
    if balls is None:
        balls, larger = choose_radii(masks, spacing)
    dilated = dilate(masks, balls, larger, spacing).known()
    return dilated.planes.flatten(), dilated.volumes(), sizes


def _checked_masks(
    name: str, labels: Tensor, num_classes: int, ignore_index: int | None
) -> tuple[Masks, Tensor | None]:
    """The masks of the labels, and where these are valid (bool); None if all are."""
    among_classes = ignore_index is not None and 0 <= ignore_index < num_classes
    if on_host(labels) and not among_classes:
        try:  # in the usual case there is nothing to check, and looking up the classes tells
            return Masks.of(labels, None, num_classes), None
        except IndexError:
            pass
    classes, valid = check_labels(name, labels, num_classes, ignore_index)
    return Masks.of(classes, valid, num_classes), valid


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
    # All are (depth, height, width). An image has a depth of 1; but where it has several balls, its
    # rows are the slices of which each mask takes those of its own ball, and its height is 1.
    ones = (1,) * (3 - len(spacing))
    shape: Shape = (*ones, *masks.planes.shape[1:])
    voxel: Spacing = (*(1.0 for _ in ones), *spacing)  # type: ignore[assignment]
    if larger is not None and len(ones) == 1:
        shape, voxel = (shape[1], 1, shape[2]), (voxel[1], 1.0, voxel[2])
    planes = masks.planes.view(-1, *shape)
    bits = None if larger is None else masks.select(larger)
    diagonal = norm(shape[0] - 1, shape[1] - 1, shape[2] - 1, voxel)
    local = tuple(radius for radius in radii if radius < diagonal)
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
    # Bytes, all of them whole words. `gap` on either side holds what leaves a line.
    gap = _whole_words(reach_x)
    line = _whole_words(width + reach_x)
    area = (height + (reach_y if depth > 1 else 0)) * line
    length = depth * area
    # What a part needs of others, on either side: of lines all that the ball reaches. Slices of a
    # volume are too large for that, and go to others instead; `room` holds what leaves the volume.
    lines = height == 1 and depth > 1
    border = (reach_z if lines else reach_y) * line
    room = 0 if lines else reach_z * area // WORD
    source = zeros(planes, (num_planes, gap + border + length + border + gap))
    inner = source.narrow(1, gap + border, length).view(num_planes, depth, -1, line)
    copy(inner[:, :, :height, :width], planes)
    made = (num_planes, room + length // WORD + room)
    if lines:
        dilated = planes.new_empty(made, dtype=torch.int64)
    else:
        dilated = zeros(planes, made, torch.int64)
    # The same byte 8 times.
    wide = None if bits is None else (bits * 0x0101_0101_0101_0101)[..., None]
    halo = 2 * border if lines else 0
    for which, part in _parts(source, length, border + gap, reach_x + lines * reach_z, halo):
        near = source[which].narrow(
            1, part.start, gap + border + part.stop - part.start + border + gap
        )
        rows = [
            row.narrow(1, gap, row.shape[1] - 2 * gap).view(torch.int64)
            for row in _grow_rows(near, reach_x)
        ]
        start, size = part.start // WORD, (part.stop - part.start) // WORD
        if lines:
            own = None if wide is None else wide[:, which]
            piled = _pile_up(rows, balls, own, line // WORD)
            dilated[which].narrow(1, start, size).copy_(piled.narrow(1, border // WORD, size))
            continue
        disc = dilated.new_zeros(near.shape[0], size)
        for from_nothing, longer, slices in balls:
            if from_nothing:
                disc.zero_()
            for dy, half in longer:
                for shift in {dy, -dy}:
                    disc.bitwise_or_(rows[half].narrow(1, (border + shift * line) // WORD, size))
            for ball, first, last, _ in slices:
                mine = disc if ball == 0 or wide is None else disc & wide[ball - 1, which]
                for dz in range(first, last + 1):
                    for shift in {dz, -dz}:
                        to = dilated[which].narrow(1, room + start + shift * area // WORD, size)
                        to.bitwise_or_(mine)
    found = dilated.view(torch.uint8).narrow(1, room * WORD, length)
    result = torch.empty_like(planes)
    copy(result, found.view(num_planes, depth, -1, line)[:, :, :height, :width])
    return result


def _pile_up(
    rows: Sequence[Tensor], balls: Sequence[Disc], wide: Tensor | None, line: int
) -> Tensor:
    """Words (P, n) dilated by the balls whose slices are single rows.

    The k-th slice has to move by k lines, up and down. As each slice holds those behind it, pairs
    of them can be put together first, and then pairs of pairs.

    Args:
        rows: the words, dilated by rows of the half-lengths 0, 1, 2 ...
        balls: as discs of one row each.
        wide: the bits that belong to each ball but the first, (balls - 1, P, 1); None for one ball.
        line: words from a line to the next.
    """
    depth = 1 + max(slices.last for disc in balls for slices in disc.slices)
    stack = rows[0].new_empty(depth, *rows[0].shape)
    together = piece(stack) // rows[0].numel()
    for _, ((_, half),), slices in balls:
        for ball, first, last, new in slices:
            own: Any = -1 if ball == 0 or wide is None else wide[ball - 1]
            mine = rows[half] if new else rows[half] & own
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
    source: Tensor, length: int, border: int, reach: int, halo: int
) -> Iterator[tuple[slice, slice]]:
    """Parts of planes to work on at a time: several of these, or an equal share of one.

    Args:
        source: of the planes.
        length: of a plane, in bytes.
        border: bytes that a part needs on either side, and which it should be longer than.
        reach: the number of copies of a part that are made.
        halo: bytes around a part that are worked on, too.
    """
    room = WORD * piece(source)
    if source.device.type != "cpu":
        room //= WORD * (reach + 3)
    together = max(1, room // (min(length, max(8 * border, WORD)) + halo))
    for which in pieces(source.shape[0], together):
        planes = which.stop - which.start
        number = -(-length * planes // max(room - halo * planes, room // 2))
        for part in pieces(length, _whole_words(-(-length // number))):
            yield which, part


def _grow_rows(near: Tensor, reach: int) -> list[Tensor]:
    """Bytes (P, n) dilated by rows of the half-lengths 0 to `reach`.

    Two rows of the half-length h - a, moved apart by a each way, make one of h if a is at most
    h - a. Moves by 2, 4 and 8 bytes are moves by one number that is as wide. As many bytes as the
    half-length are wrong at both ends, as they lack neighbours.
    """
    rows = [near]
    for half in range(1, reach + 1):
        move = next(move for move in (8, 4, 2, 1) if 2 * move <= half or move == 1)
        row = torch.empty_like(near, memory_format=torch.contiguous_format)
        shorter, longer = rows[half - move].view(_WIDTHS[move]), row.view(_WIDTHS[move])
        inner = longer.shape[1] - 2
        for part in pieces(inner, piece(near) // near.shape[0]):
            count = part.stop - part.start
            to = longer.narrow(1, part.start + 1, count)
            right = shorter.narrow(1, part.start + 2, count)
            torch.bitwise_or(shorter.narrow(1, part.start, count), right, out=to)
            if half == 1:
                to.bitwise_or_(shorter.narrow(1, part.start + 1, count))
        rows.append(row)
    return rows


def _whole_words(size: int) -> int:
    """The next multiple of a word."""
    return -(-size // WORD) * WORD
