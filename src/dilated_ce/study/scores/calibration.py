"""Whether probabilities are what they say."""

import math

import numpy as np
from numpy.typing import NDArray

from dilated_ce.study.data.cases import mask_of


def calibration_errors(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.uint8],
    num_classes: int,
    *,
    ignore_index: int | None = None,
    overlapping: bool = False,
) -> list[float]:
    """The expected calibration error of each foreground class: see `classwise_ece`.

    Args:
        probabilities: (C, *spatial); without the background, if classes overlap.
        labels: true class indices (*spatial).
        num_classes: number of classes, background included.
        ignore_index: label of the voxels that do not count.
        overlapping: the labels are codes of classes that overlap.
    """
    return [
        classwise_ece(
            probabilities[index - overlapping],
            labels,
            index,
            ignore_index=ignore_index,
            overlapping=overlapping,
        )
        for index in range(1, num_classes)
    ]


def classwise_ece(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.uint8],
    class_index: int,
    *,
    bins: int = 15,
    ignore_index: int | None = None,
    overlapping: bool = False,
) -> float:
    """The expected calibration error of one class in one case.

    The mean over the voxels of |share that is of the class - mean probability| in bins of equal
    width (Kull et al., NeurIPS 2019, arXiv:1910.12656). Most voxels of an image are easy, so the
    values are small; compare them with each other.

    Args:
        probabilities: of the class (*spatial), 0 to 1.
        labels: true class indices (*spatial).
        class_index: the class.
        bins: their number.
        ignore_index: label of the voxels that do not count.
        overlapping: the labels are codes of classes that overlap.

    Returns:
        0 (calibrated) to 1; NaN without a voxel that counts. A probability that is no number, of a
        network that diverged, counts as the worst, 1: the case is not to drop out of the mean.

    Examples:
        >>> classwise_ece(np.array([0.9, 0.9, 0.1]), np.array([1, 0, 0], np.uint8), 1)
        0.3
    """
    valid = np.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    values = np.asarray(probabilities[valid], np.float64)
    if values.size == 0:
        return math.nan
    if not np.isfinite(values).all():
        return 1.0
    hits = mask_of(labels[valid], class_index, overlapping)
    places = np.minimum((values * bins).astype(np.int64), bins - 1)
    sums = np.bincount(places, values, bins)
    of_class = np.bincount(places, hits, bins)
    return float(np.abs(of_class - sums).sum() / values.size)
