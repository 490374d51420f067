"""The losses with MONAI's Dice loss, in the place of its `DiceCELoss`."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.losses import DiceLoss
from monai.utils import DiceCEReduction, look_up_option
from torch import Tensor, nn
from torch.nn.modules.loss import _Loss

from dilated_ce.integrations._monai_cross_entropy import (
    AdaptiveDilatedCELoss,
    DilatedBalancedCELoss,
    check_shapes,
)
from dilated_ce.modules import forget_class_weights
from dilated_ce.options import ProcessGroup, Radius, Volumes, Weight, as_numbers
from dilated_ce.target import plain


class _DiceAnd(_Loss):
    """MONAI's Dice loss and one of our losses, with the arguments of its `DiceCELoss`."""

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
        dice_weight = None if weight is None else as_numbers("weight", weight).clone()
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
        check_shapes(input, target)
        input, target = plain(input), plain(target)
        cross_entropy = self.cross_entropy(input, target, weight_map)
        if target.dtype == torch.bool:  # which DiceLoss cannot multiply by its weights
            target = target.to(input.dtype)
        total: Tensor = self.lambda_dice * self.dice(input, target)
        return total + self.lambda_ce * cross_entropy

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        forget_class_weights(state_dict, prefix)
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
