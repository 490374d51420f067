"""The runs of a study: every loss with every seed, each in a folder of its own.

    out/study.json                     configuration, data and versions
    out/cases.csv                      one row per loss, seed, test case and class
    out/runs/dbce-radius2-seed0/       one finished run
        run.json                       what it was, and how long it took
        cases.csv                      its rows
        losses.csv, curve.csv          training loss per step, test Dice along the way
        predictions.npz                the predicted label map of each test case

A run's folder appears under its name only when the run is complete, so a study that was killed
goes on with the runs that are missing. A finished run is kept as long as its fingerprint, a hash
of everything that shapes it, is that of the run asked for.
"""

import hashlib
import json
import os
import platform
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dilated_ce import __version__
from dilated_ce.study.config import StudyConfig
from dilated_ce.study.data import StudyData
from dilated_ce.study.losses import LossSpec
from dilated_ce.study.metrics import score
from dilated_ce.study.summary import read_cases
from dilated_ce.study.training import RunResult, train

# The modules of this package that a run's numbers come from.
SHAPING_MODULES = (
    "morphology",
    "weights",
    "loss",
    "study/losses",
    "study/training",
    "study/metrics",
)


class StudyError(Exception):
    """A study that cannot go on; the message says why, and what to do."""


@dataclass(frozen=True)
class Run:
    """A finished run, as read back from its folder."""

    loss: LossSpec
    seed: int
    folder: Path

    @property
    def info(self) -> dict[str, Any]:
        """The contents of `run.json`."""
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))

    @property
    def cases(self) -> pd.DataFrame:
        """One row per test case and class."""
        return read_cases(self.folder / "cases.csv")

    @property
    def curve(self) -> pd.DataFrame:
        """Test Dice over the steps: columns `step` and `dice`."""
        return pd.read_csv(self.folder / "curve.csv")

    @property
    def losses(self) -> pd.DataFrame:
        """Training loss of every step: columns `step` and `loss`."""
        return pd.read_csv(self.folder / "losses.csv")

    @property
    def predictions(self) -> dict[str, NDArray[np.uint8]]:
        """The predicted label map (H, W) of each test case."""
        with np.load(self.folder / "predictions.npz") as stored:
            return {
                str(name): stored[f"prediction{index}"]
                for index, name in enumerate(stored["names"])
            }

    @property
    def collapsed(self) -> bool:
        """Whether the network gave up a class: not one of its voxels found in any test case."""
        return bool((self.cases.groupby("class")["recall"].max() == 0).any())

    @property
    def diverged(self) -> bool:
        """Whether the training loss ever was infinite or not a number."""
        return not np.isfinite(self.losses["loss"]).all()


def run_study(
    config: StudyConfig,
    data: StudyData,
    on_step: Callable[[], None] = lambda: None,
    fresh: bool = False,
) -> Iterator[tuple[Run, bool]]:
    """Train what is missing, run by run, and write the tables at the end.

    Args:
        config: the losses, seeds and training.
        data: the cases.
        on_step: called after every training step.
        fresh: train again what is finished, and replace a study of other data.

    Yields:
        Each run, once it is finished, and whether it was kept from an earlier time.

    Raises:
        StudyError: if the folder holds a study of other data.
    """
    if not fresh:
        _check_folder(config.out, data)
    for stale in ("cases.csv", "report.html"):  # of an earlier study with other runs
        (config.out / stale).unlink(missing_ok=True)
    write_atomically(config.out / "study.json", json.dumps(_describe(config, data), indent=2))
    runs = []
    for seed in range(config.seeds):  # seed by seed: an interrupted study has whole comparisons
        for loss in config.losses:
            run = Run(loss, seed, config.out / "runs" / f"{loss.slug}-seed{seed}")
            fingerprint = _fingerprint(config, data, loss, seed)
            kept = not fresh and _is_finished(run, fingerprint)
            if not kept:
                start = time.perf_counter()
                result = train(data, loss.build(), seed, config.training, on_step)
                seconds = round(time.perf_counter() - start, 1)
                _save(run, result, data, {"fingerprint": fingerprint, "seconds": seconds})
            runs.append(run)
            yield run, kept
    table = pd.concat([run.cases for run in runs])
    write_atomically(config.out / "cases.csv", table.to_csv(index=False))
    described = {
        **_describe(config, data),
        "seconds": {run.folder.name: run.info["seconds"] for run in runs},
    }
    write_atomically(config.out / "study.json", json.dumps(described, indent=2))


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def versions(device: str = "auto") -> dict[str, str]:
    """The versions that numbers depend on, and the machine.

    Args:
        device: what `TrainingConfig.device` says.
    """
    return {
        "dilated-ce": __version__,
        "torch": torch.__version__,
        "monai": version("monai"),
        "lightning": version("lightning"),
        "python": platform.python_version(),
        "device": _device(device),
    }


