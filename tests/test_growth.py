"""The adaptive rule is continuous: no weight jumps while a shape grows voxel by voxel."""

import functools
import itertools

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy import ndimage

from dilated_ce import adaptive_dilated_weights

MOST = 1.25  # from one voxel to the next, and where the other side comes to weigh more
STRIDE = 16
SHAPES = {2: (96, 96), 3: (20, 20, 20)}
KINDS = ("round", "corner", "band", "middle", "noisy", "salt")


@functools.lru_cache(maxsize=2)
def ranks(kind, shape, seed=0):
    """When each voxel comes to belong to the shape: 0 is the first."""
    random = np.random.default_rng(seed)
    places = np.indices(shape).astype(float)
    centre = [(side - 1) / 2 for side in shape]
    distance = np.sqrt(sum((at - mid) ** 2 for at, mid in zip(places, centre, strict=True)))
    rows = np.ravel_multi_index(np.indices(shape), shape)
    if kind == "corner":
        distance = np.sqrt((places**2).sum(0))
    elif kind == "band":  # from one side to the other, row by row
        distance = rows
    elif kind == "middle":  # from the middle to both sides
        distance = np.abs(places[0] - centre[0] + 0.1) * rows.size + rows
    elif kind == "noisy":
        noise = ndimage.gaussian_filter(random.normal(size=shape), 2)
        distance = distance + 3 * noise / noise.std()
    elif kind == "salt":
        distance = distance + 4 * random.normal(size=shape)
    order = np.argsort(distance, axis=None, kind="stable")
    rank = np.empty(rows.size, np.int64)
    rank[order] = np.arange(rows.size)
    return torch.from_numpy(rank.reshape(shape))


def ratios(rank, sizes, spacing=None):
    """The weight of the voxel that comes first over that of the one that comes last."""
    found = []
    first, last = ((rank == end).nonzero()[0] for end in (0, rank.numel() - 1))
    for part in np.array_split(np.asarray(sizes), -(-len(sizes) // 64)):
        labels = (rank < torch.from_numpy(part).view(-1, *[1] * rank.ndim)).to(torch.uint8)
        weights = adaptive_dilated_weights(labels, num_classes=2, spacing=spacing).double()
        found.append(weights[(slice(None), *first)] / weights[(slice(None), *last)])
    return torch.cat(found).numpy()


def check(sizes, found):
    """Steps and turns of the ratios of successive sizes."""
    steps = np.exp(np.abs(np.diff(np.log(found))))
    largest = steps.argmax()
    assert steps[largest] <= MOST, f"{sizes[largest]} voxels: {found[largest : largest + 2]}"
    for before, after in itertools.pairwise(found):
        if (before > 1) != (after > 1):
            assert max(before, after, 1 / before, 1 / after) <= MOST


@pytest.mark.parametrize("ndim", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_jumps_while_a_shape_grows(kind, ndim):
    """In steps of 16 voxels, and one by one wherever that changes the ratio by 5 % or more."""
    rank = ranks(kind, SHAPES[ndim])
    sizes = np.arange(64, rank.numel() - 63, STRIDE)
    coarse = ratios(rank, sizes)
    moved = np.flatnonzero(np.abs(np.diff(np.log(coarse))) >= np.log(1.05))
    turned = np.flatnonzero(np.diff(coarse > 1))
    fine = [np.arange(sizes[at], sizes[at] + STRIDE + 1) for at in {*moved, *turned}]
    found = ratios(rank, np.concatenate(fine)) if fine else np.empty(0)
    for at, part in enumerate(fine):
        check(part, found[at * (STRIDE + 1) : (at + 1) * (STRIDE + 1)])
    assert coarse.max() / coarse.min() > 1.5  # a small shape and a small rest weigh more


@settings(max_examples=15)
@given(
    kind=st.sampled_from(KINDS),
    shape=st.sampled_from([(96, 96), (60, 110), (20, 20, 20), (12, 24, 30)]),
    seed=st.integers(0, 2**32 - 1),
    begin=st.floats(0, 1),
)
def test_nothing_jumps_anywhere(kind, shape, seed, begin):
    """Every voxel of a part of the way."""
    rank = ranks(kind, shape, seed)
    start = 64 + int(begin * (rank.numel() - 128 - 65))
    sizes = np.arange(start, start + 64)
    check(sizes, ratios(rank, sizes))


@pytest.mark.slow
@pytest.mark.parametrize("ndim", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.0, 1.0, 1.0)])
def test_nothing_jumps_from_any_voxel_to_the_next(request, kind, ndim, spacing):
    if kind == "middle" and spacing[0] == 3:
        # Of two neighbouring radii one reaches the next slice and the other does not: a slab of one
        # slice grows to three at once (by 1.65 in 2D).
        request.applymarker(pytest.mark.xfail(strict=True, reason="slices thicker than a radius"))
    rank = ranks(kind, SHAPES[ndim])
    sizes = np.arange(64, rank.numel() - 63)
    check(sizes, ratios(rank, sizes, spacing[:ndim]))


@pytest.mark.parametrize("ndim", SHAPES)
def test_both_sides_of_a_growing_shape_are_treated_alike(ndim):
    """A shape and its complement swap their weights."""
    rank = ranks("noisy", SHAPES[ndim])
    for size in (64, 500, rank.numel() // 3):
        labels = (rank < size).long()[None]
        weights = adaptive_dilated_weights(labels, num_classes=2)
        torch.testing.assert_close(adaptive_dilated_weights(1 - labels, num_classes=2), weights)
