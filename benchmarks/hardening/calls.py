"""Random calls of the public functions, and whether they have to be refused.

A call is drawn valid first; then, sometimes, one or two of its arguments are spoilt. So it is known
without the package's help what it must refuse, for which argument, and what its message must show.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from faults import FAULTS, INF, NAN, Fault

OF_LABELS = ("dilate_labels", "dilated_balanced_weights", "adaptive_dilated_weights")
LOSSES = (
    "dilated_balanced_cross_entropy",
    "adaptive_dilated_cross_entropy",
    "DilatedBalancedCELoss",
    "AdaptiveDilatedCELoss",
)
FUNCTIONS = OF_LABELS + LOSSES
ADAPTIVE = ("adaptive_dilated_weights", "adaptive_dilated_cross_entropy", "AdaptiveDilatedCELoss")
MAX_SIDE = {1: 20, 2: 12, 3: 7}
INTEGERS = {
    name: getattr(torch, name)
    for name in ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
}
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass
class Call:
    """A function and its arguments; `faults` is empty for a valid call."""

    function: str
    arguments: dict[str, Any]
    num_classes: int
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_loss(self) -> bool:
        """Whether it takes logits and a target, rather than labels."""
        return "logits" in self.arguments


def draw(seed: int, index: int) -> Call:
    """The call with this number: the same on every machine, whatever came before."""
    random = np.random.default_rng([seed, index])
    function = str(random.choice(FUNCTIONS))
    call = _loss(random, function) if function in LOSSES else _of_labels(random, function)
    if random.random() < 0.35:
        names = [name for name in call.arguments if name in FAULTS]
        chosen = random.permutation(names)[: random.choice([1, 1, 1, 2])]
        if not {"logits", "target"} <= set(chosen):
            # Tensors last, as the shapes of the others follow from them.
            for name in sorted(chosen, key=lambda name: name in ("labels", "logits", "target")):
                fault = FAULTS[name](random, call.arguments, call.num_classes)
                call.faults += [] if fault is None else [fault]
    return call


def _of_labels(random: np.random.Generator, function: str) -> Call:
    num_classes = _num_classes(random, least=1)
    shape = _shape(random, num_classes)
    ignore_index = _ignore_index(random, num_classes)
    labels = _as_integers(random, _label_map(random, shape, num_classes, ignore_index))
    arguments = {
        "labels": _strided(random, labels),
        "num_classes": random.choice([int, np.int64])(num_classes),
        "spacing": _spacing(random, len(shape) - 1),
        "ignore_index": ignore_index,
    }
    if function not in ADAPTIVE:
        arguments["radius"] = _radius(random, num_classes)
    if function != "dilate_labels":
        arguments |= _weighting(random, function, num_classes, by_channel=False)
    return Call(function, arguments, num_classes)


def _loss(random: np.random.Generator, function: str) -> Call:
    mode = str(random.choice(["multiclass", "multilabel", "binary"], p=[0.6, 0.25, 0.15]))
    channels = 1 if mode == "binary" else _num_classes(random, least=2 - (mode == "multilabel"))
    shape = _shape(random, channels)
    full = (shape[0], channels, *shape[1:])
    ignore_index = _ignore_index(random, channels if mode == "multiclass" else 2)
    if mode != "multiclass":
        target = _channels(random, full, ignore_index)
        if mode == "binary" and random.random() < 0.5:
            target = target[:, 0]
    elif random.random() < 0.25:
        target = _probabilities(random, full, ignore_index)
    else:
        target = _as_integers(random, _label_map(random, shape, channels, ignore_index))
        if random.random() < 0.3:
            target = target[:, None]
    scale = random.choice([0.0, 1.0, 1.0, 1.0, 30.0, 1e4])
    dtype = FLOATS[random.integers(4)]
    logits = torch.from_numpy(scale * random.standard_normal(full)).to(dtype)
    # In multiclass mode of indices, what stands at an ignored voxel is nobody's business.
    by_index = mode == "multiclass" and target.shape != full
    if by_index and ignore_index is not None and random.random() < 0.2:
        ignored = target.reshape(shape).long() == ignore_index
        logits[ignored[:, None].expand(full)] = float(random.choice([INF, -INF, NAN]))
    arguments = {
        "logits": _strided(random, logits),
        "target": _strided(random, target),
        "mode": mode,
        "spacing": _spacing(random, len(shape) - 1),
        "ignore_index": ignore_index,
        "label_smoothing": random.choice([0, 0.0, 0.1, 1.0]).item(),
        "reduction": str(random.choice(["mean", "mean", "sum", "none"])),
        **_weighting(random, function, channels, by_channel=mode != "multiclass"),
    }
    if function not in ADAPTIVE:
        arguments["radius"] = _radius(random, channels)
    return Call(function, arguments, channels)


def _num_classes(random: np.random.Generator, least: int) -> int:
    few = int(random.integers(least, 7))
    return int(random.choice([few, random.integers(7, 21), 70], p=[0.9, 0.09, 0.01]))


def _shape(random: np.random.Generator, num_classes: int) -> tuple[int, ...]:
    ndim = int(random.choice([1, 2, 3]))
    most = MAX_SIDE[ndim] if num_classes < 10 else MAX_SIDE[ndim] // 2
    shape = [int(random.integers(1, 10 if num_classes == 1 else 4))]
    shape += [int(random.integers(1, most + 1)) for _ in range(ndim)]
    if random.random() < 0.05:
        shape[random.integers(len(shape))] = 0
    return tuple(shape)


def _ignore_index(random: np.random.Generator, num_classes: int) -> int | None:
    return [None, -100, 255, -1, int(random.integers(num_classes)), 2**40][
        random.choice(6, p=[0.3, 0.3, 0.2, 0.1, 0.08, 0.02])
    ]


def _label_map(
    random: np.random.Generator, shape: tuple[int, ...], num_classes: int, ignore_index: int | None
) -> np.ndarray:
    labels = np.full(shape, random.integers(num_classes), np.int64)
    foreground = random.random(shape) < random.choice([0.0, 0.03, 0.1, 0.4, 1.0])
    labels[foreground] = random.integers(num_classes, size=int(foreground.sum()))
    if ignore_index is not None:
        labels[random.random(shape) < random.choice([0.0, 0.1, 0.5, 1.0])] = ignore_index
    return labels


def _as_integers(random: np.random.Generator, labels: np.ndarray) -> torch.Tensor:
    """In any integer dtype, bool included, that holds all of these labels."""
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    fitting = [
        dtype
        for name, dtype in INTEGERS.items()
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max
    ]
    if low >= 0 and high <= 1:
        fitting.append(torch.bool)
    return torch.from_numpy(labels).to(fitting[random.integers(len(fitting))])


def _channels(
    random: np.random.Generator, shape: tuple[int, ...], ignore_index: int | None
) -> torch.Tensor:
    """Masks that may overlap: 0 and 1, or probabilities; some entries ignored."""
    if random.random() < 0.6:
        masks = _label_map(random, shape, 2, ignore_index)
        floats = random.random() < 0.3 and (ignore_index or 0) < 2**24
        return torch.from_numpy(masks).float() if floats else _as_integers(random, masks)
    dtype = FLOATS[random.integers(4)]
    target = torch.from_numpy(random.random(shape)).to(dtype)
    if ignore_index is not None and -256 <= ignore_index <= 256:  # which bfloat16 can hold
        target[torch.from_numpy(random.random(shape) < random.choice([0.1, 1.0]))] = ignore_index
    return target


def _probabilities(
    random: np.random.Generator, shape: tuple[int, ...], ignore_index: int | None
) -> torch.Tensor:
    """One-hot, smoothed or soft, without ties; some voxels without a class."""
    batch, channels, *spatial = shape
    labels = random.integers(channels, size=(batch, *spatial))
    one_hot = np.moveaxis(np.eye(channels)[labels], -1, 1)
    noise = random.random(shape)
    soft = 0.7 * one_hot + 0.3 * noise / noise.sum(1, keepdims=True)
    unlabelled = np.broadcast_to((random.random((batch, *spatial)) < 0.1)[:, None], shape)
    if random.random() < 0.4:
        one_hot[unlabelled] = 0
        return torch.from_numpy(one_hot).to(
            random.choice([torch.bool, torch.uint8, torch.int16, torch.int64, torch.float32])
        )
    if random.random() < 0.3:
        small = ignore_index is not None and -256 <= ignore_index <= 256
        soft[unlabelled] = ignore_index if small and random.random() < 0.5 else 0
    return torch.from_numpy(soft).to(FLOATS[random.integers(4)])


def _strided(random: np.random.Generator, tensor: torch.Tensor) -> torch.Tensor:
    """The same numbers, sometimes laid out otherwise in memory."""
    kind = random.random()
    if kind < 0.7 or tensor.ndim == 0:
        return tensor
    if kind < 0.85:  # the axes in another order in memory
        order = random.permutation(tensor.ndim).tolist()
        return tensor.permute(order).contiguous().permute(np.argsort(order).tolist())
    return torch.stack([tensor, tensor], dim=-1)[..., 0]  # every second of a longer row


def _radius(random: np.random.Generator, num_classes: int) -> Any:
    one = [
        lambda: 0,
        lambda: float(random.uniform(0, 6)),
        lambda: math.sqrt(random.integers(50)),
        lambda: int(random.integers(1, 8)),
        lambda: np.float32(random.uniform(0, 4)),
        lambda: torch.tensor(random.uniform(0, 4)),  # a number, and no axis
        lambda: float(random.choice([math.inf, 1e6, 1e300, 1e-300])),
    ]
    if random.random() < 0.6:
        return one[random.integers(len(one))]()
    values = [float(one[random.integers(len(one))]()) for _ in range(num_classes)]
    return random.choice([list, tuple])(values)


def _spacing(random: np.random.Generator, ndim: int) -> Any:
    if random.random() < 0.4:
        return None
    scale = random.choice([1.0, 1.0, 1e-6, 1e6])
    sizes = random.choice([0.1, 0.5, 0.7, 0.8, 1.0, 1.5, 3.0, random.uniform(0.2, 5)], size=ndim)
    return random.choice([list, tuple, np.array, torch.tensor])((scale * sizes).tolist())


def _weighting(
    random: np.random.Generator, function: str, num_classes: int, by_channel: bool
) -> dict[str, Any]:
    options: dict[str, Any] = {"process_group": random.choice([None, "world"]), "weight": None}
    if function not in ADAPTIVE:
        options |= {"volumes": str(random.choice(["batch", "image"])), "num_voxels": None}
    if function not in ADAPTIVE and random.random() < 0.3:
        shape = (num_classes, 2) if by_channel else (num_classes,)
        counts = random.integers(0, random.choice([10, 1000, 10**9]), size=shape) + 0.0
        counts[..., 0] += 1
        options["volumes"] = _numbers(random, counts)
        if random.random() < 0.4:
            # Each voxel is in one dilated mask at least, and no mask is larger than the data set.
            rows = counts.reshape(-1, counts.shape[-1])
            least, most = rows.max(), rows[(rows > 0).any(1)].sum(1).min()
            if least <= most:
                options["num_voxels"] = float(random.uniform(least, most))
    if random.random() < 0.3:
        weight = random.choice([0.0, 0.5, 1.0, 1e-6, 1e6, random.uniform(0, 9)], size=num_classes)
        weight[0] += 1  # the first class has a volume and a weight: something is left to learn
        options["weight"] = _numbers(random, weight)
        if by_channel and random.random() < 0.3:
            options["weight"] = float(weight[0])
    return options


def _numbers(random: np.random.Generator, values: np.ndarray) -> Any:
    """A list, an array or a tensor of any dtype that holds these numbers as they are."""
    whole = bool((values == values.round()).all())
    dtypes = ["float32", "float64"]
    if whole:
        dtypes += [name for name in INTEGERS if values.max() <= np.iinfo(name).max]
    array = values.astype(random.choice(dtypes))
    return random.choice([np.ndarray.tolist, np.asarray, torch.from_numpy])(array)
