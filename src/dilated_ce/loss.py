"""The two losses as functions; `modules.py` has them as modules.

dilated_balanced_cross_entropy(..., radius) is the paper's idea: a radius, and classes that count
the same. adaptive_dilated_cross_entropy(...) is ours: no radius to choose, and larger classes count
more, but less than by their size.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dilated_ce.options import (
    ProcessGroup,
    Radius,
    Volumes,
    Weight,
    as_radius,
    check_choice,
    check_ignore_index,
    check_reduction,
)
from dilated_ce.target import MODES, Target, as_target, plain
from dilated_ce.weighted_ce import weighted_cross_entropy
from dilated_ce.weighting import Weighting, WeightMap


def dilated_balanced_cross_entropy(
    logits: Tensor,
    target: Tensor,
    radius: Radius,
    *,
    mode: str = "multiclass",
    spacing: Sequence[float] | None = None,
    volumes: Volumes = "batch",
    ignore_index: int | None = -100,
    weight: Weight | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    num_voxels: float | None = None,
    process_group: ProcessGroup = None,
) -> Tensor:
    """Cross entropy in which every class shares its weight with the voxels around it.

    With the weights w(x) of `dilated_balanced_weights`,

        loss = sum_x w(x) CE(x) / sum_x w(x),    CE(x) = -log softmax(logits(x))[target(x)]

    With batch volumes and K classes present this is (1/K) sum_c mean of CE over D_c: the average,
    over the classes, of the cross entropy in the class's neighbourhood D_c. A radius of 0 gives
    balanced cross entropy, `F.cross_entropy(logits, target, weight=1 / n_c)` with the voxel counts
    n_c. An infinite radius gives plain cross entropy when every class is in every image (and, for
    volumes="image", every image has as many valid voxels).

    In mode="multilabel" every channel is a mask of its own: its foreground and its background are
    balanced within the channel, over their dilated masks, CE is the binary cross entropy of the
    sigmoid, and the loss is the mean over all valid entries. mode="binary" is one such channel.

    The idea is that of Hosseini and Soleymani Baghshah, "Dilated Balanced Cross Entropy Loss for
    Medical Image Segmentation" (arXiv:2412.06045): weights based on dilated masks, for a class
    together with the pixels around it. The formula is our reading of the abstract; the exact ball
    in 2D, 3D and physical units, the scopes of the volumes, ignored voxels, masks that overlap,
    soft targets, and several processes are ours.

    Args:
        logits: unnormalised scores (B, C, *spatial), 1 to 3 spatial axes; C >= 2 in
            mode="multiclass", 1 in mode="binary". Half precision is computed in float32.
        target: in mode="multiclass" class indices (B, *spatial) or (B, 1, *spatial), any integer
            dtype; or (B, C, *spatial) with a probability for each class, one-hot included, of any
            dtype: masks hold the most probable class, CE takes the probabilities (a class with 0
            adds nothing, even if its logit is -inf), and a voxel with 0 for all classes is ignored.
            In mode="multilabel" (B, C, *spatial) with 0 and 1 or
            probabilities, of any dtype: masks hold what is above 0.5. In mode="binary" such a
            target with one channel, or without the channel axis.
        radius: >= 0, `math.inf`, or a list with one such number per class (per channel in
            mode="multilabel"); in the units of `spacing`. It should cover the place where the
            network errs: the uncertainty of the border at least. No tensor: in this place
            `nn.CrossEntropyLoss` takes class weights, which are `weight` here.
        mode: "multiclass", "multilabel" or "binary".
        spacing: size of a voxel along each spatial axis, in the order of the axes; 1 when None.
        volumes: v_c is counted over the "batch", or over each "image" on its own; or the volumes
            (C,) of the whole data set, in voxels: the sum of `dilate_labels(...)` over the voxels
            of all its images, with the same radius, spacing and ignored label. A class with volume
            0 takes no part: its voxels weigh nothing unless another class's dilated mask holds
            them. In mode="multilabel" (C, 2): background and foreground of each channel; in
            mode="binary" (2,).
        ignore_index: label of the voxels that take no part (in mode="multilabel": of the entries;
            in a target of probabilities: where it stands for all classes); None when every voxel
            has a class.
        weight: how much each class counts, (C,); 1 for all when None. Classes then have shares
            weight_c / v_c instead of 1 / v_c. In mode="multilabel" a number, or one per channel:
            how much the foreground counts where the background counts 1.
        label_smoothing: 0 to 1, as in `F.cross_entropy`; the weight of a voxel stays w(x).
        reduction: "mean" (the formula above), "sum", or "none".
        num_voxels: number of valid voxels of the data set on which `volumes` were counted (of each
            channel; leave it out where the channels differ in it). The weights are then scaled to
            mean 1 over that data set, not over the batch, and "mean" divides by the number of valid
            voxels, so that nothing else in the batch counts: the mean over parts of a batch with
            equally many valid voxels (gradient accumulation) is the loss of the batch, without a
            process group too. Count both on patches as the loss will see them: on crops around
            lesions the volumes of whole images give weights that are many times too large.
        process_group: the processes that hold the other parts of the batch: "world" for all of
            them (or this one alone, while `torch.distributed` is not initialised), or a group of
            `torch.distributed`. With reduction="mean" the gradient averaged over them, as
            DistributedDataParallel does, is then that of the whole batch in one process; with "sum"
            it is that over the number of processes, as of any sum. Every process of the group has
            to make the call. None: this process alone.

    Returns:
        The loss, a scalar; with reduction="none" the map w(x) CE(x), (B, *spatial), or
        (B, C, *spatial) in mode="multilabel" and "binary", with w scaled to mean 1 over the valid
        voxels (of each channel; with `num_voxels` over the data set), so that its mean over them is
        the "mean" (and its sum the "sum").
        float32, or float64 for float64 logits. A batch without a valid voxel gives 0, and
        a gradient of 0.

    Raises:
        TypeError: logits that are not floats, class indices that are not integers, or another
            argument of the wrong type.
        ValueError: shapes or lengths that do not match, a label outside 0 ... C - 1, probabilities
            outside 0 ... 1 or of which those of a voxel do not add up to 1, a number out of its
            range, an unknown word for `mode`, `volumes` or `reduction`, or a group that this
            process is not in.
            On CUDA a label out of range is a device-side assertion, as it is in `F.cross_entropy`:
            no call waits for the device to find it.

    Examples:
        >>> import torch
        >>> from dilated_ce import dilated_balanced_cross_entropy
        >>> logits = torch.zeros(1, 2, 5, 5, requires_grad=True)
        >>> target = torch.zeros(1, 5, 5, dtype=torch.long)
        >>> target[0, 2, 2] = 1
        >>> loss = dilated_balanced_cross_entropy(logits, target, radius=1)
        >>> loss.backward()
        >>> f"{loss.item():.4f}"  # log 2: the network is undecided everywhere
        '0.6931'
    """
    return compute_loss(
        logits,
        target,
        mode=mode,
        label_smoothing=label_smoothing,
        reduction=reduction,
        radius=as_radius(radius),
        spacing=spacing,
        volumes=volumes,
        ignore_index=ignore_index,
        weight=weight,
        num_voxels=num_voxels,
        process_group=process_group,
    )


def adaptive_dilated_cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    mode: str = "multiclass",
    spacing: Sequence[float] | None = None,
    ignore_index: int | None = -100,
    weight: Weight | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    process_group: ProcessGroup = None,
) -> Tensor:
    """Cross entropy, half of it plain, half weighted by the smallest neighbourhood (ours).

    With the weights w(x) of `adaptive_dilated_weights`, which need no radius,

        loss = sum_x w(x) CE(x) / sum_x w(x),    CE(x) = -log softmax(logits(x))[target(x)]

    The weights of an image depend on its labels alone, whatever else is in the batch. The rule is
    ours. It is not the paper's loss, which is `dilated_balanced_cross_entropy`.

    Args:
        logits: unnormalised scores (B, C, *spatial), as in `dilated_balanced_cross_entropy`.
        target: class indices, probabilities or masks, as there.
        mode: "multiclass", "multilabel" or "binary".
        spacing: size of a voxel along each spatial axis, in the order of the axes; 1 when None. It
            tells how anisotropic voxels are; a common factor changes nothing.
        ignore_index: label of the voxels that take no part; None when every voxel has a class.
        weight: how much each class counts, (C,); 1 for all when None. Classes then have the shares
            weight_c (V / v_c)^(1/d), in the half that is not plain. In mode="multilabel" a number,
            or one per channel: how much the foreground counts where the background counts 1.
        label_smoothing: 0 to 1, as in `F.cross_entropy`; the weight of a voxel stays w(x).
        reduction: "mean", "sum", or "none", as in `dilated_balanced_cross_entropy`.
        process_group: the processes that hold the other parts of the batch: "world", or a group of
            `torch.distributed`; None: this process alone.

    Returns:
        As `dilated_balanced_cross_entropy`.

    Raises:
        TypeError, ValueError: as `dilated_balanced_cross_entropy`.

    Examples:
        >>> import torch
        >>> from dilated_ce import adaptive_dilated_cross_entropy
        >>> logits = torch.zeros(1, 2, 5, 5, requires_grad=True)
        >>> target = torch.zeros(1, 5, 5, dtype=torch.long)
        >>> target[0, 2, 2] = 1
        >>> loss = adaptive_dilated_cross_entropy(logits, target)
        >>> loss.backward()
        >>> f"{loss.item():.4f}"  # log 2: the network is undecided everywhere
        '0.6931'
    """
    return compute_loss(
        logits,
        target,
        mode=mode,
        label_smoothing=label_smoothing,
        reduction=reduction,
        spacing=spacing,
        ignore_index=ignore_index,
        weight=weight,
        process_group=process_group,
    )


def compute_loss(
    logits: Tensor,
    target: Tensor,
    *,
    mode: str,
    label_smoothing: float,
    reduction: str,
    ignore_index: int | None,
    **options: Any,
) -> Tensor:
    """Both losses; `options` are those of `Weighting.checked`."""
    check_choice("mode", mode, MODES)
    check_reduction(reduction, label_smoothing)
    check_ignore_index(ignore_index)
    logits, target = plain(logits), plain(target)
    found = as_target(mode, logits, target, ignore_index)
    weighting = Weighting.checked(
        logits.shape[1],
        logits.ndim - 2,
        by_channel=mode != "multiclass",
        ignore_index=found.ignore_index,
        **options,
    )
    weights = weighting.weigh("target", found.labels, computed_in(logits))
    return weighted_loss(logits, found, weights, label_smoothing, weighting.by_channel, reduction)


def computed_in(logits: Tensor) -> torch.dtype:
    """The precision of a loss: float32 or better."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def weighted_loss(
    logits: Tensor,
    target: Target,
    weights: WeightMap,
    label_smoothing: float,
    by_channel: bool,
    reduction: str,
) -> Tensor:
    """The cross entropy under a weight map, reduced."""
    scale = weights.scale
    several = scale is not None and scale.ndim > 0
    total = weighted_cross_entropy(
        logits,
        target,
        weights.scaled() if several else weights.values,
        weights.valid,
        float(label_smoothing),
        by_channel,
        reduction == "none",
    )
    if scale is not None and not several:
        total = total * scale
    if reduction != "mean":
        return total
    # Without a valid voxel in the whole batch the sum is 0, and so is the loss. Otherwise there is
    # one voxel at least, over the number of processes.
    return total / weights.num_valid.clamp(min=1e-6)
