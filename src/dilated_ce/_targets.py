"""What a target means in each mode: labels, from which the masks come, and the truth to learn.

    multiclass  one class per voxel: indices, or a probability for each class (one-hot, smoothed)
    multilabel  each channel a mask of its own, which may overlap: 0 and 1, or probabilities
    binary      multilabel with one channel

Of probabilities the masks hold the most probable class (multiclass), or what is above 0.5. That is
our choice: the volumes then count whole voxels, as they do for labels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dilated_ce._dispatch import opaque_when_compiled
from dilated_ce._labels import as_labels

MODES = ("multiclass", "multilabel", "binary")

# How far from 1 the probabilities of a voxel may add up, which half precision does not do exactly.
_TOLERANCE = 0.01

# What stands for an ignored voxel in the labels found here.
_UNLABELLED = -1  # among classes
_IGNORED = 2  # beside 0 and 1, in uint8


class Target(NamedTuple):
    """A target that fits its logits."""

    labels: Tensor  # class indices (B, *spatial), or 0 and 1 (B, C, *spatial) for channels
    truth: Tensor | None  # probabilities (B, C, *spatial); None if the labels say it
    ignore_index: int | None  # as it is in `labels`


def as_target(mode: str, logits: Tensor, target: Tensor, ignore_index: int | None) -> Target:
    """Check that the target fits the logits, and find the labels that it implies.

    Raises:
        TypeError: something else than tensors, logits that are not floats, or float class indices.
        ValueError: shapes, devices or probabilities that do not fit.
    """
    _check_logits(mode, logits)
    if not isinstance(target, Tensor):
        raise TypeError(f"target: got {type(target).__name__}, expected a torch.Tensor.")
    batch, channels, *spatial = logits.shape
    if mode == "multiclass" and target.shape != logits.shape:
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
        return Target(most_probable(target, ignore_index), target, _UNLABELLED)
    labels = channel_labels(target, ignore_index)
    return Target(labels, target, None if ignore_index is None else _IGNORED)


def _fake_most_probable(target: Tensor, ignore_index: int | None) -> Tensor:
    return target.new_empty((target.shape[0], *target.shape[2:]), dtype=torch.int64)


@opaque_when_compiled("(Tensor target, int? ignore_index) -> Tensor", _fake_most_probable)
def most_probable(target: Tensor, ignore_index: int | None) -> Tensor:
    """The most probable class of each voxel, -1 where it is ignored or has none: (B, *spatial)."""
    target = _computable(target)
    total = target.sum(1)
    highest, labels = target.max(1)  # 9 times as fast as argmax
    lowest = target.amin(1)
    ignored = (highest == 0) & (lowest == 0)
    if ignore_index is not None:
        ignored |= (highest == ignore_index) & (lowest == ignore_index)
    _check(
        (lowest >= 0) & ((total - 1).abs() <= _TOLERANCE) | ignored,
        total,
        "target: got probabilities of a voxel that add up to {}, or are negative, expected 1 (or 0 "
        "for all classes of an unlabelled voxel). For masks that overlap use mode='multilabel'.",
    )
    return labels.masked_fill_(ignored, _UNLABELLED)


def _fake_channel_labels(target: Tensor, ignore_index: int | None) -> Tensor:
    return target.new_empty(target.shape, dtype=torch.uint8)


@opaque_when_compiled("(Tensor target, int? ignore_index) -> Tensor", _fake_channel_labels)
def channel_labels(target: Tensor, ignore_index: int | None) -> Tensor:
    """1 above 0.5, 0 elsewhere, 2 where the target is ignored: uint8 (B, C, *spatial)."""
    target = _computable(target)
    labels = (target > 0.5).to(torch.uint8).contiguous()
    if target.device.type != "cuda" and target.numel() > 0:
        # One pass settles the usual case, in which nothing is ignored and nothing wrong.
        low, high = (value.item() for value in target.aminmax())
        if (
            low >= 0
            and high <= 1
            and not (ignore_index is not None and low <= ignore_index <= high)
        ):
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
        + ". For class indices use mode='multiclass'.",
    )
    return labels


def _computable(target: Tensor) -> Tensor:
    """The target in a dtype that torch computes with and in which probabilities add up."""
    if target.dtype in (torch.float32, torch.float64):
        return target
    return target.float()


def _check(allowed: Tensor, values: Tensor, message: str) -> None:
    if allowed.device.type == "cuda":
        torch._assert_async(allowed.all(), message)
    elif not allowed.all():
        raise ValueError(message.format(f"{values[~allowed][0].item():g}"))


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
