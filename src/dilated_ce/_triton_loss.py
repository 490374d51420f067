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
import triton.language as tl
from torch import Tensor

from dilated_ce._cross_entropy import gradient_to_differentiate
from dilated_ce._packing import Packing, look_up
from dilated_ce._triton_dilation import dilated_masks
from dilated_ce._validation import valid_voxels


@triton.jit
def _shares(volumes, rows, image, C, CP: tl.constexpr, RP: tl.constexpr, BY_IMAGE: tl.constexpr):
    """1 / v_c of every class, 0 for an absent one: float32 (CP,)."""
    row = tl.arange(0, RP)[:, None]
    class_index = tl.arange(0, CP)[None, :]
    here = (row < rows) & (class_index < C)
    first = image * C if BY_IMAGE else 0
    volume = tl.load(volumes + first + row * C + class_index, mask=here, other=0)
    volume = tl.sum(volume, axis=0).to(tl.float32)
    return tl.where(volume > 0, 1 / volume, 0.0)


@triton.jit
def _weigh(
    planes,
    shares,
    image,
    x,
    inside,
    size,
    CP: tl.constexpr,
    LARGEST: tl.constexpr,
    NUM_CLASSES: tl.constexpr,
    LANES: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """The weights of the voxels x, not yet scaled: float32 (BLOCK,)."""
    class_index = tl.arange(0, CP)[:, None]
    plane = image // LANES * DEPTH + class_index // 8
    bit = image % LANES * NUM_CLASSES + class_index % 8
    here = (class_index < NUM_CLASSES) & inside[None, :]
    byte = tl.load(planes + plane.to(tl.int64) * size + x[None, :], mask=here, other=0)
    member = (byte.to(tl.int32) >> bit) & 1
    share = tl.where(member == 1, shares[:, None], 0.0)
    return tl.max(share, axis=0) if LARGEST else tl.sum(share, axis=0)


@triton.jit
def _read(
    logits,
    target,
    image,
    x,
    inside,
    size,
    stride_b,
    stride_c,
    stride_x,
    ignore_index,
    CP: tl.constexpr,
    IGNORE: tl.constexpr,
    NUM_CLASSES: tl.constexpr,
):
    """The logits (CP, BLOCK) of voxels in float32, their one-hot target, and which are valid."""
    class_index = tl.arange(0, CP)[:, None]
    start = logits + image.to(tl.int64) * stride_b + class_index.to(tl.int64) * stride_c
    here = (class_index < NUM_CLASSES) & inside[None, :]
    z = tl.load(start + x[None, :] * stride_x, mask=here, other=float("-inf")).to(tl.float32)
    z = tl.where(inside[None, :], z, 0.0)
    label = tl.load(target + image.to(tl.int64) * size + x, mask=inside, other=0).to(tl.int64)
    valid = inside
    if IGNORE:
        valid = valid & (label != ignore_index)
    return z, class_index == label.to(tl.int32)[None, :], valid


@triton.jit
def _forward(
    logits,
    target,
    planes,
    volumes,
    tally,
    partials,
    loss,
    size,
    stride_b,
    stride_c,
    stride_x,
    rows,
    ignore_index,
    smoothing,
    SMOOTH: tl.constexpr,
    IGNORE: tl.constexpr,
    BY_IMAGE: tl.constexpr,
    LARGEST: tl.constexpr,
    SUM: tl.constexpr,
    NUM_CLASSES: tl.constexpr,
    LANES: tl.constexpr,
    DEPTH: tl.constexpr,
    RP: tl.constexpr,
    CP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sums over voxels: of w CE, of w, and of the valid ones; the last program adds them all.

    It leaves the loss, and in partials[0:4] the three sums and the scale of the gradient. Always
    in the same order, unlike atomic sums of floats, so that a run can be repeated.
    """
    image = tl.program_id(1)
    x = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = x < size
    z, truth, valid = _read(
        logits, target, image, x, inside, size, stride_b, stride_c, stride_x, ignore_index,
        CP, IGNORE, NUM_CLASSES,
    )  # fmt: skip
    shares = _shares(volumes, rows, image, NUM_CLASSES, CP, RP, BY_IMAGE)
    weight = _weigh(planes, shares, image, x, inside, size, CP, LARGEST, NUM_CLASSES, LANES, DEPTH)
    highest = tl.max(z, axis=0)
    log_sum = highest + tl.log(tl.sum(tl.exp(z - highest[None, :]), axis=0))
    fitting = tl.sum(tl.where(truth, z, 0.0), axis=0)
    if SMOOTH:
        in_class = tl.arange(0, CP)[:, None] < NUM_CLASSES
        mean = tl.sum(tl.where(in_class, z, 0.0), axis=0) / NUM_CLASSES
        fitting = (1 - smoothing) * fitting + smoothing * mean
    # An ignored voxel has weight 0, but 0 times infinity is no number.
    weighted = tl.where(valid, weight * (log_sum - fitting), 0.0)

    programs = tl.num_programs(0) * tl.num_programs(1)
    program = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    sums = partials + 4
    # Stores of scalars, by the very thread that then takes the ticket: the order is kept.
    tl.store(sums + program, tl.sum(weighted, axis=0))
    tl.store(sums + programs + program, tl.sum(weight, axis=0))
    tl.store(sums + 2 * programs + program, tl.sum(valid.to(tl.float32), axis=0))
    tl.debug_barrier()
    ticket = tally + tl.num_programs(1) * NUM_CLASSES  # behind the volumes, 0 at the start
    if tl.atomic_add(ticket, 1, sem="acq_rel") == programs - 1:
        tl.debug_barrier()
        i = tl.arange(0, BLOCK)
        loss_sum = tl.zeros((BLOCK,), tl.float32)
        weight_sum = tl.zeros((BLOCK,), tl.float32)
        valid_sum = tl.zeros((BLOCK,), tl.float32)
        for first in range(0, programs, BLOCK):
            here = first + i < programs
            at = sums + first + i  # .cg: not from this core's own cache
            loss_sum += tl.load(at, mask=here, other=0.0, cache_modifier=".cg")
            weight_sum += tl.load(at + programs, mask=here, other=0.0, cache_modifier=".cg")
            valid_sum += tl.load(at + 2 * programs, mask=here, other=0.0, cache_modifier=".cg")
        total = tl.sum(loss_sum, axis=0)
        normaliser = tl.sum(weight_sum, axis=0)
        count = tl.sum(valid_sum, axis=0)
        scale = tl.where(normaliser > 0, 1 / normaliser, 0.0)
        if SUM:
            scale *= count
        tl.store(loss, total * scale)
        tl.store(partials, total)
        tl.store(partials + 1, normaliser)
        tl.store(partials + 2, count)
        tl.store(partials + 3, scale)


@triton.jit
def _backward(
    logits,
    target,
    planes,
    volumes,
    partials,
    gradient,
    logits_gradient,
    size,
    stride_b,
    stride_c,
    stride_x,
    rows,
    ignore_index,
    smoothing,
    IGNORE: tl.constexpr,
    BY_IMAGE: tl.constexpr,
    LARGEST: tl.constexpr,
    NUM_CLASSES: tl.constexpr,
    LANES: tl.constexpr,
    DEPTH: tl.constexpr,
    RP: tl.constexpr,
    CP: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """w (softmax - truth), scaled, of the dtype and strides of the logits."""
    image = tl.program_id(1)
    x = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = x < size
    z, truth, valid = _read(
        logits, target, image, x, inside, size, stride_b, stride_c, stride_x, ignore_index,
        CP, IGNORE, NUM_CLASSES,
    )  # fmt: skip
    shares = _shares(volumes, rows, image, NUM_CLASSES, CP, RP, BY_IMAGE)
    weight = _weigh(planes, shares, image, x, inside, size, CP, LARGEST, NUM_CLASSES, LANES, DEPTH)
    weight *= tl.load(partials + 3) * tl.load(gradient).to(tl.float32)
    p = tl.exp(z - tl.max(z, axis=0)[None, :])
    p = p / tl.sum(p, axis=0)[None, :]
    p -= tl.where(truth, 1 - smoothing, 0.0) + smoothing / NUM_CLASSES
    p = tl.where(valid[None, :], p * weight[None, :], 0.0)
    class_index = tl.arange(0, CP)[:, None]
    start = logits_gradient + image.to(tl.int64) * stride_b + class_index.to(tl.int64) * stride_c
    here = (class_index < NUM_CLASSES) & inside[None, :]
    tl.store(start + x[None, :] * stride_x, p, mask=here)


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
            _forward[grid](
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
                _backward[grid](
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
