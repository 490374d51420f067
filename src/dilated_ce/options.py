"""Checks of the options: each says what was got, what was expected and how to fix it.

They read Python numbers and short tensors on the CPU, which costs nothing, and never wait for an
accelerator. `target.py` checks logits, targets and label maps.
"""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Union

import torch
import torch.distributed as dist
from torch import Tensor

from dilated_ce.target import on_host

# One length, or one per class.
Radius = float | Sequence[float]
# Over what the volumes are counted, or the volumes themselves.
Volumes = str | Tensor | Sequence[float]
# One number per class; for masks of their own also one number for all.
Weight = Tensor | Sequence[float] | float
# Other processes that hold parts of the batch.
ProcessGroup = Union["dist.ProcessGroup", str, None]

# Bounds of volumes and weights other than 0. Quotients and sums of such numbers fit into float32.
LEAST, MOST = 1e-12, 1e15
ROUNDING = 1e-5  # of volumes in float32


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        expected = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}: got {value!r}, expected {expected}.")


def check_num_classes(num_classes: int) -> None:
    """Raise TypeError or ValueError unless `num_classes` is an integer >= 1."""
    hint = "Count the background as a class of its own."
    if not _is_integer(num_classes):
        raise TypeError(
            f"num_classes: got {num_classes!r} ({type(num_classes).__name__}), expected an int. "
            f"{hint}"
        )
    if num_classes < 1:
        raise ValueError(f"num_classes: got {num_classes}, expected at least 1. {hint}")


def check_ignore_index(ignore_index: int | None) -> None:
    """Raise TypeError or ValueError unless `ignore_index` is an integer of 64 bits or None."""
    if ignore_index is None:
        return
    if not _is_integer(ignore_index):
        raise TypeError(
            f"ignore_index: got {ignore_index!r} ({type(ignore_index).__name__}), expected an "
            "int, or None when no voxel is to be ignored."
        )
    if not -(2**63) <= ignore_index < 2**63:
        raise ValueError(f"ignore_index: got {ignore_index}, expected an integer of 64 bits.")


def check_reduction(reduction: str, label_smoothing: float) -> None:
    """Raise TypeError or ValueError unless both are what `F.cross_entropy` takes."""
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if isinstance(label_smoothing, bool) or not isinstance(label_smoothing, Real):
        raise TypeError(f"label_smoothing: got {label_smoothing!r}, expected a number, 0 to 1.")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing: got {label_smoothing!r}, expected 0 to 1.")


def as_radius(radius: Radius) -> float | tuple[float, ...]:
    """One checked number for all classes, or one per class."""
    expected = "a number, or a list of numbers with one per class"
    if hasattr(radius, "shape") and radius.shape != ():
        # Not a list of lengths: in the first place `nn.CrossEntropyLoss` takes class weights.
        raise TypeError(
            f"radius: got {_short(radius)}, expected {expected}. Class weights, which "
            "nn.CrossEntropyLoss takes in this place, are weight=...; radii in a tensor are "
            "radius.tolist()."
        )
    values = _as_floats("radius", radius, expected)
    each = values if isinstance(values, tuple) else (values,)
    if not all(value >= 0 for value in each):  # nor NaN
        raise ValueError(
            f"radius: got {radius!r}, expected >= 0. "
            "Use 0 for balanced cross entropy and math.inf for plain cross entropy."
        )
    if not each:
        raise ValueError("radius: got an empty sequence, expected one number per class.")
    return values


def as_radii(radius: Radius, num_classes: int) -> tuple[float, ...]:
    """The radius of each class, from one number for all of them or one number per class."""
    values = as_radius(radius)
    if not isinstance(values, tuple):
        return (values,) * num_classes
    if len(values) != num_classes:
        raise ValueError(
            f"radius: got {len(values)} values for {num_classes} classes, expected one number for "
            "all classes, or one per class with the background first."
        )
    return values


