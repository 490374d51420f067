"""The losses that can be compared.

Every loss is called with logits (B, C, *spatial) and class indices (B, 1, *spatial), as MONAI's;
where classes overlap, with masks (B, C, *spatial) of 0 and 1 for the foreground classes, and the
ignored label where nobody labelled. Each is made by a function whose first argument is what the
data say; the others are the user's to set.
"""

import math
from collections.abc import Callable

import torch
from monai.losses import (
    DiceFocalLoss,
    DiceLoss,
    FocalLoss,
    GeneralizedDiceLoss,
    HausdorffDTLoss,
    TverskyLoss,
)
from torch import Tensor, nn

from dilated_ce import AdaptiveDilatedCELoss, DilatedBalancedCELoss
from dilated_ce.study.training.loss_parts import (
    BinaryCE,
    FocalPart,
    IndexLoss,
    RegionLoss,
    Setting,
    SumLoss,
    TopKLoss,
)
from dilated_ce.study.training.rivals import (
    BoundaryLoss,
    EqualSum,
    LovaszLoss,
    Mixed,
    Rebalanced,
    SoftClDice,
    UnifiedFocalLoss,
)

Weights = tuple[float, ...] | None  # one number per class, the background first; written 1:5:5


def ce(setting: Setting, weight: Weights = None) -> nn.Module:
    """PyTorch's own cross entropy; of masks the binary one, with `weight` as `pos_weight`."""
    tensor = _as_weight(setting, weight)
    if setting.overlapping:
        return BinaryCE(setting, weight=tensor)
    return IndexLoss(nn.CrossEntropyLoss(tensor, ignore_index=setting.index))


def balanced_ce(setting: Setting) -> nn.Module:
    """Cross entropy weighted by inverse class frequencies: the radius 0."""
    return dbce(setting, 0.0)


def dbce(
    setting: Setting, radius: float, volumes: str = "batch", weight: Weights = None
) -> nn.Module:
    """Dilated balanced cross entropy, the paper's idea."""
    return DilatedBalancedCELoss(
        radius,
        volumes=volumes,
        weight=_as_weight(setting, weight),
        mode="multilabel" if setting.overlapping else "multiclass",
        ignore_index=setting.index,
        process_group=setting.process_group,
    )


def adaptive_dbce(setting: Setting) -> nn.Module:
    """Adaptive dilated cross entropy, which is ours."""
    return AdaptiveDilatedCELoss(
        mode="multilabel" if setting.overlapping else "multiclass",
        ignore_index=setting.index,
        process_group=setting.process_group,
    )


def dice(setting: Setting) -> nn.Module:
    """MONAI's DiceLoss with its defaults, softmax over the classes, or a sigmoid for each."""
    return RegionLoss(DiceLoss(), setting)


def dice_ce(setting: Setting) -> nn.Module:
    """Dice + cross entropy, one to one: MONAI's DiceCELoss with its defaults."""
    return SumLoss(dice(setting), ce(setting))


def dbce_dice(
    setting: Setting, radius: float, volumes: str = "batch", weight: Weights = None
) -> nn.Module:
    """Dice + DBCE, one to one: `dice-ce` with its CE replaced."""
    return SumLoss(dice(setting), dbce(setting, radius, volumes, weight))


def adaptive_dbce_dice(setting: Setting) -> nn.Module:
    """Dice + adaptive DBCE, one to one: `dice-ce` with its CE replaced."""
    return SumLoss(dice(setting), adaptive_dbce(setting))


def focal(setting: Setting, gamma: float = 2.0) -> nn.Module:
    """MONAI's FocalLoss after a softmax: cross entropy times (1 - p)^gamma, the mean over voxels.

    MONAI divides by the classes, too. Of masks the binary one.
    """
    _check(gamma=(gamma, 0, math.inf))
    softmax = not setting.overlapping
    entries = FocalLoss(to_onehot_y=softmax, use_softmax=softmax, gamma=gamma, reduction="none")
    return FocalPart(entries, setting)


def dice_focal(setting: Setting, gamma: float = 2.0) -> nn.Module:
    """MONAI's DiceFocalLoss with its defaults: Dice after a softmax, focal after sigmoids."""
    if setting.ignore_index is not None:
        raise ValueError("takes no ignored voxels, and these data have some; leave it out")
    _check(gamma=(gamma, 0, math.inf))
    if setting.overlapping:
        return DiceFocalLoss(sigmoid=True, gamma=gamma)
    return DiceFocalLoss(to_onehot_y=True, softmax=True, gamma=gamma)


def generalised_dice(setting: Setting, weights: str = "square") -> nn.Module:
    """MONAI's GeneralizedDiceLoss (Sudre et al., 2017); classes count by 1 / volume^2.

    `weights` is square, simple (1 / volume) or uniform. Masks that are all empty teach nothing.
    """
    kinds = ("square", "simple", "uniform")
    if weights not in kinds:
        raise ValueError(f"weights: got {weights!r}, expected one of {', '.join(kinds)}")
    return RegionLoss(GeneralizedDiceLoss(w_type=weights), setting)


def tversky(setting: Setting, alpha: float = 0.3, beta: float = 0.7) -> nn.Module:
    """MONAI's TverskyLoss; `alpha` weighs false positives, `beta` false negatives.

    The defaults, which care more for false negatives, are those of Salehi et al. (2017).
    """
    _check(alpha=(alpha, 0, math.inf), beta=(beta, 0, math.inf))
    return RegionLoss(TverskyLoss(alpha=alpha, beta=beta), setting)


