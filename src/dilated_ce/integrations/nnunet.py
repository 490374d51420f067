"""Trainers for nnU-Net 2.8 and newer: everything as in nnU-Net, under a dilated loss.

    export nnUNet_extTrainer="$(dilated-ce nnunet-path)"
    nnUNetv2_train 4 3d_fullres 0 -tr nnUNetTrainerAdaptiveDBCEDice

nnU-Net stores only the name of a trainer, in the checkpoint and in the name of the folder, and
looks it up again to continue and to predict. So the settings are in the name:

    nnUNetTrainerDBCE_R4            the paper's idea with a radius of 4 voxels, any number
    nnUNetTrainerDBCE_R2.5mm        or in mm, with the spacing of the plans
    nnUNetTrainerDBCE_R4_image      volumes counted over each image instead of the batch
    nnUNetTrainerDBCEDice_R4        beside nnU-Net's Dice loss, instead of its CE
    nnUNetTrainerAdaptiveDBCE       our adaptive loss
    nnUNetTrainerAdaptiveDBCEDice   beside nnU-Net's Dice loss, instead of its CE
    ..._100epochs_seed1             any of them, or of nnU-Net's, with these epochs and this seed

For anything else, inherit from one of them, or put `DilatedMixin` before another trainer.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss, DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from dilated_ce.integrations._levels import level_spacing
from dilated_ce.integrations._nnunet_runs import run_of
from dilated_ce.loss import adaptive_dilated_cross_entropy, dilated_balanced_cross_entropy
from dilated_ce.options import (
    Radius,
    as_radii,
    as_radius,
    as_spacing,
    check_choice,
    check_ignore_index,
)

# No label of nnU-Net's, which are 0 and more.
_IGNORED = -1

_PRESET = re.compile(
    r"nnUNetTrainer(?P<adaptive>Adaptive)?DBCE(?P<dice>Dice)?"
    r"(_R(?P<radius>\d+(\.\d+)?)(?P<mm>mm)?(?P<image>_image)?)?"
)


class DilatedLoss(nn.Module):
    """A dilated cross entropy on the targets of nnU-Net, alone or beside its Dice loss.

    It takes what nnU-Net's `DC_and_CE_loss` takes, and with `regions` what its `DC_and_BCE_loss`
    takes. Unlike there, an ignore label leaves the cross entropy of regions a mean over the
    regions, and does not make it their sum.

    Args:
        radius: as in `dilated_balanced_cross_entropy`, at the full resolution; None for
            `adaptive_dilated_cross_entropy`.
        full_size: voxels per axis at the full resolution. A smaller output (deep supervision)
            has larger voxels, in which the same radius is as long as in the full resolution.
        spacing: size of a voxel at the full resolution; 1 when None.
        volumes: with a radius, counted over the "batch", or over each "image".
        regions: whether targets hold a mask for each region, instead of one label per voxel.
        ignore_label: label of the voxels that take no part. With `regions` any number says that
            the last channel of the target marks them.
        distributed: whether the other processes of `torch.distributed` hold parts of the batch.
        dice: the Dice loss to add, called as `dice(logits, target, loss_mask=mask)`.
        weight_ce: factor of the cross entropy.
        weight_dice: factor of the Dice loss.

    Raises:
        TypeError, ValueError: as `dilated_balanced_cross_entropy`, at once or in the call.

    Examples:
        >>> import torch
        >>> from dilated_ce.integrations.nnunet import DilatedLoss
        >>> loss = DilatedLoss(4, full_size=(32, 32), ignore_label=3)
        >>> logits = torch.zeros(2, 3, 16, 16)  # the level below: here 4 voxels are 2 pixels
        >>> f"{loss(logits, torch.zeros(2, 1, 16, 16)):.4f}"
        '1.0986'
    """

    def __init__(
        self,
        radius: Radius | None,
        *,
        full_size: Sequence[int],
        spacing: Sequence[float] | None = None,
        volumes: str = "batch",
        regions: bool = False,
        ignore_label: int | None = None,
        distributed: bool = False,
        dice: nn.Module | None = None,
        weight_ce: float = 1.0,
        weight_dice: float = 1.0,
    ) -> None:
        super().__init__()
        check_choice("volumes", volumes, ("batch", "image"))
        check_ignore_index(ignore_label)
        self.radius = None if radius is None else as_radius(radius)
        self.full_size = tuple(full_size)
        self.spacing = None if spacing is None else as_spacing(spacing, len(self.full_size))
        self.volumes = volumes
        self.regions = regions
        self.ignore_label = ignore_label
        self.process_group = "world" if distributed else None
        self.dc = dice
        self.weight_ce = weight_ce
        self.weight_dice = weight_dice

    def forward(self, net_output: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, C, *spatial) against labels (B, 1, *spatial), or region masks."""
        known, mask = self._split(target)
        if mask is not None:
            labels = torch.where(mask, known.to(torch.int32), _IGNORED)
        else:
            labels = known.to(torch.int32) if known.is_floating_point() else known
        options: dict[str, Any] = {
            "mode": "multilabel" if self.regions else "multiclass",
            "spacing": level_spacing(net_output.shape[2:], self.full_size, self.spacing),
            "ignore_index": None if mask is None else _IGNORED,
            "process_group": self.process_group,
        }
        if self.radius is None:
            loss = adaptive_dilated_cross_entropy(net_output, labels, **options)
        else:
            loss = dilated_balanced_cross_entropy(
                net_output, labels, self.radius, volumes=self.volumes, **options
            )
        loss = self.weight_ce * loss
        if self.dc is not None:
            loss = loss + self.weight_dice * self.dc(net_output, known, loss_mask=mask)
        return loss

    def _split(self, target: Tensor) -> tuple[Tensor, Tensor | None]:
        """The target with a known label everywhere, and where it is to be believed."""
        if self.ignore_label is None:
            return target, None
        if self.regions:
            return target[:, :-1], target[:, -1:] == 0
        mask = target != self.ignore_label
        return torch.where(mask, target, 0), mask

    def extra_repr(self) -> str:
        """The settings, for `print` and nnU-Net's debug.json."""
        names = ("radius", "full_size", "spacing", "volumes", "regions", "ignore_label")
        shown = {name: getattr(self, name) for name in (*names, "process_group", "weight_ce")}
        if self.dc is not None:
            shown["weight_dice"] = self.weight_dice
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


