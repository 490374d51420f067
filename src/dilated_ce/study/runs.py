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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from dilated_ce import __version__
from dilated_ce.study.config import StudyConfig
from dilated_ce.study.data import StudyData
from dilated_ce.study.losses import LossSpec, parse_loss
from dilated_ce.study.metrics import score
from dilated_ce.study.training import RunResult, train

FORMAT = 1  # of a run's folder and of the training procedure; a change makes old runs be redone


@dataclass(frozen=True)
class Run:
    """A finished run, as read back from its folder."""

    loss: LossSpec
    seed: int
    folder: Path

    @property
    def info(self) -> dict[str, Any]:
        """The contents of `run.json`."""
        return json.loads((self.folder / "run.json").read_text())

    @property
    def cases(self) -> pd.DataFrame:
        """One row per test case and class."""
        return pd.read_csv(self.folder / "cases.csv", dtype={"case": str, "class": str})

    @property
    def curve(self) -> pd.DataFrame:
        """Test Dice over the steps: columns `step` and `dice`."""
        return pd.read_csv(self.folder / "curve.csv")

    @property
    def losses(self) -> pd.DataFrame:
        """Training loss of every step: columns `step` and `loss`."""
        return pd.read_csv(self.folder / "losses.csv")

    def prediction(self, case: str) -> NDArray[np.uint8]:
        """The predicted label map (H, W) of a test case."""
        with np.load(self.folder / "predictions.npz") as predictions:
            return predictions[case]

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

    Yields:
        Each run, once it is finished, and whether it was kept from an earlier time.
    """
    write_atomically(config.out / "study.json", json.dumps(_describe(config, data), indent=2))
    runs = []
    for seed in range(config.seeds):  # seed by seed: an interrupted study has whole comparisons
        for loss in map(parse_loss, config.losses):
            folder = config.out / "runs" / f"{loss.slug}-seed{seed}"
            fingerprint = _fingerprint(config, data, loss, seed)
            run = Run(loss, seed, folder)
            kept = not fresh and _is_finished(run, fingerprint)
            if not kept:
                start = time.perf_counter()
                result = train(data, loss.build(), seed, config.training, on_step)
                seconds = time.perf_counter() - start
                _save(run, result, data, {"fingerprint": fingerprint, "seconds": seconds})
            runs.append(run)
            yield run, kept
    table = pd.concat([run.cases for run in runs])
    write_atomically(config.out / "cases.csv", table.to_csv(index=False))


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that it is either the old one or the new one, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _is_finished(run: Run, fingerprint: str) -> bool:
    try:
        return bool(run.info["fingerprint"] == fingerprint)
    except (OSError, ValueError, KeyError):
        return False


def _fingerprint(config: StudyConfig, data: StudyData, loss: LossSpec, seed: int) -> str:
    shaping = {
        "format": FORMAT,
        "training": config.training.model_dump(mode="json", exclude={"device"}),
        "data": data.digest,
        "loss": str(loss),
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()


def _save(run: Run, result: RunResult, data: StudyData, info: dict[str, Any]) -> None:
    partial = run.folder.with_name(f".{run.folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    steps = range(1, len(result.losses) + 1)
    pd.DataFrame({"step": steps, "loss": result.losses}).to_csv(partial / "losses.csv", index=False)
    pd.DataFrame(result.curve, columns=["step", "dice"]).to_csv(partial / "curve.csv", index=False)
    _score_cases(run, result, data).to_csv(partial / "cases.csv", index=False)
    np.savez_compressed(partial / "predictions.npz", allow_pickle=False, **result.predictions)
    info = {"loss": str(run.loss), "seed": run.seed, **info, "versions": versions()}
    (partial / "run.json").write_text(json.dumps(info, indent=2))
    shutil.rmtree(run.folder, ignore_errors=True)
    partial.replace(run.folder)


def _score_cases(run: Run, result: RunResult, data: StudyData) -> pd.DataFrame:
    parameters = dict(run.loss.parameters)
    rows = []
    for case in data.test:
        scores = score(result.predictions[case.name], case.labels, len(data.classes))
        for name, values in zip(data.classes[1:], scores, strict=True):
            rows.append(
                {
                    "loss": str(run.loss),
                    "radius": run.loss.radius,
                    "balance": parameters.get("balance"),
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
            "classes": data.classes,
            "train": [case.name for case in data.train],
            "test": [case.name for case in data.test],
            "foreground": data.foreground,
            "sha256": data.digest,
        },
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions that numbers depend on, and the kind of machine."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {
        "dilated-ce": __version__,
        "torch": torch.__version__,
        "monai": version("monai"),
        "lightning": version("lightning"),
        "python": platform.python_version(),
        "device": f"{device}, {os.cpu_count()} cores",
    }
