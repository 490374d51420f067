"""From labels to dilated class masks: the function for users, and the operator of the losses.

`growing.py` has the dilation itself.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from dilated_ce.growing import dilate
from dilated_ce.masks import Masks, countable, unpack
from dilated_ce.operators import operator
from dilated_ce.options import (
    Radius,
    as_radii,
    as_spacing,
    check_ignore_index,
    check_num_classes,
)
from dilated_ce.pieces import pieces
from dilated_ce.radius import choose_radii
from dilated_ce.target import as_labels, check_labels, on_host

# Bytes that the bits of the images at hand may take, with all copies; beyond it they go in turns.
SCRATCH = 2**29


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
    need = countable(math.prod(labels.shape[1:])) * layout.depth * (labels.ndim + 3)
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
    dilated = dilate(masks, balls, larger, spacing).at_valid_voxels()
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
