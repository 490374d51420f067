"""The kernels of the loss; `_triton_loss.py` launches them."""

import triton
import triton.language as tl


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
def sum_loss(
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
def write_gradient(
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
