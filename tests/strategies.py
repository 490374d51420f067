"""Hypothesis strategies for label maps and the options that go with them."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

IGNORED = 255


@dataclass
class LabelMap:
    labels: Tensor  # int64 (B, *spatial)
    num_classes: int
    ignore_index: int | None


@st.composite
def label_maps(draw, max_classes=20, min_classes=1, ignorable=True, max_side=9, max_batch=5):
    """Random label maps: 1D to 3D, few or many classes, some absent, some voxels ignored."""
    ndim = draw(st.integers(1, 3))
    shape = (
        draw(st.integers(1, max_batch)),
        *draw(st.tuples(*[st.integers(1, max_side)] * ndim)),
    )
    num_classes = draw(st.integers(min_classes, max_classes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Few foreground voxels in one class, so that a ball is seen and not everything is covered.
    labels = np.full(shape, rng.integers(num_classes))
    foreground = rng.random(shape) < draw(st.sampled_from([0.0, 0.05, 0.3, 1.0]))
    labels[foreground] = rng.integers(num_classes, size=int(foreground.sum()))
    ignore_index = None
    if ignorable and draw(st.booleans()):
        # An ignored label outside the classes, or one of them.
        ignore_index = draw(st.sampled_from([IGNORED, -100, 0]))
        labels[rng.random(shape) < draw(st.sampled_from([0.1, 0.5, 1.0]))] = ignore_index
    return LabelMap(torch.from_numpy(labels), num_classes, ignore_index)


def radii() -> st.SearchStrategy[float]:
    """Radii at, between and beyond the distances that occur in small grids."""
    return st.one_of(
        st.floats(0, 12),
        st.integers(0, 100).map(math.sqrt),  # exactly at a distance: the boundary is inside
        st.just(math.inf),
    )


@st.composite
def spacings(draw, ndim: int):
    """None, or voxel sizes that can be strongly anisotropic."""
    if draw(st.booleans()):
        return None
    side = st.one_of(st.floats(0.2, 5), st.sampled_from([0.1, 0.5, 0.7, 1.0, 1.5, 3.0]))
    return tuple(draw(st.tuples(*[side] * ndim)))
