"""The losses without Dice, with the targets and the arguments that MONAI users have."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dilated_ce import modules
from dilated_ce.integrations._levels import as_size, level_spacing
from dilated_ce.integrations._monai_transforms import as_indices
from dilated_ce.loss import computed_in, weighted_loss
from dilated_ce.options import (
    ProcessGroup,
    Radius,
    Volumes,
    Weight,
    as_numbers,
    as_process_group,
)
from dilated_ce.target import as_labels, as_target, check_labels, on_host, plain, valid_voxels
from dilated_ce.weighting import WeightMap


class _ForMonai:
    """Targets as MONAI users have them: what both losses do with them."""

    sigmoid: bool
    roi_size: tuple[int, ...] | None

    def _set(self, sigmoid: bool, roi_size: Sequence[int] | None) -> None:
        self.sigmoid = sigmoid
        self.roi_size = None if roi_size is None else as_size("roi_size", roi_size)

    def forward(
        self: Any, input: Tensor, target: Tensor, weight_map: Tensor | None = None
    ) -> Tensor:
        """The loss of the logits `input` against `target`.

        Args:
            input: logits BNH[WD].
            target: B1H[WD] with class indices, or BNH[WD] one-hot (with `sigmoid` or N = 1: masks).
            weight_map: weights of the voxels, as `DilatedBalancedWeightsd` or
                `AdaptiveDilatedWeightsd` computes them, B1H[WD] (with `sigmoid` or N = 1: BNH[WD]).
                They take the place of those computed here. A loss without `num_voxels` scales them
                to mean 1 over the batch; one with `num_voxels` takes them as they are, so that the
                transform has to have the same `volumes` and `num_voxels`. On a CPU they are
                checked to be finite and not below 0, elsewhere nothing waits for that.

        Returns:
            A scalar, or for reduction="none" a map BH[WD] (BNH[WD] with `sigmoid` or N = 1).

        Raises:
            ValueError: when input and target differ in their number of dimensions or in a size,
                or the target has neither 1 channel nor as many as the input; or a weight map that
                does not fit.
        """
        check_shapes(input, target)
        input, target = plain(input), plain(target)
        mode = "multiclass" if input.shape[1] > 1 and not self.sigmoid else "multilabel"
        if target.shape[1] != input.shape[1]:
            target = as_indices(target)
            if mode == "multilabel":
                target = _one_hot(target, input.shape[1], self.ignore_index)
        if weight_map is not None:
            return _loss_under(self, plain(weight_map), mode, input, target)
        spacing = level_spacing(input.shape[2:], self.roi_size, self.spacing)
        return self.compute(input, target, mode, spacing)


class DilatedBalancedCELoss(_ForMonai, modules.DilatedBalancedCELoss):
    """Dilated balanced cross entropy (the paper's idea) for MONAI's targets.

    With one output channel, or with `sigmoid=True`, every channel is a mask of its own, which is
    balanced between its foreground and its background; otherwise a voxel has one class.

    Args:
        radius: of the ball that the masks are dilated by, in voxels or in the units of `spacing`;
            one number, or a list with one per class.
        sigmoid: the channels are masks that may overlap.
        spacing: size of a voxel along each spatial axis; 1 when None.
        roi_size: size of the images in voxels at full resolution, for `DeepSupervisionLoss`: an
            output of half that size has voxels twice as large, so that `radius` is the same length
            at each level. None: every output counts as full resolution.
        volumes: "batch", "image", or numbers, as in `dilated_ce.dilated_balanced_cross_entropy`.
        num_voxels: of the data set of these numbers, as there.
        ignore_index: label of the voxels that take no part; None when every voxel has a class.
        process_group: of the processes that hold parts of the batch, as there.
        label_smoothing: 0 to 1.
        reduction: "mean", "sum" or "none".
        weight: how much each class counts on top of the balance, (C,); for masks of their own how
            much the foreground counts where the background counts 1.

    Raises:
        TypeError, ValueError: as `dilated_ce.DilatedBalancedCELoss`, and where the shapes of input
            and target differ.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import DilatedBalancedCELoss
        >>> loss = DilatedBalancedCELoss(radius=2)
        >>> target = torch.zeros(1, 1, 8, 8)  # B1HW, floats as transforms give them
        >>> target[..., 3:5, 3:5] = 1
        >>> f"{loss(torch.zeros(1, 2, 8, 8), target):.4f}"
        '0.6931'
    """

    def __init__(
        self,
        radius: Radius,
        *,
        sigmoid: bool = False,
        spacing: Sequence[float] | None = None,
        roi_size: Sequence[int] | None = None,
        volumes: Volumes = "batch",
        num_voxels: float | None = None,
        ignore_index: int | None = -100,
        process_group: ProcessGroup = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        weight: Weight | None = None,
    ) -> None:
        # One channel is a mask of its own, which is known without input from some of the options.
        two_axes = not isinstance(volumes, str) and as_numbers("volumes", volumes).ndim == 2
        one_radius = isinstance(radius, list | tuple) and len(radius) == 1
        masks = sigmoid or two_axes or one_radius or _is_number(weight)
        super().__init__(
            radius,
            mode="multilabel" if masks else "multiclass",
            spacing=spacing,
            volumes=volumes,
            num_voxels=num_voxels,
            ignore_index=ignore_index,
            process_group=process_group,
            label_smoothing=label_smoothing,
            reduction=reduction,
            weight=weight,
        )
        self._set(sigmoid, roi_size)


class AdaptiveDilatedCELoss(_ForMonai, modules.AdaptiveDilatedCELoss):
    """Cross entropy with adaptive dilated weights (ours) for MONAI's targets.

    Args:
        sigmoid: the channels are masks that may overlap.
        spacing: size of a voxel along each spatial axis; 1 when None.
        roi_size: size of the images in voxels at full resolution, for `DeepSupervisionLoss`, from
            which an output of another size tells how anisotropic its voxels are.
        ignore_index: label of the voxels that take no part; None when every voxel has a class.
        process_group: of the processes that hold parts of the batch.
        label_smoothing: 0 to 1.
        reduction: "mean", "sum" or "none".
        weight: how much each class counts on top, (C,); for masks of their own how much the
            foreground counts where the background counts 1.

    Raises:
        TypeError, ValueError: as `dilated_ce.AdaptiveDilatedCELoss`, and where the shapes of input
            and target differ.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import AdaptiveDilatedCELoss
        >>> loss = AdaptiveDilatedCELoss()
        >>> f"{loss(torch.zeros(1, 2, 8, 8), torch.zeros(1, 1, 8, 8)):.4f}"
        '0.6931'
    """

    def __init__(
        self,
        *,
        sigmoid: bool = False,
        spacing: Sequence[float] | None = None,
        roi_size: Sequence[int] | None = None,
        ignore_index: int | None = -100,
        process_group: ProcessGroup = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        weight: Weight | None = None,
    ) -> None:
        super().__init__(
            mode="multilabel" if sigmoid or _is_number(weight) else "multiclass",
            spacing=spacing,
            ignore_index=ignore_index,
            process_group=process_group,
            label_smoothing=label_smoothing,
            reduction=reduction,
            weight=weight,
        )
        self._set(sigmoid, roi_size)


def _loss_under(loss: Any, weights: Tensor, mode: str, logits: Tensor, target: Tensor) -> Tensor:
    """The loss under a map that was computed in the data loader."""
    found = as_target(mode, logits, target, loss.ignore_index)
    by_channel = mode == "multilabel"
    expected = logits.shape if by_channel else (len(logits), 1, *logits.shape[2:])
    if weights.shape != expected:
        raise ValueError(
            f"weight_map: got shape {tuple(weights.shape)}, expected {tuple(expected)} for "
            f"input of shape {tuple(logits.shape)}. With the transform use the same mode, and the "
            "same patches, as for the loss."
        )
    weights = weights if by_channel else weights[:, 0]
    weights = weights.detach().to(logits.device, computed_in(logits))
    valid = valid_voxels(found.labels, found.ignore_index)
    where = torch.ones_like(weights, dtype=torch.bool) if valid is None else valid
    values = torch.where(where, weights, 0)
    if on_host(values) and values.numel() > 0:
        low, high = (value.item() for value in values.aminmax())
        if not 0 <= low <= high < math.inf:  # nor NaN
            raise ValueError(
                f"weight_map: got values from {low:g} to {high:g}, expected finite numbers >= 0. "
                "Put the transform behind all that interpolate or change intensities."
            )
    size, sums = (
        (of.movedim(1, 0) if by_channel else of[None]).flatten(1).sum(1) for of in (where, values)
    )
    # With `num_voxels` the map has mean 1 over the data set, and is taken as it is.
    total = sums if loss.num_voxels is None else None
    weighed = WeightMap.of(values, valid, size, as_process_group(loss.process_group), total)
    return weighted_loss(logits, found, weighed, loss.label_smoothing, by_channel, loss.reduction)


def _is_number(weight: Weight | None) -> bool:
    return weight is not None and as_numbers("weight", weight).ndim == 0


def check_shapes(input: Tensor, target: Tensor) -> None:
    """Raise what MONAI's losses raise, before anything is computed."""
    if input.dim() != target.dim():
        raise ValueError(
            "the number of dimensions for input and target should be the same, "
            f"got shape {input.shape} (nb dims: {len(input.shape)}) and {target.shape} "
            f"(nb dims: {len(target.shape)}). if target is not one-hot encoded, please provide a "
            "tensor with shape B1H[WD]."
        )
    if target.shape[1] != 1 and target.shape[1] != input.shape[1]:
        raise ValueError(
            "number of channels for target is neither 1 (without one-hot encoding) nor the same as "
            f"input, got shape {input.shape} and {target.shape}."
        )
    if input.shape[2:] != target.shape[2:] or len(input) != len(target):
        raise ValueError(
            f"ground truth has different shape ({target.shape}) from input ({input.shape})"
        )


def _one_hot(target: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Class indices B1H[WD] as masks BNH[WD]; an ignored voxel is so in every channel.

    Raises:
        ValueError: an index that is no class.
    """
    labels = as_labels("target", target[:, 0])
    indices, valid = check_labels("target", labels, num_classes, ignore_index)
    classes = torch.arange(num_classes, device=target.device)
    classes = classes.view(-1, *[1] * (labels.ndim - 1))
    masks = (indices[:, None] == classes).to(labels.dtype)
    return masks if valid is None else torch.where(valid[:, None], masks, labels[:, None])
