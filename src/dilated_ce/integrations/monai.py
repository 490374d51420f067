"""For MONAI: the losses in its own conventions, and a transform that computes the weight map.

    DilatedBalancedDiceCELoss  in the place of monai.losses.DiceCELoss
    DilatedBalancedCELoss      without Dice
    DilatedBalancedWeightsd    the weight map in the workers of the data loader

All take what a bundle or an Auto3DSeg configuration can hold, under these names as `_target_`.
The formula, and what of it is the paper's, is in `dilated_ce.dilated_balanced_cross_entropy`; all
choices in this module are ours. Where MONAI has a default, it is kept; the radius is found from the
labels unless one is given, so that the name of the class is the only thing to change.
"""

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist
from monai.losses import DiceLoss
from monai.utils import DiceCEReduction, look_up_option
from torch import Tensor
from torch.nn.modules.loss import _Loss

from dilated_ce._cross_entropy import compare
from dilated_ce._labels import plain, valid_voxels
from dilated_ce._targets import as_target
from dilated_ce._validation import (
    AUTO,
    ProcessGroup,
    Radius,
    as_numbers,
    as_process_group,
    as_radius,
)
from dilated_ce.integrations._levels import as_size, level_spacing
from dilated_ce.integrations._monai_transforms import (
    DilatedBalancedWeights,
    DilatedBalancedWeightsD,
    DilatedBalancedWeightsd,
    DilatedBalancedWeightsDict,
    as_indices,
)
from dilated_ce.loss import DilatedBalancedCELoss as _CoreLoss

__all__ = [
    "DilatedBalancedCELoss",
    "DilatedBalancedDiceCELoss",
    "DilatedBalancedWeights",
    "DilatedBalancedWeightsD",
    "DilatedBalancedWeightsDict",
    "DilatedBalancedWeightsd",
]


class DilatedBalancedCELoss(_CoreLoss):
    """Dilated balanced cross entropy for targets as MONAI users have them.

    With one output channel, or with `sigmoid=True`, every channel is a mask of its own, which is
    balanced between its foreground and its background; otherwise a voxel has one class.

    Args:
        radius: of the ball that the masks are dilated by, in voxels or in the units of `spacing`;
            one number, one per class, or "auto", which finds one for each class in each image.
        sigmoid: the channels are masks that may overlap.
        spacing: size of a voxel along each spatial axis; 1 when None.
        roi_size: size of the images in voxels at full resolution, for `DeepSupervisionLoss`: an
            output of half that size has voxels twice as large, so that `radius` is the same length
            at each level. None: every output counts as full resolution.
        overlap, balance, volumes, num_voxels, ignore_index, process_group, label_smoothing: as in
            `dilated_ce.dilated_balanced_cross_entropy`.
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
        radius: Radius = AUTO,
        *,
        sigmoid: bool = False,
        spacing: Sequence[float] | None = None,
        roi_size: Sequence[int] | None = None,
        overlap: str = "sum",
        balance: str | None = None,
        volumes: Tensor | Sequence[float] | None = None,
        num_voxels: float | None = None,
        ignore_index: int | None = -100,
        process_group: ProcessGroup = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        weight: Tensor | Sequence[float] | float | None = None,
    ) -> None:
        # One channel is a mask of its own, which is known without input from some of the options.
        two_axes = volumes is not None and as_numbers("volumes", volumes).ndim == 2
        one_weight = weight is not None and as_numbers("weight", weight).ndim == 0
        radii = as_radius(radius)
        one_radius = isinstance(radii, tuple) and len(radii) == 1
        masks = sigmoid or two_axes or one_weight or one_radius
        super().__init__(
            radius,
            mode="multilabel" if masks else "multiclass",
            spacing=spacing,
            overlap=overlap,
            balance=balance,
            volumes=volumes,
            num_voxels=num_voxels,
            ignore_index=ignore_index,
            process_group=process_group,
            label_smoothing=label_smoothing,
            reduction=reduction,
            weight=weight,
        )
        self.sigmoid = sigmoid
        self.roi_size = None if roi_size is None else as_size("roi_size", roi_size)

    def forward(self, input: Tensor, target: Tensor, weight_map: Tensor | None = None) -> Tensor:
        """The loss of the logits `input` against `target`.

        Args:
            input: logits BNH[WD].
            target: B1H[WD] with class indices, or BNH[WD] one-hot (with `sigmoid` or N = 1: masks).
            weight_map: weights of the voxels, as `DilatedBalancedWeightsd` computes them, B1H[WD]
                (with `sigmoid` or N = 1: BNH[WD]). They take the place of those computed here.

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
            return self._weigh_by(plain(weight_map), mode, input, target)
        spacing = level_spacing(input.shape[2:], self.roi_size, self.spacing)
        return self._compare(input, target, mode, spacing)

    def _weigh_by(self, weights: Tensor, mode: str, logits: Tensor, target: Tensor) -> Tensor:
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        found = as_target(mode, logits, target, self.ignore_index)
        expected = logits.shape if mode == "multilabel" else (len(logits), 1, *logits.shape[2:])
        if weights.shape != expected:
            raise ValueError(
                f"weight_map: got shape {tuple(weights.shape)}, expected {tuple(expected)} for "
                f"input of shape {tuple(logits.shape)}. With DilatedBalancedWeightsd use the same "
                "mode, and the same patches, as for the loss."
            )
        if mode == "multiclass":
            weights = weights[:, 0]
        weights = weights.to(logits.device, dtype)
        valid = valid_voxels(found.labels, found.ignore_index)
        where = torch.ones_like(weights, dtype=torch.bool) if valid is None else valid
        weights = torch.where(where, weights, 0)
        # To mean 1 over the batch, and over each channel that is a mask of its own.
        axes = tuple(axis for axis in range(weights.ndim) if mode == "multiclass" or axis != 1)
        sums = torch.stack([weights.sum(axes), where.sum(axes).to(dtype)])
        group = as_process_group(self.process_group)
        processes = 1
        if group is not None:
            dist.all_reduce(sums, group=group)
            processes = dist.get_world_size(group)
        total, num_valid = sums.unbind()
        scale = torch.where(total > 0, num_valid / total, 0)
        if mode == "multilabel":
            scale = scale.view(-1, *[1] * (weights.ndim - 2))
        loss = compare(
            mode,
            logits.to(dtype),
            found,
            weights * scale,
            valid,
            float(self.label_smoothing),
            self.reduction,
        )
        if self.reduction != "mean":
            return loss
        return loss / (num_valid.sum() / processes).clamp(min=1 / processes)


