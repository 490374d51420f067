"""One run: a network trained under one loss with one seed; it goes on from its last checkpoint.

Per seed the initial weights, the patches and their augmentation are the same for every loss. A run
is cut into as many parts as its learning curve has points; each ends with a look at the validation
cases and a checkpoint. As patches are functions of their number, a run that was killed ends like
one that was not.
"""

import math
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.training.infer import mean_dice, predict
from dilated_ce.study.training.loggers import (
    Logging,
    build_loggers,
    log_curves,
    log_dice,
    log_picture,
    picture_of,
)
from dilated_ce.study.training.loss_parts import Setting, set_progress, target_of
from dilated_ce.study.training.loss_spec import LossSpec
from dilated_ce.study.training.networks import (
    Forward,
    build_network,
    compiled,
    outputs_of,
    supervised,
)
from dilated_ce.study.training.patches import Patches, StepSampler, change
from dilated_ce.study.training.process import as_guest, peak_memory, reset_peak_memory
from dilated_ce.study.training.settings import ResolvedTraining

CHECKPOINT = "last.ckpt"
# Of a checkpoint that a run can go on from.
PARTS = {"state_dict", "optimizer_states", "lr_schedulers", "loops", "history"}
PROGRESS = "progress"  # a file with the number of steps done, for who waits


@dataclass(frozen=True)
class Plan:
    """All that a run is made of."""

    loss: LossSpec
    seed: int
    train: tuple[str, ...]  # names of cases
    validation: tuple[str, ...]
    training: ResolvedTraining
    prepared: Prepared
    fold: int = 0  # whose training cases scale CT
    logging: Logging | None = None


@dataclass
class History:
    """What a run leaves behind beside its weights."""

    losses: list[float] = field(default_factory=list)  # of every step
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step, mean validation Dice)
    seconds: float = 0.0  # over all attempts
    step_seconds: list[float] = field(default_factory=list)  # mean of each part
    peak_memory: int = 0  # bytes


def fit(plan: Plan, folder: Path) -> tuple[nn.Module, History]:
    """Train a network, or go on with what `folder` holds; its checkpoint is written there.

    Returns:
        The network in evaluation mode, on the device it was trained on, and its history.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with as_guest():
        return _fit(plan, folder)


def _fit(plan: Plan, folder: Path) -> tuple[nn.Module, History]:
    config = plan.training
    L.seed_everything(plan.seed, verbose=False)
    segmenter = Segmenter(plan, folder)
    checkpoint = _load(folder / CHECKPOINT)
    missing = checkpoint is None or len(checkpoint["history"]["losses"]) < config.steps
    loggers = build_loggers(plan.logging, folder) if missing else []
    trainer = L.Trainer(
        accelerator=config.device,
        devices=config.devices,
        strategy="ddp_spawn" if config.devices > 1 else "auto",
        sync_batchnorm=config.devices > 1 and config.device != "cpu" and torch.cuda.is_available(),
        use_distributed_sampler=False,  # the patches' own sampler knows of processes
        precision=config.precision,
        max_epochs=segmenter.num_parts,
        limit_val_batches=0,
        reload_dataloaders_every_n_epochs=1,
        logger=loggers or False,
        callbacks=[ModelCheckpoint(folder, Path(CHECKPOINT).stem, enable_version_counter=False)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    reset_peak_memory()
    if missing:
        path = folder / CHECKPOINT if checkpoint else None
        trainer.fit(segmenter, ckpt_path=path, weights_only=True if path else None)
        checkpoint = _load(folder / CHECKPOINT)
        if checkpoint is None:
            raise OSError(f"{folder / CHECKPOINT} was not written")
    assert checkpoint is not None
    network = segmenter.network
    weights = {
        key.removeprefix("network."): value
        for key, value in checkpoint["state_dict"].items()
        if key.startswith("network.")
    }
    network.load_state_dict(weights)
    return network.eval().to(trainer.strategy.root_device), History(**checkpoint["history"])


def _load(path: Path) -> dict[str, Any] | None:
    """The checkpoint; None if there is none, half of one, or something else."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's guesses at what the file may be
            # Tensors and plain values alone: nothing in the file can run.
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        kept = checkpoint["history"].keys()
        return checkpoint if kept == vars(History()).keys() and checkpoint.keys() >= PARTS else None
    except Exception:  # torch raises whatever it stumbles over
        return None


