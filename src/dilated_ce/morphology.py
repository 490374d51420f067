"""Exact dilation of every class of a label map by a Euclidean ball, all classes at once.

`_dilation.py` says how it works and does it in plain PyTorch, `_triton_dilation.py` on GPUs.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from dilated_ce import _dilation
from dilated_ce._dispatch import has_kernels, opaque_when_compiled
from dilated_ce._labels import as_labels, count_valid, valid_voxels
from dilated_ce._packing import Packing
from dilated_ce._validation import (
    AUTO,
    Radius,
    as_radii,
    as_spacing,
    check_ignore_index,
    check_num_classes,
)


def dilate_labels(
    labels: Tensor,
    radius: Radius = AUTO,
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

    With radius="auto" the radius of a class in an image is that of the ball with the same volume
    over surface: d |M| / |dM| with d spatial axes, in the units of `spacing`, where the surface is
    the area of the voxel faces between the class and others, without the border of the image. It is
    at least twice the finest voxel size s, rounded to s times a power of sqrt(2), and infinite for
    the largest class of the image. That is 0.8 r for a disc of radius r, 0.7 r for a ball, and the
    width of a band in 2D. It depends on nothing but the labels of that image.

    The paper (arXiv:2412.06045) dilates the class masks; the exact ball, its physical units, the
    automatic radius and the treatment of ignored voxels are our choices.

    Args:
        labels: class indices (B, *spatial), any integer dtype, 1 to 3 spatial axes; without a
            channel axis, and with a batch axis, so that one 2D image is (1, H, W).
        radius: "auto", or >= 0, `math.inf`, or one such number per class; in the units of
            `spacing`.
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
        radii: one radius per class, or AUTOMATIC for all.
        spacing: one voxel size per spatial axis.
        ignore_index: label of the voxels that belong to no mask, or None.

    Returns:
        uint8 (P, *spatial), laid out as `Packing` says; int64 (B, C), in voxels; int64 scalar.
    """
    if not has_kernels(labels):
        return _dilation.dilated_masks(name, labels, radii, spacing, ignore_index)
    from dilated_ce import _triton_dilation

    planes, tally = _triton_dilation.dilated_masks(name, labels, radii, spacing, ignore_index)
    num_valid = count_valid(labels, valid_voxels(labels, ignore_index))
    return planes, tally[:-1].view(len(labels), len(radii)), num_valid
