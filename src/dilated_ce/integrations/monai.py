"""For MONAI: the losses in its own conventions, and transforms that compute the weight map.

    DilatedBalancedDiceCELoss, AdaptiveDilatedDiceCELoss  instead of monai.losses.DiceCELoss
    DilatedBalancedCELoss, AdaptiveDilatedCELoss          without Dice
    DilatedBalancedWeightsd, AdaptiveDilatedWeightsd      the map in the workers of the data loader

All can be the `_target_` of a bundle or an Auto3DSeg configuration, with plain values as arguments.
For the formulas, and for what is the paper's, see `dilated_ce.dilated_balanced_cross_entropy` and
`dilated_ce.adaptive_dilated_cross_entropy`; all choices in this module are ours. Where MONAI has a
default, it is kept.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.losses import DiceLoss
from monai.utils import DiceCEReduction, look_up_option
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from dilated_ce import loss as core
from dilated_ce.integrations._levels import as_size, level_spacing
from dilated_ce.integrations._monai_transforms import (
    AdaptiveDilatedWeights,
    AdaptiveDilatedWeightsD,
    AdaptiveDilatedWeightsd,
    AdaptiveDilatedWeightsDict,
    DilatedBalancedWeights,
    DilatedBalancedWeightsD,
    DilatedBalancedWeightsd,
    DilatedBalancedWeightsDict,
    as_indices,
)
from dilated_ce.options import (
    ProcessGroup,
    Radius,
    Volumes,
    Weight,
    as_numbers,
    as_process_group,
)
from dilated_ce.target import as_target, plain, valid_voxels
from dilated_ce.weighting import WeightMap

__all__ = [
    "AdaptiveDilatedCELoss",
    "AdaptiveDilatedDiceCELoss",
    "AdaptiveDilatedWeights",
    "AdaptiveDilatedWeightsD",
    "AdaptiveDilatedWeightsDict",
    "AdaptiveDilatedWeightsd",
    "DilatedBalancedCELoss",
    "DilatedBalancedDiceCELoss",
    "DilatedBalancedWeights",
    "DilatedBalancedWeightsD",
    "DilatedBalancedWeightsDict",
    "DilatedBalancedWeightsd",
]


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
                They take the place of those computed here.

        Returns:
            A scalar, or for reduction="none" a map BH[WD] (BNH[WD] with `sigmoid` or N = 1).

        Raises:
            ValueError: when input and target differ in their number of dimensions or in a size,
                or the target has neither 1 channel nor as many as the input.
        """
        _check_shapes(input, target)
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


class DilatedBalancedCELoss(_ForMonai, core.DilatedBalancedCELoss):
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


class AdaptiveDilatedCELoss(_ForMonai, core.AdaptiveDilatedCELoss):
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


