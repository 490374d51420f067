"""What a comparison leaves on the disk, read back: finished runs and failures."""

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dilated_ce.study.scores.table import read_cases, read_lesions
from dilated_ce.study.training.loss_spec import LossSpec

PREDICTIONS, WEIGHTS = "predictions.npz", "model.pt"
Keep = Literal["none", "predictions", "all"]  # of a run, beside its scores; the last its model too


class StudyError(Exception):
    """A study that cannot go on; the message says why, and what to do."""


@dataclass(frozen=True)
class Failure:
    """A run that ended in an error."""

    loss: LossSpec
    seed: int
    fold: int
    error: str  # a line for people
    trace: str  # for who looks into it
    of_disk: bool = False  # that is full or read-only: the others would fail alike


@dataclass(frozen=True)
class Run:
    """A finished run: one loss with one seed on one fold, as read back from its folder."""

    loss: LossSpec
    seed: int
    fold: int
    folder: Path

    @cached_property
    def info(self) -> dict[str, Any]:
        """The contents of `run.json`."""
        return json.loads((self.folder / "run.json").read_text(encoding="utf-8"))

    @cached_property
    def cases(self) -> pd.DataFrame:
        """One row per test case and class."""
        return read_cases(self.folder / "cases.csv")

    @cached_property
    def lesions(self) -> pd.DataFrame:
        """One row per true lesion of the test cases."""
        return read_lesions(self.folder / "lesions.csv")

    @cached_property
    def curve(self) -> pd.DataFrame:
        """Validation Dice over the steps: columns `step` and `dice`; may have no row."""
        return pd.read_csv(self.folder / "curve.csv")

    @cached_property
    def losses(self) -> pd.DataFrame:
        """Training loss of every step: columns `step` and `loss`."""
        return pd.read_csv(self.folder / "losses.csv")

    @property
    def dice(self) -> float:
        """Mean Dice over classes, then cases; NaN if no case has one."""
        return float(self.cases.groupby("case")["dice"].mean().mean())

    def has(self, kept: Keep) -> bool:
        """Whether at least so much was kept."""
        files = {"none": (), "predictions": (PREDICTIONS,), "all": (PREDICTIONS, WEIGHTS)}[kept]
        return all((self.folder / name).exists() for name in files)

    def prediction(self, case: str) -> NDArray[np.uint8]:
        """The predicted label map (*spatial) of a test case; the others stay on the disk."""
        with np.load(self.folder / PREDICTIONS) as stored:
            prediction: NDArray[np.uint8] = stored[
                f"prediction{stored['names'].tolist().index(case)}"
            ]
        return prediction

    @property
    def diverged(self) -> bool:
        """Whether the training loss ever was infinite or not a number."""
        return not np.isfinite(self.losses["loss"]).all()

    @property
    def collapsed(self) -> bool:
        """Whether the network gave up a class: not one of its voxels found in any test case."""
        return bool((self.cases.groupby("class")["recall"].max() == 0).any())


@contextmanager
def storing_predictions(folder: Path) -> Iterator[Callable[[str, NDArray[np.uint8]], None]]:
    """Write predicted label maps case by case, as `np.savez_compressed` would all at once."""
    names: list[str] = []
    with zipfile.ZipFile(folder / PREDICTIONS, "w", zipfile.ZIP_DEFLATED) as archive:

        def write(key: str, values: NDArray) -> None:
            with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, values, allow_pickle=False)

        def store(case: str, prediction: NDArray[np.uint8]) -> None:
            # Numbered, as a case may be called like anything.
            write(f"prediction{len(names)}", prediction)
            names.append(case)

        yield store
        write("names", np.array(names))
