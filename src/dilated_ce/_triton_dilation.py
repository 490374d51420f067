"""The dilation as Triton kernels, for the GPUs that PyTorch calls "cuda".

Imported only where such a GPU is used. `dilated_masks` gives what its counterpart in plain PyTorch,
`_dilation.dilated_masks`, gives, and is tested against it. No call but the first for a shape waits
for the device, unless the radii are automatic.

A call costs the host about as much as the GPU, so kernels are few: one packs the labels and grows
the segments of the ball, one stacks them (in 3D two) and counts.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from dilated_ce import _dilation
from dilated_ce._automatic import automatic_radii, same_radius
from dilated_ce._ball import ball_lines, norm
from dilated_ce._labels import valid_voxels
from dilated_ce._packing import Packing, count, valid_planes
from dilated_ce._triton_dilation_kernels import grow_segments, stack_rows, stack_slices
from dilated_ce._validation import AUTOMATIC

# How many lengths of segments are held at a time, each a byte per voxel and plane.
MAX_LENGTHS = 32
# Elements (bytes, or words of 4 bytes) per program.
BLOCK = 1024


def dilated_masks(
    name: str,
    labels: Tensor,
    radii: Sequence[float],
    spacing: Sequence[float],
    ignore_index: int | None,
) -> tuple[Tensor, Tensor]:
    """The dilated class masks as packed bits, and a tally of their voxels.

    Args:
        name: of the labels, for messages.
        labels: class indices (B, *spatial), not empty. One out of range is a device-side assertion.
        radii: one radius per class, or AUTOMATIC for all.
        spacing: one voxel size per spatial axis.
        ignore_index: label of the voxels that belong to no mask, or None.

    Returns:
        uint8 (P, *spatial), laid out as `Packing` says; and int64 (B * C + 1), the volumes (B, C)
        and a 0.
    """
    if AUTOMATIC in radii:
        return _dilated_by_own(name, labels, len(radii), spacing, ignore_index)
    packing = Packing(len(radii))
    batch, *spatial = labels.shape
    depth, height, width = shape = (*(1,) * (3 - len(spatial)), *spatial)
    voxel_size = (*(1.0,) * (3 - len(spatial)), *spacing)
    ignore = ignore_index is not None
    plan = _plan(tuple(radii), voxel_size, shape, ignore, labels.device)
    if plan is None:
        planes, volumes, _ = _dilation.dilated_masks(name, labels, radii, spacing, ignore_index)
        return planes, F.pad(volumes.flatten(), (0, 1))

    num_planes = packing.num_planes(batch)
    labels = labels.contiguous()
    segments = labels.new_empty((plan.slots, num_planes, *shape), dtype=torch.uint8)
    planes = labels.new_empty((num_planes, *spatial), dtype=torch.uint8)
    tally = labels.new_empty(batch * packing.num_classes + 1, dtype=torch.int64)
    others = len(plan.balls) > 1
    if others:
        planes.zero_()
    columns = min(triton.next_power_of_2(width), BLOCK)
    rows = max(1, BLOCK // columns)
    row_size, slice_size = width // plan.word, height * width // plan.word
    layout = {
        "IGNORE": ignore,
        "NUM_CLASSES": packing.num_classes,
        "LANES": packing.images_per_plane,
        "DEPTH": packing.planes_per_image,
    }
    pack = True
    with torch.cuda.device_of(labels):  # Triton launches on the current device
        for top, passes in plan.balls:
            slices = planes
            if top > 0 or len(passes) > 1:
                slices = planes.new_empty((top + 1, *planes.shape))
            for first, last, table in passes:
                grow_segments[triton.cdiv(depth * height, rows), num_planes](
                    labels, segments, tally, batch, depth * height, width,
                    ignore + MAX_LENGTHS if first > 0 else 0, first, last,
                    0 if ignore_index is None else int(ignore_index),
                    PACK=pack, **layout, ROWS=rows, COLUMNS=columns,
                )  # fmt: skip
                pack = False
                last_pass = last == passes[-1].last
                stack_rows[num_planes * depth, triton.cdiv(slice_size, BLOCK)](
                    segments, table, slices, planes, tally, batch, depth, slice_size, row_size, top,
                    MORE=first > 0, LAST=top == 0 and last_pass, OTHERS=others,
                    **layout, WORD=plan.word, BLOCK=BLOCK,
                )  # fmt: skip
            if top > 0:
                stack_slices[triton.cdiv(depth * slice_size, BLOCK), num_planes](
                    segments, table, slices, planes, tally, batch, depth * slice_size, slice_size,
                    top, OTHERS=others, **layout, WORD=plan.word, BLOCK=BLOCK,
                )  # fmt: skip
    return planes, tally


def _dilated_by_own(
    name: str, labels: Tensor, num_classes: int, spacing: Sequence[float], ignore_index: int | None
) -> tuple[Tensor, Tensor]:
    """Every mask dilated by the automatic radius of its class in its image; see `dilated_masks`."""
    packing = Packing(num_classes)

    def of_all(radius: float) -> Tensor:
        return dilated_masks(name, labels, (radius,) * num_classes, spacing, ignore_index)[0]

    valid = valid_voxels(labels, ignore_index)
    known = None if valid is None else valid_planes(valid, packing)
    radii = automatic_radii(of_all(0.0), packing, len(labels), spacing, known)
    dilated = labels.new_zeros((packing.num_planes(len(labels)), *labels.shape[1:])).byte()
    for radius, masks in same_radius(radii, packing):
        bits = [masks.get(plane, 0) for plane in range(len(dilated))]
        dilated |= of_all(radius) & dilated.new_tensor(bits).view(-1, *[1] * len(spacing))
    return dilated, F.pad(count(dilated, packing, len(labels)).flatten(), (0, 1))


class _Pass(NamedTuple):
    """The segments of half-length first + 1 ... last, and what `stack_rows` does with them."""

    first: int
    last: int
    table: Tensor


class _Ball(NamedTuple):
    """A structuring element of 2 top + 1 slices, in as many passes as its segments need."""

    top: int
    passes: tuple[_Pass, ...]


class _Plan(NamedTuple):
    """A ball for every distinct radius, the slots that their segments need, the size of a word."""

    balls: tuple[_Ball, ...]
    slots: int
    word: int


@cache  # a captured CUDA graph reads its tables for as long as it lives
def _plan(
    radii: tuple[float, ...],
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    ignore: bool,
    device: torch.device,
) -> _Plan | None:
    """What does not depend on the labels; its tables stay on the device for the next call.

    So the first call for a shape waits for the device, and a CUDA graph needs one before it.

    None where a ball covers the image, which needs no segments, but a look at which classes there
    are.
    """
    depth, height, width = shape
    if norm(depth - 1, height - 1, width - 1, spacing) <= max(radii):
        return None
    word = 4 if width % 4 == 0 else 1
    balls = []
    longest = 0
    for radius in dict.fromkeys(radii):
        lines = ball_lines(radius, spacing, shape)
        longest = max(longest, len(lines) - 1)
        top = max(dz for offsets in lines for dz, _ in offsets)
        packing = Packing(len(radii))
        bits = [0] * packing.planes_per_image
        for plane, plane_bits, of in packing.groups(radii):
            if of == radius:
                bits[plane] = int.from_bytes([plane_bits] * word, "little", signed=word == 4)
        passes = []
        for first in range(0, max(len(lines) - 1, 1), MAX_LENGTHS):
            last = min(first + MAX_LENGTHS, len(lines) - 1)
            slots = {length: ignore + length - first for length in range(first + 1, last + 1)}
            if first == 0:
                slots[0] = 0
            passes.append(_Pass(first, last, _table(lines, slots, top, bits).to(device)))
        balls.append(_Ball(top, tuple(passes)))
    return _Plan(tuple(balls), 1 + ignore + min(longest, MAX_LENGTHS), word)


def _table(
    lines: Sequence[Sequence[tuple[int, int]]], slots: dict[int, int], top: int, bits: list[int]
) -> Tensor:
    """The instructions of `stack_rows`, int32.

    By plane of an image, the bits of the classes in hand, in every byte of a word; the beginnings,
    and the end, of the entries of each slice, the poles first; and the entries, the offset dy of a
    segment and its slot. An entry begins at twice its index.
    """
    by_slice: dict[int, list[int]] = {}
    for length, slot in slots.items():
        for dz, dy in lines[length]:
            by_slice.setdefault(dz, []).extend((dy, slot))
    header = len(bits) + top + 2
    header += header % 2
    begins, entries = [header // 2], []
    for dz in range(top, -1, -1):
        entries += by_slice.get(dz, [])
        begins.append((header + len(entries)) // 2)
    padding = [0] * (header - len(bits) - len(begins))
    return torch.tensor(bits + begins + padding + entries, dtype=torch.int32)
