"""How good a segmentation is, per case and class."""

from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import compute_confusion_matrix_metric, get_confusion_matrix
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scores:
    """Of one class in one case, 0 to 1; NaN where a score has no meaning.

    Recall has none without a true voxel, precision none without a predicted one, and Dice none
    without either: a class that is rightly absent is no success to count.
    """

    dice: float
    recall: float
    precision: float


def score(
    prediction: NDArray[np.uint8], labels: NDArray[np.uint8], num_classes: int
) -> list[Scores]:
    """The scores of the foreground classes 1 ... num_classes - 1, by MONAI's confusion matrix.

    Args:
        prediction: predicted class indices (*spatial).
        labels: true class indices (*spatial).
        num_classes: number of classes, background included.

    Example:
        >>> truth = np.array([[0, 1, 1, 1]], dtype=np.uint8)
        >>> score(np.array([[1, 1, 0, 0]], dtype=np.uint8), truth, num_classes=2)
        [Scores(dice=0.4, recall=0.3333333333333333, precision=0.5)]
    """
    classes = np.arange(num_classes).reshape(-1, *[1] * labels.ndim)
    # Floats, as MONAI counts the voxels where both add up to 2.
    one_hot = [
        torch.from_numpy(part[None] == classes)[None].float() for part in (prediction, labels)
    ]
    confusion = get_confusion_matrix(*one_hot, include_background=False)[0].double()
    dice, recall, precision = (
        compute_confusion_matrix_metric(name, confusion)
        for name in ("f1 score", "sensitivity", "precision")
    )
    return [Scores(*values) for values in torch.stack([dice, recall, precision], 1).tolist()]
