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
import triton.language as tl
from torch import Tensor

from dilated_ce import _dilation
from dilated_ce._automatic import automatic_radii, same_radius
from dilated_ce._ball import ball_lines, norm
from dilated_ce._packing import Packing, count, valid_planes
from dilated_ce._validation import AUTOMATIC, valid_voxels

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
                label = tl.where(here, label, 0).to(tl.int32)
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
            if WORD == 4:  # the sum of the four bytes
                voxels += voxels >> 16
                voxels = (voxels + (voxels >> 8)) & 7
            if DEPTH == 1:
                image = plane * LANES + bit // NUM_CLASSES
                place_of_class = image * NUM_CLASSES + bit % NUM_CLASSES
                here = image < batch
            else:
                class_index = plane % DEPTH * 8 + bit
                place_of_class = plane // DEPTH * NUM_CLASSES + class_index
                here = class_index < NUM_CLASSES
            total = tl.sum(voxels, axis=0).to(tl.int64)
            tl.atomic_add(tally + place_of_class, total, mask=here, sem="relaxed")


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
                _grow_segments[triton.cdiv(depth * height, rows), num_planes](
                    labels, segments, tally, batch, depth * height, width,
                    ignore + MAX_LENGTHS if first > 0 else 0, first, last,
                    0 if ignore_index is None else int(ignore_index),
                    PACK=pack, **layout, ROWS=rows, COLUMNS=columns,
                )  # fmt: skip
                pack = False
                last_pass = last == passes[-1].last
                _stack_rows[num_planes * depth, triton.cdiv(slice_size, BLOCK)](
                    segments, table, slices, planes, tally, batch, depth, slice_size, row_size, top,
                    MORE=first > 0, LAST=top == 0 and last_pass, OTHERS=others,
                    **layout, WORD=plan.word, BLOCK=BLOCK,
                )  # fmt: skip
            if top > 0:
                _stack_slices[triton.cdiv(depth * slice_size, BLOCK), num_planes](
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
    """The segments of half-length first + 1 ... last, and what `_stack_rows` does with them."""

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
    """The instructions of `_stack_rows`, int32.

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
