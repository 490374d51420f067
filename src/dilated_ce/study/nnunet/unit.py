"""A run of nnU-Net: one loss with one seed on one fold, up to the scores of its validation.

    OUT/nnUNet_results/Dataset004_X/                          as nnU-Net has it
        nnUNetTrainerDBCEDice_R4_100epochs_seed0__nnUNetPlans__3d_fullres/fold_0/
            dilated_ce.json      what was asked for: a run of anything else does not go on from here
            dilated_ce.log       what nnU-Net printed
            checkpoint_*.pth, training_log_*.txt, validation/, ...: nnU-Net's own

Whoever takes OUT/nnUNet_results for nnUNet_results has these trainings, to predict with them.
"""

import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dilated_ce.study.files import write_json
from dilated_ce.study.nnunet.log import Epoch, read_logs
from dilated_ce.study.nnunet.process import NnunetError, command, run_command
from dilated_ce.study.training.loss_spec import LossSpec

RESULTS, RECORD, PRINTED = "nnUNet_results", "dilated_ce.json", "dilated_ce.log"


@dataclass(frozen=True)
class Length:
    """How long a run is and what it needs, under the names that our own training has."""

    steps: int  # epochs
    device: str
    devices: int
    threads: int | None = None  # as many as there are for each GPU


@dataclass(frozen=True)
class NnunetUnit:
    """A run to do."""

    loss: LossSpec
    seed: int
    fold: int
    trainer: str
    dataset: str
    configuration: str
    plans: str
    judged: tuple[str, ...]  # the files of the predictions: of the cases of the fold's validation
    training: Length
    results: Path
    environment: Mapping[str, str]  # nnU-Net's variables
    settings: Mapping[str, str]  # everything that shapes its numbers, by name

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"{self.loss.title}, seed {self.seed}, fold {self.fold}"

    @property
    def method(self) -> Path:
        """The folder of the trainer, with all folds of this loss and seed."""
        return self.results / self.dataset / f"{self.trainer}__{self.plans}__{self.configuration}"

    @property
    def folder(self) -> Path:
        """The folder of the fold."""
        return self.method / f"fold_{self.fold}"

    @property
    def working(self) -> Path:
        """Where it lies before it is finished: in the same folder."""
        return self.folder

    @property
    def run(self) -> "NnunetRun":
        """The finished run, whether it is there or not."""
        return NnunetRun(self.loss, self.seed, self.fold, self.folder)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return any(self.folder.glob("checkpoint_*.pth"))

    @property
    def changed(self) -> list[str]:
        """What differs between what is asked for and what lies in the folder, in words."""
        if not self.has_checkpoint:
            return []
        try:
            known = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))["settings"]
        except (OSError, ValueError, KeyError, TypeError):
            return [f"{RECORD} is missing or damaged"]
        names = dict.fromkeys([*known, *self.settings])
        return [
            f"{name}: {_short(known.get(name))} there, {_short(self.settings.get(name))} now"
            for name in names
            if known.get(name) != self.settings.get(name)
        ]

    @property
    def is_finished(self) -> bool:
        """Whether the run is there, whole, and the one asked for."""
        if self.changed or not (self.folder / "checkpoint_final.pth").is_file():
            return False
        try:
            return set(self.run.dice_of_cases) == set(self.judged)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    @property
    def steps_done(self) -> int:
        """The epochs that the run has behind it."""
        epochs = read_logs(self.folder)
        return epochs[-1].number + 1 if epochs else 0

    @property
    def note(self) -> str:
        """What there is to say of a run that goes on."""
        epochs = read_logs(self.folder)
        if not epochs or math.isnan(epochs[-1].dice):
            return ""
        now = "validation, " if epochs[-1].number + 1 >= self.training.steps else ""
        return f"{now}pseudo Dice {100 * epochs[-1].dice:.1f}"

    def discard(self) -> None:
        """Delete what there is of the run."""
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class NnunetRun:
    """A finished run, as read back from its folder."""

    loss: LossSpec
    seed: int
    fold: int
    folder: Path

    @cached_property
    def epochs(self) -> list[Epoch]:
        """All epochs."""
        return read_logs(self.folder)

    @cached_property
    def dice_of_cases(self) -> dict[str, list[float]]:
        """By the file of each prediction the Dice of every class, as nnU-Net has scored it."""
        path = self.folder / "validation" / "summary.json"
        rows = json.loads(path.read_text(encoding="utf-8"))["metric_per_case"]
        return {
            re.split(r"[/\\]", row["prediction_file"])[-1]: [
                float(scores["Dice"]) for scores in row["metrics"].values()
            ]
            for row in rows
        }

    @property
    def dice(self) -> float:
        """Mean Dice over cases and classes, where there is one."""
        values = np.array(list(self.dice_of_cases.values()), dtype=float)
        return float("nan") if np.isnan(values).all() else float(np.nanmean(values))

    @property
    def info(self) -> dict[str, Any]:
        """What it was, and what it cost."""
        known = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        seconds = sum(epoch.seconds for epoch in self.epochs)
        return {**known, "seconds": seconds, "epochs": len(self.epochs)}

    @property
    def diverged(self) -> bool:
        """Whether the training loss ever was infinite or not a number."""
        return not all(math.isfinite(epoch.loss) for epoch in self.epochs)

    @property
    def collapsed(self) -> bool:
        """Whether the network gave up a class: not one of its voxels found in any case."""
        values = np.array(list(self.dice_of_cases.values()), dtype=float)
        return any(
            (np.nan_to_num(column) == 0).all() for column in values.T if not np.isnan(column).all()
        )


def execute(unit: NnunetUnit) -> None:
    """Train and validate, or go on where the run was interrupted.

    Raises:
        NnunetError: nnU-Net failed, with what it printed; or it left no scores.
    """
    goes_on = unit.has_checkpoint
    if not goes_on:
        unit.discard()  # the log of what failed
    write_json(unit.folder / RECORD, {"trainer": unit.trainer, "settings": dict(unit.settings)})
    environment = {**os.environ, **unit.environment, "nnUNet_results": str(unit.results)}
    arguments = [
        command("nnUNetv2_train"),
        *(unit.dataset, unit.configuration, str(unit.fold)),
        *("-tr", unit.trainer, "-p", unit.plans, "-device", unit.training.device),
        *(("-num_gpus", str(unit.training.devices)) if unit.training.devices > 1 else ()),
        "--c",  # which begins where there is nothing
    ]
    run_command(arguments, environment, unit.folder / PRINTED, append=goes_on)
    if not unit.is_finished:
        raise NnunetError(
            f"nnU-Net ended well and left no scores of all cases in {unit.folder / 'validation'}"
        )


def _short(value: object) -> str:
    return "nothing" if value is None else f"{value:.60}" if isinstance(value, str) else repr(value)