def as_spacing(spacing: Sequence[float] | None, ndim: int | None = None) -> tuple[float, ...]:
    """The size of a voxel along each of `ndim` axes; ones when `spacing` is None.

    With `ndim=None` (not known yet) any of 1 to 3 axes will do.
    """
    if spacing is None:
        return (1.0,) * (ndim or 0)
    count = "1 to 3 numbers" if ndim is None else f"{ndim} number{'s' if ndim > 1 else ''}"
    expected = f"{count}, one per spatial axis"
    values = _as_floats("spacing", spacing, expected)
    if not isinstance(values, tuple):
        raise TypeError(f"spacing: got {spacing!r}, expected {expected}.")
    if not all(LEAST <= value <= MOST for value in values):  # whose squares fit into a double
        raise ValueError(f"spacing: got {spacing!r}, expected numbers > 0 ({LEAST:g} to {MOST:g}).")
    if not (1 <= len(values) <= 3 if ndim is None else len(values) == ndim):
        raise ValueError(
            f"spacing: got {len(values)} values ({spacing!r}), expected {expected}, in the order "
            "of the tensor's axes (for an image (B, C, D, H, W): depth, height, width)."
        )
    return values


def as_volumes(volumes: Volumes, shape: tuple[int | None, ...] | None = None) -> str | Tensor:
    """The scope, "batch" or "image", or the volumes of a data set, cut off from any graph.

    Args:
        volumes: as the user gave them.
        shape: that they should have: (C,), or for masks of their own (C, 2); None for any number.
            None if neither is known yet.
    """
    if isinstance(volumes, str):
        check_choice("volumes", volumes, ("batch", "image"))
        return volumes
    values = as_numbers("volumes", volumes, "'batch', 'image', or one number per class")
    if shape is not None and len(shape) == 2 and values.shape == (2,):
        values = values[None]
    fits = shape is None or (
        values.ndim == len(shape)
        and all(want in (None, got) for want, got in zip(shape, values.shape, strict=True))
    )
    if not fits or values.ndim not in (1, 2):
        expected = ", ".join("C" if size is None else str(size) for size in shape or (None,))
        each = "channel: background, foreground" if shape and len(shape) == 2 else "class"
        raise ValueError(
            f"volumes: got shape {tuple(values.shape)}, expected ({expected}"
            f"{',' if not shape or len(shape) == 1 else ''}): the number of voxels in the dilated "
            f"mask of each {each}, summed over the data set."
        )
    _check_numbers("volumes", values, "the voxels of at least one class")
    return values


def as_weight(weight: Weight | None, shape: tuple[int, ...] | None = None) -> Tensor | None:
    """How much each class counts, cut off from any graph.

    Args:
        weight: as the user gave it.
        shape: (C,) for classes; (C, 2) for masks of their own, of which the background counts 1 and
            one number will do for all. None if it is not known yet.
    """
    if weight is None:
        return None
    values = as_numbers("weight", weight, "one number per class")
    if shape is not None:
        num_classes, by_channel = shape[0], len(shape) == 2
        if by_channel and values.ndim == 0:
            values = values.expand(num_classes)
        if by_channel and values.numel() == num_classes:  # (C, 1, 1), too, as PyTorch's pos_weight
            values = values.flatten()
        if values.shape != (num_classes,):
            raise ValueError(
                f"weight: got shape {tuple(values.shape)}, expected ({num_classes},): one number "
                f"per {'channel' if by_channel else 'class, the background first'}."
            )
    _check_numbers("weight", values, "more than 0 for at least one class")
    if shape is not None and len(shape) == 2:
        values = torch.stack([torch.ones_like(values), values], dim=1)
    return values


def as_num_voxels(num_voxels: float | None, volumes: str | Tensor) -> float | None:
    """The number of voxels of the data set on which volumes were counted; and that these fit it.

    No dilated mask is larger than the data set, and each voxel is in one at least: that of its own
    class. So volumes in another unit, or of another data set, are told apart from right ones; those
    of another radius are not.
    """
    if num_voxels is None:
        return None
    if isinstance(num_voxels, bool) or not isinstance(num_voxels, Real):
        raise TypeError(f"num_voxels: got {num_voxels!r}, expected the data set's voxel count.")
    if not LEAST <= num_voxels <= MOST:
        raise ValueError(
            f"num_voxels: got {num_voxels!r}, expected a number > 0 ({LEAST:g} to {MOST:g})."
        )
    if isinstance(volumes, str):
        raise ValueError(
            f"num_voxels: got {num_voxels!r} with volumes={volumes!r}, expected the volumes of the "
            "data set that has so many voxels: the mean weight over it follows from both."
        )
    if on_host(volumes):
        rows = volumes.double().reshape(-1, volumes.shape[-1])
        most, least = rows.sum(1) * (1 + ROUNDING), rows.amax(1) * (1 - ROUNDING)
        # A class with volume 0 may be there, and take no part.
        fits = (least <= num_voxels) & ((num_voxels <= most) | (rows == 0).any(1))
        if not fits.all():
            raise ValueError(
                f"num_voxels: got {num_voxels!r} with volumes={as_written(volumes)}, expected a "
                "number between the largest and the sum of the volumes (of each channel): the "
                "voxels that are not ignored, of the data set on which the volumes of the dilated "
                "masks were counted, both in voxels."
            )
    return float(num_voxels)


