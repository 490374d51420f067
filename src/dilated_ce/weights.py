"""From dilated class masks to the weight of every voxel.

    v_c  = |D_c|                                    volume of the dilated mask of class c
    w(x) = sum over { c : x in D_c } of 1 / v_c     (overlap="max": the largest of them)

and the map is scaled to mean 1 over the valid voxels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from dilated_ce._automatic import by_size
from dilated_ce._labels import as_labels, valid_voxels
from dilated_ce._packing import look_up
from dilated_ce._validation import (
    AUTO,
    AUTOMATIC,
    ProcessGroup,
    Radius,
    as_balance,
    as_importance,
    as_process_group,
    as_radii,
    as_spacing,
    as_volumes,
    check_num_classes,
    check_num_voxels,
    check_weighting,
)
from dilated_ce.morphology import dilated_masks


def dilated_balanced_weights(
    labels: Tensor,
    radius: Radius = AUTO,
    *,
    num_classes: int,
    spacing: Sequence[float] | None = None,
    overlap: str = "sum",
    balance: str | None = None,
    volumes: Tensor | Sequence[float] | None = None,
    ignore_index: int | None = -100,
    process_group: ProcessGroup = None,
    weight: Tensor | Sequence[float] | None = None,
    num_voxels: float | None = None,
) -> Tensor:
    """Weight every voxel by the inverse volumes of the dilated class masks that hold it.

    With D_c the mask of class c dilated by the ball of `radius` (see `dilate_labels`) and
    v_c its number of voxels,

        w(x) = sum over { c : x in D_c } of 1 / v_c

    scaled to mean 1 over the valid voxels. With radius 0 and batch volumes this is the weight of
    balanced cross entropy; with an infinite radius and every class in every image it is 1
    everywhere (for balance="image": when every image has as many valid voxels).

    The paper (arXiv:2412.06045) bases the weight of a class on its dilated mask and gives it to
    the class together with the pixels around it. The formula, what overlapping masks do, and the
    scopes of the volumes are ours.

    Args:
        labels: class indices (B, *spatial), any integer dtype, 1 to 3 spatial axes.
        radius: "auto" (see `dilate_labels`), or >= 0, `math.inf`, or one such number per class; in
            the units of `spacing`.
        num_classes: number of classes C, background included.
        spacing: size of a voxel along each spatial axis, in the order of the axes; 1 when None.
        overlap: where dilated masks overlap, "sum" adds their shares, "max" takes the largest.
        balance: the volumes v_c are counted over the "batch", or over each "image" on its own.
            None: "image" with radius="auto", "batch" with any other radius and with `volumes`. With
            both "auto" and "image" a voxel weighs 1, and 2/K sqrt(V / v_c) more for each class c
            but the largest whose dilated mask holds it; V: voxels of the image, K: number of such
            classes in it.
        volumes: volumes (C,) of the whole data set to use instead, in voxels: the sum of
            `dilate_labels(...)` over the voxels of all its images, with the same radius, spacing
            and ignored label. A class with volume 0 takes no part: its voxels weigh nothing
            unless another class's dilated mask holds them.
        ignore_index: label of the voxels that belong to no mask, are not counted and get weight 0;
            None when every voxel has a class.
        process_group: the processes that hold the other parts of the batch: "world" for all of
            them, or a group of `torch.distributed`. Volumes and mean are then those of the whole
            batch. Every process of the group has to make the call. None: this process alone.
        weight: how much each class counts, (C,); 1 for all when None. The shares become
            weight_c / v_c.
        num_voxels: number of valid voxels of the data set on which `volumes` were counted. The map
            is then scaled to mean 1 over that data set, not over the batch, so that the weight of a
            voxel depends on nothing else in the batch. For overlap="sum".

    Returns:
        float32 tensor (B, *spatial), mean 1 over the valid voxels (of the whole group), 0 at
        ignored ones. It carries no gradient and, on CUDA, needs no wait for the device
        (unless the given volumes lie elsewhere, or the radius is automatic).

    Raises:
        TypeError: labels that are not integers, or another argument of the wrong type.
        ValueError: a label outside 0 ... C - 1 (on CUDA a device-side assertion), a number out of
            its range, an unknown word for `overlap` or `balance`, shapes and lengths that do not
            match, or a group that this process is not in.

    Examples:
        Two classes, 6 and 1 voxels. Dilated by one voxel they have 7 and 3:

        >>> import torch
        >>> from dilated_ce import dilated_balanced_weights
        >>> labels = torch.tensor([[0, 0, 0, 0, 1, 0, 0]])
        >>> weights = dilated_balanced_weights(labels, 1, num_classes=2)
        >>> weights  # 7/2 * 1/7 outside the dilated mask of class 1, 7/2 * (1/7 + 1/3) in it
        tensor([[0.5000, 0.5000, 0.5000, 1.6667, 1.6667, 1.6667, 0.5000]])
        >>> weights.mean()
        tensor(1.)
    """
    labels = as_labels("labels", labels)
    check_num_classes(num_classes)
    radii = as_radii(radius, num_classes)
    voxel_size = as_spacing(spacing, labels.ndim - 1)
    options = as_weighting(
        num_classes,
        overlap=overlap,
        balance=as_balance(balance, radius, volumes),
        volumes=volumes,
        num_voxels=num_voxels,
        weight=weight,
        ignore_index=ignore_index,
        process_group=process_group,
    )
    return weigh_voxels("labels", labels, radii, voxel_size, options, torch.float32)[0]


class Weighting(NamedTuple):
    """How the classes are balanced: the checked options of `dilated_balanced_weights`."""

    overlap: str
    balance: str
    volumes: Tensor | None  # (C,), or per channel (C, 2)
    importance: Tensor | None  # of the same shape
    scale: Tensor | None  # of the map, (1,) or per channel (C,); None: to mean 1
    ignore_index: int | None
    process_group: dist.ProcessGroup | None


def as_weighting(
    num_classes: int,
    *,
    overlap: str = "sum",
    balance: str = "batch",
    volumes: Tensor | Sequence[float] | None = None,
    num_voxels: float | None = None,
    weight: Tensor | Sequence[float] | float | None = None,
    ignore_index: int | None = None,
    process_group: ProcessGroup = None,
    by_channel: bool = False,
) -> Weighting:
    """Check the options; with `by_channel` each of the classes is a channel with a background."""
    check_weighting(overlap, balance, volumes, ignore_index)
    check_num_voxels(num_voxels, volumes, overlap)
    counts = as_volumes(volumes, num_classes, by_channel)
    importance = as_importance(weight, num_classes, by_channel)
    scale = None
    if num_voxels is not None and counts is not None:
        # The sum of the weights of the data set: every class with a volume has a share of 1.
        shares = (counts > 0) * (1 if importance is None else importance.to(counts.device))
        scale = num_voxels / shares.sum(-1, keepdim=not by_channel).double()
    return Weighting(
        overlap,
        balance,
        counts,
        importance,
        scale,
        None if ignore_index is None else int(ignore_index),
        as_process_group(process_group),
    )


def weigh_channels(
    name: str,
    labels: Tensor,
    radii: tuple[float, ...],
    spacing: tuple[float, ...],
    options: Weighting,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Weigh the voxels of labels (B, C, *spatial), whose channels are masks of their own.

    Every channel has two classes, its foreground (1) and its background (0), which are balanced
    within it, and a map with mean 1. Arguments and results are as in `weigh_voxels`, with a radius
    per channel, and the channel axis in the maps.
    """
    weights = labels.new_empty(labels.shape, dtype=dtype)
    num_valid = weights.new_zeros(())
    none_ignored = True
    for radius in dict.fromkeys(radii):
        channels = [index for index, other in enumerate(radii) if other == radius]
        part = Weighting(  # not `_replace`, which PyTorch 2.4 cannot compile
            options.overlap,
            options.balance,
            _of_channels(options.volumes, channels),
            _of_channels(options.importance, channels),
            _of_channels(options.scale, channels),
            options.ignore_index,
            options.process_group,
        )
        # The channels one after the other, each with the images of the batch. By single numbers,
        # as an accelerator would wait for a list.
        folded = torch.cat([labels[:, channel] for channel in channels])
        found, count, valid = weigh_voxels(
            name, folded, (radius, radius), spacing, part, dtype, groups=len(channels)
        )
        by_channel = found.view(len(channels), *labels[:, 0].shape)
        for index, channel in enumerate(channels):
            weights[:, channel] = by_channel[index]
        num_valid = num_valid + count
        none_ignored = none_ignored and valid is None
    valid = None if none_ignored else valid_voxels(labels, options.ignore_index)
    return weights, num_valid, valid


