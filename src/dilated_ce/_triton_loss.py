"""The loss and its gradient as Triton kernels, for the GPUs that PyTorch calls "cuda".

Imported only where such a GPU is used, and tested against plain PyTorch. No call waits for the
device. One kernel computes the loss and one its gradient: each reads the logits once, the second
writes the gradient once, and nothing of their size is kept in between. (To write the gradient in
the first would save that one a read of the logits, and cost a read and a write where the gradient
is then scaled, as under AMP; and in half precision most of it would vanish before it is.)
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import triton
from torch import Tensor

from dilated_ce._cross_entropy import gradient_to_differentiate
from dilated_ce._labels import valid_voxels
from dilated_ce._packing import Packing, look_up
from dilated_ce._triton_dilation import dilated_masks
from dilated_ce._triton_loss_kernels import sum_loss, write_gradient

# So many volumes (B, C) are added up in each program; more, beforehand.
MAX_VOLUMES = 512


class Settings(NamedTuple):
    """The arguments of the loss that do not change from call to call, checked."""

    overlap: str
    balance: str
    ignore_index: int | None
    process_group: dist.ProcessGroup | None
    label_smoothing: float
    reduction: str


def dilated_balanced_cross_entropy(
    logits: Tensor,
    target: Tensor,
    radii: Sequence[float],
    spacing: Sequence[float],
    volumes: Tensor | None,
    settings: Settings,
) -> Tensor:
    """The loss of the same name, but for reduction="none"; the arguments are taken as checked.

    Args:
        logits: (B, C, *spatial) in float32 or narrower, not empty.
        target: class indices (B, *spatial). One out of range is a device-side assertion.
        radii: one radius per class.
        spacing: one voxel size per spatial axis.
        volumes: given volumes (C,), or None.
        settings: the rest.
    """
    target = target.contiguous()
    planes, tally = dilated_masks("target", target, radii, spacing, settings.ignore_index)
    rows = 1
    if volumes is not None:
        volumes = volumes.to(logits.device, torch.float32).contiguous()
    elif settings.balance == "image":
        volumes, rows = tally, 0
    elif settings.process_group is None and len(tally) <= MAX_VOLUMES:
        volumes, rows = tally, len(logits)
    else:
        volumes = tally[:-1].view(len(logits), -1).sum(0)
        if settings.process_group is not None:
            dist.all_reduce(volumes, group=settings.process_group)
    if not _is_dense(logits):
        logits = logits.contiguous()
    apply: Any = _Loss.apply  # which PyTorch leaves without types
    loss: Tensor = apply(logits, target, planes, volumes, tally, rows, settings)[0]
    return loss


def _is_dense(logits: Tensor) -> bool:
    """Contiguous, with the channels first or last."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(logits.ndim)
    return logits.is_contiguous() or (last is not None and logits.is_contiguous(memory_format=last))


class _Loss(torch.autograd.Function):
    @staticmethod
    def forward(
        logits: Tensor,
        target: Tensor,
        planes: Tensor,
        volumes: Tensor,
        tally: Tensor,
        rows: int,
        settings: Settings,
    ) -> tuple[Tensor, Tensor]:
        grid, sizes, options = _launch(logits, rows, settings)
        partials = logits.new_empty(4 + 3 * grid[0] * grid[1], dtype=torch.float32)
        loss = logits.new_empty((), dtype=torch.float32)
        with torch.cuda.device_of(logits):  # Triton launches on the current device
            sum_loss[grid](
                logits, target, planes, volumes, tally, partials, loss, *sizes,
                SMOOTH=settings.label_smoothing > 0, SUM=settings.reduction == "sum", **options,
            )  # fmt: skip
        if settings.process_group is not None:
            sums = partials[1:3].clone()  # of the weights, and of the valid voxels
            dist.all_reduce(sums, group=settings.process_group)
            # DistributedDataParallel divides the sum of the gradients by the number of processes.
            processes = dist.get_world_size(settings.process_group)
            factor = sums[1] if settings.reduction == "sum" else processes
            partials[3] = torch.where(sums[0] > 0, factor / sums[0], 0)
            loss = partials[0] * partials[3]
        return loss, partials

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        logits, target, planes, volumes, _, ctx.rows, ctx.settings = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # no zeros for the gradient that output has not
        ctx.save_for_backward(logits, target, planes, volumes, output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
        if gradient is None:
            return None, None, None, None, None, None, None
        logits, target, planes, volumes, partials = ctx.saved_tensors
        settings: Settings = ctx.settings
        if torch.is_grad_enabled():  # a second derivative is wanted
            batch, num_classes = logits.shape[:2]
            volumes = volumes[: (ctx.rows or batch) * num_classes].view(-1, num_classes)
            if ctx.rows > 0:
                volumes = volumes.sum(0, keepdim=True)
            shares = torch.where(volumes > 0, 1 / volumes, 0).to(torch.float32)
            weights = look_up(planes, shares, batch, settings.overlap) * partials[3]
            valid = valid_voxels(target, settings.ignore_index)
            if valid is not None:
                target = torch.where(valid, target, 0)
            result = gradient_to_differentiate(
                logits.float(), target.long(), weights * gradient, settings.label_smoothing
            ).to(logits.dtype)
        else:
            result = torch.empty_like(logits)
            grid, sizes, options = _launch(logits, ctx.rows, settings)
            with torch.cuda.device_of(logits):
                write_gradient[grid](
                    logits, target, planes, volumes, partials, gradient, result, *sizes, **options
                )
        return result, None, None, None, None, None, None


def _launch(
    logits: Tensor, rows: int, settings: Settings
) -> tuple[tuple[int, int], tuple[Any, ...], dict[str, Any]]:
    """The grid, and the arguments that both kernels of the loss have in common.

    `rows` is how many rows of volumes (rows, C) are to be added up, or 0: each image has its own.
    """
    batch, num_classes, *spatial = logits.shape
    size = math.prod(spatial)
    packing = Packing(num_classes)
    class_block = triton.next_power_of_2(num_classes)
    block = max(16, min(1024, 4096 // class_block))
    strides = (num_classes * size, size, 1)
    if not logits.is_contiguous():
        strides = (num_classes * size, 1, num_classes)
    ignore = settings.ignore_index is not None
    sizes = (
        size,
        *strides,
        max(rows, 1),
        settings.ignore_index if ignore else 0,
        settings.label_smoothing,
    )
    options = {
        "IGNORE": ignore,
        "BY_IMAGE": rows == 0,
        "LARGEST": {"sum": False, "max": True}[settings.overlap],  # no other rule passes for one
        "NUM_CLASSES": num_classes,
        "LANES": packing.images_per_plane,
        "DEPTH": packing.planes_per_image,
        "RP": triton.next_power_of_2(max(rows, 1)),
        "CP": class_block,
        "BLOCK": block,
    }
    return (triton.cdiv(size, block), batch), sizes, options