def as_process_group(process_group: object) -> "dist.ProcessGroup | None":
    """The checked group; of "world" what it means now: all processes, or None for one alone."""
    if isinstance(process_group, str) and process_group == "world":
        return dist.group.WORLD if dist.is_available() and dist.is_initialized() else None
    if process_group is None:
        return None
    if dist.is_available() and (
        process_group == dist.GroupMember.NON_GROUP_MEMBER  # what new_group gives to outsiders
        or (isinstance(process_group, dist.ProcessGroup) and dist.get_rank(process_group) < 0)
    ):
        raise ValueError(
            "process_group: got a group that this process is not in, expected one that it is in; "
            "only the processes of a group can share a batch."
        )
    if not (dist.is_available() and isinstance(process_group, dist.ProcessGroup)):
        raise TypeError(
            f"process_group: got {process_group!r}, expected 'world' for all processes, or a group "
            "of torch.distributed, which exists once init_process_group has been called."
        )
    return process_group


def as_numbers(name: str, values: object, expected: str = "one number per class") -> Tensor:
    """Numbers as a float32 tensor, cut off from any graph. Not every device has float64."""
    try:
        # Not on the default device, which may be "meta": numbers without values.
        device = values.device if isinstance(values, Tensor) else "cpu"
        tensor = torch.as_tensor(values, device=device).detach()
        # The compiler of torch 2.4 can't ask a tensor whether it has an attribute.
        is_array = isinstance(values, Tensor) or hasattr(values, "dtype")
        if tensor.is_floating_point() and not is_array:
            # Torch's default dtype may be too narrow for Python's own floats.
            tensor = torch.as_tensor(values, dtype=torch.float64, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: got {values!r}, expected {expected}.") from error
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"{name}: got dtype {tensor.dtype}, expected {expected}.")
    narrow = tensor.to(torch.float32)
    if on_host(tensor) and bool(((narrow == 0) & (tensor.double() != 0)).any()):
        raise ValueError(f"{name}: got {as_written(tensor)}, expected 0 or {LEAST:g} to {MOST:g}.")
    return narrow


def as_written(values: object) -> object:
    """Numbers in float32 as their user wrote them: 0.1, and not 0.10000000149011612."""
    if isinstance(values, Tensor):
        values = values.tolist()
    if isinstance(values, list):
        return [as_written(value) for value in values]
    return float(f"{values:.7g}") if isinstance(values, float) else values


def _check_numbers(name: str, tensor: Tensor, at_least: str) -> None:
    """Check values, unless reading them would wait for an accelerator or break a compiled graph."""
    if not on_host(tensor):
        return
    if not (tensor.isfinite().all() and (tensor >= 0).all()):
        raise ValueError(f"{name}: got {as_written(tensor)}, expected finite numbers >= 0.")
    if not (tensor > 0).any():
        raise ValueError(
            f"{name}: got {as_written(tensor)}, expected {at_least}: with 0 for all of them "
            "nothing would be learnt."
        )
    rounding = 1 + 1e-6
    if not ((tensor == 0) | (tensor * rounding >= LEAST) & (tensor <= MOST * rounding)).all():
        raise ValueError(
            f"{name}: got {as_written(tensor)}, expected 0 or {LEAST:g} to {MOST:g}, which leaves "
            "room for their quotients in float32."
        )


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _short(value: object) -> str:
    return f"a {type(value).__name__} of shape {tuple(getattr(value, 'shape', ()))}"


def _as_floats(name: str, values: object, expected: str) -> float | tuple[float, ...]:
    """A number as a float, a sequence, array or tensor of numbers as a tuple of floats."""
    try:
        if isinstance(values, Real) and not isinstance(values, bool):
            return float(values)
        if hasattr(values, "tolist"):  # of an array or a tensor, with or without axes
            return _as_floats(name, values.tolist(), expected)
        # No union of types: PyTorch 2.4 cannot compile one.
        if isinstance(values, (list, tuple)) and all(
            isinstance(value, Real) and not isinstance(value, bool) for value in values
        ):
            return tuple(float(value) for value in values)
    except OverflowError:
        pass
    raise TypeError(f"{name}: got {values!r}, expected {expected}.")