def _of_channels(values: Tensor | None, channels: Sequence[int]) -> Tensor | None:
    """The rows of these channels; one row is for all of them."""
    if values is None or len(values) == 1:
        return values
    return torch.stack([values[channel] for channel in channels])


def weigh_voxels(
    name: str,
    labels: Tensor,
    radii: tuple[float, ...],
    spacing: tuple[float, ...],
    options: Weighting,
    dtype: torch.dtype,
    groups: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Weigh the voxels; the labels, called `name` in messages, are checked, the rest is not.

    Args:
        name: of the labels, for messages.
        labels: class indices (B, *spatial).
        radii: one radius per class, or AUTOMATIC for all.
        spacing: one voxel size per spatial axis.
        options: how the classes are balanced.
        dtype: of the weights.
        groups: the batch is made of so many equal runs of images, each balanced and scaled on its
            own (the channels of a multi-label target).

    Returns:
        The weight map (B, *spatial); the number of valid voxels per process, a scalar; and where
        they are, bool (B, *spatial), or None if no voxel is ignored. The mean of a loss over the
        whole batch, seen from one of N processes whose gradients are averaged, is its sum over the
        voxels here divided by the number of all valid voxels / N.
    """
    ignore_index, process_group = options.ignore_index, options.process_group
    planes, counts, num_valid = dilated_masks(name, labels, radii, spacing, ignore_index)
    # On the CPU the number tells at no cost that none is ignored: no pass over the labels then.
    readable = labels.device.type == "cpu" and not torch.compiler.is_compiling()
    none_ignored = readable and int(num_valid) == labels.numel()
    valid = None if none_ignored else valid_voxels(labels, ignore_index)
    images = labels.shape[0] // groups  # len() would fix the batch size of a compiled graph
    by_group = counts.view(groups, images, len(radii))

    if options.volumes is not None:
        scope_volumes = options.volumes.to(counts.device, dtype).view(groups, len(radii))
    elif options.balance == "image":
        scope_volumes = counts.to(dtype)
    else:
        scope_volumes = _all_reduce(by_group.sum(1), process_group).to(dtype)
    # A class that is absent from the scope takes no part: its share is 0 rather than 1 / 0.
    shares = torch.where(scope_volumes > 0, 1 / scope_volumes, 0)
    if AUTOMATIC in radii and options.balance == "image":
        shares = shares * by_size(counts, dtype)
    if groups > 1 and (options.balance == "batch"):  # from one row per group to one per image
        shares = shares.repeat_interleave(images, 0)
    if options.importance is not None:
        importance = options.importance.to(shares.device, dtype).view(groups, len(radii))
        shares = shares * importance.repeat_interleave(images if groups > 1 else 1, 0)

    # The sum of the map before it is scaled. With overlap="sum" it follows from the counts, so
    # that the table holds the final weights and the map is written once.
    weights = None
    if options.overlap == "sum":
        total = (counts.to(dtype) * shares).view(groups, images * len(radii)).sum(1)
    else:
        weights = look_up(planes, shares, labels.shape[0], options.overlap)
        total = weights.view(groups, -1).sum(1) if images else weights.new_zeros(groups)
    sums = torch.stack([total, _count_by_group(labels, num_valid, valid, groups).to(dtype)])
    total, num_valid = _all_reduce(sums, process_group).unbind()
    if options.scale is None:  # to mean 1 over the valid voxels of each group
        scale = torch.where(total > 0, num_valid / total, 0)
    else:
        scale = options.scale.to(total.device, dtype).expand(groups)
    if groups > 1:
        scale = scale.repeat_interleave(images, 0)
    if weights is None:
        weights = look_up(planes, shares * scale[:, None], labels.shape[0], options.overlap)
    else:
        weights *= scale.view(-1, *[1] * len(spacing))
    return weights, num_valid.sum() / _group_size(process_group), valid


def _count_by_group(labels: Tensor, num_valid: Tensor, valid: Tensor | None, groups: int) -> Tensor:
    """The valid voxels of each group, here: (groups,)."""
    if groups == 1:
        return num_valid[None]
    if valid is None:
        return num_valid.new_full((groups,), labels.numel() // groups)
    return valid.view(groups, labels.numel() // groups).sum(1)


def _all_reduce(tensor: Tensor, process_group: dist.ProcessGroup | None) -> Tensor:
    if process_group is None:
        return tensor
    dist.all_reduce(tensor, group=process_group)
    return tensor


def _group_size(process_group: dist.ProcessGroup | None) -> int:
    return 1 if process_group is None else dist.get_world_size(process_group)
