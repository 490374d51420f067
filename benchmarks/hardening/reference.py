"""What a valid call has to give, in numpy and double precision, from the method's definition.

The masks and the radii of the adaptive rule are those of tests/oracles.py (scipy's exact distance
transform); the weights, targets of every mode, smoothing and the gradient are written out here.
Nothing is imported from the package.
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
    """What `dilated_balanced_weights` and `adaptive_dilated_weights` have to give."""
    return weight_map(
        _numpy(arguments["labels"]),
        int(arguments["num_classes"]),
        arguments["ignore_index"],
        _weighting(arguments),
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
    labels: Array, num_classes: int, ignore_index: int | None, options: dict[str, Any]
) -> Array:
    """The weights of the method in double precision; `options` are those of `_weighting`."""
    spacing, volumes = options["spacing"], options["volumes"]
    adaptive = options["radius"] is None
    radius = options["radius"]
    if adaptive:
        radius = oracles.adaptive_radii(labels, num_classes, spacing, ignore_index)
    dilated = oracles.dilated_masks(labels, radius, num_classes, spacing, ignore_index)
    valid = np.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    axes = tuple(range(1, labels.ndim))
    counts = dilated.sum(tuple(axis + 1 for axis in axes)).astype(float)
    if not adaptive and volumes == "batch":
        counts = np.broadcast_to(counts.sum(0), counts.shape)
    elif not adaptive and volumes != "image":
        counts = np.broadcast_to(np.asarray(volumes, float), counts.shape)
    # Of the volume of the image if adaptive, as a length; else of 1.
    whole = valid.sum(axes)[:, None] if adaptive else 1.0
    power = 1 / max(sum(side > 1 for side in labels.shape[1:]), 1) if adaptive else 1.0
    shares = np.divide(whole, counts, out=np.zeros_like(counts), where=counts > 0) ** power
    weight = options["weight"]
    importance = np.ones(num_classes) if weight is None else np.asarray(weight, float)
    shares = shares * importance
    each = dilated * shares.reshape(*shares.shape, *[1] * len(axes))
    raw = each.max(1, initial=0) if adaptive else each.sum(1)
    if adaptive:  # half of it plain, in each image
        sums = raw.sum(axes, keepdims=True)
        sizes = valid.sum(axes, keepdims=True)
        part = np.divide(sizes, sums, out=np.zeros(sums.shape), where=sums > 0)
        raw = valid * np.where(sums > 0, (1 + raw * part) / 2, 1)
    if options["num_voxels"] is not None:
        counted = importance[np.asarray(volumes, float) > 0]
        return raw * options["num_voxels"] / counted.sum()
    total = raw.sum()
    return raw * (valid.sum() / total) if total > 0 else raw


def _weighting(arguments: dict[str, Any]) -> dict[str, Any]:
    """The options of a weight map, without those that a function does not have."""
    names = ("radius", "spacing", "volumes", "weight", "num_voxels")
    return {name: _plain(arguments.get(name)) for name in names}


def _weigh(arguments: dict[str, Any], labels: Array, classes: int, ignore: int | None) -> Array:
    """The weight map of a loss; in modes of channels one map for each, of two classes."""
    options = _weighting(arguments)
    if arguments["mode"] == "multiclass":
        return weight_map(labels, classes, ignore, options)
    maps = np.zeros(labels.shape)
    radius, volumes, weight = options["radius"], options["volumes"], options["weight"]
    importance = np.ones(classes) * (1.0 if weight is None else weight)
    for c in range(classes):
        own = {
            "radius": radius[c] if isinstance(radius, list | tuple) else radius,
            "weight": [1.0, importance[c]],
        }
        if isinstance(volumes, list | tuple):
            own["volumes"] = np.reshape(volumes, (classes, 2))[c].tolist()
        maps[:, c] = weight_map(labels[:, c], 2, ignore, options | own)
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
