"""Dilated balanced cross entropy, as a function and as a module."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from dilated_ce._cross_entropy import weighted_cross_entropy
from dilated_ce._dispatch import has_kernels
from dilated_ce._validation import (
    Radius,
    as_labels,
    as_radii,
    as_radius,
    as_spacing,
    as_volumes,
    check_process_group,
    check_reduction,
    check_weighting,
)
from dilated_ce.weights import weigh_voxels

# What `F.cross_entropy` takes for "no such label"; never matches, as labels are checked first.
_NO_LABEL = -100


def dilated_balanced_cross_entropy(
    logits: Tensor,
    target: Tensor,
    radius: Radius,
    *,
    spacing: Sequence[float] | None = None,
    overlap: str = "sum",
    balance: str = "batch",
    volumes: Tensor | Sequence[float] | None = None,
    ignore_index: int | None = -100,
    process_group: dist.ProcessGroup | None = None,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Tensor:
    """Cross entropy in which every class shares its weight with the voxels around it.

    With the weights w(x) of `dilated_balanced_weights`,

        loss = sum_x w(x) CE(x) / sum_x w(x),    CE(x) = -log softmax(logits(x))[target(x)]

    With overlap="sum", batch volumes and K classes present this is (1/K) sum_c mean of CE over D_c:
    the average, over the classes, of the cross entropy in the class's neighbourhood D_c. A radius
    of 0 then gives balanced cross entropy, `F.cross_entropy(logits, target, weight=1 / n_c)` with
    the voxel counts n_c. An infinite radius gives plain cross entropy when every class is in every
    image (and, for balance="image", every image has as many valid voxels).

    The idea is that of Hosseini and Soleymani Baghshah, "Dilated Balanced Cross Entropy Loss for
    Medical Image Segmentation" (arXiv:2412.06045): weights based on dilated masks, for a class
    together with the pixels around it. The formula above, the exact ball in 2D, 3D and physical
    units, the scopes of the volumes, ignored voxels and several processes are ours.

    Args:
        logits: unnormalised scores (B, C, *spatial), C >= 2, 1 to 3 spatial axes. Half precision
            is computed in float32.
        target: class indices (B, *spatial) or (B, 1, *spatial), any integer dtype.
        radius: >= 0, `math.inf`, or one such number per class; in the units of `spacing`. It
            should cover the place where the network errs: the uncertainty of the border at least.
        spacing: size of a voxel along each spatial axis, in the order of the axes; 1 when None.
        overlap: where dilated masks overlap, "sum" adds their shares, "max" takes the largest.
        balance: the volumes of the dilated masks are counted over the "batch", or over each
            "image" on its own.
        volumes: volumes (C,) of the whole data set to use instead, in voxels: the sum of
            `dilate_labels(...)` over the voxels of all its images, with the same radius, spacing
            and ignored label. A class with volume 0 takes no part: its voxels weigh nothing
            unless another class's dilated mask holds them.
        ignore_index: label of the voxels that take no part; None when every voxel has a class.
        process_group: the processes that hold the other parts of the batch, such as
            `torch.distributed.group.WORLD` (None until `init_process_group` has been called, so
            ask for it after that). The gradient averaged over them, as DistributedDataParallel
            does, is then that of the whole batch in one process. Every process of the group has
            to make the call. None: this process alone.
        label_smoothing: 0 to 1, as in `F.cross_entropy`; the weight of a voxel stays w(x).
        reduction: "mean" (the formula above), "sum", or "none".

    Returns:
        The loss, a scalar; with reduction="none" the map w(x) CE(x) (B, *spatial), with w scaled
        to mean 1 over the valid voxels, so that its mean over them is the "mean" (and its sum the
        "sum"). float32, or float64 for float64 logits. A batch without a valid voxel gives 0, and
        a gradient of 0.

    Raises:
        TypeError: logits that are not floats, a target that is not integer, or another argument
            of the wrong type.
        ValueError: shapes or lengths that do not match, a label outside 0 ... C - 1, a number out
            of its range, an unknown word for `overlap`, `balance` or `reduction`, or a group that
            this process is not in.

        On CUDA a label out of range is a device-side assertion, as it is in `F.cross_entropy`: no
        call waits for the device to find it.

    Example:
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
    check_weighting(overlap, balance, volumes, ignore_index)
    check_reduction(reduction, label_smoothing)
    check_process_group(process_group)
    target = _check_pair(logits, target)
    num_classes = logits.shape[1]
    radii = as_radii(radius, num_classes)
    voxel_size = as_spacing(spacing, target.ndim - 1)
    volumes = as_volumes(volumes, num_classes)
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    compiling = torch.compiler.is_compiling()
    fused = dtype == torch.float32 and reduction != "none"
    if fused and not compiling and has_kernels(target):
        from dilated_ce import _triton_loss

        settings = _triton_loss.Settings(
            overlap,
            balance,
            None if ignore_index is None else int(ignore_index),
            process_group,
            float(label_smoothing),
            reduction,
        )
        return _triton_loss.dilated_balanced_cross_entropy(
            logits, target, radii, voxel_size, volumes, settings
        )
    weights, num_valid, valid = weigh_voxels(
        "target",
        target,
        radii,
        voxel_size,
        overlap=overlap,
        balance=balance,
        volumes=volumes,
        ignore_index=ignore_index,
        process_group=process_group,
        dtype=dtype,
    )
    if reduction == "none" or compiling:
        weighted = weights * F.cross_entropy(
            logits.to(dtype),
            target.long(),
            ignore_index=_NO_LABEL if ignore_index is None else ignore_index,
            label_smoothing=label_smoothing,
            reduction="none",
        )
        if reduction == "none":
            return weighted
        total = weighted.sum()
    else:
        total = weighted_cross_entropy(
            logits.to(dtype), target.long(), weights, valid, label_smoothing
        )
    if reduction == "sum":
        return total
    # Without a valid voxel in the whole batch the sum is 0, and so is the loss.
    return total / torch.where(num_valid > 0, num_valid, 1)


