"""Work in pieces that are small enough for the cache of a CPU.

PyTorch splits a large operation among its threads and waits, after each operation, for the slowest
of them: a hundred times in a loss. With a core that other work keeps busy, as the workers of a data
loader do, that costs up to seven times the loss itself. A piece is so small that PyTorch takes no
second thread for it, and it stays in the cache from one operation to the next.

    pieces       of a length
    blocks       of the rows of a matrix: several, or a part of one
    small_parts  of tensors of one shape, whatever their strides
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

# Elements: the grain below which PyTorch takes one thread. On an accelerator a piece is as much as
# its memory should be asked for.
PIECE = 2**15
PIECE_ON_ACCELERATOR = 2**26


def piece(tensor: Tensor) -> int:
    """How many elements to work on at a time, on the device of this tensor."""
    return PIECE if tensor.device.type == "cpu" else PIECE_ON_ACCELERATOR


def pieces(length: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` elements, but of one at least; the last one shorter.

    Examples:
        >>> list(pieces(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(size, 1)
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def small_parts(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Matching parts, as views, of tensors of one shape: each as large as a piece at most.

    Examples:
        >>> whole = torch.zeros(3, 30_000)
        >>> [tuple(part.shape) for (part,) in small_parts(whole)]
        [(1, 30000), (1, 30000), (1, 30000)]
    """
    first = tensors[0]
    size = piece(first)
    if first.numel() <= size:
        yield tensors
        return
    axis = next(axis for axis, side in enumerate(first.shape) if side > 1)
    step = max(1, size * first.shape[axis] // first.numel())
    split = [torch.split(tensor, step, axis) for tensor in tensors]
    for parts in zip(*split, strict=True):
        yield from small_parts(*parts)


def copy(to: Tensor, source: Tensor) -> None:
    """Copy numbers, part by part."""
    for part, numbers in small_parts(to, source):
        part.copy_(numbers)


def zeros(like: Tensor, shape: Sequence[int], dtype: torch.dtype = torch.uint8) -> Tensor:
    """Zeros on the device of a tensor, written part by part."""
    made = like.new_empty(shape, dtype=dtype)
    for (part,) in small_parts(made):
        part.zero_()
    return made


def blocks(rows: Tensor, multiple: int = 1) -> Iterator[tuple[slice, slice]]:
    """Parts of a tensor (N, n) to work on at a time: a multiple of rows, or a part of one."""
    size = piece(rows)
    several = max(1, size // max(1, rows.shape[1]) // multiple * multiple)
    for which in pieces(rows.shape[0], several):
        for part in pieces(rows.shape[1], max(size, rows.shape[1]) if several > 1 else size):
            yield which, part
