"""From dilated class masks to the weight of every voxel.

    v_c  = |D_c|                                    volume of the dilated mask of class c
    w(x) = sum over { c : x in D_c } of 1 / v_c     (overlap="max": the largest of them)

and the map is scaled to mean 1 over the valid voxels.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from dilated_ce._packing import look_up
from dilated_ce._validation import (
    Radius,
    as_labels,
    as_radii,
    as_spacing,
    as_volumes,
    check_num_classes,
    check_process_group,
    check_weighting,
    valid_voxels,
)
from dilated_ce.morphology import dilated_masks


def dilated_balanced_weights(
    labels: Tensor,
    radius: Radius,
    *,
    num_classes: int,
    spacing: Sequence[float] | None = None,
    overlap: str = "sum",
    balance: str = "batch",
    volumes: Tensor | Sequence[float] | None = None,
    ignore_index: int | None = -100,
    process_group: dist.ProcessGroup | None = None,
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
        radius: >= 0, `math.inf`, or one such number per class; in the units of `spacing`.
        num_classes: number of classes C, background included.
        spacing: size of a voxel along each spatial axis, in the order of the axes; 1 when None.
        overlap: where dilated masks overlap, "sum" adds their shares, "max" takes the largest.
        balance: the volumes v_c are counted over the "batch", or over each "image" on its own.
        volumes: volumes (C,) of the whole data set to use instead, in voxels: the sum of
            `dilate_labels(...)` over the voxels of all its images, with the same radius, spacing
            and ignored label. A class with volume 0 takes no part: its voxels weigh nothing
            unless another class's dilated mask holds them.
        ignore_index: label of the voxels that belong to no mask, are not counted and get weight 0;
            None when every voxel has a class.
        process_group: the processes that hold the other parts of the batch, such as
            `torch.distributed.group.WORLD` (None until `init_process_group` has been called, so
            ask for it after that). Volumes and mean are then those of the whole batch. Every
            process of the group has to make the call. None: this process alone.

    Returns:
        float32 tensor (B, *spatial), mean 1 over the valid voxels (of the whole group), 0 at
        ignored ones. It carries no gradient and, on CUDA, needs no wait for the device
        (unless the given volumes lie elsewhere).

    Raises:
        TypeError: labels that are not integers, or another argument of the wrong type.
        ValueError: a label outside 0 ... C - 1 (on CUDA a device-side assertion), a number out of
            its range, an unknown word for `overlap` or `balance`, shapes and lengths that do not
            match, or a group that this process is not in.

    Example:
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
    check_weighting(overlap, balance, volumes, ignore_index)
    check_process_group(process_group)
    weights, _, _ = weigh_voxels(
        "labels",
        labels,
        as_radii(radius, num_classes),
        as_spacing(spacing, labels.ndim - 1),
        overlap=overlap,
        balance=balance,
        volumes=as_volumes(volumes, num_classes),
        ignore_index=ignore_index,
        process_group=process_group,
        dtype=torch.float32,
    )
    return weights


def weigh_voxels(
    name: str,
    labels: Tensor,
    radii: tuple[float, ...],
    spacing: tuple[float, ...],
    *,
    overlap: str,
    balance: str,
    volumes: Tensor | None,
    ignore_index: int | None,
    process_group: dist.ProcessGroup | None,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Weigh the voxels; the labels, called `name` in messages, are checked, the rest is not.

    Returns:
        The weight map (B, *spatial); the number of valid voxels per process, a scalar; and where
        they are, bool (B, *spatial), or None if no voxel is ignored. The mean of a loss over the
        whole batch, seen from one of N processes whose gradients are averaged, is its sum over the
        voxels here divided by the number of all valid voxels / N.
    """
    planes, counts, num_valid = dilated_masks(name, labels, radii, spacing, ignore_index)
    # On the CPU the number tells at no cost that none is ignored: no pass over the labels then.
    readable = labels.device.type == "cpu" and not torch.compiler.is_compiling()
    none_ignored = readable and int(num_valid) == labels.numel()
    valid = None if none_ignored else valid_voxels(labels, ignore_index)
    num_valid = num_valid.to(dtype)

    if volumes is not None:
        scope_volumes = volumes.to(counts.device, dtype)[None]
    elif balance == "image":
        scope_volumes = counts.to(dtype)
    else:
        scope_volumes = _all_reduce(counts.sum(0, keepdim=True), process_group).to(dtype)
    # A class that is absent from the scope takes no part: its share is 0 rather than 1 / 0.
    shares = torch.where(scope_volumes > 0, 1 / scope_volumes, 0)

    # The sum of the map before it is scaled. With overlap="sum" it follows from the counts, so
    # that the table holds the final weights and the map is written once.
    if overlap == "sum":
        total = (counts.to(dtype) * shares).sum()
        scale, num_valid = _scale_to_mean_one(total, num_valid, process_group)
        return look_up(planes, shares * scale, len(labels), overlap), num_valid, valid
    weights = look_up(planes, shares, len(labels), overlap)
    scale, num_valid = _scale_to_mean_one(weights.sum(), num_valid, process_group)
    return weights * scale, num_valid, valid


def _scale_to_mean_one(
    total: Tensor, num_valid: Tensor, process_group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    """The factor that gives the map mean 1 over the group, and the valid voxels per process."""
    total, num_valid = _all_reduce(torch.stack([total, num_valid]), process_group).unbind()
    scale = torch.where(total > 0, num_valid / total, 0)
    return scale, num_valid / _group_size(process_group)


def _all_reduce(tensor: Tensor, process_group: dist.ProcessGroup | None) -> Tensor:
    if process_group is None:
        return tensor
    dist.all_reduce(tensor, group=process_group)
    return tensor


def _group_size(process_group: dist.ProcessGroup | None) -> int:
    return 1 if process_group is None else dist.get_world_size(process_group)
