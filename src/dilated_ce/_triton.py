"""The dilation and the loss as Triton kernels, for the GPUs that PyTorch calls "cuda".

Imported only where such a GPU is used. The functions here give what their counterparts in plain
PyTorch give (`morphology.dilated_masks`, `_cross_entropy.weighted_cross_entropy`) and are tested
against them. No call waits for the device.

A call costs the host about as much as the GPU, so kernels are few: one packs the labels and grows
the segments of the ball, one stacks them (in 3D two) and counts, one computes the loss, and one its
gradient. Loss and gradient each read the logits once, and keep nothing of their size.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from dilated_ce import _dilation
from dilated_ce._ball import ball_lines, norm
from dilated_ce._cross_entropy import gradient_to_differentiate
from dilated_ce._packing import Packing, look_up
from dilated_ce._validation import valid_voxels

# ------------------------------------------------------------------------------- the dilation

# How many lengths of segments are held at a time, each a byte per voxel and plane.
MAX_LENGTHS = 32
# Elements (bytes, or words of 4 bytes) per program.
BLOCK = 1024


@triton.jit(debug=True)
def _grow_segments(
    labels,
    segments,
    tally,
    batch,
    rows,
    width,
    slot_before,
    length_before,
    longest,
    ignore_index,
    PACK: tl.constexpr,
    IGNORE: tl.constexpr,
    NUM_CLASSES: tl.constexpr,
    LANES: tl.constexpr,
    DEPTH: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Fill the slots of `segments` (slots, P, rows, width), bytes of packed masks.

    Slot 0: the masks themselves, packed here if PACK. Slot 1 if IGNORE: all bits of the images
    that are valid at a voxel. The next slots: the masks dilated by the segments of half-length
    length_before + 1 ... longest; slot_before holds those of length_before. A program owns whole
    rows, so that it reads only what it wrote.
    """
    plane = tl.program_id(1)
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS))[:, None]
    slot_size = tl.num_programs(1).to(tl.int64) * rows * width
    start = (plane * rows + row).to(tl.int64) * width
    EVERY_CLASS: tl.constexpr = (1 << NUM_CLASSES) - 1 if DEPTH == 1 else 255
    if PACK:
        if tl.program_id(0) + plane == 0:  # the next kernels add to it
            for i in range(batch * NUM_CLASSES + 1):
                tl.store(tally + i, 0)
        for first in range(0, width, COLUMNS):
            column = (first + tl.arange(0, COLUMNS))[None, :]
            inside = (row < rows) & (column < width)
            byte = tl.zeros((ROWS, COLUMNS), tl.int32)
            keep = tl.zeros((ROWS, COLUMNS), tl.int32)
            for lane in tl.static_range(LANES):
                image = plane // DEPTH * LANES + lane
                here = inside & (image < batch)
                place = (image * rows + row).to(tl.int64) * width + column
                label = tl.load(labels + place, mask=here, other=0).to(tl.int64)
                if IGNORE:
                    here = here & (label != ignore_index)
                    keep |= tl.where(here, EVERY_CLASS << (lane * NUM_CLASSES), 0)
                in_range = (label >= 0) & (label < NUM_CLASSES)
                tl.device_assert(in_range | (here == 0), "a label is out of range")
                here = here & in_range
                label = label.to(tl.int32)
                if DEPTH > 1:
                    here = here & ((label >> 3) == plane % DEPTH)
                    label = label & 7
                byte |= tl.where(here, 1 << (label + lane * NUM_CLASSES), 0)
            tl.store(segments + start + column, byte.to(tl.uint8), mask=inside)
            if IGNORE:
                tl.store(segments + slot_size + start + column, keep.to(tl.uint8), mask=inside)
        tl.debug_barrier()  # other threads read below what these have written
    first_slot = segments + (1 + IGNORE) * slot_size
    for first in range(0, width, COLUMNS):
        # In 64 bits, as with debug=True (for the assertion) Triton checks 32-bit sums for overflow.
        column = (first + tl.arange(0, COLUMNS))[None, :].to(tl.int64)
        inside = (row < rows) & (column < width)
        here = segments + start + column
        grown = tl.load(here + slot_before * slot_size, mask=inside, other=0)
        for length in range(length_before + 1, longest + 1):
            grown |= tl.load(here - length, mask=inside & (column >= length), other=0)
            grown |= tl.load(here + length, mask=inside & (column + length < width), other=0)
            slot = first_slot + (length - length_before - 1) * slot_size
            tl.store(slot + start + column, grown, mask=inside)


@triton.jit
def _as_words(pointer, WORD: tl.constexpr):
    """A pointer to bytes as one to words of WORD bytes."""
    if WORD == 4:
        pointer = pointer.to(tl.pointer_type(tl.int32))
    return pointer


