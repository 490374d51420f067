"""Lesions: the connected components of a class, and whether they are found.

A true lesion is found if at least a tenth of its voxels is predicted, and a predicted one is right
if at least a tenth of it is true: a rule that neither splits nor merges upset. The tenth is our
choice; that lesions should be counted beside voxels is Metrics Reloaded's (Maier-Hein et al.,
Nature Methods 2024, doi:10.1038/s41592-023-02151-z).
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dilated_ce.study.data.cases import mask_of

MIN_OVERLAP = 0.1


def lesion_scores(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    """Recall, precision and F1 of the lesions of two masks (*spatial).

    Without a true lesion recall is missing, NaN. Precision and F1 are 0 without a predicted one, or
    without a true one.

    Examples:
        >>> true = np.array([[1, 1, 0, 0, 1]], bool)
        >>> lesion_scores(np.array([[0, 1, 1, 0, 0]], bool), true)
        {'lesion_f1': 0.6666666666666666, 'lesion_recall': 0.5, 'lesion_precision': 1.0}
    """
    of_true, of_found = (_lesions(mask, other)[1] for mask, other in ((true, found), (found, true)))
    recall = float(np.mean(of_true >= MIN_OVERLAP)) if len(of_true) else math.nan
    precision = float(np.mean(of_found >= MIN_OVERLAP)) if len(of_found) else 0.0
    # Without a true lesion no predicted one is right, so the precision is 0 there.
    f1 = 2 * recall * precision / (recall + precision) if precision > 0 else 0.0
    return {"lesion_f1": f1, "lesion_recall": recall, "lesion_precision": precision}


def lesion_table(
    prediction: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    class_names: Sequence[str],
    spacing: Sequence[float],
    ignore_index: int | None = None,
    overlapping: bool = False,
) -> list[dict[str, Any]]:
    """The true lesions of a case, a row each.

    Args:
        prediction: predicted class indices (*spatial).
        labels: true class indices (*spatial).
        class_names: background first.
        spacing: size of a voxel along each axis.
        ignore_index: label of the voxels that do not count.
        overlapping: both are codes of classes that overlap.

    Returns:
        class, lesion (from 1), volume (in units of `spacing` to the power of the axes), covered
        (the share of its voxels that is predicted), found (1 or 0).
    """
    if ignore_index is not None:
        prediction = np.where(labels == ignore_index, 0, prediction)
    rows = []
    for index, name in enumerate(class_names[1:], start=1):
        sizes, shares = _lesions(
            *(mask_of(part, index, overlapping) for part in (labels, prediction))
        )
        for lesion, (size, share) in enumerate(zip(sizes, shares, strict=True), start=1):
            rows.append(
                {
                    "class": name,
                    "lesion": lesion,
                    "volume": float(size * np.prod(spacing)),
                    "covered": float(share),
                    "found": int(share >= MIN_OVERLAP),
                }
            )
    return rows


def _lesions(
    mask: NDArray[np.bool_], other: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The voxels of each component of a mask, and the share of them that lies in another."""
    # Components that touch by a corner are one.
    components, count = ndimage.label(mask, np.ones((3,) * mask.ndim))
    sizes = np.bincount(components.ravel(), minlength=count + 1)[1:]
    inside = np.bincount(components[other], minlength=count + 1)[1:]
    return sizes, inside / sizes
