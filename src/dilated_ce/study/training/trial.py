"""Trying a loss of the user's on a batch, before anything is trained."""

import math
import traceback
import warnings

import torch
from torch import Tensor, nn

from dilated_ce.study.data.prepare import Prepared
from dilated_ce.study.training.loss_parts import Setting, set_progress, target_of
from dilated_ce.study.training.loss_spec import ANY, LossSpec, source_file
from dilated_ce.study.training.patches import Patches
from dilated_ce.study.training.settings import ResolvedTraining

HOW_CALLED = (
    "It is called with logits (B, C, ...) and {target}. A loss that wants them otherwise needs a "
    "module around it, whose forward(self, logits, target) returns {call}."
)
INDICES = {
    "target": "class indices (B, 1, ...) of uint8, as MONAI's with to_onehot_y=True",
    "call": "loss(logits, target[:, 0].long())",
}
MASKS = {"target": "masks (B, C, ...) of 0 and 1, as classes overlap", "call": "a number of them"}


def batch_of(
    prepared: Prepared, names: tuple[str, ...], training: ResolvedTraining, setting: Setting
) -> tuple[Tensor, Tensor]:
    """Random logits, and the target of the first patches of a training on these cases."""
    patches = Patches(
        prepared, 0, names, training.patch_size, 0, training.foreground, augment=False
    )
    labels = torch.stack([patches[index]["labels"] for index in range(training.batch_size)])
    target = target_of(labels, prepared.num_classes, setting)
    shape = (len(labels), prepared.num_outputs, *labels.shape[2:])
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)), target


def try_loss(loss: LossSpec, setting: Setting, logits: Tensor, target: Tensor) -> None:
    """Compute a loss and its gradient, as a training step does.

    Raises:
        ValueError: it fails, or gives no number to train with; the message says how to wrap it.
    """
    try:
        with warnings.catch_warnings():
            # PyTorch's word for stretching a target of another shape over the logits.
            warnings.filterwarnings("error", "Using a target size", UserWarning)
            value = _compute(loss.build(setting), setting, logits.clone().requires_grad_(), target)
            value.backward()
    except ANY as error:
        how = HOW_CALLED.format(**(MASKS if setting.overlapping else INDICES))
        raise ValueError(f"{_explain(loss, error)}. {how}") from error
    if not math.isfinite(value.item()):
        raise ValueError(f"gives {value.item()} for a batch of random logits, expected a number")


def _compute(loss: nn.Module, setting: Setting, logits: Tensor, target: Tensor) -> Tensor:
    if type(loss).__module__ == nn.MSELoss.__module__ and not setting.overlapping:
        # Some of them would stretch the indices over the logits without a word.
        raise TypeError(f"PyTorch's {type(loss).__name__} takes no class indices with logits")
    set_progress(loss, 0, 1)
    value = loss(logits, target)
    if not isinstance(value, Tensor) or value.numel() != 1:
        what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(f"it returns {what}, expected a tensor of one number")
    if not value.requires_grad:
        raise TypeError("it returns a number without a gradient")
    return value


def _explain(loss: LossSpec, error: BaseException) -> str:
    """What went wrong, and in which line of the user's file."""
    what = f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".: ")
    path = source_file(loss.name)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path.name} line {lines[-1]}: {what}" if path and lines else what