class DilatedBalancedCELoss(nn.Module):
    """Dilated balanced cross entropy as a module, in the place of `nn.CrossEntropyLoss`.

    The arguments are those of `dilated_balanced_cross_entropy`, where formula, shapes, units and
    sources are given. All are checked here as far as they can be without data. There are no class
    weights, as the classes are balanced already, and targets are class indices.

    Raises:
        TypeError, ValueError: as `dilated_balanced_cross_entropy`, at once or in the call.

    Example:
        >>> import torch
        >>> from dilated_ce import DilatedBalancedCELoss
        >>> criterion = DilatedBalancedCELoss(radius=3.0)
        >>> logits = torch.randn(2, 4, 32, 32, requires_grad=True)
        >>> target = torch.randint(0, 4, (2, 32, 32))
        >>> criterion(logits, target).backward()
        >>> DilatedBalancedCELoss(radius=[2, 4], balance="image")
        DilatedBalancedCELoss(radius=(2.0, 4.0), overlap='sum', balance='image', ignore_index=-100,
        label_smoothing=0.0, reduction='mean')
    """

    def __init__(
        self,
        radius: Radius,
        *,
        spacing: Sequence[float] | None = None,
        overlap: str = "sum",
        balance: str = "batch",
        volumes: Tensor | Sequence[float] | None = None,
        ignore_index: int | None = -100,
        process_group: dist.ProcessGroup | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        check_weighting(overlap, balance, volumes, ignore_index)
        check_reduction(reduction, label_smoothing)
        check_process_group(process_group)
        self.radius = as_radius(radius)
        self.spacing = None if spacing is None else as_spacing(spacing)
        self.overlap = overlap
        self.balance = balance
        self.ignore_index = ignore_index
        self.process_group = process_group
        self.label_smoothing = label_smoothing
        self.reduction = reduction
        # No buffer: `module.half()` would turn counts of millions of voxels into infinities.
        # A copy, as the caller may go on counting in it.
        num_classes = len(self.radius) if isinstance(self.radius, tuple) else None
        checked = as_volumes(volumes, num_classes)
        self.volumes = None if checked is None else checked.clone()

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target` (B, *spatial)."""
        if self.volumes is not None:
            self.volumes = self.volumes.to(logits.device)  # copied once, then a no-op
        return dilated_balanced_cross_entropy(
            logits,
            target,
            self.radius,
            spacing=self.spacing,
            overlap=self.overlap,
            balance=self.balance,
            volumes=self.volumes,
            ignore_index=self.ignore_index,
            process_group=self.process_group,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        shown = {
            "radius": self.radius,
            "spacing": self.spacing,
            "overlap": self.overlap,
            "balance": self.balance if self.volumes is None else None,
            "volumes": None if self.volumes is None else self.volumes.tolist(),
            "ignore_index": self.ignore_index,
            "process_group": self.process_group,
            "label_smoothing": self.label_smoothing,
            "reduction": self.reduction,
        }
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if value is not None)


def _check_pair(logits: Tensor, target: Tensor) -> Tensor:
    """The target as (B, *spatial), once it is known to fit the logits."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits: got {type(logits).__name__}, expected a torch.Tensor.")
    if not logits.is_floating_point():
        raise TypeError(
            f"logits: got dtype {logits.dtype}, expected the network's output before "
            "softmax, in floats."
        )
    if not 3 <= logits.ndim <= 5:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)}, expected (B, C, *spatial) with 1 to 3 "
            "spatial axes. For one image without a batch axis use logits[None]."
        )
    if logits.shape[1] < 2:
        raise ValueError(
            f"logits: got shape {tuple(logits.shape)} with {logits.shape[1]} channel(s), expected "
            "one per class, background included. Give a binary network two output channels."
        )
    if isinstance(target, Tensor) and target.ndim == logits.ndim and target.shape[1] == 1:
        target = target[:, 0]
    target = as_labels("target", target)
    expected = (logits.shape[0], *logits.shape[2:])
    if target.shape != expected:
        hint = ""
        if target.shape == logits.shape:
            hint = " Take target.argmax(1) of a one-hot target."
        elif target.shape == logits.shape[1:]:
            hint = " For one image without a batch axis use logits[None] and target[None]."
        raise ValueError(
            f"target: got shape {tuple(target.shape)}, expected {expected} or "
            f"{(expected[0], 1, *expected[1:])} for logits of shape {tuple(logits.shape)}." + hint
        )
    if target.device != logits.device:
        raise ValueError(
            f"target: got device {target.device}, expected that of the logits, {logits.device}. "
            "Move it there with target.to(logits.device)."
        )
    return target
