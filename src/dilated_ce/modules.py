"""The two losses as modules, in the place of `nn.CrossEntropyLoss`.

They hold checked options, and no state: no checkpoint has to know them.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dilated_ce.loss import compute_loss
from dilated_ce.options import (
    ProcessGroup,
    Radius,
    Volumes,
    Weight,
    as_num_voxels,
    as_process_group,
    as_radius,
    as_spacing,
    as_volumes,
    as_weight,
    as_written,
    check_choice,
    check_ignore_index,
    check_reduction,
)
from dilated_ce.target import MODES
from dilated_ce.weighting import Weighting

# The class weights that losses of PyTorch, of MONAI and of nnU-Net write into a checkpoint.
_CLASS_WEIGHTS = (
    *("weight", "pos_weight"),
    *("class_weight", "dice.class_weight", "focal.class_weight"),
    *("cross_entropy.weight", "binary_cross_entropy.pos_weight"),
    "ce.weight",
)


def forget_class_weights(state_dict: dict[str, Any], prefix: str) -> None:
    """Take out of a checkpoint the class weights of the loss that stood at `prefix`.

    Whatever else is there is told as unexpected.

    Args:
        state_dict: the checkpoint, which is changed.
        prefix: of the keys of this module, such as "criterion.".
    """
    for name in _CLASS_WEIGHTS:
        state_dict.pop(prefix + name, None)


class _Loss(nn.Module):
    """What both modules have in common: checked options, and no state."""

    def __init__(self, radius: Radius | None, options: dict[str, Any]) -> None:
        super().__init__()
        mode, spacing = options["mode"], options["spacing"]
        check_choice("mode", mode, MODES)
        check_reduction(options["reduction"], options["label_smoothing"])
        check_ignore_index(options["ignore_index"])
        as_process_group(options["process_group"])
        self.mode = mode
        self.spacing = None if spacing is None else as_spacing(spacing)
        self.ignore_index = options["ignore_index"]
        self.label_smoothing = options["label_smoothing"]
        self.reduction = options["reduction"]
        self.process_group = options["process_group"]
        # No buffers: `module.half()` would turn counts of millions of voxels into infinities.
        # Copies, as the caller may go on counting in them.
        by_channel = mode != "multiclass"
        volumes = as_volumes(options.get("volumes", "batch"), (None, 2) if by_channel else (None,))
        weight = as_weight(options["weight"])
        self.volumes = volumes.clone() if isinstance(volumes, Tensor) else volumes
        self.weight = None if weight is None else weight.clone()
        self.radius = None if radius is None else as_radius(radius)
        self.num_voxels = as_num_voxels(options.get("num_voxels"), volumes)
        # How many classes there are may be known before there are data.
        num_classes = 1 if mode == "binary" else None
        if isinstance(self.radius, tuple):
            num_classes = num_classes or len(self.radius)
        elif isinstance(volumes, Tensor):
            num_classes = num_classes or len(volumes)
        if num_classes is not None:
            Weighting.checked(
                num_classes,
                len(self.spacing or (1.0,)),
                by_channel=by_channel,
                radius=radius,
                volumes=volumes,
                weight=weight,
            )

    def compute(
        self, logits: Tensor, target: Tensor, mode: str, spacing: Sequence[float] | None
    ) -> Tensor:
        """What `forward` does, in another mode, or for voxels of another size."""
        if isinstance(logits, Tensor):  # else told below
            self._move_to(logits.device)
        return compute_loss(
            logits,
            target,
            mode=mode,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
            radius=self.radius,
            spacing=spacing,
            volumes=self.volumes,
            ignore_index=self.ignore_index,
            weight=self.weight,
            num_voxels=self.num_voxels,
            process_group=self.process_group,
        )

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """The loss of `logits` (B, C, *spatial) against `target`, which `mode` describes."""
        return self.compute(logits, target, self.mode, self.spacing)

    def _move_to(self, device: torch.device) -> None:
        """Copy the numbers to the device, once."""
        for name in ("volumes", "weight"):
            values = getattr(self, name)
            if isinstance(values, Tensor) and values.device != device and device.type != "meta":
                # Not as a tensor of inference mode, which later training steps could not use; nor
                # as one that is only said to be there.
                with torch.inference_mode(False):
                    moved = values.to(device)
                if type(moved) is Tensor:
                    setattr(self, name, moved)

    def extra_repr(self) -> str:
        """The arguments, for `print`."""
        shown = {
            "radius": self.radius,
            "mode": None if self.mode == "multiclass" else self.mode,
            "spacing": self.spacing,
            "volumes": None if self.radius is None else as_written(self.volumes),
            "num_voxels": self.num_voxels,
            "weight": as_written(self.weight),
            "ignore_index": self.ignore_index,
            "process_group": self.process_group,
            "label_smoothing": self.label_smoothing,
            "reduction": self.reduction,
        }
        return ", ".join(f"{name}={value!r}" for name, value in shown.items() if value is not None)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *arguments: Any
    ) -> None:
        forget_class_weights(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def __getstate__(self) -> dict[str, Any]:
        """What `pickle` and `copy.deepcopy` take along."""
        if isinstance(self.process_group, dist.ProcessGroup):
            raise TypeError(
                "process_group: a group of torch.distributed can be neither pickled nor copied. "
                "Give process_group='world', which is looked up when the loss is computed."
            )
        return self.__dict__


class DilatedBalancedCELoss(_Loss):
    """Dilated balanced cross entropy as a module, in the place of `nn.CrossEntropyLoss`.

    The arguments are those of `dilated_balanced_cross_entropy`, where formula, shapes, units and
    sources are given. All are checked here as far as they can be without data. The module has no
    state: its `state_dict()` is empty, and a checkpoint loads that holds the class weights of a
    loss of PyTorch, MONAI or nnU-Net in the same place. It can be pickled and copied, unless
    `process_group` is a group of `torch.distributed` (these cannot be: use "world").

    Raises:
        TypeError, ValueError: as `dilated_balanced_cross_entropy`, at once or in the call.

    Examples:
        >>> import torch
        >>> from dilated_ce import DilatedBalancedCELoss
        >>> criterion = DilatedBalancedCELoss(radius=8)
        >>> logits = torch.randn(2, 4, 32, 32, requires_grad=True)
        >>> target = torch.randint(0, 4, (2, 32, 32))
        >>> criterion(logits, target).backward()
        >>> DilatedBalancedCELoss(radius=[2, 4], volumes="image")
        DilatedBalancedCELoss(radius=(2.0, 4.0), volumes='image', ignore_index=-100,
        label_smoothing=0.0, reduction='mean')
    """

    def __init__(
        self,
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
    ) -> None:
        options = {
            "mode": mode,
            "spacing": spacing,
            "volumes": volumes,
            "ignore_index": ignore_index,
            "weight": weight,
            "label_smoothing": label_smoothing,
            "reduction": reduction,
            "num_voxels": num_voxels,
            "process_group": process_group,
        }
        super().__init__(as_radius(radius), options)


class AdaptiveDilatedCELoss(_Loss):
    """Cross entropy with adaptive dilated weights as a module (ours, not the paper's loss).

    The arguments are those of `adaptive_dilated_cross_entropy`, where the formula is given. State,
    copies and checkpoints are as those of `DilatedBalancedCELoss`.

    Raises:
        TypeError, ValueError: as `adaptive_dilated_cross_entropy`, at once or in the call.

    Examples:
        >>> import torch
        >>> from dilated_ce import AdaptiveDilatedCELoss
        >>> criterion = AdaptiveDilatedCELoss()
        >>> logits = torch.randn(2, 4, 32, 32, requires_grad=True)
        >>> target = torch.randint(0, 4, (2, 32, 32))
        >>> criterion(logits, target).backward()
    """

    def __init__(
        self,
        *,
        mode: str = "multiclass",
        spacing: Sequence[float] | None = None,
        ignore_index: int | None = -100,
        weight: Weight | None = None,
        label_smoothing: float = 0.0,
        reduction: str = "mean",
        process_group: ProcessGroup = None,
    ) -> None:
        options = {
            "mode": mode,
            "spacing": spacing,
            "ignore_index": ignore_index,
            "weight": weight,
            "label_smoothing": label_smoothing,
            "reduction": reduction,
            "process_group": process_group,
        }
        super().__init__(None, options)
