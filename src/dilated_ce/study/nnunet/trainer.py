"""The trainer for losses that neither nnU-Net nor `integrations.nnunet` has a trainer for."""

from functools import cache
from typing import Any

import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import Tensor, nn

from dilated_ce.integrations._nnunet_runs import run_of
from dilated_ce.study.data.cases import IGNORE_INDEX
from dilated_ce.study.nnunet.names import OTHERS, loss_of
from dilated_ce.study.training.loss_parts import Setting, set_progress
from dilated_ce.study.training.loss_spec import LossSpec


class LossOnTargets(nn.Module):
    """A loss of the command line on the targets of nnU-Net, in float32.

    Args:
        loss: called with logits (B, C, *spatial) and class indices (B, 1, *spatial), or with masks
            (B, C, *spatial) of 0, 1, and `IGNORE_INDEX` where nobody labelled.
        regions: whether it takes masks.
        has_ignored: with regions, whether the last channel of the target marks ignored voxels.
    """

    def __init__(self, loss: nn.Module, regions: bool, has_ignored: bool) -> None:
        super().__init__()
        self.loss, self.regions, self.has_ignored = loss, regions, has_ignored

    def forward(self, net_output: Tensor, target: Tensor) -> Tensor:
        """The loss of logits (B, C, *spatial) against labels (B, 1, *spatial), or region masks."""
        if not self.regions:
            labels = target.long()
        elif self.has_ignored:
            labels = target[:, :-1].float().masked_fill(target[:, -1:] == 1, IGNORE_INDEX)
        else:
            labels = target.float()
        with torch.autocast(net_output.device.type, enabled=False):
            value: Tensor = self.loss(net_output.float(), labels)
        return value


class LossTrainer(nnUNetTrainer):
    """nnU-Net's trainer with a loss of the command line in the place of its own."""

    spec: LossSpec
    steps_of_epoch = 0

    def on_train_epoch_start(self: Any) -> None:
        """Count the steps of this epoch."""
        super().on_train_epoch_start()
        self.steps_of_epoch = 0

    def train_step(self: Any, batch: dict[str, Any]) -> dict[str, Any]:
        """One step, of which the loss is told if it has a schedule."""
        each = self.num_iterations_per_epoch
        step = self.current_epoch * each + self.steps_of_epoch
        set_progress(self.loss, step, self.num_epochs * each)
        self.steps_of_epoch += 1
        result: dict[str, Any] = super().train_step(batch)
        return result

    def _build_loss(self: Any) -> nn.Module:
        theirs = super()._build_loss()
        labels, ignored = self.label_manager, self.label_manager.ignore_label
        setting = Setting(
            ignore_index=IGNORE_INDEX if labels.has_regions and ignored is not None else ignored,
            process_group="world" if self.is_ddp else None,
            overlapping=labels.has_regions,
            num_outputs=labels.num_segmentation_heads,
        )
        ours = LossOnTargets(self.spec.build(setting), labels.has_regions, ignored is not None)
        self.print_to_log_file(f"Loss: {self.spec}\n{ours}")
        if isinstance(theirs, DeepSupervisionWrapper):
            theirs.loss = ours
            return theirs
        return ours


@cache
def find_trainer(name: str) -> type[nnUNetTrainer]:
    """The trainer of a name such as `nnUNetTrainerLoss_tversky_100epochs_seed0`.

    Raises:
        AttributeError: a name of another form.
        ValueError: no such loss.
    """
    run: type[nnUNetTrainer] | None = run_of(name, find_trainer, __name__)
    if run is not None:
        return run
    if not name.startswith(OTHERS):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    spec = loss_of(name)
    return type(name, (LossTrainer,), {"__module__": __name__, "spec": spec})