def _device(device: str) -> str:
    """The device that Lightning takes for it."""
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    if device != "cpu" and torch.backends.mps.is_available():
        return f"{platform.machine()} GPU"
    return f"{platform.machine()}, {os.cpu_count()} cores"


def _check_folder(out: Path, data: StudyData) -> None:
    try:
        other = json.loads((out / "study.json").read_text(encoding="utf-8"))["data"]
        same, name = other["sha256"] == data.digest, other["name"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # nothing there that could be lost
    if not same:
        raise StudyError(
            f"{out} holds a study of other data ({name}, or the same at another scale). Choose "
            "another folder with --out, or replace it with --fresh."
        )


def _is_finished(run: Run, fingerprint: str) -> bool:
    """Whether the run is there, whole, and the one asked for; a damaged one is made again."""
    try:
        readable = all(len(part) for part in (run.cases, run.curve, run.losses, run.predictions))
        return readable and bool(run.info["fingerprint"] == fingerprint)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return False


def _fingerprint(config: StudyConfig, data: StudyData, loss: LossSpec, seed: int) -> str:
    package = files("dilated_ce")
    code = [package.joinpath(f"{module}.py").read_text("utf-8") for module in SHAPING_MODULES]
    shaping = {
        "training": config.training.model_dump(mode="json", exclude={"device"}),
        "data": data.digest,
        "loss": str(loss),
        "seed": seed,
        "versions": versions(config.training.device),
        "code": hashlib.sha256("".join(code).encode()).hexdigest(),
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


def _save(run: Run, result: RunResult, data: StudyData, info: dict[str, Any]) -> None:
    partial = run.folder.with_name(f".{run.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    steps = range(1, len(result.losses) + 1)
    losses = pd.DataFrame({"step": steps, "loss": result.losses})
    losses.to_csv(partial / "losses.csv", index=False)
    curve = pd.DataFrame(result.curve, columns=["step", "dice"])
    curve.to_csv(partial / "curve.csv", index=False)
    _score_cases(run, result, data).to_csv(partial / "cases.csv", index=False)
    # Numbered, as a case may be called like an argument of the function.
    arrays = {f"prediction{i}": part for i, part in enumerate(result.predictions.values())}
    names = np.array(list(result.predictions))
    np.savez_compressed(partial / "predictions.npz", allow_pickle=False, names=names, **arrays)
    info = {"loss": str(run.loss), "seed": run.seed, **info}
    (partial / "run.json").write_text(json.dumps(info, indent=2), encoding="utf-8")
    shutil.rmtree(run.folder, ignore_errors=True)
    partial.replace(run.folder)


def _score_cases(run: Run, result: RunResult, data: StudyData) -> pd.DataFrame:
    settings = run.loss.settings
    rows = []
    for case in data.test:
        scores = score(result.predictions[case.name], case.labels, len(data.classes))
        for name, values in zip(data.classes[1:], scores, strict=True):
            rows.append(
                {
                    "loss": str(run.loss),
                    "radius": settings.get("radius"),
                    "balance": settings.get("balance"),
                    "overlap": settings.get("overlap"),
                    "seed": run.seed,
                    "case": case.name,
                    "class": name,
                    "dice": values.dice,
                    "recall": values.recall,
                    "precision": values.precision,
                }
            )
    return pd.DataFrame(rows)


def _describe(config: StudyConfig, data: StudyData) -> dict[str, Any]:
    return {
        "config": config.model_dump(mode="json", exclude={"out"}),
        "data": {
            "name": data.name,
            "source": data.source,
            "split": data.split,
            "classes": data.classes,
            "train": [case.name for case in data.train],
            "test": [case.name for case in data.test],
            "foreground": data.foreground,
            "sha256": data.digest,
        },
        "versions": versions(config.training.device),
    }