@triton.jit
def _finish(
    dilated,
    place,
    inside,
    plane,
    segments,
    table,
    planes,
    tally,
    batch,
    slot_size,
    IGNORE: tl.constexpr,
    OTHERS: tl.constexpr,
    NUM_CLASSES: tl.constexpr,
    LANES: tl.constexpr,
    DEPTH: tl.constexpr,
    WORD: tl.constexpr,
):
    """Store the dilated masks of the classes in hand, and add their voxels to the tally."""
    dilated &= tl.load(table + plane % DEPTH)
    if IGNORE:
        dilated &= tl.load(segments + slot_size + place, mask=inside, other=0).to(tl.int32)
    stored = dilated
    if OTHERS:  # classes with another radius
        stored |= tl.load(planes + place, mask=inside, other=0).to(tl.int32)
    tl.store(planes + place, stored, mask=inside)
    for bit in tl.static_range(8):
        if bit < LANES * NUM_CLASSES:
            voxels = (dilated >> bit) & 0x01010101
            if WORD == 4:
                voxels = (voxels * 0x01010101) >> 24  # the sum of the four bytes
            if DEPTH == 1:
                image = plane * LANES + bit // NUM_CLASSES
                place_of_class = image * NUM_CLASSES + bit % NUM_CLASSES
                here = image < batch
            else:
                class_index = plane % DEPTH * 8 + bit
                place_of_class = plane // DEPTH * NUM_CLASSES + class_index
                here = class_index < NUM_CLASSES
            total = tl.sum(voxels, axis=0).to(tl.int64)
            tl.atomic_add(tally + place_of_class, total, mask=here)


