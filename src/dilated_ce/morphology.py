"""Exact dilation of every class of a label map by a Euclidean ball, all classes at once.

How it works. The classes that a voxel belongs to are packed into bits: one byte holds 8 classes,
so C classes take ceil(C / 8) planes of bytes. The dilation of a set of masks by any structuring
element is then a bitwise OR of shifted planes, for all classes at once. The ball is a stack of
line segments along the last axis: the segment at the offset (dz, dy) has the half-length

    floor(sqrt(R^2 - (dz sz)^2 - (dy sy)^2) / sx)

so the horizontal segments are grown one voxel at a time from 0 to R / sx, and each is ORed in at
the offsets that need it. Nothing is a float, nothing is one-hot, and the result is exact.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from dilated_ce._validation import (
    Radius,
    as_labels,
    as_radii,
    as_spacing,
    check_ignore_index,
    check_labels,
    check_num_classes,
)

CLASSES_PER_PLANE = 8


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

    The paper (arXiv:2412.06045) dilates the class masks; the exact ball, its physical units and
    the treatment of ignored voxels are our choices.

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
        ValueError: a label outside 0 ... C - 1 (on CUDA and in compiled code a device-side
            assertion), a number out of its range, or shapes and lengths that do not match.

    Example:
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
    valid = check_labels("labels", labels, num_classes, ignore_index)
    planes = dilated_planes(labels, valid, radii, voxel_size)
    bits = 1 << (torch.arange(num_classes, device=labels.device) % CLASSES_PER_PLANE)
    plane_of_class = torch.arange(num_classes, device=labels.device) // CLASSES_PER_PLANE
    masks = planes[plane_of_class] & bits.to(torch.uint8).view(-1, *[1] * labels.ndim)
    return masks.bool().movedim(0, 1).contiguous()


def dilated_planes(
    labels: Tensor, valid: Tensor | None, radii: tuple[float, ...], spacing: tuple[float, ...]
) -> Tensor:
    """Dilated class masks as packed bits; the arguments are taken as checked.

    Args:
        labels: class indices (B, *spatial).
        valid: bool (B, *spatial), False at ignored voxels; None if there are none.
        radii: one radius per class.
        spacing: one voxel size per spatial axis.

    Returns:
        uint8 (ceil(C / 8), B, *spatial): bit c % 8 of plane c // 8 tells whether a voxel belongs
        to the dilated mask of class c.
    """
    planes = _pack(labels, valid, len(radii))
    # One to three spatial axes are treated alike as (depth, height, width).
    missing = (1,) * (3 - len(spacing))
    volume = planes.view(*planes.shape[:2], *missing, *planes.shape[2:])
    voxel_size = (1.0,) * len(missing) + spacing
    if len(set(radii)) == 1:
        dilated = _dilate(volume, radii[0], voxel_size)
    else:
        dilated = torch.zeros_like(volume)
        for radius in set(radii):
            for plane, byte in _bits_of(radius, radii).items():
                dilated[plane] |= _dilate(volume[plane : plane + 1] & byte, radius, voxel_size)[0]
    dilated = dilated.view(planes.shape)
    return dilated if valid is None else dilated * valid


def _pack(labels: Tensor, valid: Tensor | None, num_classes: int) -> Tensor:
    """Class masks as packed bits: uint8 (ceil(C / 8), B, *spatial)."""
    # An ignored label may wrap into the range of the classes here; `valid` takes it out below.
    index = labels.to(torch.uint8 if num_classes <= 256 else torch.int32)
    bit = torch.ones((), dtype=torch.uint8, device=labels.device) << (index & 7).to(torch.uint8)
    if valid is not None:
        bit = bit * valid
    if num_classes <= CLASSES_PER_PLANE:
        return bit[None].contiguous()
    plane_of_voxel = index >> 3
    num_planes = math.ceil(num_classes / CLASSES_PER_PLANE)
    return torch.stack([bit * (plane_of_voxel == plane) for plane in range(num_planes)])


def _bits_of(radius: float, radii: tuple[float, ...]) -> dict[int, int]:
    """By plane the bits of the classes with this radius; planes without one are left out."""
    selected: dict[int, int] = {}
    for index, class_radius in enumerate(radii):
        if class_radius == radius:
            plane, bit = divmod(index, CLASSES_PER_PLANE)
            selected[plane] = selected.get(plane, 0) | 1 << bit
    return selected


def _dilate(planes: Tensor, radius: float, spacing: tuple[float, ...]) -> Tensor:
    """Dilate packed masks (P, B, D, H, W) by the ball; the input is not changed."""
    depth, height, width = planes.shape[2:]
    if planes.numel() == 0:
        return planes
    if _norm(depth - 1, height - 1, width - 1, spacing) <= radius:
        return _present(planes).expand_as(planes)
    lines = ball_lines(radius, spacing, (depth, height, width))
    if len(lines) == 1 and lines[0] == ((0, 0),):
        return planes
    dilated = torch.zeros_like(planes)
    segments = planes.clone()
    for half_length, offsets in enumerate(lines):
        if half_length > 0:
            # `segments` holds the masks dilated by a line of half-length - 1: one more voxel.
            segments[..., half_length:] |= planes[..., :-half_length]
            segments[..., :-half_length] |= planes[..., half_length:]
        for dz, dy in offsets:
            for sign_z in {dz, -dz}:
                for sign_y in {dy, -dy}:
                    to_z, from_z = _overlap(sign_z, depth)
                    to_y, from_y = _overlap(sign_y, height)
                    dilated[:, :, to_z, to_y] |= segments[:, :, from_z, from_y]
    return dilated


def _present(planes: Tensor) -> Tensor:
    """The classes present in each image, packed: (P, B, 1, 1, 1). OR has no reduction in torch."""
    axes = (2, 3, 4)
    return sum(  # type: ignore[return-value]
        (planes & (1 << bit)).amax(axes, keepdim=True) for bit in range(CLASSES_PER_PLANE)
    )


def _overlap(offset: int, size: int) -> tuple[slice, slice]:
    """The slices (to, from) that shift an axis by `offset` voxels."""
    return slice(max(offset, 0), size + min(offset, 0)), slice(
        max(-offset, 0), size + min(-offset, 0)
    )


@lru_cache(maxsize=256)
def ball_lines(
    radius: float, spacing: tuple[float, ...], shape: tuple[int, ...]
) -> tuple[tuple[tuple[int, int], ...], ...]:
    """The ball as line segments along the last axis, clipped to what fits into `shape`.

    Returns:
        At index h the offsets (dz, dy) >= 0 whose segment has the half-length h, in voxels.

    A voxel at the offset (dz, dy, dx) belongs to the ball if the norm of (dz sz, dy sy, dx sx),
    computed in double precision, is at most `radius`: the very comparison that
    `scipy.ndimage.distance_transform_edt(..., sampling=spacing) <= radius` makes, so that both
    agree to the last bit. (So 3 voxels of 0.1 do not fit into 0.3, as 3 * 0.1 > 0.3 in doubles.)

    Example:
        >>> ball_lines(2.0, (1.0, 1.0, 1.0), (1, 9, 9))  # a disk: rows of 5, 3, 3, 1 and 1 pixels
        (((0, 2),), ((0, 1),), ((0, 0),))
    """
    lines: list[list[tuple[int, int]]] = [[] for _ in range(shape[2])]
    for dz in range(shape[0]):
        half_length = shape[2] - 1  # never grows as dy does, so one walk down finds them all
        for dy in range(shape[1]):
            while half_length >= 0 and _norm(dz, dy, half_length, spacing) > radius:
                half_length -= 1
            if half_length < 0:
                break
            lines[half_length].append((dz, dy))
    while lines and not lines[-1]:
        lines.pop()
    return tuple(tuple(offsets) for offsets in lines)


def _norm(dz: int, dy: int, dx: int, spacing: tuple[float, ...]) -> float:
    z, y, x = dz * spacing[0], dy * spacing[1], dx * spacing[2]
    return math.sqrt(z * z + y * y + x * x)
