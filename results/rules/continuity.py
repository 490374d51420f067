"""How the weights move as a shape grows voxel by voxel: `python results/rules/continuity.py`.

A shape is an order of the voxels: its first n are the shape of n voxels. Everything is counted for
all n at once. Voxel x lies in the shape dilated by R from the n on at which the first voxel of its
ball arrives, and in the dilated background up to the n at which the last one does.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from candidates import CANDIDATES, top
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

FEW = 64  # from so many voxels to all but so many


def shapes(dims):
    """Orders of the voxels of an image, by name."""
    shape = (96, 96) if dims == 2 else (24, 24, 24)
    grid = np.stack(np.meshgrid(*[np.arange(n) - n // 2 for n in shape], indexing="ij"))
    distance = np.sqrt((grid**2).sum(0))
    noise = gaussian_filter(np.random.default_rng(0).normal(size=shape), 2 if dims == 3 else 4)
    keys = {
        "disc" if dims == 2 else "ball": distance,
        "disc in a corner" if dims == 2 else "ball in a corner": np.sqrt(
            sum(
                np.arange(n).reshape([-1 if a == b else 1 for b in range(dims)]) ** 2.0
                for a, n in enumerate(shape)
            )
        ),
        "band": np.abs(grid[0]) + 0.0,
        "noisy blob": distance / distance.max() + 0.5 * noise / np.abs(noise).max(),
    }
    for name, key in keys.items():
        order = np.empty(key.size, int)
        order[np.argsort(key.ravel(), kind="stable")] = np.arange(key.size)
        yield name, order.reshape(shape)


def centre_and_corner(rule, order):
    """Weights of the centre, the first voxel to arrive, and of the corner, the last, by size."""
    sizes, dims = np.arange(FEW, order.size - FEW + 1), order.ndim
    points = [np.unravel_index(n, order.shape) for n in (order.argmin(), order.argmax())]
    volumes = np.stack([sizes, order.size - sizes])
    faces = np.zeros(order.size + 1)
    for axis in range(dims):
        one, other = np.moveaxis(order, axis, 0)[1:], np.moveaxis(order, axis, 0)[:-1]
        # A face lies between the shape and the rest while only one of its two voxels has arrived.
        np.add.at(faces, np.minimum(one, other).ravel() + 1, 1)
        np.add.at(faces, np.maximum(one, other).ravel() + 1, -1)
    radius = (rule.factor * dims * volumes / faces.cumsum()[sizes]).clip(2, rule.cap)
    own = np.round(2 * np.log2(radius))
    weights, share_of, volume_of = np.zeros((3, 2, len(sizes)))
    for rung in range(2, top(rule.cap) + 1):
        used = own == rung if rule.reach == "own" else own > 0
        for c, inside in enumerate(arrivals(order, rung)):
            counts = np.bincount(inside.ravel(), minlength=order.size + 1).cumsum()
            volume = counts[sizes] if c == 0 else counts[order.size - sizes]
            share = rule.share(order.size / np.maximum(volume, 1), rung, dims)
            share_of[c], volume_of[c] = np.where(
                used[c], (share, volume), (share_of[c], volume_of[c])
            )
            for k, point in enumerate(points):
                holds = inside[point] <= (sizes if c == 0 else order.size - sizes)
                weights[k] = np.maximum(weights[k], share * (holds & used[c]))
    if rule.plain:  # each class has one neighbourhood, and every voxel lies in one of the two
        assert rule.reach == "own"
        larger, smaller = share_of.max(0), share_of.min(0)
        volume = volume_of[share_of.argmax(0), np.arange(len(sizes))]
        mean = (larger * volume + smaller * (order.size - volume)) / order.size
        weights = (1 - rule.plain) * weights / mean + rule.plain
    return weights


def arrivals(order, rung):
    """From which size on (of the class) a voxel lies in the dilated shape, and in its outside."""
    reach = int(2 ** (rung / 2))
    offsets = np.arange(-reach, reach + 1) ** 2
    ball = sum(np.ix_(*[offsets] * order.ndim)) <= 2**rung
    first = minimum_filter(order, footprint=ball, mode="constant", cval=order.size)
    last = maximum_filter(order, footprint=ball, mode="constant", cval=-1)
    return first + 1, order.size - last


def largest_step(ratio):
    """The largest factor by which a ratio changes from one size to the next."""
    return float(np.exp(np.abs(np.diff(np.log(ratio))).max()))


def largest_turn(ratio):
    """How far the ratio is from 1, at most, where the side that weighs more turns."""
    logs = np.log(ratio[ratio != 1])
    turns = np.flatnonzero(np.sign(logs[1:]) != np.sign(logs[:-1]))
    return float(np.exp(np.abs(logs[[*turns, *turns + 1]]).max())) if len(turns) else 1.0


def measure():
    """One row per candidate and shape, without that with volumes of the batch."""
    rows = []
    for dims in (2, 3):
        for shape, order in shapes(dims):
            for name, rule in CANDIDATES.items():
                if rule.scope == "batch":
                    continue
                rule = dataclasses.replace(rule, cap=min(rule.cap, 16 if dims == 2 else 8))
                centre, corner = centre_and_corner(rule, order)
                ratio = centre / corner
                step, turn = largest_step(ratio), largest_turn(ratio)
                at = FEW + int(np.abs(np.diff(np.log(ratio))).argmax())
                rows.append((dims, shape, name, round(step, 3), at, round(turn, 3)))
    return pd.DataFrame(rows, columns=["dims", "shape", "rule", "largest step", "at", "turn"])


if __name__ == "__main__":
    measure().to_csv(Path(__file__).with_suffix(".csv"), index=False)