class DilatedMixin:
    """Gives a trainer of nnU-Net a dilated loss; first in the list of parents.

    The loss that the trainer would have built gives its deep supervision, its Dice loss and their
    weights, and its cross entropy is replaced. Everything else is left to the trainer.

    Attributes:
        radius: in voxels at the full resolution, or in mm; or one such number per class, or per
            region. Every level of deep supervision has the same radius in mm. None: the adaptive
            loss, which is ours, instead of the paper's.
        radius_in_mm: whether the plans' spacing measures the radius. In voxels, a ball is as
            anisotropic as they are.
        volumes: with a radius, counted over the "batch", on all GPUs together, or each "image".
        with_dice: whether nnU-Net's Dice loss is added.

    Examples:
        In a file of a folder that nnUNet_extTrainer names, too:

            from dilated_ce.integrations.nnunet import DilatedMixin
            from nnunetv2.training.nnUNetTrainer.variants.data_augmentation import (
                nnUNetTrainerNoMirroring as no_mirroring,
            )

            class MyTrainer(DilatedMixin, no_mirroring.nnUNetTrainerNoMirroring):
                radius = (0, 4, 2)  # background and two classes
    """

    radius: Radius | None = None
    radius_in_mm: bool = False
    volumes: str = "batch"
    with_dice: bool = False

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        parents = cls.__mro__
        if nnUNetTrainer in parents and parents.index(nnUNetTrainer) < parents.index(DilatedMixin):
            names = ", ".join(parent.__name__ for parent in cls.__bases__)
            raise TypeError(
                f"{cls.__name__}: got the parents ({names}), expected DilatedMixin before the "
                "trainer, whose own loss is taken otherwise."
            )

    def _build_loss(self: Any) -> nn.Module:
        theirs = super()._build_loss()  # type: ignore[misc]
        supervised = isinstance(theirs, DeepSupervisionWrapper)
        compound = theirs.loss if supervised else theirs
        if not isinstance(compound, DC_and_CE_loss | DC_and_BCE_loss):
            raise TypeError(
                f"{type(self).__name__}: got the loss {type(compound).__name__} from the trainer, "
                "expected nnU-Net's Dice and cross entropy, of which the latter is replaced. Use a "
                "trainer that does not change the loss."
            )
        settings = self.configuration_manager
        if self.radius is not None:  # not in the first step
            as_radii(self.radius, self.label_manager.num_segmentation_heads)
        ours = DilatedLoss(
            self.radius,
            full_size=settings.patch_size,
            spacing=settings.spacing if self.radius_in_mm else None,
            volumes=self.volumes,
            regions=self.label_manager.has_regions,
            ignore_label=self.label_manager.ignore_label,
            distributed=self.is_ddp,
            dice=compound.dc if self.with_dice else None,
            weight_ce=compound.weight_ce,
            weight_dice=compound.weight_dice,
        )
        kind = "adaptive dilated cross entropy"
        if self.radius is not None:
            unit = "mm" if self.radius_in_mm else "voxels"
            kind = (
                f"dilated balanced cross entropy, radius {self.radius} {unit}, volumes of the "
                f"{self.volumes}"
            )
        self.print_to_log_file(f"Loss: {kind}{', and Dice' if self.with_dice else ''}\n{ours}")
        if supervised:
            theirs.loss = ours
            return theirs
        return ours


class nnUNetTrainerAdaptiveDBCE(DilatedMixin, nnUNetTrainer):  # noqa: N801, as nnU-Net writes it
    """nnU-Net's trainer with our adaptive dilated cross entropy as its loss."""


class nnUNetTrainerAdaptiveDBCEDice(nnUNetTrainerAdaptiveDBCE):  # noqa: N801
    """nnU-Net's trainer with our adaptive dilated cross entropy and Dice as its loss."""

    with_dice = True


def __getattr__(name: str) -> type[nnUNetTrainer]:
    """The trainer of which the name holds the settings, made when it is first asked for."""
    return _preset(name)


@cache
def _preset(name: str) -> type[nnUNetTrainer]:
    run: type[nnUNetTrainer] | None = run_of(name, _preset, __name__)
    if run is not None:
        return run
    match = _PRESET.fullmatch(name)
    if match is None or (match["adaptive"] and match["radius"]):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if match["adaptive"]:
        return nnUNetTrainerAdaptiveDBCEDice if match["dice"] else nnUNetTrainerAdaptiveDBCE
    if not match["radius"]:
        raise ValueError(
            f"{name}: got no radius, expected one in the name, such as {name}_R4 (voxels) or "
            f"{name}_R2.5mm. For the loss that needs none: "
            f"{name.replace('Trainer', 'TrainerAdaptive')}."
        )
    settings: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": "nnU-Net's trainer with dilated balanced cross entropy, the paper's idea.",
        "radius": float(match["radius"]),
        "radius_in_mm": match["mm"] is not None,
        "volumes": "image" if match["image"] else "batch",
        "with_dice": match["dice"] is not None,
    }
    return type(name, (DilatedMixin, nnUNetTrainer), settings)