class DilatedBalancedDiceCELoss(_Loss):
    """`monai.losses.DiceCELoss` with dilated balanced cross entropy in the place of cross entropy.

    The arguments of `DiceCELoss` come first, in its order. The Dice part is MONAI's own, with all
    of them; the cross entropy part takes `reduction`, `weight`, `lambda_ce` and `label_smoothing`.
    Two things differ from `DiceCELoss`. With `sigmoid=True` every channel is a mask of its own in
    both parts, while `DiceCELoss` takes a softmax in its cross entropy unless there is one channel.
    And `weight` says how much a class counts on top of the balance, instead of a factor for its
    voxels (with one channel: how much the foreground counts where the background counts 1).

    As in `DiceCELoss` there is no `ignore_index`; use `DilatedBalancedCELoss` for that.

    Args:
        radius, spacing, roi_size, overlap, balance, volumes, num_voxels, process_group: as in
            `DilatedBalancedCELoss`.

    Raises:
        TypeError, ValueError: as `DiceCELoss` and `DilatedBalancedCELoss`.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.monai import DilatedBalancedDiceCELoss
        >>> loss = DilatedBalancedDiceCELoss(to_onehot_y=True, softmax=True)
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
        weight: Tensor | Sequence[float] | float | None = None,
        lambda_dice: float = 1.0,
        lambda_ce: float = 1.0,
        label_smoothing: float = 0.0,
        radius: Radius = AUTO,
        *,
        spacing: Sequence[float] | None = None,
        roi_size: Sequence[int] | None = None,
        overlap: str = "sum",
        balance: str | None = None,
        volumes: Tensor | Sequence[float] | None = None,
        num_voxels: float | None = None,
        process_group: ProcessGroup = None,
    ) -> None:
        super().__init__()
        reduction = look_up_option(reduction, DiceCEReduction).value
        if lambda_dice < 0.0:
            raise ValueError("lambda_dice should be no less than 0.0.")
        if lambda_ce < 0.0:
            raise ValueError("lambda_ce should be no less than 0.0.")
        dice_weight = None if weight is None else as_numbers("weight", weight).float()
        if dice_weight is not None and not include_background and dice_weight.ndim > 0:
            dice_weight = dice_weight[1:]
        self.dice = DiceLoss(
            include_background=include_background,
            to_onehot_y=to_onehot_y,
            sigmoid=sigmoid,
            softmax=softmax,
            other_act=other_act,
            squared_pred=squared_pred,
            jaccard=jaccard,
            reduction=reduction,
            smooth_nr=smooth_nr,
            smooth_dr=smooth_dr,
            batch=batch,
            weight=dice_weight,
        )
        self.cross_entropy = DilatedBalancedCELoss(
            radius,
            sigmoid=sigmoid,
            spacing=spacing,
            roi_size=roi_size,
            overlap=overlap,
            balance=balance,
            volumes=volumes,
            num_voxels=num_voxels,
            ignore_index=None,
            process_group=process_group,
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
