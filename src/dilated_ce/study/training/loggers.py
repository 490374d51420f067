"""Lightning's loggers by name: the loss, the learning rate, the validation Dice and a picture.

    logs/tensorboard/dice-ce-seed0-fold0/   tensorboard --logdir logs/tensorboard
    logs/csv/dice-ce-seed0-fold0/           metrics.csv and pictures/
    logs/mlflow/                            MLflow's files, or the server at MLFLOW_TRACKING_URI
    logs/wandb/                             Weights & Biases; WANDB_MODE=offline keeps it here

What is logged changes no number of a run, and a run that goes on after an interruption goes on in
its log.
"""

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger
from numpy.typing import NDArray
from PIL import Image

from dilated_ce.study.data.cases import Case
from dilated_ce.study.data.unlabelled import PALETTE

LoggerName = Literal["tensorboard", "wandb", "mlflow", "csv"]
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
POINTS = 100  # at most, of each curve and part of a run: each is a mean over the steps since
MLFLOW_RUN = "mlflow_run"  # a file with the run's id there


@dataclass(frozen=True)
class Logging:
    """Where a run is logged, and under which name."""

    names: tuple[LoggerName, ...]
    folder: Path
    study: str
    run: str  # tells loss, seed and fold
    identity: str  # of this very run, whatever it is called
    about: dict[str, Any] = field(default_factory=dict)  # settings


def check_installed(name: LoggerName) -> None:
    """Whether a logger's package is there.

    Raises:
        ValueError: it is not; the message says how to install it.
    """
    package = PACKAGES.get(name)
    if package is not None and importlib.util.find_spec(package) is None:
        raise ValueError(f"got {name}, which is not installed; pip install {package}")


def build_loggers(logging: Logging | None, working: Path) -> list[Logger]:
    """The loggers of a run whose unfinished things lie in `working`."""
    if logging is None:
        return []
    loggers: list[Logger] = []
    for name in logging.names:
        folder = logging.folder / name
        if name == "tensorboard":
            loggers.append(TensorBoardLogger(folder, logging.run, version=""))
        elif name == "csv":
            loggers.append(CSVLogger(folder, logging.run, version=""))
        elif name == "mlflow":
            loggers.append(_mlflow(logging, folder, working / MLFLOW_RUN))
        else:
            loggers.append(_wandb(logging, folder))
    for logger in loggers:
        logger.log_hyperparams(logging.about)
    return loggers


def _mlflow(logging: Logging, folder: Path, known: Path) -> MLFlowLogger:
    # From version 3 on MLflow asks for this. Unlike SQLite, its alternative without a server, files
    # let several runs write at once.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger(
        experiment_name=logging.study,
        run_name=logging.run,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or folder.resolve().as_uri(),
        run_id=known.read_text() if known.exists() else None,
    )
    known.write_text(str(logger.run_id))
    return logger


def _wandb(logging: Logging, folder: Path) -> Logger:
    from lightning.pytorch.loggers import WandbLogger

    folder.mkdir(parents=True, exist_ok=True)
    # With an id of its own, and so resumed, a run is one however often it was interrupted.
    return WandbLogger(
        name=logging.run,
        project=logging.study,
        id=logging.identity[:32],
        resume="allow",
        save_dir=folder,
        group=str(logging.about.get("loss", "")),
    )


def log_curves(
    loggers: Sequence[Logger], first: int, losses: Sequence[float], rates: Sequence[float]
) -> None:
    """Log the loss and the learning rate of the steps that come after `first` others."""
    stride = max(1, -(-len(losses) // POINTS))
    for start in range(0, len(losses), stride):
        stop = min(start + stride, len(losses))
        values = {"train/loss": float(np.mean(losses[start:stop]))}
        if rates:
            values["learning_rate"] = rates[stop - 1]
        for logger in loggers:
            logger.log_metrics(values, first + stop)


def log_dice(loggers: Sequence[Logger], step: int, dice: float) -> None:
    """Log the mean Dice of the validation cases after so many steps."""
    for logger in loggers:
        logger.log_metrics({"validation/dice": dice}, step)


def log_picture(loggers: Sequence[Logger], step: int, name: str, picture: NDArray) -> None:
    """Log a picture (H, W, 3) of the case with this name."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(f"validation/{name}", picture, step, dataformats="HWC")
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, picture, f"pictures/step{step:06}.png")
        elif isinstance(logger, CSVLogger):
            folder = Path(logger.log_dir) / "pictures"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(folder / f"step{step:06}.png")
        else:
            logger.log_image(f"validation/{name}", [picture], step=step)


def picture_of(case: Case, labels: NDArray[np.uint8], stacked: bool = False) -> NDArray[np.uint8]:
    """The image, the truth and the labels side by side: (H, 3 W, 3).

    Of a volume the slice with most foreground, across the first axis of a stack, else the last one.
    """
    truth = np.asarray(case.labels)
    image = np.asarray(case.image[:1] if len(case.image) != 3 else case.image, np.float32)
    if truth.ndim == 3:
        axis = 0 if stacked else 2
        others = tuple(other for other in range(3) if other != axis)
        place = int((truth > 0).sum(others).argmax())
        image = np.moveaxis(image, axis + 1, 1)[:, place]
        truth, labels = (np.moveaxis(part, axis, 0)[place] for part in (truth, labels))
    low, high = np.percentile(image, (1, 99))
    grey = (255 * ((image - low) / max(high - low, 1e-8)).clip(0, 1)).astype(np.uint8)
    shown = np.moveaxis(np.broadcast_to(grey, (3, *truth.shape)), 0, 2)
    colours = np.array(PALETTE, np.uint8)

    def painted(part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        painting = colours[np.where(part > 0, 1 + (part.astype(int) - 1) % (len(PALETTE) - 1), 0)]
        return np.where(part[..., None] > 0, painting // 2 + shown // 2, shown)

    return np.concatenate([shown, painted(truth), painted(labels)], axis=1)
