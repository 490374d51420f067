"""Checks at the door: each names what was got, what was expected and how to fix it.

Everything here reads shapes, dtypes and Python numbers, which costs nothing. The one check that
reads the labels themselves, `check_labels`, runs on the device without waiting for it.
"""

import math
from collections.abc import Sequence
from numbers import Real

import torch
from torch import Tensor

# One length per axis, or one value per class.
Radius = float | Sequence[float]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        expected = " or ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}: got {value!r}, expected {expected}.")


def check_num_classes(num_classes: int) -> None:
    """Raise TypeError or ValueError unless `num_classes` is an integer >= 1."""
    if isinstance(num_classes, bool) or not isinstance(num_classes, int):
        raise TypeError(
            f"num_classes: got {num_classes!r} ({type(num_classes).__name__}), expected an int."
        )
    if num_classes < 1:
        raise ValueError(
            f"num_classes: got {num_classes}, expected at least 1. "
            "Count the background as a class of its own."
        )


def check_ignore_index(ignore_index: int | None) -> None:
    """Raise TypeError unless `ignore_index` is an integer or None."""
    if ignore_index is not None and (
        isinstance(ignore_index, bool) or not isinstance(ignore_index, int)
    ):
        raise TypeError(
            f"ignore_index: got {ignore_index!r} ({type(ignore_index).__name__}), expected an "
            "int, or None when no voxel is to be ignored."
        )


def as_radii(radius: Radius, num_classes: int | None = None) -> tuple[float, ...]:
    """The radius of each class, from one number for all of them or one number per class.

    With `num_classes=None` (not known yet) only the values are checked, and one number stays one.
    """
    shared = isinstance(radius, Real) or (isinstance(radius, Tensor) and radius.ndim == 0)
    radii = _as_floats("radius", [radius] if shared else radius, "a number, or one per class")
    for value in radii:
        if math.isnan(value) or value < 0:
            raise ValueError(
                f"radius: got {radius!r}, expected >= 0. "
                "Use 0 for balanced cross entropy and math.inf for plain cross entropy."
            )
    if not radii:
        raise ValueError("radius: got an empty sequence, expected one number per class.")
    if num_classes is None:
        return radii
    if shared:
        return radii * num_classes
    if len(radii) != num_classes:
        raise ValueError(
            f"radius: got {len(radii)} values for {num_classes} classes, expected one number for "
            "all classes, or one per class with the background first."
        )
    return radii


def as_spacing(spacing: Sequence[float] | None, ndim: int | None = None) -> tuple[float, ...]:
    """The size of a voxel along each of `ndim` axes; ones when `spacing` is None.

    With `ndim=None` (not known yet) only the values are checked.
    """
    if spacing is None:
        return (1.0,) * (ndim or 0)
    example = f"{ndim or 'one'} number{'' if ndim == 1 else 's'}, one per spatial axis"
    values = _as_floats("spacing", spacing, example)
    if not all(math.isfinite(value) and value > 0 for value in values):
        raise ValueError(f"spacing: got {spacing!r}, expected finite numbers > 0.")
    if ndim is not None and len(values) != ndim:
        raise ValueError(
            f"spacing: got {len(values)} values ({spacing!r}), expected {example}, in the order "
            "of the tensor's axes (for an image (B, C, D, H, W): depth, height, width)."
        )
    return values


def as_volumes(volumes: Tensor | Sequence[float] | None, num_classes: int | None) -> Tensor | None:
    """The data-set-wide dilated volumes as a tensor of shape (C,).

    Values are checked unless they lie on an accelerator, where reading them would wait for it.
    """
    if volumes is None:
        return None
    tensor = torch.as_tensor(volumes)
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"volumes: got dtype {tensor.dtype}, expected voxel counts.")
    if tensor.ndim != 1 or (num_classes is not None and len(tensor) != num_classes):
        expected = "(C,)" if num_classes is None else f"({num_classes},)"
        raise ValueError(
            f"volumes: got shape {tuple(tensor.shape)}, expected {expected}: the number of voxels "
            "in the dilated mask of each class, summed over the data set."
        )
    if tensor.device.type == "cpu" and not (tensor.isfinite().all() and (tensor >= 0).all()):
        raise ValueError(f"volumes: got {tensor.tolist()}, expected finite numbers >= 0.")
    return tensor


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


def check_reduction(reduction: str, label_smoothing: float) -> None:
    """Raise ValueError unless both are what `F.cross_entropy` takes."""
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if not 0.0 <= label_smoothing <= 1.0:
        raise ValueError(f"label_smoothing: got {label_smoothing!r}, expected 0 to 1.")


def check_labels_form(name: str, labels: Tensor) -> None:
    """Raise TypeError or ValueError unless `labels` are integers (B, *spatial), 1D to 3D."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name}: got {type(labels).__name__}, expected a torch.Tensor.")
    if labels.is_floating_point() or labels.is_complex():
        raise TypeError(
            f"{name}: got dtype {labels.dtype}, expected integer class indices. "
            f"Convert with {name}.long(), or take the argmax over the classes if these are "
            "one-hot or probability maps."
        )
    if not 2 <= labels.ndim <= 4:
        raise ValueError(
            f"{name}: got shape {tuple(labels.shape)}, expected (B, *spatial) with 1 to 3 spatial "
            f"axes. For one image without a batch axis use {name}[None]."
        )


def check_labels(
    name: str, labels: Tensor, num_classes: int, ignore_index: int | None
) -> Tensor | None:
    """Check that every label is a class or ignored; return where they are valid.

    Returns:
        bool tensor of the shape of `labels`, False at ignored voxels, or None if none can be.

    On CUDA and in compiled code the check is an asynchronous assertion, as in PyTorch's own cross
    entropy: nothing waits for the device, and a label out of range ends the program there.
    """
    asynchronous = labels.device.type == "cuda" or torch.compiler.is_compiling()
    low, high = 0, num_classes - 1
    if not asynchronous and labels.numel() > 0:
        # One pass settles the usual case, in which every label is a class and none is ignored.
        low, high = (int(value) for value in labels.aminmax())
        ignorable = ignore_index is not None and low <= ignore_index <= high
        if low >= 0 and high < num_classes and not ignorable:
            return None
    valid = None if ignore_index is None else labels != ignore_index
    in_range = (labels >= 0) & (labels < num_classes)
    allowed = in_range if valid is None else in_range | ~valid
    if asynchronous:
        torch._assert_async(allowed.all(), f"{name}: a label lies outside 0 ... {num_classes - 1}.")
    elif not allowed.all():
        wrong = torch.unique(labels[~allowed]).tolist()
        shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        ignored = "" if ignore_index is None else f" or ignore_index={ignore_index}"
        raise ValueError(
            f"{name}: got label{'s' if len(wrong) > 1 else ''} {shown}, expected 0 ... "
            f"{num_classes - 1} for {num_classes} classes{ignored}. Check the number of classes "
            "(background included), or name the label of unannotated voxels as ignore_index."
        )
    return valid


def _as_floats(name: str, values: object, expected: str) -> tuple[float, ...]:
    if isinstance(values, Tensor):
        values = values.tolist()
    message = f"{name}: got {values!r}, expected {expected}."
    if isinstance(values, str | bytes) or not hasattr(values, "__iter__"):
        raise TypeError(message)
    floats = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, Real | Tensor):
            raise TypeError(message)
        floats.append(float(value))
    return tuple(floats)
