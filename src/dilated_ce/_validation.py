"""Checks of the options at the door: each names what was got, what was expected, how to fix it.

They read Python numbers and short tensors on the CPU, which costs nothing, and never wait for an
accelerator. `_labels.py` checks label maps, `_targets.py` logits and targets.
"""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Union

import torch
import torch.distributed as dist
from torch import Tensor

from dilated_ce._labels import WIDE_UNSIGNED

# One length, or one per class; or "auto".
Radius = float | Sequence[float] | str
AUTO = "auto"
# Stands for it among checked radii, which are numbers: each image has its own radius of this class.
AUTOMATIC = -1.0
# Bounds of volumes and weights other than 0. Quotients and sums of such numbers fit into float32.
LEAST, MOST = 1e-12, 1e15
# Other processes that hold parts of the batch.
ProcessGroup = Union["dist.ProcessGroup", str, None]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        expected = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}: got {value!r}, expected {expected}.")


def check_num_classes(num_classes: int) -> None:
    """Raise TypeError or ValueError unless `num_classes` is an integer >= 1."""
    if not _is_integer(num_classes):
        raise TypeError(
            f"num_classes: got {num_classes!r} ({type(num_classes).__name__}), expected an int. "
            "Count the background as a class of its own."
        )
    if num_classes < 1:
        raise ValueError(
            f"num_classes: got {num_classes}, expected at least 1. "
            "Count the background as a class of its own."
        )


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


def as_radius(radius: Radius) -> float | tuple[float, ...] | str:
    """One checked number for all classes, or one per class, or "auto"."""
    if isinstance(radius, str) and radius == AUTO:
        return AUTO
    expected = "a number, or a sequence with one per class, or 'auto'"
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


def as_balance(balance: str | None, radius: object, volumes: object) -> str:
    """The scope of the volumes; where it is left open, what goes with the radius.

    With radius="auto" volumes of the image did better in our studies, and make all of it depend on
    the image alone. With a radius that is given neither did better on every data set, and those of
    the batch make 0 balanced and infinity plain cross entropy.
    """
    if balance is None:
        return "image" if isinstance(radius, str) and volumes is None else "batch"
    return balance


def as_radii(radius: Radius, num_classes: int) -> tuple[float, ...]:
    """The radius of each class, from one number for all of them or one number per class."""
    values = as_radius(radius)
    if isinstance(values, str):
        return (AUTOMATIC,) * num_classes
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
    if not all(LEAST <= value <= MOST for value in values):  # squares of others are 0 or infinite
        raise ValueError(f"spacing: got {spacing!r}, expected numbers > 0 ({LEAST:g} to {MOST:g}).")
    if not (1 <= len(values) <= 3 if ndim is None else len(values) == ndim):
        raise ValueError(
            f"spacing: got {len(values)} values ({spacing!r}), expected {expected}, in the order "
            "of the tensor's axes (for an image (B, C, D, H, W): depth, height, width)."
        )
    return values


def as_numbers(name: str, values: object) -> Tensor:
    """Numbers as a tensor that is cut off from any graph, for `as_volumes` and `as_importance`."""
    try:
        tensor = torch.as_tensor(values).detach()
        if tensor.is_floating_point() and not hasattr(values, "dtype"):
            # Python's own floats: torch's default dtype may be too narrow for them.
            tensor = torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name}: got {values!r}, expected one number per class.") from error
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"{name}: got dtype {tensor.dtype}, expected one number per class.")
    return tensor.double() if tensor.dtype in WIDE_UNSIGNED else tensor


def as_volumes(
    volumes: Tensor | Sequence[float] | None, num_classes: int | None, by_channel: bool = False
) -> Tensor | None:
    """The data-set-wide dilated volumes as a tensor (C,), cut off from any graph.

    With `by_channel` each of the C channels has two: (C, 2), background and foreground.
    """
    if volumes is None:
        return None
    tensor = as_numbers("volumes", volumes)
    if by_channel and tensor.shape == (2,):
        tensor = tensor[None]
    fits = tensor.shape[1:] == ((2,) if by_channel else ()) and tensor.ndim > 0
    if not fits or num_classes not in (None, len(tensor)):
        expected = f"({'C' if num_classes is None else num_classes}, {2 if by_channel else ''})"
        raise ValueError(
            f"volumes: got shape {tuple(tensor.shape)}, expected {expected.replace(', )', ',)')}: "
            "the number of voxels in the dilated mask of each "
            f"{'channel: background, foreground' if by_channel else 'class'}, "
            "summed over the data set."
        )
    check_numbers("volumes", tensor, "the voxels of at least one class")
    return tensor


