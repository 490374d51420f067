"""What a target means: one class per voxel, or channels that are masks of their own.

    multiclass  one class per voxel: class indices, or a probability for each class
    multilabel  every channel a mask of its own, which may overlap: 0 and 1, or probabilities
    binary      multilabel with one channel

Masks are made of labels. Of probabilities the label is the most probable class (multiclass), or 1
above 0.5 (our choice: volumes then count whole voxels); the cross entropy takes the probabilities.

Nothing here makes the host wait for an accelerator: there a wrong label is a device-side assertion,
as in PyTorch's own cross entropy. On the CPU it is an error that shows it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from dilated_ce.operators import operator

MODES = ("multiclass", "multilabel", "binary")

# How far from 1 the probabilities of a voxel may add up to, as half precision is not exact.
_TOLERANCE = 0.01
# What stands for an ignored voxel in the labels that are found here.
_UNLABELLED = -1  # among classes
_IGNORED = 2  # beside 0 and 1, in uint8
# PyTorch has few operations for these; label files of 16 bits come in one.
_WIDE_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


class Target(NamedTuple):
    """A target that fits its logits."""

    labels: Tensor  # class indices (B, *spatial), or 0 and 1 (B, C, *spatial) for channels
    truth: Tensor | None  # probabilities (B, C, *spatial); None if the labels say it all
    ignore_index: int | None  # the label of ignored voxels in `labels`


def plain(tensor: Tensor) -> Tensor:
    """The tensor without its subclass, such as MONAI's, whose metadata slow every operation."""
    if not isinstance(tensor, Tensor) or type(tensor) is Tensor:
        return tensor
    if torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling():
        return tensor  # what traces behind Dynamo has subclasses of its own, which must remain
    return _without_subclass(tensor)


def _without_subclass(tensor: Tensor) -> Tensor:
    """A plain tensor. Dynamo can't trace this step, and breaks its graph here."""
    if type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return tensor  # it computes by itself, as FakeTensor, and is no tensor with metadata
    return tensor.as_subclass(Tensor)


# What `torch.compiler.disable` sets; calling it would import the compiler, which takes a second.
_without_subclass._torchdynamo_disable = True  # type: ignore[attr-defined]


def on_host(tensor: Tensor) -> bool:
    """Whether Python may read values of this tensor.

    It may not on an accelerator, while compiling, where `torch.vmap` has put many tensors into one,
    and where a tensor is only said to be there (`FakeTensorMode`).
    """
    return (
        not torch.compiler.is_compiling()
        and tensor.device.type == "cpu"
        and type(tensor) in (Tensor, nn.Parameter)
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


def as_target(mode: str, logits: Tensor, target: Tensor, ignore_index: int | None) -> Target:
    """Check that the target fits the logits, and find its labels.

    Raises:
        TypeError: no tensors, logits that are not floats, or class indices that are floats.
        ValueError: shapes, devices or probabilities that do not fit.
    """
    _check_logits(mode, logits)
    if not isinstance(target, Tensor):
        raise TypeError(f"target: got {type(target).__name__}, expected a torch.Tensor.")
    batch, channels, *spatial = logits.shape
    # A tuple of another length is compared, too, and exporters then take H for any number but C.
    alike = target.ndim == logits.ndim and target.shape == logits.shape
    if mode == "multiclass" and not alike:
        with_axis = target.ndim == logits.ndim and target.shape[1] == 1
        labels = as_labels("target", target[:, 0] if with_axis else target)
        _check_fit(mode, logits, target, (batch, *[1] * with_axis, *spatial))
        return Target(labels, None, ignore_index)
    without_axis = mode == "binary" and target.ndim == logits.ndim - 1
    _check_fit(mode, logits, target, (batch, *[channels] * (not without_axis), *spatial))
    if without_axis:
        target = target[:, None]
    if target.is_complex():
        raise TypeError(f"target: got dtype {target.dtype}, expected probabilities or 0 and 1.")
    if mode == "multiclass":
        if on_host(target) and not target.requires_grad:
            indices = indices_of(target)
            if indices is not None:
                return Target(indices, None, None)
        return Target(most_probable(target, ignore_index), target, _UNLABELLED)
    labels = channel_labels(target, ignore_index)
    return Target(labels, target, None if ignore_index is None else _IGNORED)


def as_labels(name: str, labels: Tensor) -> Tensor:
    """Integer labels (B, *spatial), 1D to 3D, in a dtype that PyTorch can compare and index by."""
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
            f"axes. Use {name}[None] for one image without a batch axis, {name}[:, 0] to drop a "
            "channel axis."
        )
    labels = plain(labels)
    if labels.dtype == torch.bool:
        return labels.to(torch.uint8)
    if labels.dtype not in _WIDE_UNSIGNED:
        return labels
    wide = labels.long()
    # What int64 can't hold is no class either, and must not pass for an ignored negative label.
    return wide.masked_fill(wide < 0, 2**63 - 1) if labels.dtype == torch.uint64 else wide


