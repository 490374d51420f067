"""Exact dilation of every class of a label map by a Euclidean ball, all classes at once.

How it works. The masks of the classes are packed into bits: a plane of bytes holds 8 of them (see
`Packing`). The dilation of a set of masks by any structuring element is then a bitwise OR of
shifted planes, for 8 masks at once. The ball is a stack of line segments along the last axis: the
segment at the offset (dz, dy) has the half-length

    h(dz, dy) = floor(sqrt(R^2 - (dz sz)^2 - (dy sy)^2) / sx)

so the horizontal segments are grown one voxel at a time from 0 to R / sx, and each is ORed in at
the offsets that need it. In 3D there are about pi R^2 of these. But the slices of the ball are
nested, wide ones in the middle and small ones at the poles: each slice dz adds to slice dz + 1 only
the segments that are longer, and all slices are put in their places at the end. That takes about
0.9 R^2 operations. Nothing is a float, nothing is one-hot, and the result is exact.

On CUDA the same is done by the kernels in `_triton.py`.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from dilated_ce._ball import ball_lines, norm
from dilated_ce._operator import opaque_when_compiled
from dilated_ce._packing import MASKS_PER_PLANE, Packing, count, pack, valid_planes
from dilated_ce._validation import (
    Radius,
    as_labels,
    as_radii,
    as_spacing,
    check_ignore_index,
    check_labels,
    check_num_classes,
)


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
    planes, _, _ = dilated_masks("labels", labels, radii, voxel_size, ignore_index)
    packing = Packing(num_classes)
    masks = labels.new_empty((len(labels), num_classes, *labels.shape[1:]), dtype=torch.bool)
    for class_index, lane in product(range(num_classes), range(packing.images_per_plane)):
        images = masks[lane :: packing.images_per_plane, class_index]
        plane, bit = packing.place(lane, class_index)
        images.copy_(planes[plane :: packing.planes_per_image][: len(images)] & bit)
    return masks


def _fake_dilated_masks(
    name: str,
    labels: Tensor,
    radii: Sequence[float],
    spacing: Sequence[float],
    ignore_index: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    num_planes = Packing(len(radii)).num_planes(labels.shape[0])
    planes = labels.new_empty((num_planes, *labels.shape[1:]), dtype=torch.uint8)
    volumes = labels.new_empty((labels.shape[0], len(radii)), dtype=torch.int64)
    return planes, volumes, labels.new_empty((), dtype=torch.int64)


@opaque_when_compiled(
    "(str name, Tensor labels, float[] radii, float[] spacing, int? ignore_index)"
    " -> (Tensor, Tensor, Tensor)",
    _fake_dilated_masks,
)
def dilated_masks(
    name: str,
    labels: Tensor,
    radii: Sequence[float],
    spacing: Sequence[float],
    ignore_index: int | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The dilated class masks as packed bits, their volumes, and the number of valid voxels.

    Args:
        name: of the labels, for the message if one of them is out of range.
        labels: class indices (B, *spatial), which are checked here; the rest is taken as checked.
        radii: one radius per class.
        spacing: one voxel size per spatial axis.
        ignore_index: label of the voxels that belong to no mask, or None.

    Returns:
        uint8 (P, *spatial), laid out as `Packing` says; int64 (B, C), in voxels; int64 scalar.
    """
    valid = check_labels(name, labels, len(radii), ignore_index)
    packing = Packing(len(radii))
    planes = pack(labels, valid, packing)
    # One to three spatial axes are treated alike as (depth, height, width).
    missing = (1,) * (3 - len(spacing))
    images = planes.view(len(planes), *missing, *planes.shape[1:])
    voxel_size = (1.0,) * len(missing) + tuple(spacing)
    dilated = _dilate_by_class(images, packing, radii, voxel_size).view(planes.shape)
    if valid is None:
        num_valid = torch.full((), labels.numel(), dtype=torch.int64, device=labels.device)
    else:
        dilated = dilated & valid_planes(valid, packing)
        num_valid = valid.sum()
    return dilated, count(dilated, packing, len(labels)), num_valid


def _dilate_by_class(
    planes: Tensor, packing: Packing, radii: Sequence[float], spacing: tuple[float, ...]
) -> Tensor:
    """Dilate the masks (P, D, H, W) of every class by its own ball; may change the input."""
    if len(set(radii)) == 1:
        return _dilate(planes, radii[0], spacing)
    dilated = torch.zeros_like(planes)
    for plane, bits, radius in packing.groups(radii):
        which = slice(plane, None, packing.planes_per_image)
        dilated[which] |= _dilate(planes[which] & bits, radius, spacing)
    return dilated


def _dilate(planes: Tensor, radius: float, spacing: tuple[float, ...]) -> Tensor:
    """Dilate packed masks (P, D, H, W) by the ball; the input is not changed."""
    depth, height, width = planes.shape[1:]
    if planes.numel() == 0:
        return planes
    if norm(depth - 1, height - 1, width - 1, spacing) <= radius:
        return _present(planes).expand_as(planes)
    lines = ball_lines(radius, spacing, (depth, height, width))
    if len(lines) == 1 and lines[0] == ((0, 0),):
        return planes
    # Slice dz of the ball, without what slice dz + 1 brings: masks dilated by it, in their plane.
    top = max(dz for offsets in lines for dz, _ in offsets)
    slices = [torch.zeros_like(planes) for _ in range(top + 1)]
    segments = planes.clone()
    for half_length, offsets in enumerate(lines):
        if half_length > 0:
            # `segments` holds the masks dilated by a line of half-length - 1: one more voxel.
            segments[..., half_length:] |= planes[..., :-half_length]
            segments[..., :-half_length] |= planes[..., half_length:]
        for dz, dy in offsets:
            for shift in {dy, -dy}:
                to, source = _overlap(shift, height)
                slices[dz][:, :, to] |= segments[:, :, source]
    # From the poles to the middle: slice dz + 1, moved by one voxel up and down, joins slice dz.
    dilated = slices.pop()
    while slices:
        inner = slices.pop()
        inner |= dilated
        inner[:, 1:] |= dilated[:, :-1]
        inner[:, :-1] |= dilated[:, 1:]
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
