"""Dilated balanced cross entropy, as a function and as a module."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dilated_ce._cross_entropy import compare
from dilated_ce._dispatch import has_kernels
from dilated_ce._labels import plain
from dilated_ce._targets import MODES, as_target
from dilated_ce._validation import (
    AUTO,
    AUTOMATIC,
    ProcessGroup,
    Radius,
    as_balance,
    as_importance,
    as_numbers,
    as_process_group,
    as_radii,
    as_radius,
    as_spacing,
    as_volumes,
    check_choice,
    check_ignore_index,
    check_num_voxels,
    check_reduction,
    check_weight,
    check_weighting,
)
from dilated_ce.weights import as_weighting, weigh_channels, weigh_voxels


def dilated_balanced_cross_entropy(
    logits: Tensor,
    target: Tensor,
    radius: Radius = AUTO,
    *,
    mode: str = "multiclass",
    spacing: Sequence[float] | None = None,
    overlap: str = "sum",
    balance: str | None = None,
    volumes: Tensor | Sequence[float] | None = None,
    ignore_index: int | None = -100,
    process_group: ProcessGroup = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    weight: Tensor | Sequence[float] | float | None = None,
    num_voxels: float | None = None,
) -> Tensor:
    """Cross entropy in which every class shares its weight with the voxels around it.

    With the weights w(x) of `dilated_balanced_weights`,

        loss = sum_x w(x) CE(x) / sum_x w(x),    CE(x) = -log softmax(logits(x))[target(x)]

    With overlap="sum", batch volumes and K classes present this is (1/K) sum_c mean of CE over D_c:
    the average, over the classes, of the cross entropy in the class's neighbourhood D_c. A radius
    of 0 then gives balanced cross entropy, `F.cross_entropy(logits, target, weight=1 / n_c)` with
    the voxel counts n_c. An infinite radius gives plain cross entropy when every class is in every
    image (and, for balance="image", every image has as many valid voxels). The default,
    radius="auto" with volumes of the image, weighs the neighbourhoods by the root of their size:
    see `balance`.

    In mode="multilabel" every channel is a mask of its own: its foreground and its background are
    balanced within the channel, over their dilated masks, CE is the binary cross entropy of the
    sigmoid, and the loss is the mean over all valid entries. mode="binary" is one such channel.

    The idea is that of Hosseini and Soleymani Baghshah, "Dilated Balanced Cross Entropy Loss for
    Medical Image Segmentation" (arXiv:2412.06045): weights based on dilated masks, for a class
    together with the pixels around it. The formula above, the exact ball in 2D, 3D and physical
    units, the scopes of the volumes, the automatic radius, ignored voxels, masks that overlap, soft
    targets, and several processes are ours.

    Args:
        logits: unnormalised scores (B, C, *spatial), 1 to 3 spatial axes; C >= 2 in
            mode="multiclass", 1 in mode="binary". Half precision is computed in float32.
        target: in mode="multiclass" class indices (B, *spatial) or (B, 1, *spatial), any integer
            dtype; or (B, C, *spatial) with a probability for each class, one-hot included, of any
            dtype: masks hold the most probable class, CE takes the probabilities, and a voxel with
            0 for all classes is ignored. In mode="multilabel" (B, C, *spatial) with 0 and 1 or
            probabilities, of any dtype: masks hold what is above 0.5. In mode="binary" such a
            target with one channel, or without the channel axis.
        radius: "auto", or >= 0, `math.inf`, or one such number per class (per channel in
            mode="multilabel"); in the units of `spacing`. It should cover the place where the
            network errs: the uncertainty of the border at least. "auto" finds a radius for each
            class in each image from the labels alone, about as far as its objects are thick;
            infinite for the image's largest class (see `dilate_labels`).
        mode: "multiclass", "multilabel" or "binary".
        spacing: size of a voxel along each spatial axis, in the order of the axes; 1 when None.
        overlap: where dilated masks overlap, "sum" adds their shares, "max" takes the largest.
        balance: the volumes of the dilated masks are counted over the "batch", or over each
            "image" on its own. None: "image" with radius="auto", "batch" with any other radius and
            with `volumes`. With both "auto" and "image" a voxel of an image with V voxels weighs 1,
            and 2/K sqrt(V / v_c) more for each of the K classes in it, but the largest (as a rule
            the background), whose dilated mask holds the voxel: half way between equal shares of
            the classes and shares by their size. Equal ones would make false positives far from any
            object the cheaper, the smaller the objects are.
        volumes: volumes (C,) of the whole data set to use instead, in voxels: the sum of
            `dilate_labels(...)` over the voxels of all its images, with the same radius, spacing
            and ignored label. A class with volume 0 takes no part: its voxels weigh nothing
            unless another class's dilated mask holds them. In mode="multilabel" (C, 2): background
            and foreground of each channel; in mode="binary" (2,).
        ignore_index: label of the voxels that take no part (in mode="multilabel": of the entries;
            in a target of probabilities: where it stands for all classes); None when every voxel
            has a class.
        process_group: the processes that hold the other parts of the batch: "world" for all of
            them (or this one alone, while `torch.distributed` is not initialised), or a group of
            `torch.distributed`. The gradient averaged over them, as DistributedDataParallel does,
            is then that of the whole batch in one process. Every process of the group has to make
            the call. None: this process alone.
        label_smoothing: 0 to 1, as in `F.cross_entropy`; the weight of a voxel stays w(x).
        reduction: "mean" (the formula above), "sum", or "none".
        weight: how much each class counts, (C,); 1 for all when None. Classes then have shares
            weight_c / v_c instead of 1 / v_c. In mode="multilabel" a number, or one per channel:
            how much the foreground counts where the background counts 1.
        num_voxels: number of valid voxels of the data set on which `volumes` were counted. The
            weights are then scaled to mean 1 over that data set, not over the batch, so that they
            depend on nothing else in the batch: the mean over equal parts of a batch (gradient
            accumulation) is the loss of the batch, without a process group too. For overlap="sum".

    Returns:
        The loss, a scalar; with reduction="none" the map w(x) CE(x), (B, *spatial), or
        (B, C, *spatial) in mode="multilabel" and "binary", with w scaled to mean 1 over the valid
        voxels (of each channel), so that its mean over them is the "mean" (and its sum the "sum").
        float32, or float64 for float64 logits. A batch without a valid voxel gives 0, and
        a gradient of 0.

    Raises:
        TypeError: logits that are not floats, class indices that are not integers, or another
            argument of the wrong type.
        ValueError: shapes or lengths that do not match, a label outside 0 ... C - 1, probabilities
            outside 0 ... 1 or of which those of a voxel do not add up to 1, a number out of its
            range, an unknown word for `mode`, `overlap`, `balance` or `reduction`, or a group that
            this process is not in.
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
    check_choice("mode", mode, MODES)
    check_reduction(reduction, label_smoothing)
    check_ignore_index(ignore_index)
    logits, target = plain(logits), plain(target)
    found = as_target(mode, logits, target, ignore_index)
    num_classes = logits.shape[1]
    radii = as_radii(radius, num_classes)
    voxel_size = as_spacing(spacing, logits.ndim - 2)
    balance = as_balance(balance, radius, volumes)
    options = as_weighting(
        num_classes,
        overlap=overlap,
        balance=balance,
        volumes=volumes,
        num_voxels=num_voxels,
        weight=weight,
        ignore_index=found.ignore_index,
        process_group=process_group,
        by_channel=mode != "multiclass",
    )
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    fused = dtype == torch.float32 and reduction != "none" and found.truth is None
    plain_shares = weight is None and num_voxels is None and AUTOMATIC not in radii
    compiling = torch.compiler.is_compiling()
    if fused and plain_shares and not compiling and has_kernels(found.labels):
        from dilated_ce import _triton_loss

        return _triton_loss.dilated_balanced_cross_entropy(
            logits,
            found.labels,
            radii,
            voxel_size,
            options.volumes,
            _triton_loss.Settings(
                overlap,
                balance,
                options.ignore_index,
                options.process_group,
                float(label_smoothing),
                reduction,
            ),
        )
    weigh = weigh_voxels if mode == "multiclass" else weigh_channels
    weights, num_valid, valid = weigh("target", found.labels, radii, voxel_size, options, dtype)
    total = compare(
        mode, logits.to(dtype), found, weights, valid, float(label_smoothing), reduction
    )
    if reduction != "mean":
        return total
    # Without a valid voxel in the whole batch the sum is 0, and so is the loss.
    return total / torch.where(num_valid > 0, num_valid, 1)