class Segmenter(L.LightningModule):
    """A network with its loss."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        super().__init__()
        self.plan, self.folder = plan, folder
        index = plan.prepared.index
        dims, channels = index["spatial_dims"], len(index["channels"])
        network = build_network(plan.training, dims, channels, plan.prepared.num_outputs)
        # Convolves faster, on CPUs too.
        layout = torch.channels_last if dims == 2 else torch.contiguous_format
        self.network: nn.Module = network.to(memory_format=layout)  # type: ignore[call-overload]
        group = "world" if plan.training.devices > 1 else None
        prepared = plan.prepared
        self.setting = Setting(
            index["ignore_index"], group, prepared.overlapping, prepared.num_outputs
        )
        self.forward_pass: Forward | None = None  # if it is not the network's own
        self.criterion = plan.loss.build(self.setting)
        self.num_parts = min(plan.training.evaluations, plan.training.steps)
        self.history = History()
        self.loader: DataLoader[dict[str, Tensor]] | None = None
        self.sampler: StepSampler | None = None
        self.step_losses: list[Tensor] = []  # on the device: reading them would wait for it
        self.step_rates: list[float] = []  # learning rates
        self.started = self.part_started = self.reported = time.perf_counter()

    def steps_of_part(self, part: int) -> range:
        """The training steps of a part."""
        steps = self.plan.training.steps
        return range(steps * part // self.num_parts, steps * (part + 1) // self.num_parts)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The patches of the current part; the processes that load them stay for the next one."""
        steps = self.steps_of_part(self.trainer.current_epoch)
        if self.loader is not None and self.sampler is not None:
            self.sampler.steps = steps
            return self.loader
        config = self.plan.training
        patches = Patches(
            self.plan.prepared,
            self.plan.fold,
            self.plan.train,
            config.patch_size,
            self.plan.seed,
            config.foreground,
            config.augmentation == "standard",
        )
        self.sampler = StepSampler(
            steps, config.batch_size, self.trainer.global_rank, self.trainer.world_size
        )
        self.loader = DataLoader(
            patches,
            batch_sampler=self.sampler,
            num_workers=config.loaders,
            persistent_workers=config.loaders > 0,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
        )
        return self.loader

    def on_after_batch_transfer(
        self, batch: dict[str, Tensor], dataloader_idx: int
    ) -> dict[str, Tensor]:
        """Augment the patches, on the device."""
        return change(batch)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """The loss of one batch of patches."""
        set_progress(self.criterion, self.global_step, self.plan.training.steps)
        outputs = outputs_of(self.network, batch["image"], self.forward_pass)
        target = target_of(batch["labels"], self.plan.prepared.num_classes, self.setting)
        # Autocast keeps cross entropy in float32, and lets the sums of a Dice loss lose digits in
        # half precision: so all losses compute in float32.
        with torch.autocast(self.device.type, enabled=False):
            logits = [output.float() for output in outputs]
            weights = self.plan.training.output_weights
            loss = supervised(self.criterion, logits, target, weights)
        self.step_losses.append(loss.detach())
        if self.plan.logging is not None:
            self.step_rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def on_train_epoch_start(self) -> None:
        """Start the clock of this part."""
        self.part_started = time.perf_counter()

    def on_train_batch_end(self, *args: Any) -> None:
        """Report progress, now and then."""
        now = time.perf_counter()
        if self.trainer.is_global_zero and now - self.reported > 0.5:
            self.reported = now
            (self.folder / PROGRESS).write_text(str(self.trainer.global_step))

    def on_train_epoch_end(self) -> None:
        """Look at the validation cases; the checkpoint follows."""
        losses = torch.stack(self.step_losses).float()
        if self.trainer.world_size > 1:
            losses = self.all_gather(losses).mean(0)
        done = len(self.history.losses)
        self.history.losses += losses.tolist()  # waits for the device, so the time is right
        seconds = time.perf_counter() - self.part_started
        self.history.step_seconds.append(seconds / len(self.step_losses))
        log_curves(self.loggers, done, self.history.losses[done:], self.step_rates)
        self.step_losses.clear()
        self.step_rates.clear()
        if self.plan.validation:
            self.history.curve.append((self.trainer.global_step, self.validation_dice()))
            log_dice(self.loggers, *self.history.curve[-1])
        now = time.perf_counter()
        self.history.seconds += now - self.started
        self.started = now
        self.history.peak_memory = max(self.history.peak_memory, peak_memory(self.device))

    def validation_dice(self) -> float:
        """The mean Dice of the validation cases; each process predicts its share of them."""
        share = self.plan.validation[self.trainer.global_rank :: self.trainer.world_size]
        self.network.eval()
        total = torch.zeros(2, device=self.device)
        for name in share:
            case = self.plan.prepared.load_scaled(name, self.plan.fold)
            overlapping = self.plan.prepared.overlapping
            labels, _ = predict(self.network, case, self.plan.training, self.device, overlapping)
            if self.loggers and name == self.plan.validation[0]:
                stacked = len(self.plan.training.patch_size) < case.labels.ndim
                picture = picture_of(case, labels, stacked)
                log_picture(self.loggers, self.trainer.global_step, name, picture)
            num_classes = self.plan.prepared.num_classes
            dice = mean_dice(labels, case.labels, num_classes, overlapping)
            if not math.isnan(dice):
                total += torch.tensor([dice, 1.0], device=self.device)
        self.network.train()
        if self.trainer.world_size > 1:
            total = self.all_gather(total).sum(0)
        return float(total[0] / total[1])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the history with the weights."""
        checkpoint["history"] = vars(replace(self.history))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the history."""
        self.history = History(**checkpoint["history"])

    def on_train_start(self) -> None:
        """Compile; and write again what a table has lost that begins anew when a run goes on."""
        if self.plan.training.forward == "compiled":
            self.forward_pass = compiled(self.network)
        tables = [logger for logger in self.loggers if isinstance(logger, CSVLogger)]
        log_curves(tables, 0, self.history.losses, [])
        for step, dice in self.history.curve:
            log_dice(tables, step, dice)

    def configure_optimizers(self) -> dict[str, Any]:
        """The optimiser and its schedule, a step at a time."""
        config = self.plan.training
        optimizer = build_optimizer(self.network.parameters(), config)
        schedule = build_schedule(optimizer, config)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def build_optimizer(
    parameters: Iterable[nn.Parameter], config: ResolvedTraining
) -> torch.optim.Optimizer:
    """AdamW, or SGD as nnU-Net's."""
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay)
    return torch.optim.SGD(parameters, rate, momentum=0.99, weight_decay=decay, nesterov=True)


def build_schedule(
    optimizer: torch.optim.Optimizer, config: ResolvedTraining
) -> torch.optim.lr_scheduler.LRScheduler:
    """How the learning rate goes from the first step to the last."""
    steps, schedules = config.steps, torch.optim.lr_scheduler
    if config.schedule == "one-cycle":
        return schedules.OneCycleLR(optimizer, config.learning_rate, total_steps=steps + 1)
    shapes: dict[str, Callable[[int], float]] = {
        "poly": lambda step: (1 - min(step, steps) / (steps + 1)) ** 0.9,
        "cosine": lambda step: (1 + math.cos(math.pi * min(step, steps) / (steps + 1))) / 2,
        "constant": lambda step: 1.0,
    }
    return schedules.LambdaLR(optimizer, shapes[config.schedule])
