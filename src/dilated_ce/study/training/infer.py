"""What a network predicts for a whole case."""

import math

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from dilated_ce.study.data.cases import Case, mask_of, num_labels, region_code
from dilated_ce.study.scores.score import dice
from dilated_ce.study.training.networks import outputs_of
from dilated_ce.study.training.settings import ResolvedTraining

WINDOWS = 8  # of 2D images at once; of volumes, one
SLAB = 16  # lines or slices whose probabilities are computed at once


@torch.no_grad()
def predict(
    network: nn.Module,
    case: Case,
    config: ResolvedTraining,
    device: torch.device,
    overlapping: bool = False,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Predict a case from overlapping windows, a stack slice by slice.

    The device holds the windows of one step alone: what they add up to, and its probabilities, stay
    in the machine's memory, once and in place.

    Returns:
        The label map (*spatial) and the probabilities (C, *spatial); of classes that overlap, their
        codes (see `mask_of`) where the probability is above 0.5.
    """
    image = torch.from_numpy(np.asarray(case.image, np.float32))
    stacked = len(config.patch_size) < case.labels.ndim
    # A stack of slices (channels, S, H, W) is a batch of S images.
    batch = image.movedim(1, 0) if stacked else image[None]
    with torch.autocast(device.type, _dtype(config), enabled=config.precision != "32-true"):
        logits = sliding_window_inference(
            batch,
            roi_size=config.patch_size,
            sw_batch_size=WINDOWS if len(config.patch_size) == 2 else 1,
            predictor=lambda windows: outputs_of(network, windows)[0],
            overlap=0.25,
            mode="gaussian",
            sw_device=device,
            device=torch.device("cpu"),
        ).float()
    whole = logits.movedim(0, 1) if stacked else logits[0]
    labels = torch.empty(whole.shape[1:], dtype=torch.uint8)
    for slab, part in zip(labels.split(SLAB), whole.split(SLAB, dim=1), strict=True):
        part.copy_(part.sigmoid() if overlapping else part.softmax(0))
        slab.copy_(_codes(part) if overlapping else part.argmax(0))
    return labels.numpy(), whole.numpy()


def _codes(probabilities: Tensor) -> Tensor:
    """Codes of the classes that overlap, where their probability is above 0.5."""
    masks = enumerate(probabilities > 0.5, start=1)
    return torch.stack([mask * region_code(index) for index, mask in masks]).sum(0)


def mean_dice(
    prediction: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    num_classes: int,
    overlapping: bool = False,
) -> float:
    """The mean Dice of the foreground classes that the labels hold; NaN if they hold none.

    Ignored voxels, whose label is no class, count as background in both.
    """
    prediction = np.where(labels < num_labels(num_classes, overlapping), prediction, 0)
    masks = [
        (mask_of(prediction, index, overlapping), mask_of(labels, index, overlapping))
        for index in range(1, num_classes)
    ]
    scores = [dice(found, true) for found, true in masks if true.any()]
    return float(np.mean(scores)) if scores else math.nan


def _dtype(config: ResolvedTraining) -> torch.dtype:
    return torch.float16 if config.precision == "16-mixed" else torch.bfloat16
