"""An accelerator, imitated without one: what may not be asked of it is refused, and work counted.

Operators are looked into, pieces are as large as there, and Python may read no tensor. Where even
the device has to be another one, tensors on "meta" have all of a device but numbers.
"""

from collections import Counter

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dilated_ce import (
    dilation,
    growing,
    masks,
    options,
    pieces,
    radius,
    target,
    weighted_ce,
    weighting,
)

MODULES = (dilation, growing, masks, options, pieces, radius, target, weighted_ce, weighting)
OPERATORS = ("dilate_masks", "look_up", "unpack", "most_probable", "channel_labels")
# The host waits for each of these, as it needs a number or a size that only the device knows.
WAITING = {
    "_local_scalar_dense", "item", "is_nonzero", "equal", "allclose", "nonzero", "argwhere",
    "masked_select", "bincount", "histc", "_unique", "_unique2", "unique_dim", "unique_consecutive",
}  # fmt: skip
# No kernel runs for these.
FREE = {
    "empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "_unsafe_view",
    "detach", "alias", "lift_fresh",
}  # fmt: skip


def look_into_operators(monkeypatch):
    """Modes of dispatch see what happens in them."""
    for module in MODULES:
        for name in OPERATORS:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)


def imitate(monkeypatch, piece=pieces.PIECE_ON_ACCELERATOR):
    """Treat tensors on the CPU as if they were on another device."""
    look_into_operators(monkeypatch)
    for module in MODULES:
        if hasattr(module, "on_host"):
            monkeypatch.setattr(module, "on_host", lambda tensor: False)
        if hasattr(module, "piece"):
            monkeypatch.setattr(module, "piece", lambda tensor: piece)


def name_of(function):
    return function.overloadpacket.__name__


def tensors_in(values):
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


class Refusing(TorchDispatchMode):
    """Refuses what makes the host wait, float64, and what Apple's GPUs have done wrongly."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, name_of(function)
        assert name not in WAITING, f"{function}: the host waits for the device"
        assert name != "lift_fresh", f"{function}: numbers of the host are sent to the device"
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            by = {leaf.dtype for leaf in tensors_in(args[1])}
            assert not by & {torch.bool, torch.uint8}, f"{function}: as many as are True"
        if name == "repeat_interleave":
            assert function._overloadname != "Tensor", f"{function}: the host needs the sum"
        if name == "_to_copy":
            assert kwargs.get("device") is None, f"{function}: a copy to the host"
        if "shift" in name:
            for operand in tensors_in(args):
                assert operand.ndim > 0, f"{function}: of a tensor without axes"
                assert operand.dtype != torch.uint8, f"{function}: of bytes"
        result = function(*args, **kwargs)
        for tensor in tensors_in(result):
            assert tensor.dtype not in (torch.float64, torch.complex128), f"{function}: float64"
        return result


class Counting(TorchDispatchMode):
    """Counts operations that are neither views nor allocations."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    @property
    def total(self):
        return sum(self.found.values())

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if not function.is_view and name_of(function) not in FREE:
            self.found[name_of(function)] += 1
        return function(*args, **(kwargs or {}))
