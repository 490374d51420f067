"""How good a segmentation is, per case and class: overlap, surfaces, lesions, calibration.

Overlaps and surface distances are MONAI's. A surface is what MONAI takes for one: the voxels of a
mask that a 6-connected (in 2D 4-connected) erosion removes; the distance between two surfaces is
that between the centres of their voxels. https://docs.monai.io/en/stable/metrics.html
"""

import math
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_confusion_matrix_metric,
    compute_hausdorff_distance,
    compute_surface_dice,
    get_confusion_matrix,
)
from numpy.typing import NDArray

from dilated_ce.study.scores.calibration import classwise_ece
from dilated_ce.study.scores.lesions import lesion_scores
from dilated_ce.study.scores.table import LOWER_IS_BETTER, SCORES


def score_case(
    prediction: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    num_classes: int,
    *,
    spacing: Sequence[float],
    tolerance: float,
    empty: Literal["skip", "perfect"] = "skip",
    ignore_index: int | None = None,
    probabilities: NDArray[np.floating] | None = None,
) -> list[dict[str, float]]:
    """The scores of the foreground classes 1 ... num_classes - 1.

    A score that has no meaning is NaN and is left out of means: recall without a true voxel,
    precision without a predicted one. Our rules for empty masks: where both masks are empty, all
    scores are NaN (`empty="skip"`) or perfect (`"perfect"`); where one is, overlaps are 0 and the
    distances the diagonal of the image, so that a missed object is no object left out.

    Args:
        prediction: predicted class indices (*spatial), 2D or 3D; a volume of one slice is 2D.
        labels: true class indices (*spatial).
        num_classes: number of classes, background included.
        spacing: size of a voxel along each axis.
        tolerance: of the surface Dice (NSD), in the unit of `spacing`.
        empty: what a class is worth that is neither there nor predicted.
        ignore_index: label of the voxels that do not count; they are background in both masks.
        probabilities: (C, *spatial), for the calibration error.

    Returns:
        A dictionary per class: dice, recall, precision, nsd (0 to 1); hd95 and assd, the symmetric
        mean surface distance (in the unit of `spacing`); lesion_f1, lesion_recall,
        lesion_precision (see `lesions`); ece (see `calibration`); true_voxels, predicted_voxels.

    Examples:
        >>> truth = np.array([[0, 1, 1, 1]], dtype=np.uint8)
        >>> prediction = np.array([[1, 1, 0, 0]], dtype=np.uint8)
        >>> [scores] = score_case(prediction, truth, 2, spacing=(1, 1), tolerance=1)
        >>> scores["dice"], scores["precision"], scores["lesion_f1"]
        (0.4, 0.5, 1.0)
    """
    if ignore_index is not None:
        prediction = np.where(labels == ignore_index, 0, prediction)
        truth = np.where(labels == ignore_index, 0, labels)
    else:
        truth = labels
    thin = truth.shape.index(1) if truth.ndim == 3 and 1 in truth.shape else None
    if thin is not None:
        # In 3D all voxels of a single slice are its surface.
        prediction, truth = prediction.squeeze(thin), truth.squeeze(thin)
        spacing = [size for axis, size in enumerate(spacing) if axis != thin]
    scores = []
    for index in range(1, num_classes):
        values = _score(prediction == index, truth == index, spacing, tolerance, empty)
        values["ece"] = (
            math.nan
            if probabilities is None
            else classwise_ece(probabilities[index], labels, index, ignore_index=ignore_index)
        )
        scores.append({name: values[name] for name in (*SCORES, "true_voxels", "predicted_voxels")})
    return scores


def _score(
    found: NDArray[np.bool_],
    true: NDArray[np.bool_],
    spacing: Sequence[float],
    tolerance: float,
    empty: str,
) -> dict[str, float]:
    counts = {
        "true_voxels": int(np.count_nonzero(true)),
        "predicted_voxels": int(np.count_nonzero(found)),
    }
    if not true.any() and not found.any():
        best = math.nan if empty == "skip" else 1.0
        none = math.nan if empty == "skip" else 0.0
        return {name: none if name in LOWER_IS_BETTER else best for name in SCORES} | counts
    scores: dict[str, float] = {**_overlap(found, true), **lesion_scores(found, true), **counts}
    if true.any() and found.any():
        box = _box(found | true)
        scores |= _distances(found[box], true[box], spacing, tolerance)
    else:
        diagonal = math.dist([0.0] * true.ndim, np.multiply(true.shape, spacing))
        scores |= {"nsd": 0.0, "hd95": diagonal, "assd": diagonal}
    return scores


def _overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    # Floats, as MONAI counts the voxels where both add up to 2.
    masks = [torch.from_numpy(mask[None, None]).float() for mask in (found, true)]
    confusion = get_confusion_matrix(*masks)[0].double()
    return {
        name: float(compute_confusion_matrix_metric(formula, confusion)[0])
        for name, formula in (
            ("dice", "f1 score"),
            ("recall", "sensitivity"),
            ("precision", "precision"),
        )
    }


def _distances(
    found: NDArray[np.bool_], true: NDArray[np.bool_], spacing: Sequence[float], tolerance: float
) -> dict[str, float]:
    masks = [torch.from_numpy(mask[None, None]) for mask in (found, true)]
    options = {"include_background": True, "spacing": list(spacing)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of MONAI, about its own insides
        return {
            "nsd": float(compute_surface_dice(*masks, class_thresholds=[tolerance], **options)),
            "hd95": float(compute_hausdorff_distance(*masks, percentile=95, **options)),
            "assd": float(compute_average_surface_distance(*masks, symmetric=True, **options)),
        }


def _box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    """The bounding box with a margin of a voxel: surfaces outside of it are none of the mask's."""
    slices = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        places = np.flatnonzero(mask.any(axis=others))
        slices.append(slice(max(0, places[0] - 1), places[-1] + 2))
    return tuple(slices)
