"""Trying the network, and a loss of the user's, on a batch, before anything is trained."""

import math
import traceback
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from dilated_ce.study import machine
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.training.loss_parts import Setting, set_progress, target_of
from dilated_ce.study.training.loss_spec import LossSpec, source_file
from dilated_ce.study.training.network_spec import parse_network
from dilated_ce.study.training.networks import build_network, compiled, outputs_of, supervised
from dilated_ce.study.training.own import ANY
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


def patches_of(
    prepared: Prepared, names: tuple[str, ...], training: ResolvedTraining, number: int
) -> tuple[Tensor, Tensor]:
    """The first images (B, channels, *spatial) and labels (B, 1, *spatial) of a training."""
    patches = Patches(
        prepared, 0, names, training.patch_size, 0, training.foreground, augment=False
    )
    found = [patches[index] for index in range(number)]
    return torch.stack([p["image"] for p in found]), torch.stack([p["labels"] for p in found])


def batch_of(
    prepared: Prepared, names: tuple[str, ...], training: ResolvedTraining, setting: Setting
) -> tuple[Tensor, Tensor]:
    """Random logits, and the target of the first patches of a training on these cases."""
    _, labels = patches_of(prepared, names, training, training.batch_size)
    target = target_of(labels, prepared.num_classes, setting)
    shape = (len(labels), prepared.num_outputs, *labels.shape[2:])
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)), target


def try_network(
    prepared: Prepared,
    names: tuple[str, ...],
    training: ResolvedTraining,
    loss: LossSpec,
    setting: Setting,
    on_gpu: bool,
) -> None:
    """Train the network on two patches, and let it predict one, on a GPU if there is one.

    Raises:
        ValueError: it cannot be built, its weights do not fit, or it fails; the message says why.
    """
    gpu = "cuda" if torch.cuda.is_available() else "mps"
    device = torch.device(gpu if on_gpu and machine.has_gpu() else "cpu")
    dims, channels = prepared.index["spatial_dims"], len(prepared.index["channels"])
    network = build_network(training, dims, channels, prepared.num_outputs).to(device)
    images, labels = (
        part.to(device)
        for part in patches_of(prepared, names, training, min(2, training.batch_size))
    )
    target = target_of(labels, prepared.num_classes, setting)
    wanted = (len(images), prepared.num_outputs)
    subject = f"training.network {training.network}: patches of shape {tuple(images.shape)}"
    try:
        forward = compiled(network) if training.forward == "compiled" else None
        outputs = outputs_of(network.train(), images, forward)
        if any(output.shape[:2] != wanted or output.ndim != images.ndim for output in outputs):
            shapes = ", ".join(str(tuple(output.shape)) for output in outputs)
            raise TypeError(f"it returns {shapes}, expected {wanted} with {dims} sides behind")
        criterion = loss.build(setting).to(device)
        set_progress(criterion, 0, training.steps)
        logits = [output.float() for output in outputs]
        supervised(criterion, logits, target, training.output_weights).backward()
        with torch.no_grad():
            main = outputs_of(network.eval(), images[:1])[0]
        if main.shape != (1, prepared.num_outputs, *images.shape[2:]):
            raise TypeError(
                f"it returns {tuple(main.shape)} when it predicts, expected "
                f"{(1, prepared.num_outputs, *images.shape[2:])}"
            )
    except torch.OutOfMemoryError as error:
        raise ValueError(f"{subject} need more memory than there is; try smaller ones") from error
    except ANY as error:
        path = parse_network(training.network).source_file
        raise ValueError(
            f"{subject} fail: {_explain(path, error)}. "
            "A network takes images (B, channels, ...) to logits (B, classes, ...) of the same "
            "sides, or to a list of them; sides that it cannot halve are set by --patch-size."
        ) from error


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
        raise ValueError(f"{_explain(source_file(loss.name), error)}. {how}") from error
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


def _explain(path: Path | None, error: BaseException) -> str:
    """What went wrong, and in which line of the user's file."""
    what = f"{type(error).__name__}: {error}".strip().splitlines()[0].rstrip(".: ")
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"{path.name} line {lines[-1]}: {what}" if path and lines else what