def as_importance(
    weight: Tensor | Sequence[float] | float | None, num_classes: int, by_channel: bool = False
) -> Tensor | None:
    """How much each class counts: (C,); with `by_channel` (C, 2), the background counting 1.

    With `by_channel` one number will do for all channels.
    """
    if weight is None:
        return None
    tensor = as_numbers("weight", weight)
    tensor = tensor if tensor.is_floating_point() else tensor.float()
    if by_channel and tensor.ndim == 0:
        tensor = tensor.expand(num_classes)
    if by_channel and tensor.numel() == num_classes:  # (C, 1, 1) too, as PyTorch's pos_weight
        tensor = tensor.flatten()
    if tensor.shape != (num_classes,):
        raise ValueError(
            f"weight: got shape {tuple(tensor.shape)}, expected ({num_classes},): one number per "
            f"{'channel' if by_channel else 'class, the background first'}."
        )
    check_weight(tensor)
    return torch.stack([torch.ones_like(tensor), tensor], dim=1) if by_channel else tensor


def check_weight(weight: Tensor, volumes: Tensor | None = None) -> None:
    """Raise ValueError unless these can be weights of classes, however many; as many as volumes."""
    if volumes is not None and weight.shape != volumes.shape:
        raise ValueError(
            f"volumes: got shape {tuple(volumes.shape)}, weight: got shape {tuple(weight.shape)}, "
            "expected a number for each class in both."
        )
    check_numbers("weight", weight, "more than 0 for at least one class")


def check_num_voxels(num_voxels: float | None, volumes: object, overlap: str) -> None:
    """Raise TypeError or ValueError unless the size of the data set fits the other options."""
    if num_voxels is None:
        return
    if isinstance(num_voxels, bool) or not isinstance(num_voxels, Real):
        raise TypeError(f"num_voxels: got {num_voxels!r}, expected the data set's voxel count.")
    if not LEAST <= num_voxels <= MOST:
        raise ValueError(
            f"num_voxels: got {num_voxels!r}, expected a number > 0 ({LEAST:g} to {MOST:g})."
        )
    if volumes is None or overlap != "sum":
        raise ValueError(
            f"num_voxels: got {num_voxels!r} with overlap={overlap!r} and "
            f"{'no volumes' if volumes is None else 'volumes'}, expected volumes, counted on the "
            "same data set, and overlap='sum': the mean weight of the data set follows from them."
        )


def check_weighting(overlap: str, balance: str, volumes: object, ignore_index: int | None) -> None:
    """Raise TypeError or ValueError unless these options are known and fit each other."""
    check_choice("overlap", overlap, ("sum", "max"))
    check_choice("balance", balance, ("batch", "image"))
    if volumes is not None and balance != "batch":
        raise ValueError(
            f"balance={balance!r} together with volumes: the given volumes would replace those of "
            "each image. Drop one of the two."
        )
    check_ignore_index(ignore_index)


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


def check_reduction(reduction: str, label_smoothing: float) -> None:
    """Raise TypeError or ValueError unless both are what `F.cross_entropy` takes."""
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if isinstance(label_smoothing, bool) or not isinstance(label_smoothing, Real):
        raise TypeError(f"label_smoothing: got {label_smoothing!r}, expected a number, 0 to 1.")
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing: got {label_smoothing!r}, expected 0 to 1.")


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_numbers(name: str, tensor: Tensor, at_least: str) -> None:
    """Check values, unless reading them would wait for an accelerator or break a compiled graph."""
    if tensor.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if not (tensor.isfinite().all() and (tensor >= 0).all()):
        raise ValueError(f"{name}: got {tensor.tolist()}, expected finite numbers >= 0.")
    if not (tensor > 0).any():
        raise ValueError(
            f"{name}: got {tensor.tolist()}, expected {at_least}: with 0 for all of them nothing "
            "would be learnt."
        )
    if not ((tensor == 0) | (tensor >= LEAST) & (tensor <= MOST)).all():
        raise ValueError(
            f"{name}: got {tensor.tolist()}, expected 0 or {LEAST:g} to {MOST:g}, which leaves "
            "room for their quotients in float32."
        )


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