class _DiceAnd(_Loss):
    """MONAI's Dice loss and one of the losses above, with the arguments of its `DiceCELoss`."""

    def __init__(
        self,
        make: Callable[..., nn.Module],
        include_background: bool,
        sigmoid: bool,
        reduction: str,
        weight: Weight | None,
        lambda_dice: float,
        lambda_ce: float,
        label_smoothing: float,
        **dice: Any,
    ) -> None:
        super().__init__()
        reduction = look_up_option(reduction, DiceCEReduction).value
        if lambda_dice < 0.0:
            raise ValueError("lambda_dice should be no less than 0.0.")
        if lambda_ce < 0.0:
            raise ValueError("lambda_ce should be no less than 0.0.")
        dice_weight = None if weight is None else as_numbers("weight", weight)
        if dice_weight is not None and not include_background and dice_weight.ndim > 0:
            dice_weight = dice_weight[1:]
        self.dice = DiceLoss(
            include_background=include_background,
            sigmoid=sigmoid,
            reduction=reduction,
            weight=dice_weight,
            **dice,
        )
        # It follows the module to another device, and stays out of checkpoints.
        self.dice.register_buffer("class_weight", self.dice.class_weight, persistent=False)
        self.cross_entropy = make(
            sigmoid=sigmoid,
            ignore_index=None,
            label_smoothing=label_smoothing,
            reduction=reduction,
            weight=weight,
        )
        self.lambda_dice = lambda_dice
        self.lambda_ce = lambda_ce

    def forward(self, input: Tensor, target: Tensor, weight_map: Tensor | None = None) -> Tensor:
        """The weighted sum of both losses; arguments as in `DilatedBalancedCELoss.forward`.

        Returns:
            A scalar.

        Raises:
            ValueError: when input and target differ in their number of dimensions or in a size,
                or the target has neither 1 channel nor as many as the input.
        """
        _check_shapes(input, target)
        input, target = plain(input), plain(target)
        cross_entropy = self.cross_entropy(input, target, weight_map)
        if target.dtype == torch.bool:  # which DiceLoss cannot multiply by its weights
            target = target.to(input.dtype)
        total: Tensor = self.lambda_dice * self.dice(input, target)
        return total + self.lambda_ce * cross_entropy

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        core.forget_class_weights(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class DilatedBalancedDiceCELoss(_DiceAnd):
    """`monai.losses.DiceCELoss` with dilated balanced cross entropy (the paper's idea) as its CE.

    The arguments of `DiceCELoss` come first, in its order. The Dice part is MONAI's own, with all
    of them; the cross entropy part takes `reduction`, `weight`, `lambda_ce` and `label_smoothing`.
    Two things differ from `DiceCELoss`. With `sigmoid=True` every channel is a mask of its own in
    both parts, while the cross entropy of `DiceCELoss` keeps a softmax if there are more channels.
    And `weight` says how much a class counts on top of the balance, instead of a factor for its
    voxels (with one channel: how much the foreground counts where the background counts 1).

    As in `DiceCELoss` there is no `ignore_index`; use `DilatedBalancedCELoss` for that.

    Args:
        radius, spacing, roi_size, volumes, num_voxels, process_group: as in
            `DilatedBalancedCELoss`.

    Raises:
        TypeError, ValueError: as `DiceCELoss` and `DilatedBalancedCELoss`.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import DilatedBalancedDiceCELoss
        >>> loss = DilatedBalancedDiceCELoss(to_onehot_y=True, softmax=True, radius=8)
        >>> loss(torch.randn(2, 3, 16, 16), torch.randint(0, 3, (2, 1, 16, 16))).shape
        torch.Size([])
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[Tensor], Tensor] | None = None,
        squared_pred: bool = False,
        jaccard: bool = False,
        reduction: str = "mean",
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        batch: bool = False,
        weight: Weight | None = None,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
        label_smoothing: float = 0.0,
        *,
        radius: Radius,
        spacing: Sequence[float] | None = None,
        roi_size: Sequence[int] | None = None,
        volumes: Volumes = "batch",
        num_voxels: float | None = None,
        process_group: ProcessGroup = None,
    ) -> None:
        def make(**options: Any) -> nn.Module:
            return DilatedBalancedCELoss(
                radius,
                spacing=spacing,
                roi_size=roi_size,
                volumes=volumes,
                num_voxels=num_voxels,
                process_group=process_group,
                **options,
            )

        super().__init__(
            make,
            include_background,
            sigmoid,
            reduction,
            weight,
            lambda_dice,
            lambda_ce,
            label_smoothing,
            to_onehot_y=to_onehot_y,
            softmax=softmax,
            other_act=other_act,
            squared_pred=squared_pred,
            jaccard=jaccard,
            smooth_nr=smooth_nr,
            smooth_dr=smooth_dr,
            batch=batch,
        )


class AdaptiveDilatedDiceCELoss(_DiceAnd):
    """`monai.losses.DiceCELoss` with adaptive dilated cross entropy (ours) as its CE.

    The arguments of `DiceCELoss` come first, in its order, and mean what they mean in
    `DilatedBalancedDiceCELoss`. Only the name of the class has to change.

    Args:
        spacing, roi_size, process_group: as in `AdaptiveDilatedCELoss`.

    Raises:
        TypeError, ValueError: as `DiceCELoss` and `AdaptiveDilatedCELoss`.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import AdaptiveDilatedDiceCELoss
        >>> loss = AdaptiveDilatedDiceCELoss(to_onehot_y=True, softmax=True)
        >>> loss(torch.randn(2, 3, 16, 16), torch.randint(0, 3, (2, 1, 16, 16))).shape
        torch.Size([])
    """

    def __init__(
        self,
        include_background: bool = True,
        to_onehot_y: bool = False,
        sigmoid: bool = False,
        softmax: bool = False,
        other_act: Callable[[Tensor], Tensor] | None = None,
        squared_pred: bool = False,
        jaccard: bool = False,
        reduction: str = "mean",
        smooth_nr: float = 1e-5,
        smooth_dr: float = 1e-5,
        batch: bool = False,
        weight: Weight | None = None,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
        label_smoothing: float = 0.0,
        *,
        spacing: Sequence[float] | None = None,
        roi_size: Sequence[int] | None = None,
        process_group: ProcessGroup = None,
    ) -> None:
        def make(**options: Any) -> nn.Module:
            return AdaptiveDilatedCELoss(
                spacing=spacing, roi_size=roi_size, process_group=process_group, **options
            )

        super().__init__(
            make,
            include_background,
            sigmoid,
            reduction,
            weight,
            lambda_dice,
            lambda_ce,
            label_smoothing,
            to_onehot_y=to_onehot_y,
            softmax=softmax,
            other_act=other_act,
            squared_pred=squared_pred,
            jaccard=jaccard,
            smooth_nr=smooth_nr,
            smooth_dr=smooth_dr,
            batch=batch,
        )


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
    weights = weights.to(logits.device, core.computed_in(logits))
    valid = valid_voxels(found.labels, found.ignore_index)
    where = torch.ones_like(weights, dtype=torch.bool) if valid is None else valid
    values = torch.where(where, weights, 0)
    size, total = (
        (of.movedim(1, 0) if by_channel else of[None]).flatten(1).sum(1) for of in (where, values)
    )
    weighed = WeightMap.of(values, valid, size, as_process_group(loss.process_group), total)
    return core.weighted_loss(
        logits, found, weighed, loss.label_smoothing, by_channel, loss.reduction
    )


def _is_number(weight: Weight | None) -> bool:
    return weight is not None and as_numbers("weight", weight).ndim == 0


def _check_shapes(input: Tensor, target: Tensor) -> None:
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
    """Class indices B1H[WD] as masks BNH[WD]; an ignored voxel is so in every channel."""
    classes = torch.arange(num_classes, device=target.device)
    masks = (target == classes.view(-1, *[1] * (target.ndim - 2))).to(target.dtype)
    return masks if ignore_index is None else torch.where(target == ignore_index, target, masks)
