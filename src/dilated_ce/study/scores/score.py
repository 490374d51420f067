"""How good a segmentation is, per case and class: overlap, surfaces, lesions, calibration.

Overlaps are counted here; surface distances are MONAI's. A surface is what MONAI takes for one: the
voxels of a mask that a 6-connected (in 2D 4-connected) erosion removes; the distance between two
surfaces is that between the centres of their voxels. https://docs.monai.io/en/stable/metrics.html
"""

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from numpy.typing import NDArray

from dilated_ce.study.data.cases import mask_of
from dilated_ce.study.scores.lesions import lesion_scores
from dilated_ce.study.scores.settings import Empty
from dilated_ce.study.scores.table import COUNTS, LOWER_IS_BETTER, SCORES

FALSE_ALARMS = {"false_alarm", "false_volume"}
PLACES = ("nsd", "hd95", "assd", "lesion_f1", "lesion_recall", "lesion_precision")


def score_case(
    prediction: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    num_classes: int,
    *,
    spacing: Sequence[float],
    tolerance: float,
    empty: Empty = "score",
    ignore_index: int | None = None,
    ece: Sequence[float] | None = None,
    overlapping: bool = False,
) -> list[dict[str, float]]:
    """The scores of the foreground classes 1 ... num_classes - 1.

    Whether a score is missing (NaN) depends on the truth alone, never on the prediction: else a
    loss could lose a case from its mean by what it predicts there. So, for a class that the case

    - holds and the prediction lacks: overlaps and precision are 0, and distances the diagonal of
      the image, the largest there can be;
    - lacks and the prediction has (a false alarm): the same;
    - lacks, as the prediction does: the best score. With `empty="skip"` a class that the case lacks
      has no scores, found or not, and only its false alarms count;
    - lacks: recall is missing, as there is nothing to be found.

    Scores of 0 and 1 for an empty truth are the choice of the BraTS challenges; Metrics Reloaded
    (Maier-Hein et al., Nature Methods 2024) lists it beside skipping such cases, which hides false
    alarms from the mean. As a 0 for one stray voxel is harsh, false alarms are scores of their own.

    Args:
        prediction: predicted class indices (*spatial), 2D or 3D; a volume of one slice is 2D.
        labels: true class indices (*spatial).
        num_classes: number of classes, background included.
        spacing: size of a voxel along each axis.
        tolerance: of the surface Dice (NSD), in the unit of `spacing`.
        empty: how a class is scored that the case lacks.
        ignore_index: label of the voxels that do not count; they are background in both masks.
        ece: the calibration error of each foreground class, if it is known.
        overlapping: prediction and labels are codes of classes that overlap (see `mask_of`).

    Returns:
        A dictionary per class: dice, recall, precision, nsd (0 to 1); hd95 and assd, the symmetric
        mean surface distance (in the unit of `spacing`); lesion_f1, lesion_recall,
        lesion_precision (see `lesions`); false_alarm, 1 if a class that the case lacks is
        predicted, and false_volume, how much of it (in the unit of `spacing` to the power of the
        axes), both missing where the case holds the class; ece, as it was given; true_voxels,
        predicted_voxels.

    Examples:
        >>> truth = np.array([[0, 1, 1, 1]], dtype=np.uint8)
        >>> prediction = np.array([[1, 1, 0, 0]], dtype=np.uint8)
        >>> [scores] = score_case(prediction, truth, 2, spacing=(1, 1), tolerance=1)
        >>> scores["dice"], scores["precision"], scores["lesion_f1"]
        (0.4, 0.5, 1.0)
        >>> [scores] = score_case(prediction, 0 * truth, 2, spacing=(1, 1), tolerance=1)
        >>> scores["dice"], scores["recall"], scores["false_alarm"], scores["false_volume"]
        (0.0, nan, 1.0, 2.0)
    """
    if ignore_index is not None:
        prediction = np.where(labels == ignore_index, 0, prediction)
        truth = np.where(labels == ignore_index, 0, labels)
    else:
        truth = labels
    thin = truth.shape.index(1) if truth.ndim == 3 and 1 in truth.shape else None
    voxel = math.prod(spacing)
    if thin is not None:
        # In 3D all voxels of a single slice are its surface.
        prediction, truth = prediction.squeeze(thin), truth.squeeze(thin)
        spacing = [size for axis, size in enumerate(spacing) if axis != thin]
    scores = []
    for index in range(1, num_classes):
        found, true = (mask_of(part, index, overlapping) for part in (prediction, truth))
        values = _overlap(found, true, voxel)
        if values["true_voxels"] or values["predicted_voxels"]:
            values |= _places(found, true, spacing, tolerance)
        else:
            values |= {name: 0.0 if name in LOWER_IS_BETTER else 1.0 for name in PLACES}
            values["lesion_recall"] = math.nan
        values["ece"] = math.nan if ece is None else ece[index - 1]
        if empty == "skip" and not values["true_voxels"]:
            values |= dict.fromkeys(set(SCORES) - FALSE_ALARMS, math.nan)
        scores.append({name: values[name] for name in (*SCORES, *COUNTS)})
    return scores


def dice(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """The Dice of two masks; 1 if both are empty.

    Examples:
        >>> dice(np.array([True, True, False]), np.array([True, False, False]))
        0.6666666666666666
    """
    return _overlap(found, true, math.nan)["dice"]


def _overlap(found: NDArray[np.bool_], true: NDArray[np.bool_], voxel: float) -> dict[str, float]:
    """What follows from the counts of voxels alone; see `score_case` for empty masks."""
    # Counted here: MONAI's confusion matrix takes 30 times as long on whole volumes.
    both, num_found, num_true = (
        int(np.count_nonzero(mask)) for mask in (found & true, found, true)
    )
    return overlap_scores(both, num_found, num_true, voxel)


def overlap_scores(
    both: int, num_found: int, num_true: int, voxel: float = math.nan
) -> dict[str, float]:
    """The scores that follow from counts of voxels; see `score_case` for empty masks.

    Args:
        both: voxels that are true and predicted.
        num_found: predicted ones.
        num_true: true ones.
        voxel: the volume of one.

    Examples:
        >>> overlap_scores(2, 3, 5)["dice"]
        0.5
    """
    right = float(num_found == num_true == 0)  # of nothing to find, nothing was found
    return {
        "dice": 2 * both / (num_found + num_true) if num_found + num_true else 1.0,
        "recall": both / num_true if num_true else math.nan,
        "precision": both / num_found if num_found else right,
        "false_alarm": math.nan if num_true else float(num_found > 0),
        "false_volume": math.nan if num_true else num_found * float(voxel),
        "true_voxels": num_true,
        "predicted_voxels": num_found,
    }


def _places(
    found: NDArray[np.bool_], true: NDArray[np.bool_], spacing: Sequence[float], tolerance: float
) -> dict[str, float]:
    """What depends on where the voxels are, if there are any."""
    scores = lesion_scores(found, true)
    if true.any() and found.any():
        box = _box(found | true)
        return {**scores, **_distances(found[box], true[box], spacing, tolerance)}
    diagonal = math.dist([0.0] * true.ndim, np.multiply(true.shape, spacing))
    return {**scores, "nsd": 0.0, "hd95": diagonal, "assd": diagonal}


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
