"""What a valid call has to give, in numpy and double precision, from the method's definition.

The masks and automatic radii are those of tests/oracles.py (scipy's exact distance transform); the
weights, targets of every mode, smoothing and the gradient are written out here. Nothing is imported
from the package.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))
import oracles

Array = NDArray[Any]


def masks(arguments: dict[str, Any]) -> Array:
    """What `dilate_labels` has to give."""
    return oracles.dilated_masks(
        _numpy(arguments["labels"]),
        _plain(arguments["radius"]),
        int(arguments["num_classes"]),
        _plain(arguments["spacing"]),
        arguments["ignore_index"],
    )


def weights(arguments: dict[str, Any]) -> Array:
    """What `dilated_balanced_weights` has to give."""
    options = {name: _plain(arguments[name]) for name in ("volumes", "weight", "num_voxels")}
    return weight_map(
        _numpy(arguments["labels"]),
        _plain(arguments["radius"]),
        int(arguments["num_classes"]),
        _plain(arguments["spacing"]),
        arguments["ignore_index"],
        arguments["overlap"],
        arguments["balance"],
        **options,
    )


def loss(arguments: dict[str, Any]) -> tuple[Array, Array, Array]:
    """The loss, the gradient of its sum, and how much each voxel counts in it."""
    logits = _numpy(arguments["logits"].double())
    target = _numpy(arguments["target"])
    mode, smoothing = arguments["mode"], arguments["label_smoothing"]
    if mode == "multiclass":
        labels, truth, valid = _classes(target, logits.shape, arguments["ignore_index"])
        w = _weigh(arguments, labels, logits.shape[1], None if valid.all() else -1)
        z = np.where(valid[:, None], logits, 0)
        log_p = z - z.max(1, keepdims=True, initial=-np.inf)
        log_p = log_p - np.log(np.exp(log_p).sum(1, keepdims=True))
        truth = truth * (1 - smoothing) + smoothing / logits.shape[1]
        each = -(truth * log_p).sum(1)
        slope = np.exp(log_p) * truth.sum(1, keepdims=True) - truth
        by_voxel = (w * valid)[:, None] * slope
    else:
        target = target.reshape(logits.shape).astype(float)
        ignore_index = arguments["ignore_index"]
        valid = np.ones(target.shape, bool) if ignore_index is None else target != ignore_index
        truth = np.where(valid, target, 0)
        labels = np.where(valid, truth > 0.5, -1)
        w = _weigh(arguments, labels, logits.shape[1], None if valid.all() else -1)
        truth = truth * (1 - smoothing) + smoothing / 2
        # log(1 + exp(z)), without overflow
        each = np.logaddexp(0, logits) - truth * logits
        by_voxel = w * valid * (0.5 * (1 + np.tanh(logits / 2)) - truth)
    losses = w * np.where(valid, each, 0)
    if arguments["reduction"] == "none":
        return losses, by_voxel, w
    share = 1 / max(valid.sum(), 1) if arguments["reduction"] == "mean" else 1.0
    return losses.sum() * share, by_voxel * share, w * share


def weight_map(
    labels: Array,
    radius: Any,
    num_classes: int,
    spacing: Any,
    ignore_index: int | None,
    overlap: str,
    balance: str | None,
    volumes: Any = None,
    weight: Any = None,
    num_voxels: float | None = None,
) -> Array:
    """The weights of the method in double precision; None for `balance` is what goes with R."""
    automatic = isinstance(radius, str)
    by_image = balance == "image" or (balance is None and automatic and volumes is None)
    dilated = oracles.dilated_masks(labels, radius, num_classes, spacing, ignore_index)
    valid = np.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    own = dilated.sum(tuple(range(2, dilated.ndim))).astype(float)
    counts = own if by_image else np.broadcast_to(own.sum(0), own.shape)
    if volumes is not None:
        counts = np.broadcast_to(np.asarray(volumes, float), own.shape)
    shares = np.divide(1.0, counts, out=np.zeros_like(counts), where=counts > 0)
    if automatic and by_image:
        # 1 for one class that reaches over the whole image, 2 / K sqrt(v / V) for each of K others;
        # those that reach as far as the one count alike.
        for share, volume in zip(shares, own, strict=True):
            everywhere = volume == volume.max()
            others = (volume > 0) & ~everywhere
            gain = 2 / max((volume > 0).sum() - 1, 1)
            share[everywhere] *= np.mean([1] + [gain] * (everywhere.sum() - 1))
            share[others] *= gain * np.sqrt(volume[others] / volume.max())
    importance = np.ones(num_classes) if weight is None else np.asarray(weight, float)
    shares = shares * importance
    each = dilated * shares.reshape(*shares.shape, *[1] * (labels.ndim - 1))
    raw = each.sum(1) if overlap == "sum" else each.max(1, initial=0)
    if num_voxels is not None:
        return raw * num_voxels / importance[np.asarray(volumes, float) > 0].sum()
    total = raw.sum()
    return raw * (valid.sum() / total) if total > 0 else raw


def _weigh(arguments: dict[str, Any], labels: Array, classes: int, ignore: int | None) -> Array:
    """The weight map of a loss; in modes of channels one map for each, of two classes."""
    radius, spacing = _plain(arguments["radius"]), _plain(arguments["spacing"])
    scheme = ignore, arguments["overlap"], arguments["balance"]
    volumes, weight, num_voxels = (
        _plain(arguments[name]) for name in ("volumes", "weight", "num_voxels")
    )
    if arguments["mode"] == "multiclass":
        return weight_map(labels, radius, classes, spacing, *scheme, volumes, weight, num_voxels)
    maps = np.zeros(labels.shape)
    by_channel = None if volumes is None else np.reshape(volumes, (classes, 2))
    importance = np.ones(classes) * (1.0 if weight is None else weight)
    for c in range(classes):
        maps[:, c] = weight_map(
            labels[:, c],
            radius[c] if isinstance(radius, list | tuple) else radius,
            2,
            spacing,
            *scheme,
            None if by_channel is None else by_channel[c],
            [1.0, importance[c]],
            num_voxels,
        )
    return maps


def _classes(target: Array, shape: tuple[int, ...], ignore: int | None) -> tuple[Array, ...]:
    """Class indices with -1 where ignored, the truth (B, C, *spatial), and where it is valid."""
    if target.shape == shape:
        target = target.astype(float)
        ignored = (target == 0).all(1)
        if ignore is not None:
            ignored |= (target == ignore).all(1)
        truth = np.where(ignored[:, None], 0, target)
        return np.where(ignored, -1, truth.argmax(1)), truth, ~ignored
    labels = target.reshape(shape[0], *shape[2:]).astype(np.int64)
    valid = np.ones(labels.shape, bool) if ignore is None else labels != ignore
    classes = np.arange(shape[1]).reshape(1, -1, *[1] * (len(shape) - 2))
    truth = (np.where(valid, labels, 0)[:, None] == classes) * 1.0
    return np.where(valid, labels, -1), truth, valid


def _numpy(tensor: torch.Tensor) -> Array:
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.double()
    return tensor.detach().numpy() * (1 if tensor.dtype != torch.bool else np.uint8(1))


def _plain(value: Any) -> Any:
    """Arrays and tensors as lists of Python's numbers."""
    return value.tolist() if hasattr(value, "tolist") else value