def valid_voxels(labels: Tensor, ignore_index: int | None) -> Tensor | None:
    """Where labels are not ignored (bool); None if none can be."""
    dtype = torch.iinfo(labels.dtype)
    # A narrow dtype would wrap a number out of its range around: -100 is 156 in uint8.
    if ignore_index is None or not dtype.min <= ignore_index <= dtype.max:
        return None
    return labels != ignore_index


def without_ignored(labels: Tensor, valid: Tensor | None) -> Tensor:
    """The labels, and class 0 where they are not valid."""
    return labels if valid is None else labels * valid


def check_labels(
    name: str, labels: Tensor, num_classes: int, ignore_index: int | None
) -> tuple[Tensor, Tensor | None]:
    """Check that every label is a class or ignored.

    Returns:
        The labels, and class 0 where they are ignored; and where they are valid, bool of the same
        shape, or None if no label can be ignored.
    """
    highest = min(num_classes - 1, torch.iinfo(labels.dtype).max)
    valid = valid_voxels(labels, ignore_index)
    classes = without_ignored(labels, valid)
    allowed = classes.clamp(0, highest) == classes
    if not on_host(labels):
        _demand(allowed, f"{name}: a label lies outside 0 ... {num_classes - 1}.")
    elif not allowed.all():
        wrong = torch.unique(labels[~allowed]).tolist()
        shown = ", ".join(map(str, wrong[:5])) + (", ..." if len(wrong) > 5 else "")
        ignored = "" if ignore_index is None else f" or ignore_index={ignore_index}"
        hint = (
            f"For a mask stored as 0 and 255 divide by 255: {name} // 255."
            if wrong == [255]
            else "Check the number of classes (background included), or name the label of "
            "unannotated voxels as ignore_index."
        )
        raise ValueError(
            f"{name}: got label{'s' if len(wrong) > 1 else ''} {shown}, expected 0 ... "
            f"{num_classes - 1} for {num_classes} class{'es' if num_classes > 1 else ''}{ignored}. "
            f"{hint}"
        )
    return classes, valid


def indices_of(target: Tensor) -> Tensor | None:
    """The class indices (B, *spatial) that a target (B, C, *spatial) is the one-hot code of.

    None if it is not exactly that. The cross entropy of indices is faster.
    """
    target = _computable(target)
    total = target.sum(1)
    # Of numbers >= 0 that add up to 1 in each voxel, one each is not 0: it is 1.
    if target.numel() == 0 or not bool((total == 1).all()) or float(target.amin()) < 0:
        return None
    if int(torch.count_nonzero(target)) != total.numel():
        return None
    indices = torch.zeros_like(total)
    for index in range(1, target.shape[1]):
        indices.add_(target[:, index], alpha=index)
    return indices.long()


@operator(
    "most_probable(Tensor target, int? ignore_index) -> Tensor",
    lambda target, ignore_index: target.new_empty(
        (target.shape[0], *target.shape[2:]), dtype=torch.int64
    ),
)
def most_probable(target: Tensor, ignore_index: int | None) -> Tensor:
    """The most probable class of each voxel, -1 where it is ignored or has none: (B, *spatial)."""
    target = _computable(target)
    total = target.sum(1)
    highest, labels = target.max(1)  # 9 times as fast as argmax
    fits = (total - 1).abs_() <= _TOLERANCE
    lowest = target.amin(1)
    ignored = (highest == 0) & (lowest == 0)
    if ignore_index is not None:
        ignored |= (highest == ignore_index) & (lowest == ignore_index)
    _check(
        (lowest >= 0) & fits | ignored,
        target.sum(1),
        "target: got probabilities of a voxel that add up to {}, or are negative, expected 1 (or 0 "
        "for all classes of an unlabelled voxel). For masks that overlap use mode='multilabel'; a "
        "mask stored as 0 and 255 has to be divided by 255.",
    )
    return labels.masked_fill_(ignored, _UNLABELLED)