def top_k(setting: Setting, percent: float = 10.0) -> nn.Module:
    """Cross entropy over the hardest voxels alone, 10 % by default as in nnU-Net's TopKLoss."""
    if not 0 < percent <= 100:
        raise ValueError(f"percent: got {percent:g}, expected more than 0 and at most 100")
    if setting.overlapping:
        return BinaryCE(setting, percent)
    return IndexLoss(TopKLoss(percent, setting.index))


def dice_top_k(setting: Setting, percent: float = 10.0) -> nn.Module:
    """Dice + top-k cross entropy, one to one, as nnU-Net's DC_and_topk_loss."""
    return SumLoss(dice(setting), top_k(setting, percent))


def lovasz(setting: Setting) -> nn.Module:
    """Lovász-Softmax of the batch (Berman et al., 2018)."""
    return RegionLoss(LovaszLoss(all_classes=setting.overlapping), setting)


def unified_focal(
    setting: Setting, share: float = 0.5, delta: float = 0.6, gamma: float = 0.5
) -> nn.Module:
    """The asymmetric unified focal loss of Yeung et al. (2022), with their defaults.

    `share` is that of its cross entropy; the rest is its Tversky loss.
    """
    if setting.overlapping:
        raise ValueError("is for classes that do not overlap, and these do; leave it out")
    _check(share=(share, 0, 1), delta=(delta, 0, 1), gamma=(gamma, 0, 1))
    return RegionLoss(UnifiedFocalLoss(share, delta, gamma), setting)


def dice_cldice(setting: Setting, alpha: float = 0.5, iterations: float = 3) -> nn.Module:
    """(1 - alpha) Dice + alpha soft clDice of the foreground classes (Shit et al., 2021)."""
    _check(alpha=(alpha, 0, 1), iterations=(iterations, 0, 1000))
    if iterations != int(iterations):
        raise ValueError(f"iterations: got {iterations:g}, expected a whole number")
    of_skeletons = RegionLoss(SoftClDice(int(iterations)), setting, foreground=True)
    return Mixed(dice(setting), of_skeletons, alpha)


def dice_boundary(setting: Setting, alpha: float = 0.9) -> nn.Module:
    """(1 - a) Dice + a boundary loss of the foreground classes (Kervadec et al., 2019).

    From the first step to the last, a rises from 0.01 to `alpha`. Distances are in voxels. Ignored
    voxels lie outside every class.
    """
    _check(alpha=(alpha, 0, 1))
    boundary = RegionLoss(BoundaryLoss(), setting, foreground=True)
    return Rebalanced(dice(setting), boundary, alpha)


def dice_hausdorff_dt(setting: Setting, alpha: float = 2.0) -> nn.Module:
    """Dice + MONAI's HausdorffDTLoss of the foreground classes (Karimi and Salcudean, 2019).

    Both count as much in every batch. Distances, in voxels, have the power `alpha`. Ignored voxels
    lie outside every class.
    """
    _check(alpha=(alpha, 0, 10))
    hausdorff = HausdorffDTLoss(alpha=alpha, include_background=True)
    return EqualSum(dice(setting), RegionLoss(hausdorff, setting, foreground=True))


def _check(**ranges: tuple[float, float, float]) -> None:
    for name, (value, least, most) in ranges.items():
        if not least <= value <= most or math.isinf(value):
            upto = "or more" if math.isinf(most) else f"to {most:g}"
            raise ValueError(f"{name}: got {value:g}, expected {least:g} {upto}")


def _as_weight(setting: Setting, weight: Weights) -> Tensor | None:
    if weight is None:
        return None
    written = ":".join(f"{value:g}" for value in weight)
    if not all(0 <= value < math.inf for value in weight) or not any(weight):
        raise ValueError(f"weight: got {written}, expected numbers of 0 or more, not all 0")
    if setting.num_outputs not in (None, len(weight)):
        which = "class that may overlap" if setting.overlapping else "class, the background first"
        raise ValueError(
            f"weight: got {len(weight)} numbers ({written}), expected {setting.num_outputs}, one "
            f"per {which}"
        )
    return torch.tensor(weight)


# By name: the title for reports, and the function that makes it.
LOSSES: dict[str, tuple[str, Callable[..., nn.Module]]] = {
    "ce": ("CE", ce),
    "balanced-ce": ("Balanced CE", balanced_ce),
    "dbce": ("DBCE", dbce),
    "adaptive-dbce": ("Adaptive DBCE", adaptive_dbce),
    "dice": ("Dice", dice),
    "dice-ce": ("Dice + CE", dice_ce),
    "dbce-dice": ("Dice + DBCE", dbce_dice),
    "adaptive-dbce-dice": ("Dice + Adaptive DBCE", adaptive_dbce_dice),
    "focal": ("Focal", focal),
    "dice-focal": ("Dice + focal", dice_focal),
    "generalised-dice": ("Generalised Dice", generalised_dice),
    "tversky": ("Tversky", tversky),
    "top-k": ("Top-k CE", top_k),
    "dice-top-k": ("Dice + top-k CE", dice_top_k),
    "lovasz": ("Lovász-Softmax", lovasz),
    "unified-focal": ("Unified focal", unified_focal),
    "dice-cldice": ("Dice + clDice", dice_cldice),
    "dice-boundary": ("Dice + boundary", dice_boundary),
    "dice-hausdorff-dt": ("Dice + Hausdorff DT", dice_hausdorff_dt),
}

# Those that compute with the code of this package's own losses.
OURS = {"balanced-ce", "dbce", "adaptive-dbce", "dbce-dice", "adaptive-dbce-dice"}

# Losses with a radius, of the user's or found from the labels, by what they are beside it: those of
# a kind answer the question which radius to take.
WITH_RADIUS = {
    "dbce": "DBCE",
    "adaptive-dbce": "DBCE",
    "dbce-dice": "Dice + DBCE",
    "adaptive-dbce-dice": "Dice + DBCE",
}
