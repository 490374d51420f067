"""Exact dilation of packed class masks by a Euclidean ball, in plain PyTorch.

How it works. The masks of the classes are packed into bits: a plane of bytes holds 8 of them (see
`Packing`). The dilation of a set of masks by any structuring element is then a bitwise OR of
shifted planes, for 8 masks at once. The ball is a stack of line segments along the last axis: the
segment at the offset (dz, dy) has the half-length

    h(dz, dy) = floor(sqrt(R^2 - (dz sz)^2 - (dy sy)^2) / sx)

so the horizontal segments are grown one voxel at a time from 0 to R / sx, and each is ORed in at
the offsets that need it. In 3D there are about pi R^2 of these. But the slices of the ball are
nested, wide ones in the middle and small ones at the poles: each slice dz adds to slice dz + 1 only
the segments that are longer, and all slices are put in their places at the end. That takes about
R^2 of them. Nothing is a float, nothing is one-hot, and the result is exact.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dilated_ce._automatic import automatic_radii, same_radius
from dilated_ce._ball import ball_lines, norm
from dilated_ce._labels import check_labels, count_valid
from dilated_ce._packing import MASKS_PER_PLANE, Packing, count, pack, valid_planes
from dilated_ce._validation import AUTOMATIC


def dilated_masks(
    name: str,
    labels: Tensor,
    radii: Sequence[float],
    spacing: Sequence[float],
    ignore_index: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What `morphology.dilated_masks` gives, on any device."""
    valid = check_labels(name, labels, len(radii), ignore_index)
    planes = dilated_planes(labels, valid, radii, spacing)
    # Where a ball covers the image, all voxels share one byte, which compilers do not expect.
    planes = planes.contiguous()
    volumes = count(planes, Packing(len(radii)), len(labels))
    return planes, volumes, count_valid(labels, valid)


def dilated_planes(
    labels: Tensor, valid: Tensor | None, radii: Sequence[float], spacing: Sequence[float]
) -> Tensor:
    """The packed masks (P, *spatial) of checked labels, dilated."""
    packing = Packing(len(radii))
    planes = pack(labels, valid, packing)
    if planes.numel() == 0:
        return planes
    # One to three spatial axes are treated alike as (depth, height, width).
    missing = (1,) * (3 - len(spacing))
    images = planes.view(len(planes), *missing, *planes.shape[1:])
    voxel_size = (1.0,) * len(missing) + tuple(spacing)
    known = None if valid is None else valid_planes(valid, packing)
    if AUTOMATIC in radii:
        each = automatic_radii(planes, packing, len(labels), spacing, known)
        dilated = torch.zeros_like(images)
        for radius, masks in same_radius(each, packing):
            which = list(masks)
            bits = images.new_tensor(list(masks.values())).view(-1, 1, 1, 1)
            dilated[which] |= _dilate(images[which] & bits, radius, voxel_size)
    else:
        dilated = _dilate_by_class(images, packing, radii, voxel_size)
    dilated = dilated.view(planes.shape)
    return dilated if known is None else dilated & known


def _dilate_by_class(
    planes: Tensor, packing: Packing, radii: Sequence[float], spacing: tuple[float, ...]
) -> Tensor:
    """Dilate the masks (P, D, H, W) of every class by its own ball; the input is not changed."""
    if len(set(radii)) == 1:
        return _dilate(planes, radii[0], spacing)
    dilated = torch.zeros_like(planes)
    for plane, bits, radius in packing.groups(radii):
        which = slice(plane, None, packing.planes_per_image)
        dilated[which].bitwise_or_(_dilate(planes[which] & bits, radius, spacing))
    return dilated


def _dilate(planes: Tensor, radius: float, spacing: tuple[float, ...]) -> Tensor:
    """Dilate packed masks (P, D, H, W) by the ball; the input is not changed."""
    depth, height, width = planes.shape[1:]
    if norm(depth - 1, height - 1, width - 1, spacing) <= radius:
        return _present(planes).expand_as(planes)
    lines = ball_lines(radius, spacing, (depth, height, width))
    if len(lines) == 1 and lines[0] == ((0, 0),):
        return planes
    # Slice dz of the ball, without what slice dz + 1 brings: masks dilated by it, in their plane.
    # In place by name, as `a[...] |= b` would also copy the view into itself.
    top = max(dz for offsets in lines for dz, _ in offsets)
    slices = [torch.zeros_like(planes) for _ in range(top + 1)]
    segments = planes.clone()
    for half_length, offsets in enumerate(lines):
        if half_length > 0:
            # `segments` holds the masks dilated by a line of half-length - 1: one more voxel.
            segments[..., half_length:].bitwise_or_(planes[..., :-half_length])
            segments[..., :-half_length].bitwise_or_(planes[..., half_length:])
        for dz, dy in offsets:
            for shift in {dy, -dy}:
                to, source = _overlap(shift, height)
                slices[dz][:, :, to].bitwise_or_(segments[:, :, source])
    # From the poles to the middle: slice dz + 1, moved by one voxel up and down, joins slice dz.
    dilated = slices.pop()
    while slices:
        inner = slices.pop()
        inner.bitwise_or_(dilated)
        inner[:, 1:].bitwise_or_(dilated[:, :-1])
        inner[:, :-1].bitwise_or_(dilated[:, 1:])
        dilated = inner
    return dilated


def _present(planes: Tensor) -> Tensor:
    """The masks that hold a voxel at all, packed: (P, 1, 1, 1). OR has no reduction in torch."""
    axes = (1, 2, 3)
    return sum(  # type: ignore[return-value]
        (planes & (1 << bit)).amax(axes, keepdim=True) for bit in range(MASKS_PER_PLANE)
    )


def _overlap(offset: int, size: int) -> tuple[slice, slice]:
    """The slices (to, from) that shift an axis by `offset` voxels."""
    return slice(max(offset, 0), size + min(offset, 0)), slice(
        max(-offset, 0), size + min(-offset, 0)
    )
