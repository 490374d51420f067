"""The size of a voxel at a lower resolution, for deep supervision."""

from collections.abc import Sequence


def as_size(name: str, size: Sequence[int]) -> tuple[int, ...]:
    """A checked number of voxels along each of 1 to 3 spatial axes."""
    expected = "1 to 3 whole numbers > 0, one per spatial axis"
    try:
        values = tuple(int(value) for value in size)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: got {size!r}, expected {expected}.") from error
    if not 1 <= len(values) <= 3 or values != tuple(size) or min(values) < 1:
        raise ValueError(f"{name}: got {size!r}, expected {expected}.")
    return values


def level_spacing(
    shape: Sequence[int], full_size: Sequence[int] | None, spacing: Sequence[float] | None
) -> Sequence[float] | None:
    """The spacing of an output with these voxels per axis, of an image that has `full_size`.

    A radius is then the same physical length at every resolution. Without `full_size` the output
    counts as the full resolution.

    Raises:
        ValueError: a number of axes that differs from that of the output.

    Examples:
        >>> level_spacing((32, 32), (128, 64), None)
        (4.0, 2.0)
        >>> level_spacing((32, 32), (128, 64), (0.5, 0.5))
        (2.0, 1.0)
    """
    if full_size is None:
        return spacing
    spacing = (1.0,) * len(shape) if spacing is None else spacing
    if not len(shape) == len(full_size) == len(spacing):
        raise ValueError(
            f"got an output with {len(shape)} spatial axes {tuple(shape)}, a full size of "
            f"{tuple(full_size)} and a spacing of {tuple(spacing)}, expected as many numbers each."
        )
    return tuple(
        voxel * full / size for voxel, full, size in zip(spacing, full_size, shape, strict=True)
    )
