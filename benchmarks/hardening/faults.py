"""What is wrong with an argument, by its name: each spoils the arguments and says what must come.

Nothing here asks the package what it takes. A fault is None where it can't be made (a label out of
range needs a voxel).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Arguments = dict[str, Any]


@dataclass
class Fault:
    """A spoilt argument, the error that is due, and what its message has to show."""

    argument: str
    error: type[Exception]
    shown: str


Spoil = Callable[[np.random.Generator, Arguments, int], Fault | None]

NAN, INF = math.nan, math.inf
OF_VALUE = {
    "radius": [-1, -0.5, NAN, -INF, []],
    "num_classes": [0, -3],
    "ignore_index": [2**63, -(2**63) - 1, 10**30],
    "mode": ["panoptic", "", None],
    "volumes": ["global", "", "Batch", "auto"],
    "reduction": ["average", "", None],
    "label_smoothing": [-0.1, 1.1, NAN, INF],
}
OF_TYPE = {
    "radius": ["auto", "", b"auto", None, True, {0: 1}, {1.0}, 10**400, 1j, ["auto"],
               [[1.0, 2.0]], [1.0, None], [True]],
    "spacing": [1.0, "11", True, [None], [True], {1.0}, 1j],
    "num_classes": [2.0, "2", True, None, [2]],
    "ignore_index": [1.5, "0", True, [0]],
    "label_smoothing": [None, "0.1", True, [0.1], 1j],
    "process_group": ["all", "", 3, True, object],
    "volumes": [None],
    "num_voxels": ["9", True, [9], 1j],
}  # fmt: skip


def by_value(name: str, values: list[Any], error: type[Exception]) -> Spoil:
    """Put one of these values in the place of the argument; the message repeats it."""

    def spoil(random: np.random.Generator, arguments: Arguments, _: int) -> Fault:
        value = values[random.integers(len(values))]
        arguments[name] = value
        shown = "an empty sequence" if isinstance(value, list) and not value else repr(value)
        return Fault(name, error, f"{name}: got {shown}")

    return spoil


def radius_by_class(random: np.random.Generator, arguments: Arguments, classes: int) -> Fault:
    """One radius too many or too few, or a wrong one among them."""
    alone = not are_numbers(arguments.get("volumes")) and arguments.get("weight") is None
    if alone and random.random() < 0.5:  # or it might be theirs that is wrong
        wrong = classes + random.choice([-1, 1]) if classes > 1 else 2
        arguments["radius"] = [1.0] * wrong
        return Fault("radius", ValueError, f"radius: got {wrong} values for {classes} classes")
    radii = [1.0] * classes
    radii[random.integers(classes)] = float(random.choice([-1.0, NAN, -INF]))
    arguments["radius"] = random.choice([list, tuple])(radii)
    return Fault("radius", ValueError, f"radius: got {arguments['radius']!r}")


def radius_as_weights(random: np.random.Generator, arguments: Arguments, classes: int) -> Fault:
    """An array or a tensor, which are class weights where `nn.CrossEntropyLoss` stood."""
    radii = random.choice([np.ones, torch.ones])(random.choice([0, 1, classes]).item())
    arguments["radius"] = radii
    shown = f"radius: got a {type(radii).__name__} of shape {tuple(radii.shape)}"
    return Fault("radius", TypeError, shown)


def are_numbers(volumes: object) -> bool:
    """Whether these are volumes, and not a word for what they are counted over."""
    return volumes is not None and not isinstance(volumes, str)


def spacing_by_axis(random: np.random.Generator, arguments: Arguments, _: int) -> Fault:
    """A voxel size too many or too few, or a wrong one among them."""
    ndim = arguments["labels"].ndim - 1 if "labels" in arguments else arguments["logits"].ndim - 2
    if random.random() < 0.5:
        sizes = [1.0] * (ndim + random.choice([-1, 1]))
        arguments["spacing"] = sizes
        return Fault("spacing", ValueError, f"spacing: got {len(sizes)} values")
    sizes = [1.0] * ndim
    sizes[random.integers(ndim)] = float(random.choice([0.0, -1.0, NAN, INF]))
    arguments["spacing"] = random.choice([list, tuple])(sizes)
    return Fault("spacing", ValueError, f"spacing: got {arguments['spacing']!r}")


def numbers(name: str) -> Spoil:
    """Volumes or weights of the wrong length, sign, size or kind."""

    def spoil(random: np.random.Generator, arguments: Arguments, classes: int) -> Fault:
        by_channel = arguments.get("mode", "multiclass") != "multiclass"
        shape = (classes, 2) if by_channel and name == "volumes" else (classes,)
        if name == "volumes":  # of two lengths that differ, either might be the wrong one
            arguments["weight"] = None
        arguments[name], error, shown = [
            (lambda: (np.ones((classes, 3)), ValueError, "shape")),
            (lambda: (np.ones((classes + 2,)), ValueError, "shape")),
            (lambda: (_with(random, shape, [-1.0, NAN, INF, -INF]), ValueError, "[")),
            (lambda: (_with(random, shape, [1e-40, 1e-300, 1e30, 1e300]), ValueError, "[")),
            (lambda: (np.zeros(shape), ValueError, "[")),
            (lambda: (np.ones(shape, bool), TypeError, "dtype torch.bool")),
            (lambda: (np.ones(shape, complex), TypeError, "dtype torch.complex128")),
            (lambda: (["a"] * classes, TypeError, "['a'")),
            (lambda: ([1.0, None], TypeError, "[1.0, None]")),
            (lambda: ({"a": 1}, TypeError, "{'a': 1}")),
        ][random.integers(10)]()
        return Fault(name, error, f"{name}: got {shown}")

    return spoil


def _with(random: np.random.Generator, shape: tuple[int, ...], wrong: list[float]) -> np.ndarray:
    values = np.ones(shape)
    values.flat[random.integers(values.size)] = random.choice(wrong)
    return values


def num_voxels(random: np.random.Generator, arguments: Arguments, classes: int) -> Fault:
    """A size of the data set that is none, or without what goes with it."""
    if random.random() < 0.3:
        arguments["num_voxels"] = 9
        arguments["volumes"] = str(random.choice(["batch", "image"]))
    elif random.random() < 0.4:
        return by_value("num_voxels", OF_TYPE["num_voxels"], TypeError)(random, arguments, classes)
    else:
        wrong = [0, -1, NAN, INF, -INF, 1e-40, 1e30, 10**400]
        arguments["num_voxels"] = wrong[random.integers(len(wrong))]
    return Fault("num_voxels", ValueError, f"num_voxels: got {arguments['num_voxels']!r}")


def labels(random: np.random.Generator, arguments: Arguments, classes: int) -> Fault | None:
    """Labels that are no tensor, no integers, of another shape, or out of range."""
    name = "labels" if "labels" in arguments else "target"
    tensor = arguments[name]
    kind = random.integers(6)
    if kind == 0:
        other = [None, "labels", tensor.tolist(), tensor.int().numpy()][random.integers(4)]
        arguments[name] = other
        return Fault(name, TypeError, f"{name}: got {type(other).__name__}")
    if kind == 1:
        dtype = [torch.float32, torch.float16, torch.float64, torch.complex64][random.integers(4)]
        arguments[name] = tensor.to(dtype)
        return Fault(name, TypeError, f"{name}: got dtype {dtype}")
    if kind == 2:
        flat = tensor.flatten()
        arguments[name] = flat if random.random() < 0.5 else flat[:, None, None, None, None, None]
        return Fault(name, ValueError, f"{name}: got shape {tuple(arguments[name].shape)}")
    return out_of_range(random, arguments, name, classes)


def out_of_range(
    random: np.random.Generator, arguments: Arguments, name: str, classes: int
) -> Fault | None:
    """A label that is neither a class nor ignored; also one that 64 signed bits can't hold."""
    tensor = arguments[name].long().clone(memory_format=torch.contiguous_format)
    if tensor.numel() == 0:
        return None
    place = random.integers(tensor.numel())
    wrong = int(random.choice([classes, classes + 1, 300, -1, -2, -(2**40), 2**62]))
    if wrong == -1 and (tensor >= 0).all():  # in uint64 it is 2^64 - 1, and no -1
        tensor.view(-1)[place] = wrong
        arguments[name] = tensor.to(torch.uint64)
        return Fault(name, ValueError, f"{name}: got label")
    if wrong == arguments["ignore_index"] or 0 <= wrong < classes:
        return None
    tensor.view(-1)[place] = wrong
    arguments[name] = tensor
    return Fault(name, ValueError, f"{name}: got label {wrong},")