class DilatedBalancedCELoss(nn.Module):
    """Dilated balanced cross entropy as a module, in the place of `nn.CrossEntropyLoss`.

    The arguments are those of `dilated_balanced_cross_entropy`, where formula, shapes, units and
    sources are given. All are checked here as far as they can be without data. The module has no
    state: its `state_dict()` is empty. It can be pickled and copied, unless `process_group` is a
    group of `torch.distributed` (these cannot be: use "world").

    Raises:
        TypeError, ValueError: as `dilated_balanced_cross_entropy`, at once or in the call.

    Examples:
        >>> import torch
        >>> from dilated_ce import DilatedBalancedCELoss
        >>> criterion = DilatedBalancedCELoss()
        >>> logits = torch.randn(2, 4, 32, 32, requires_grad=True)
        >>> target = torch.randint(0, 4, (2, 32, 32))
        >>> criterion(logits, target).backward()
        >>> DilatedBalancedCELoss(radius=[2, 4], balance="image")  # instead of radius="auto"
        DilatedBalancedCELoss(radius=(2.0, 4.0), overlap='sum', balance='image', ignore_index=-100,
        label_smoothing=0.0, reduction='mean')
    """

    def __init__(
        self,
        radius: Radius = AUTO,
        *,
        mode: str = "multiclass",
        spacing: Sequence[float] | None = None,
        overlap: str = "sum",
        balance: str | None = None,
        volumes: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        process_group: ProcessGroup = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        weight: Tensor | Sequence[float] | float | None = None,
        num_voxels: float | None = None,
    ) -> None:
        super().__init__()
        check_choice("mode", mode, MODES)
        balance = as_balance(balance, radius, volumes)
        check_weighting(overlap, balance, volumes, ignore_index)
        check_num_voxels(num_voxels, volumes, overlap)
        check_reduction(reduction, label_smoothing)
        as_process_group(process_group)
        self.radius = as_radius(radius)
        self.mode = mode
        self.spacing = None if spacing is None else as_spacing(spacing)
        self.overlap = overlap
        self.balance = balance
        self.ignore_index = ignore_index
        self.process_group = process_group
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        self.num_voxels = num_voxels
        # No buffers: `module.half()` would turn counts of millions of voxels into infinities.
        # Copies, as the caller may go on counting in them.
        by_channel = mode != "multiclass"
        num_classes = 1 if mode == "binary" else None
        if isinstance(self.radius, tuple):
            num_classes = len(as_radii(self.radius, num_classes or len(self.radius)))
        volumes = as_volumes(volumes, num_classes, by_channel)
        self.volumes = None if volumes is None else volumes.clone()
        self.weight = None if weight is None else as_numbers("weight", weight).clone()
        if num_classes is not None:
            as_importance(self.weight, num_classes, by_channel)
        elif self.weight is not None:
            check_weight(self.weight, None if by_channel else self.volumes)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target`, which `mode` describes."""
        return self._compare(logits, target, self.mode, self.spacing)

    def _compare(
        self, logits: Tensor, target: Tensor, mode: str, spacing: Sequence[float] | None
    ) -> Tensor:
        if isinstance(logits, Tensor):  # else told below
            self._move_to(logits.device)
        return dilated_balanced_cross_entropy(
            logits,
            target,
            self.radius,
            mode=mode,
            spacing=spacing,
            overlap=self.overlap,
            balance=self.balance,
            volumes=self.volumes,
            ignore_index=self.ignore_index,
            process_group=self.process_group,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
            weight=self.weight,
            num_voxels=self.num_voxels,
        )

    def _move_to(self, device: torch.device) -> None:
        """Copy the numbers to the device, once."""
        for name in ("volumes", "weight"):
            values = getattr(self, name)
            if values is not None and values.device != device and device.type != "meta":
                # Not as a tensor of inference mode, which later training steps could not use.
                with torch.inference_mode(False):
                    setattr(self, name, values.to(device))

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        shown = {
            "radius": self.radius,
            "mode": None if self.mode == "multiclass" else self.mode,
            "spacing": self.spacing,
            "overlap": self.overlap,
            "balance": self.balance if self.volumes is None else None,
            "volumes": None if self.volumes is None else self.volumes.tolist(),
            "num_voxels": self.num_voxels,
            "weight": None if self.weight is None else self.weight.tolist(),
            "ignore_index": self.ignore_index,
            "process_group": self.process_group,
            "label_smoothing": self.label_smoothing,
            "reduction": self.reduction,
        }
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if value is not None)

    def __getstate__(self) -> dict[str, Any]:
        """What `pickle` and `copy.deepcopy` take along."""
        if isinstance(self.process_group, dist.ProcessGroup):
            raise TypeError(
                "process_group: a group of torch.distributed can be neither pickled nor copied. "
                "Give process_group='world', which is looked up when the loss is computed."
            )
        return self.__dict__