@operator(
    "channel_labels(Tensor target, int? ignore_index) -> Tensor",
    lambda target, ignore_index: target.new_empty(target.shape, dtype=torch.uint8),
)
def channel_labels(target: Tensor, ignore_index: int | None) -> Tensor:
    """1 above 0.5, 0 elsewhere, 2 where the target is ignored: uint8 (B, C, *spatial)."""
    target = _computable(target)
    labels = (target > 0.5).to(torch.uint8).contiguous()
    if on_host(target) and target.numel() > 0:
        # One pass settles the usual case, in which nothing is ignored and nothing wrong.
        low, high = (value.item() for value in target.aminmax())
        ignorable = ignore_index is not None and low <= ignore_index <= high
        if low >= 0 and high <= 1 and not ignorable:
            return labels
    ignored = torch.zeros_like(target, dtype=torch.bool)
    if ignore_index is not None:
        ignored = target == ignore_index
        labels.masked_fill_(ignored, _IGNORED)
    _check(
        (target >= 0) & (target <= 1) | ignored,
        target,
        "target: got a value of {}, expected 0 to 1"
        + (f" or ignore_index={ignore_index}" if ignore_index is not None else "")
        + ". Divide a mask stored as 0 and 255 by 255; class indices need one output per class and "
        "a softmax, not masks of their own.",
    )
    return labels


def _computable(target: Tensor) -> Tensor:
    """The target in a dtype that torch computes with and in which probabilities add up."""
    target = target.detach()  # one with a gradient must not warn that its values are read
    if target.dtype in (torch.float32, torch.float64):
        return target
    return target.float()


def _check(allowed: Tensor, values: Tensor, message: str) -> None:
    if not on_host(allowed):
        _demand(allowed, message)
    elif not allowed.all():
        raise ValueError(message.format(f"{values[~allowed][0].item():g}"))


def _demand(allowed: Tensor, message: str) -> None:
    """An assertion on the device, for which nothing waits where PyTorch has one there."""
    try:
        torch._assert_async(allowed.all(), message)
    except NotImplementedError:
        if not bool(allowed.all()):
            raise ValueError(message) from None


def _check_logits(mode: str, logits: Tensor) -> None:
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits: got {type(logits).__name__}, expected a torch.Tensor.")
    if not logits.is_floating_point():
        raise TypeError(
            f"logits: got dtype {logits.dtype}, expected the network's output before "
            "softmax, in floats."
        )
    if not 3 <= logits.ndim <= 5:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)}, expected (B, C, *spatial) with 1 to 3 "
            "spatial axes. For one image without a batch axis use logits[None]."
        )
    if mode == "multiclass" and logits.shape[1] < 2:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)} with {logits.shape[1]} channel(s), expected "
            "one per class, background included. For a network with one output use mode='binary'."
        )
    if mode == "binary" and logits.shape[1] != 1:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)} with {logits.shape[1]} channels, expected 1 "
            "in mode='binary'. For one class per voxel use mode='multiclass', for masks that "
            "overlap mode='multilabel'."
        )
    if logits.shape[1] == 0:
        raise ValueError(f"logits: got shape {tuple(logits.shape)}, expected a channel at least.")


def _check_fit(mode: str, logits: Tensor, target: Tensor, wanted: Sequence[int]) -> None:
    shape, full = tuple(target.shape), tuple(logits.shape)
    if shape != tuple(wanted):
        single = (full[0], *full[2:])
        with_axis = (full[0], 1, *full[2:])
        expected = {
            "multiclass": f"{single} or {with_axis} (class indices) or {full} (probabilities)",
            "multilabel": f"{full}",
            "binary": f"{single} or {full}",
        }[mode]
        hint = ""
        if shape == full[1:]:
            hint = " For one image without a batch axis use logits[None] and target[None]."
        raise ValueError(
            f"target: got shape {shape}, expected {expected} for logits of shape {full}.{hint}"
        )
    if target.device != logits.device:
        raise ValueError(
            f"target: got device {target.device}, expected that of the logits, {logits.device}. "
            "Move it there with target.to(logits.device)."
        )