def target(random: np.random.Generator, arguments: Arguments, classes: int) -> Fault | None:
    """A target that does not fit its logits, or holds what can be no truth."""
    tensor, shape = arguments["target"], tuple(arguments["logits"].shape)
    if random.random() < 0.25:
        axis = random.integers(tensor.ndim)
        sides = list(tensor.shape)
        sides[axis] += 1 if axis != 1 or sides[axis] != 1 else 30
        arguments["target"] = torch.zeros(sides, dtype=torch.int64)
        return Fault("target", ValueError, f"target: got shape {tuple(sides)}")
    if arguments["mode"] == "multiclass" and tuple(tensor.shape) != shape:
        return labels(random, arguments, classes)
    if tensor.numel() == 0:
        return None
    wrong = float(random.choice([2.0, -0.5, 1.5, NAN, INF, 1e9]))
    values = tensor.double().clone(memory_format=torch.contiguous_format)
    values.view(-1)[random.integers(values.numel())] = wrong
    arguments["target"] = values
    if arguments["mode"] == "multiclass":
        return Fault("target", ValueError, "target: got probabilities of a voxel that add up to")
    return Fault("target", ValueError, f"target: got a value of {wrong:g}")


def logits(random: np.random.Generator, arguments: Arguments, classes: int) -> Fault | None:
    """Logits that are no floats, of another shape, or with channels that the mode has not."""
    tensor, mode = arguments["logits"], arguments["mode"]
    kind = random.integers(4)
    if kind == 0:
        other = [None, tensor.tolist(), "logits", tensor.float().numpy()][random.integers(4)]
        arguments["logits"] = other
        return Fault("logits", TypeError, f"logits: got {type(other).__name__}")
    if kind == 1:
        dtype = [torch.int64, torch.uint8, torch.bool, torch.complex64][random.integers(4)]
        arguments["logits"] = torch.ones_like(tensor, dtype=dtype)
        return Fault("logits", TypeError, f"logits: got dtype {dtype}")
    if kind == 2:
        arguments["logits"] = tensor.flatten() if random.random() < 0.5 else tensor[..., None, None]
        if arguments["logits"].ndim in (3, 4, 5):
            arguments["logits"] = arguments["logits"][..., None, None]
    elif mode == "multilabel":
        arguments["logits"] = tensor[:, :0]
        arguments["target"] = torch.zeros(arguments["logits"].shape)
    else:
        channels = 1 if mode == "multiclass" else 2
        arguments["logits"] = tensor[:, :1].expand(-1, channels, *tensor.shape[2:])
    shape = tuple(arguments["logits"].shape)
    return Fault("logits", ValueError, f"logits: got shape {shape}")


def one_of(*spoilers: Spoil) -> Spoil:
    """Any of them, as likely as the others."""
    return lambda random, arguments, classes: spoilers[random.integers(len(spoilers))](
        random, arguments, classes
    )


def wrong(name: str) -> list[Spoil]:
    """The values of the wrong size and those of the wrong type, of what the tables name."""
    return [
        by_value(name, table[name], error)
        for table, error in ((OF_VALUE, ValueError), (OF_TYPE, TypeError))
        if name in table
    ]


FAULTS: dict[str, Spoil] = {
    **{
        name: one_of(*wrong(name))
        for name in ("num_classes", "ignore_index", "mode", "reduction", "label_smoothing",
                     "process_group")
    },
    "radius": one_of(*wrong("radius"), radius_by_class, radius_as_weights),
    "spacing": one_of(*wrong("spacing"), spacing_by_axis),
    "volumes": one_of(*wrong("volumes"), numbers("volumes")),
    "weight": numbers("weight"),
    "num_voxels": num_voxels,
    "labels": labels,
    "target": target,
    "logits": logits,
}  # fmt: skip
