"""Intensities: each image by itself at mean 0, deviation 1; CT as the training cases have it."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dilated_ce.study.data.cases import Case

SAMPLED_VALUES = 5000  # of CT, per case
PIECE = 2**16  # voxels


def sample_ct(case: Case, channels: Iterable[int], num_labels: int) -> NDArray[np.float32]:
    """Values of the foreground in the channels that are CT (channels, n), drawn once."""
    channels = list(channels)
    if not channels:
        return np.empty((0, 0), np.float32)
    places = np.flatnonzero((case.labels > 0) & (case.labels < num_labels))
    random = np.random.default_rng(0)
    return np.stack(
        [
            random.choice(case.image[channel].ravel()[places], SAMPLED_VALUES)
            if places.size
            else np.empty(0, np.float32)
            for channel in channels
        ]
    ).astype(np.float32)


def ct_scaling(
    train: Iterable[str], values_of: Mapping[str, Mapping[int, NDArray]]
) -> dict[str, list[float]]:
    """Lower and upper clip, mean and standard deviation of each channel that is CT."""
    samples: dict[int, list[NDArray]] = {}
    for name in train:
        for channel, values in values_of[name].items():
            if values.size:
                samples.setdefault(channel, []).append(values)
    scaling = {}
    for channel, parts in samples.items():
        values = np.concatenate(parts).astype(np.float64)
        low, high = np.percentile(values, (0.5, 99.5))
        deviation = max(float(values.std()), 1e-8)
        scaling[str(channel)] = [float(low), float(high), float(values.mean()), deviation]
    return scaling


def scale_ct(
    image: NDArray[np.float32], scaling: Mapping[str, Sequence[float]]
) -> NDArray[np.float32]:
    """An image (channels, *spatial) with the channels in `scaling` clipped and scaled.

    By channel: lower and upper clip, mean and standard deviation.
    """
    scaled = image
    for channel, (low, high, mean, deviation) in scaling.items():
        scaled = scaled.copy() if scaled is image else scaled
        values = image[int(channel)]
        scaled[int(channel)] = (values.clip(low, high) - mean) / deviation
    return scaled


def normalise(image: NDArray[np.float32], ct: Iterable[int]) -> NDArray[np.float16]:
    """An image (channels, *spatial) with each channel at mean 0, deviation 1, but those of CT."""
    normalised = np.empty_like(image, np.float16)  # in the same order of axes, which is fast
    largest = float(np.finfo(np.float16).max)
    for channel, values in enumerate(image):
        if channel in ct:  # in Hounsfield units, of which 16 bits hold the whole ones up to 2048
            normalised[channel] = values.clip(-largest, largest)
            continue
        # MONAI's NormalizeIntensity sums in float32, in an order that depends on the number of
        # threads: the last digit is enough to make the data count as changed.
        voxels = values.ravel("K")
        # Piece by piece, which the cache holds.
        pieces = [slice(start, start + PIECE) for start in range(0, voxels.size, PIECE)]
        mean = sum(float(voxels[p].sum(dtype=np.float64)) for p in pieces) / voxels.size
        squares = sum(float(np.square(voxels[p] - mean, dtype=np.float64).sum()) for p in pieces)
        deviation = (squares / voxels.size) ** 0.5 or 1.0
        scaled = normalised[channel].ravel("K")
        for p in pieces:
            scaled[p] = (voxels[p] - mean) / deviation
    return normalised
