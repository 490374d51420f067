"""Arrays on the disk of which a part can be read for what the part costs.

They are Blosc2's (`.b2nd`), which nnU-Net uses too: one file per array, in chunks of blocks that
are packed one by one, so a patch unpacks the blocks that it touches. Zarr's arrays are a folder of
files each, as many as there are chunks.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

PACKING = {
    "codec": blosc2.Codec.LZ4,
    "clevel": 5,
    "filters": [blosc2.Filter.BITSHUFFLE],
    "nthreads": 1,  # cases are prepared, and runs go on, side by side
}
# Voxels of a block along each axis: 8 KB of float16, in 2D and 3D.
BLOCKS = {2: (64, 64), 3: (16, 16, 16)}
IN_CHUNK = 4  # blocks along each axis
MOST_OPEN = 64  # of a process: opening one takes as long as reading a patch


def in_order(values: NDArray[Any]) -> NDArray[Any]:
    """The same values, the last axis the fastest: NIfTI has the first one there.

    Slab by slab, which the cache holds: four times as fast as NumPy at once.

    Examples:
        >>> in_order(np.zeros((2, 3, 4), order="F")).flags.c_contiguous
        True
    """
    if values.flags.c_contiguous or values.ndim < 3:
        return np.ascontiguousarray(values)
    ordered = np.empty(values.shape, values.dtype)
    for index in np.ndindex(values.shape[:-3]):
        for slab in range(values.shape[-2]):
            ordered[(*index, slice(None), slab)] = values[(*index, slice(None), slab)]
    return ordered


def write_array(path: Path, values: NDArray, patch_axes: int) -> None:
    """Write an array, whole or not at all.

    Args:
        path: of the file.
        values: the array.
        patch_axes: how many of the last axes the patches have that will be read.

    Raises:
        OSError: no room on the disk, or the like.
    """
    fore = values.ndim - patch_axes
    # Blosc2 wants blocks no larger than chunks, and those no larger than the array.
    blocks = [1] * fore + [
        min(side, block)
        for side, block in zip(values.shape[fore:], BLOCKS[patch_axes], strict=True)
    ]
    chunks = [
        min(side, block * (IN_CHUNK if axis >= fore else 1))
        for axis, (side, block) in enumerate(zip(values.shape, blocks, strict=True))
    ]
    packed = blosc2.asarray(
        np.ascontiguousarray(values), chunks=chunks, blocks=blocks, cparams=PACKING
    )
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(packed.to_cframe())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def open_array(path: Path) -> Any:
    """An array whose parts are read when it is indexed: `open_array(path)[:, 3:5]`.

    The last ones of a process stay open. NumPy's own files (`.npy`) are mapped into memory.
    """
    return _open(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=MOST_OPEN)
def _open(path: str, changed: int) -> Any:
    if path.endswith(".npy"):
        return np.load(path, mmap_mode="r")
    return blosc2.open(path, mmap_mode="r", dparams={"nthreads": 1})


def read_array(path: Path) -> NDArray[Any]:
    """The whole array."""
    values: NDArray[Any] = blosc2.open(str(path), mmap_mode="r", dparams={"nthreads": 1})[...]
    return values
