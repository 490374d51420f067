"""The kernels of the dilation; `_triton_dilation.py` launches them.

Triton compiles these functions: they are not run as Python. Masks are packed as `Packing` says.
"""

import triton
import triton.language as tl


@triton.jit(debug=True)
def grow_segments(
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
def stack_rows(
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
def stack_slices(
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