@triton.jit
def _stack_rows(
    segments,
    table,
    slices,
    planes,
    tally,
    batch,
    depth,
    slice_size,
    row_size,
    top,
    MORE: tl.constexpr,
    LAST: tl.constexpr,
    IGNORE: tl.constexpr,
    OTHERS: tl.constexpr,
    NUM_CLASSES: tl.constexpr,
    LANES: tl.constexpr,
    DEPTH: tl.constexpr,
    WORD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Slice dz of `slices` (top + 1, P, depth, slice_size): masks dilated by slice dz of the ball.

    Sizes are in words. MORE: adds to what shorter segments gave. LAST: the ball has one slice and
    this is the end of it, so that `planes` takes the result.
    """
    segments = _as_words(segments, WORD)
    slices = _as_words(slices, WORD)
    planes = _as_words(planes, WORD)
    layer = tl.program_id(0)  # plane * depth + z; may be more than the 65535 of the second axis
    slot_size = tl.num_programs(0).to(tl.int64) * slice_size
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < slice_size
    place = layer.to(tl.int64) * slice_size + i
    dilated = tl.zeros((BLOCK,), tl.int32)
    for pole in range(top + 1):  # from the poles to the middle: each slice holds the one before
        begin = tl.load(table + DEPTH + pole)
        end = tl.load(table + DEPTH + pole + 1)
        for entry in range(begin, end):
            shift = tl.load(table + 2 * entry) * row_size
            source = segments + tl.load(table + 2 * entry + 1) * slot_size + place
            above = tl.load(source - shift, mask=inside & (i >= shift), other=0)
            below = tl.load(source + shift, mask=inside & (i + shift < slice_size), other=0)
            dilated |= (above | below).to(tl.int32)
        target = slices + (top - pole) * slot_size + place
        if MORE:
            so_far = dilated | tl.load(target, mask=inside, other=0).to(tl.int32)
        else:
            so_far = dilated
        if LAST:
            _finish(
                so_far, place, inside, layer // depth, segments, table, planes, tally, batch,
                slot_size, IGNORE, OTHERS, NUM_CLASSES, LANES, DEPTH, WORD,
            )  # fmt: skip
        else:
            tl.store(target, so_far, mask=inside)


@triton.jit
def _stack_slices(
    segments,
    table,
    slices,
    planes,
    tally,
    batch,
    plane_size,
    slice_size,
    top,
    IGNORE: tl.constexpr,
    OTHERS: tl.constexpr,
    NUM_CLASSES: tl.constexpr,
    LANES: tl.constexpr,
    DEPTH: tl.constexpr,
    WORD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Put the slices of the ball in their places; sizes are in words."""
    segments = _as_words(segments, WORD)
    slices = _as_words(slices, WORD)
    planes = _as_words(planes, WORD)
    plane = tl.program_id(1)
    slot_size = tl.num_programs(1).to(tl.int64) * plane_size
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < plane_size
    place = plane.to(tl.int64) * plane_size + i
    dilated = tl.load(slices + place, mask=inside, other=0).to(tl.int32)
    for dz in range(1, top + 1):
        source = slices + dz * slot_size + place
        shift = dz * slice_size
        above = tl.load(source - shift, mask=inside & (i >= shift), other=0)
        below = tl.load(source + shift, mask=inside & (i + shift < plane_size), other=0)
        dilated |= (above | below).to(tl.int32)
    _finish(
        dilated, place, inside, plane, segments, table, planes, tally, batch,
        slot_size, IGNORE, OTHERS, NUM_CLASSES, LANES, DEPTH, WORD,
    )  # fmt: skip


def dilated_masks(
    labels: Tensor,
    radii: Sequence[float],
    spacing: Sequence[float],
    ignore_index: int | None,
) -> tuple[Tensor, Tensor]:
    """The dilated class masks as packed bits, and a tally of their voxels.

    Args:
        labels: class indices (B, *spatial), not empty. One out of range is a device-side assertion.
        radii: one radius per class.
        spacing: one voxel size per spatial axis.
        ignore_index: label of the voxels that belong to no mask, or None.

    Returns:
        uint8 (P, *spatial), laid out as `Packing` says; and int64 (B * C + 1), the volumes (B, C)
        and a 0.
    """
    packing = Packing(len(radii))
    batch, *spatial = labels.shape
    depth, height, width = shape = (*(1,) * (3 - len(spatial)), *spatial)
    voxel_size = (*(1.0,) * (3 - len(spatial)), *spacing)
    num_planes = packing.num_planes(batch)
    ignore = ignore_index is not None
    word = 4 if width % 4 == 0 else 1
    row_size, slice_size = width // word, height * width // word
    columns = min(triton.next_power_of_2(width), BLOCK)
    rows = max(1, BLOCK // columns)
    layout = {
        "IGNORE": ignore,
        "NUM_CLASSES": packing.num_classes,
        "LANES": packing.images_per_plane,
        "DEPTH": packing.planes_per_image,
    }
    if norm(depth - 1, height - 1, width - 1, voxel_size) <= max(radii):
        # A ball that covers the image takes no segments, but a look at which classes are there.
        planes, volumes, _ = _dilation.dilated_masks("target", labels, radii, spacing, ignore_index)
        return planes.contiguous(), F.pad(volumes.flatten(), (0, 1))
    labels = labels.contiguous()

    distinct = list(dict.fromkeys(radii))
    lines = {radius: ball_lines(radius, voxel_size, shape) for radius in distinct}
    lengths = min(max(map(len, lines.values())) - 1, MAX_LENGTHS)
    segments = labels.new_empty((1 + ignore + lengths, num_planes, *shape), dtype=torch.uint8)
    planes = labels.new_empty((num_planes, *spatial), dtype=torch.uint8)
    if len(distinct) > 1:
        planes.zero_()
    tally = labels.new_empty(batch * packing.num_classes + 1, dtype=torch.int64)

    for index, radius in enumerate(distinct):
        longest = len(lines[radius]) - 1
        top = max(dz for offsets in lines[radius] for dz, _ in offsets)
        one_pass = longest <= MAX_LENGTHS
        slices = planes
        if top > 0 or not one_pass:
            slices = planes.new_empty((top + 1, *planes.shape))
        for first in range(0, max(longest, 1), MAX_LENGTHS):
            last = min(first + MAX_LENGTHS, longest)
            _grow_segments[triton.cdiv(depth * height, rows), num_planes](
                labels, segments, tally, batch, depth * height, width,
                ignore + MAX_LENGTHS if first > 0 else 0, first, last,
                ignore_index if ignore else 0,
                PACK=index == 0 and first == 0, **layout, ROWS=rows, COLUMNS=columns,
            )  # fmt: skip
            table = _table(
                radius, tuple(radii), voxel_size, shape, first, ignore, word, labels.device
            )
            _stack_rows[num_planes * depth, triton.cdiv(slice_size, BLOCK)](
                segments, table, slices, planes, tally, batch, depth, slice_size, row_size, top,
                MORE=first > 0, LAST=top == 0 and last == longest, OTHERS=len(distinct) > 1,
                **layout, WORD=word, BLOCK=BLOCK,
            )  # fmt: skip
        if top > 0:
            _stack_slices[triton.cdiv(depth * slice_size, BLOCK), num_planes](
                segments, table, slices, planes, tally, batch, depth * slice_size, slice_size, top,
                OTHERS=len(distinct) > 1, **layout, WORD=word, BLOCK=BLOCK,
            )  # fmt: skip
    return planes, tally


@lru_cache(maxsize=256)
def _table(
    radius: float,
    radii: tuple[float, ...],
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    first: int,
    ignore: bool,
    word: int,
    device: torch.device,
) -> Tensor:
    """What `_stack_rows` has to do, as int32 on the device, where it stays for the next call.

    By plane of an image, the bits of the classes with this radius, in every byte of a word; the
    beginnings, and the end, of the entries of the slices, the poles first; and the entries, the
    offset dy of a segment and its slot, for half-lengths first + 1 ... first + MAX_LENGTHS (and 0).
    """
    packing = Packing(len(radii))
    bits = [0] * packing.planes_per_image
    for plane, plane_bits, of in packing.groups(radii):
        if of == radius:
            bits[plane] = int.from_bytes([plane_bits] * word, "little", signed=word == 4)
    lines = ball_lines(radius, spacing, shape)
    slots = {0: 0} if first == 0 else {}
    slots |= {first + i: ignore + i for i in range(1, MAX_LENGTHS + 1)}
    by_slice: dict[int, list[int]] = {}
    for length, slot in slots.items():
        for dz, dy in lines[length] if length < len(lines) else ():
            by_slice.setdefault(dz, []).extend((dy, slot))
    top = max(dz for offsets in lines for dz, _ in offsets)
    header = len(bits) + top + 2
    header += header % 2  # an entry begins at twice its index
    begins, entries = [header // 2], []
    for dz in range(top, -1, -1):
        entries += by_slice.get(dz, [])
        begins.append((header + len(entries)) // 2)
    numbers = bits + begins
    numbers += [0] * (header - len(numbers)) + entries
    return torch.tensor(numbers, dtype=torch.int32, device=device)


# ------------------------------------------------------------------------------- the loss


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
    ticket,
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
    tl.store(sums + program, tl.sum(weighted, axis=0))
    tl.store(sums + programs + program, tl.sum(weight, axis=0))
    tl.store(sums + 2 * programs + program, tl.sum(valid.to(tl.float32), axis=0))
    tl.debug_barrier()
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
    scale,
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
    weight *= tl.load(scale) * tl.load(gradient).to(tl.float32)
    p = tl.exp(z - tl.max(z, axis=0)[None, :])
    p = p / tl.sum(p, axis=0)[None, :]
    p -= tl.where(truth, 1 - smoothing, 0.0) + smoothing / NUM_CLASSES
    p = tl.where(valid[None, :], p * weight[None, :], 0.0)
    class_index = tl.arange(0, CP)[:, None]
    start = logits_gradient + image.to(tl.int64) * stride_b + class_index.to(tl.int64) * stride_c
    here = (class_index < NUM_CLASSES) & inside[None, :]
    tl.store(start + x[None, :] * stride_x, p, mask=here)


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
    planes, tally = dilated_masks(target, radii, spacing, settings.ignore_index)
    rows = 1
    if volumes is not None:
        volumes = volumes.to(logits.device, torch.float32)
    elif settings.balance == "image":
        volumes, rows = tally, 0
    elif settings.process_group is None:
        volumes, rows = tally, len(logits)
    else:
        volumes = tally[:-1].view(len(logits), -1).sum(0)
        dist.all_reduce(volumes, group=settings.process_group)
    if not _is_dense(logits):
        logits = logits.contiguous()
    apply: Any = _Loss.apply  # which PyTorch leaves without types
    loss: Tensor = apply(logits, target, planes, volumes, tally, rows, settings)[0]
    return loss


def _is_dense(logits: Tensor) -> bool:
    """Contiguous, with the channels first or last."""
    return logits.is_contiguous() or _is_channels_last(logits)


def _is_channels_last(logits: Tensor) -> bool:
    memory_format = {4: torch.channels_last, 5: torch.channels_last_3d}.get(logits.ndim)
    return memory_format is not None and logits.is_contiguous(memory_format=memory_format)


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
        _forward[grid](
            logits, target, planes, volumes, tally[-1:], partials, loss, *sizes,
            SMOOTH=settings.label_smoothing > 0, SUM=settings.reduction == "sum", **options,
        )  # fmt: skip
        if settings.process_group is not None:
            sums = partials[1:3].clone()  # of the weights, and of the valid voxels
            dist.all_reduce(sums, group=settings.process_group)
            if settings.reduction == "sum":
                factor = sums[1]
            else:  # DistributedDataParallel divides the sum of the gradients by this
                factor = sums.new_tensor(dist.get_world_size(settings.process_group))
            partials[3] = torch.where(sums[0] > 0, factor / sums[0], 0)
            loss = partials[0] * partials[3]
        return loss, partials

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        logits, target, planes, volumes, _, ctx.rows, ctx.settings = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(logits, target, planes, volumes, output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
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
            _backward[grid](
                logits, target, planes, volumes, partials[3:], gradient, result, *sizes, **options
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
        "LARGEST": settings.overlap == "max",
        "NUM_CLASSES": num_classes,
        "LANES": packing.images_per_plane,
        "DEPTH": packing.planes_per_image,
        "RP": triton.next_power_of_2(max(rows, 1)),
        "CP": class_block,
        "BLOCK": block,
    }
    return (triton.cdiv(size, block), batch), sizes, options
