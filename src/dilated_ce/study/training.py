"""One run: a U-Net trained under one loss with one seed, and what it predicts for the test cases.

Per seed the initial weights, the patches and their augmentation are the same for every loss: each
patch is a function of the seed and its number alone.
"""

import logging
import math
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities import disable_possible_user_warnings
from monai.data import get_track_meta, set_track_meta
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    FgBgToIndicesd,
    NormalizeIntensity,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from dilated_ce.study.config import TrainingConfig
from dilated_ce.study.data import Case, StudyData
from dilated_ce.study.metrics import score


@dataclass
class RunResult:
    """What a run leaves behind."""

    losses: list[float] = field(default_factory=list)  # training loss of every step
    curve: list[tuple[int, float]] = field(default_factory=list)  # (step, mean test Dice)
    predictions: dict[str, NDArray[np.uint8]] = field(default_factory=dict)  # (H, W) by case


def train(
    data: StudyData,
    criterion: nn.Module,
    seed: int,
    config: TrainingConfig,
    on_step: Callable[[], None] = lambda: None,
) -> RunResult:
    """Train a U-Net under `criterion`; `on_step` is called after every step."""
    with _as_guest():
        return _train(data, criterion, seed, config, on_step)


def _train(
    data: StudyData,
    criterion: nn.Module,
    seed: int,
    config: TrainingConfig,
    on_step: Callable[[], None],
) -> RunResult:
    L.seed_everything(seed, verbose=False)
    segmenter = Segmenter(criterion, data, config, on_step)
    trainer = L.Trainer(
        accelerator=config.device,
        devices=1,
        max_steps=config.steps,
        # The learning curve's points; the last one, after the last step, is the result.
        val_check_interval=math.ceil(config.steps / config.evaluations),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    test_loader = DataLoader(_Normalised(data.test), batch_size=None)
    patches = DataLoader(Patches(data, seed, config), config.batch_size)
    trainer.fit(segmenter, patches, test_loader)
    if not segmenter.result.curve or segmenter.result.curve[-1][0] < config.steps:
        trainer.validate(segmenter, test_loader, verbose=False)
    segmenter.result.losses = torch.stack(segmenter.step_losses).float().tolist()
    return segmenter.result


class Segmenter(L.LightningModule):
    """A MONAI U-Net with its loss, and the test cases' predictions at every evaluation."""

    def __init__(
        self,
        criterion: nn.Module,
        data: StudyData,
        config: TrainingConfig,
        on_step: Callable[[], None],
    ) -> None:
        super().__init__()
        self.network = UNet(
            spatial_dims=2,
            in_channels=3,
            out_channels=len(data.classes),
            channels=config.channels,
            strides=(2,) * (len(config.channels) - 1),
            num_res_units=2,
            norm="batch",
        ).to(memory_format=torch.channels_last)  # convolves faster, on CPUs too
        self.criterion = criterion
        self.data = data
        self.config = config
        self.on_step = on_step
        self.result = RunResult()
        self.step_losses: list[Tensor] = []  # on the device: reading them would wait for it

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """The loss of one batch of patches."""
        loss: Tensor = self.criterion(self.network(batch["image"]), batch["labels"])
        self.step_losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, *args: Any) -> None:
        """Report progress."""
        self.on_step()

    def validation_step(self, batch: tuple[int, Tensor], batch_index: int) -> None:
        """Predict one whole test image from overlapping patches."""
        index, image = batch
        logits = sliding_window_inference(
            image[None],
            roi_size=(self.config.patch_size,) * 2,
            sw_batch_size=8,
            predictor=self.network,
            overlap=0.25,
            mode="gaussian",
        )
        prediction = logits[0].argmax(0).to(torch.uint8).cpu().numpy()
        self.result.predictions[self.data.test[index].name] = prediction

    def on_validation_epoch_end(self) -> None:
        """Add a point to the learning curve."""
        dice = []
        for case in self.data.test:
            prediction = self.result.predictions[case.name]
            scores = score(prediction, case.labels, len(self.data.classes))
            meaningful = [s.dice for s in scores if not math.isnan(s.dice)]
            if meaningful:
                dice.append(np.mean(meaningful))
        self.result.curve.append((len(self.step_losses), float(np.mean(dice))))

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW under a one-cycle schedule."""
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.config.learning_rate, total_steps=self.config.steps + 1
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


class Patches(Dataset[dict[str, Tensor]]):
    """The augmented training patches of a run: number i depends on the seed and on i alone."""

    def __init__(self, data: StudyData, seed: int, config: TrainingConfig) -> None:
        side = (config.patch_size,) * 2
        both = ["image", "labels"]
        prepare = Compose(
            [
                SpatialPadd(both, side),  # images smaller than a patch: background all around
                FgBgToIndicesd("labels", fg_postfix="_foreground", bg_postfix="_background"),
            ]
        )
        images = _Normalised(data.train)
        self.cases = [
            prepare({"image": images[index][1], "labels": torch.from_numpy(case.labels)[None]})
            for index, case in enumerate(data.train)
        ]
        self.seed = seed
        self.length = config.steps * config.batch_size
        self.transform = Compose(
            [
                # Half of the patches are centred on a foreground voxel, half on the background.
                RandCropByPosNegLabeld(
                    both,
                    label_key="labels",
                    spatial_size=side,
                    fg_indices_key="labels_foreground",
                    bg_indices_key="labels_background",
                ),
                RandFlipd(both, prob=0.5, spatial_axis=0),
                RandFlipd(both, prob=0.5, spatial_axis=1),
                RandRotate90d(both, prob=0.75),
                RandScaleIntensityd("image", factors=0.1, prob=0.5),
                RandShiftIntensityd("image", offsets=0.1, prob=0.5),
            ]
        )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sequence = np.random.SeedSequence([self.seed, index])
        case_seed, transform_seed = (int(word) for word in sequence.generate_state(2))
        self.transform.set_random_state(seed=transform_seed)
        [patch] = self.transform(self.cases[case_seed % len(self.cases)])
        return {key: patch[key] for key in ("image", "labels")}


class _Normalised(Dataset[tuple[int, Tensor]]):
    """Whole images with their index, each channel scaled to mean 0 and standard deviation 1."""

    def __init__(self, cases: tuple[Case, ...]) -> None:
        normalise = NormalizeIntensity(channel_wise=True)
        self.images = [
            # A copy, as MONAI normalises in place.
            torch.as_tensor(np.asarray(normalise(torch.tensor(case.image))))
            for case in cases
        ]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return index, self.images[index]


@contextmanager
def _as_guest() -> Iterator[None]:
    """Run Lightning and MONAI without a trace in the process that calls.

    - Ctrl-C stays KeyboardInterrupt: Lightning would end the program, and ignore the next Ctrl-C.
    - What Lightning tells of the machine and of its own insides is kept quiet.
    - MONAI's patches are plain tensors: none needs its origin, and they take half the time.
    """
    handler, log, track = signal.getsignal(signal.SIGINT), _LIGHTNING_LOG.level, get_track_meta()
    _LIGHTNING_LOG.setLevel(logging.ERROR)
    set_track_meta(False)
    try:
        with warnings.catch_warnings():
            disable_possible_user_warnings()
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            yield
    except SystemExit as end:
        signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from end
    finally:
        _LIGHTNING_LOG.setLevel(log)
        set_track_meta(track)


_LIGHTNING_LOG = logging.getLogger("lightning.pytorch")
