"""From the settings and nnU-Net's folders to the runs that they ask for."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.files import fingerprint
from dilated_ce.study.nnunet.log import read_logs
from dilated_ce.study.nnunet.names import OTHERS, trainer_name
from dilated_ce.study.nnunet.unit import RESULTS, Length, NnunetUnit
from dilated_ce.study.nnunet.workplace import Workplace
from dilated_ce.study.runs.unit import shaping_code
from dilated_ce.study.training.loss_spec import LossSpec, source_file
from dilated_ce.study.wording import listing

CORE = (".", "integrations/nnunet.py")  # what the loss of our trainers comes from
DEVICES = {"cpu": "cpu", "gpu": "cuda", "mps": "mps"}


def plan_units(
    losses: Sequence[LossSpec], seeds: int, place: Workplace, out: Path, engine: str = "local"
) -> list[NnunetUnit]:
    """Every loss with every seed on every fold; whole comparisons come first.

    Args:
        losses: to compare.
        seeds: how many; from 0 on.
        place: the data set.
        out: folder of the comparison.
        engine: with another than "local" the GPUs may be on other machines.

    Raises:
        DataError: losses that cannot be trainers, and a device that is not here.
    """
    config = place.config
    device = _device(config.device, config.devices, engine)
    problems, names = [], {}
    for loss in losses:
        for seed in range(seeds):
            try:
                loss.build(place.setting)
                names[loss, seed] = trainer_name(
                    loss, config.epochs, seed, config.iterations, place.setting
                )
            except (ValueError, TypeError) as error:
                problems.append(f"{loss}: {error}")
    if problems:
        heading = f"losses that cannot be used on {place.name} in nnU-Net"
        raise DataError(listing(heading, list(dict.fromkeys(problems))))
    training = Length(config.epochs, device, config.devices)
    environment = _environment(place)
    ending = place.description.get("file_ending", ".nii.gz")
    return [
        NnunetUnit(
            loss,
            seed,
            fold,
            names[loss, seed],
            place.name,
            config.configuration,
            place.plans.get("plans_name", config.plans),
            tuple(f"{case}{ending}" for case in place.splits[fold]["val"]),
            training,
            out.resolve() / RESULTS,
            environment,
            _settings(names[loss, seed], loss, fold, place),
        )
        for seed in range(seeds)
        for fold in place.folds
        for loss in losses
    ]


def _device(wanted: str, devices: int, engine: str) -> str:
    gpus = torch.cuda.device_count()
    if (wanted == "gpu" or devices > 1) and engine == "local" and gpus < devices:
        raise DataError(
            f"device {wanted}: PyTorch sees {gpus or 'no'} CUDA GPUs here, expected {devices}; "
            "take fewer devices, or cpu"
        )
    if wanted == "auto":
        if engine != "local" or gpus:
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise DataError("device mps: PyTorch sees none here; take auto or cpu")
    return DEVICES[wanted]


def _environment(place: Workplace) -> dict[str, str]:
    """nnU-Net's variables, for processes on this machine or another."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("nnUNet_")}
    theirs = environment.get("nnUNet_extTrainer")
    return {
        **environment,
        "nnUNet_preprocessed": str(place.preprocessed),
        "nnUNet_extTrainer": os.pathsep.join([str(place.trainers), *([theirs] if theirs else [])]),
    }


def _settings(trainer: str, loss: LossSpec, fold: int, place: Workplace) -> dict[str, str]:
    """All that shapes the numbers of a run, by name; long contents as the start of their hash."""
    settings = {
        "loss": str(loss),
        "trainer": trainer,
        "dataset.json": _hash(place.description),
        f"{place.config.plans}.json": _hash(place.plans),
        "split of the fold": _hash(place.splits[fold]),
        "GPUs of a run": str(place.config.devices),
        "nnU-Net": version("nnunetv2"),
    }
    path = source_file(loss.name)
    if path is not None:
        settings["code of the loss"] = _hash(path.read_text(encoding="utf-8", errors="replace"))
    elif "DBCE" in trainer or OTHERS in trainer:
        settings["code of dilated-ce"] = shaping_code(CORE)[:12]
    return settings


def _hash(contents: Any) -> str:
    return fingerprint(contents)[:12]


@dataclass(frozen=True)
class NnunetCost:
    """What is left to do under a loss."""

    loss: LossSpec
    trainer: str  # of the first seed
    runs: int
    finished: int
    epochs: int  # that are left
    seconds_per_epoch: float | None  # None before the first epoch


def estimate(units: Sequence[NnunetUnit]) -> list[NnunetCost]:
    """How long the runs will take, from the epochs that lie there, if need be of other losses."""
    logs = {unit.folder: read_logs(unit.folder) for unit in units}
    every = [epoch.seconds for epochs in logs.values() for epoch in epochs]
    costs = []
    for loss in dict.fromkeys(unit.loss for unit in units):
        mine = [unit for unit in units if unit.loss == loss]
        finished = [unit for unit in mine if unit.is_finished]
        left = sum(unit.training.steps - unit.steps_done for unit in mine if unit not in finished)
        seconds = [epoch.seconds for unit in mine for epoch in logs[unit.folder]] or every
        mean = sum(seconds) / len(seconds) if seconds else None
        costs.append(NnunetCost(loss, mine[0].trainer, len(mine), len(finished), left, mean))
    return costs
