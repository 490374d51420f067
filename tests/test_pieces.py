"""Work in small pieces: that all of it is done, and that no operation is split among threads."""

from collections import Counter

import accelerator
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from dilated_ce import pieces as module
from dilated_ce.pieces import blocks, pieces
from dilated_ce.weighting import Weighting


class Large(TorchDispatchMode):
    """Notes operations on more numbers than PyTorch gives to one thread."""

    def __init__(self):
        super().__init__()
        self.found = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = accelerator.name_of(function)
        if not function.is_view and name not in accelerator.FREE:
            touched = [result] if name.startswith("new_") else [args, kwargs, result]
            most = max((t.numel() for t in accelerator.tensors_in(touched)), default=0)
            if most > module.PIECE:
                self.found[name] += 1
        return result


@pytest.mark.parametrize(
    ("batch", "num_classes", "spatial"),
    [
        (8, 2, (256, 250)),
        (8, 8, (256, 256)),
        (3, 20, (256, 250)),
        (2, 4, (60, 64, 66)),
        (9, 3, (40, 41)),
        (1, 3, (100_000,)),
    ],
)
@pytest.mark.parametrize("radius", [None, 0, 5, [0.0, 9.0]])
def test_no_operation_is_split_among_threads(monkeypatch, batch, num_classes, spatial, radius):
    """Each would wait for the slowest thread: for a long time, where another program has a core."""
    accelerator.look_into_operators(monkeypatch)
    labels = torch.randint(0, num_classes, (batch, *spatial))
    if isinstance(radius, list):
        radius = [radius[index % 2] for index in range(num_classes)]
    weighting = Weighting.checked(num_classes, len(spatial), radius=radius, ignore_index=-100)
    with Large() as mode:
        weighting.weigh("labels", labels)
    # The adaptive map is made half plain by passes over the whole of it, which compilers fuse.
    allowed = Counter(["sum", "mul_", "add_"] if radius is None else [])
    assert mode.found <= allowed


@pytest.mark.parametrize("shape", [(1, 100), (7, 10), (3, 64), (5, 0), (0, 9), (2, 33)])
@pytest.mark.parametrize("size", [1, 32, 1000])
def test_blocks_cover_every_element_once_and_are_no_larger(monkeypatch, shape, size):
    monkeypatch.setattr(module, "PIECE", size)
    seen = torch.zeros(shape, dtype=torch.int)
    for which, part in blocks(seen):
        seen[which, part] += 1
        assert seen[which, part].numel() <= size
    assert (seen == 1).all()


def test_pieces_of_nothing():
    assert list(pieces(0, 4)) == list(pieces(0, 0)) == []


@pytest.mark.parametrize("size", [0, -1, 1])
def test_a_piece_has_an_element_at_least(size):
    assert list(pieces(3, size)) == [slice(0, 1), slice(1, 2), slice(2, 3)]
