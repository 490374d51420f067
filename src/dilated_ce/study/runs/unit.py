"""A unit of work: one run, from the patches to its folder of results. Any process can do it.

    runs/dbce-radius2-seed0-fold0-0a1b2c3d/   a finished run
        run.json                              what it was, what it cost, and the others' SHA-256
        cases.csv, lesions.csv                its scores
        losses.csv, curve.csv                 training loss per step, validation Dice along the way
        predictions.npz                       the predicted label map of each case
        model.pt, model.json                  the trained network: see `model`
    runs/.dbce-radius2-seed0-fold0-0a1b2c3d.working/   an unfinished one: checkpoint and progress

A run's folder appears under its name when the run is complete. The name ends with the start of its
fingerprint, a hash of everything that shapes its numbers: runs with other settings lie beside it,
and none is ever overwritten by another.
"""

import ast
import platform
import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import dilated_ce
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.files import fingerprint, sha256, whole_folder, write_csv, write_json
from dilated_ce.study.runs.judging import judge
from dilated_ce.study.runs.model import save_model
from dilated_ce.study.runs.store import Keep, Run, storing_predictions
from dilated_ce.study.scores.settings import ScoringConfig
from dilated_ce.study.scores.table import CASE_COLUMNS, LESION_COLUMNS
from dilated_ce.study.training.fit import PROGRESS, History, Plan, fit
from dilated_ce.study.training.loggers import LoggerName, Logging
from dilated_ce.study.training.loss_spec import LossSpec, source_file
from dilated_ce.study.training.losses import LOSSES, OURS
from dilated_ce.study.training.network_spec import parse_network
from dilated_ce.study.training.process import on_threads
from dilated_ce.study.training.settings import ResolvedTraining

# What changes the arithmetic of a run on its machine, and not what it computes.
SHAPELESS = {
    "device",
    "devices",
    "forward",
    "threads",
    "loaders",
    "weights",  # whose content counts
}
# What a run's numbers come from in this package: what trains, what judges, and their defaults.
# Whole folders, as a list of modules would miss the next one.
PACKAGE = Path(dilated_ce.__file__).parent
SHAPING = (
    "study/training",
    "study/scores",
    "study/data/prepare.py",
    "study/runs/judging.py",
    "study/runs/unit.py",
)
CORE = "."  # of our own loss; a change of it leaves the runs of the others as they are
RESULTS = {"cases.csv", "lesions.csv", "losses.csv", "curve.csv"}
OTHER_LOSSES = LOSSES.keys() - OURS


@dataclass(frozen=True)
class Unit:
    """A run to do."""

    loss: LossSpec
    seed: int
    fold: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    judged: tuple[str, ...]  # the cases that are scored: the test part, or the validation part
    training: ResolvedTraining
    scoring: ScoringConfig
    prepared: Path
    runs: Path  # folder of all runs
    prefix: str = ""  # of the folder's name
    keep: Keep = "all"  # beside the scores
    loggers: tuple[LoggerName, ...] = ()

    @cached_property
    def folder(self) -> Path:
        """The folder of the finished run."""
        return self.runs / f"{self.name}-{self.fingerprint[:8]}"

    @property
    def name(self) -> str:
        """What the run is: loss, seed and fold."""
        return f"{self.prefix}{self.loss.slug}-seed{self.seed}-fold{self.fold}"

    @property
    def logging(self) -> Logging | None:
        """Where the run is logged, if it is: in `logs` beside the folder of all runs."""
        if not self.loggers:
            return None
        out = self.runs.parent
        about = {
            "loss": str(self.loss),
            "seed": self.seed,
            "fold": self.fold,
            **self.training.model_dump(mode="json"),
        }
        return Logging(self.loggers, out / "logs", out.name, self.name, self.fingerprint, about)

    @property
    def title(self) -> str:
        """What it is, for people."""
        if self.is_trial:
            return f"{self.loss.title}, learning rate {self.training.learning_rate:g}"
        return f"{self.loss.title}, seed {self.seed}, fold {self.fold}"

    note = ""  # what there is to say while it goes on, beside its steps

    @property
    def is_trial(self) -> bool:
        """Whether it is to find a learning rate."""
        return bool(self.prefix)

    @property
    def run(self) -> Run:
        """The finished run, whether it is there or not."""
        return Run(self.loss, self.seed, self.fold, self.folder)

    @property
    def working(self) -> Path:
        """The folder of the unfinished run."""
        return self.folder.with_name(f".{self.folder.name}.working")

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that shapes the numbers of the run.

        Of a loss or network of the user's, that is the file that it is written in, and none that it
        imports; of weights to start from their content, wherever they lie.
        """
        return fingerprint(
            {
                "loss": str(self.loss),
                "seed": self.seed,
                "cases": [self.train, self.validation, self.judged],
                "training": self.training.model_dump(mode="json", exclude=SHAPELESS),
                "scoring": self.scoring.model_dump(mode="json"),
                "data": Prepared(self.prepared).digest,
                "versions": versions(),
                "code": shaping_code(
                    SHAPING if self.loss.name in OTHER_LOSSES else (*SHAPING, CORE)
                ),
                "own code": [
                    _own_code(source_file(self.loss.name)),
                    _own_code(parse_network(self.training.network).source_file),
                ],
                "weights": _content(self.training.weights),
            }
        )

    @property
    def is_finished(self) -> bool:
        """Whether the run is there, whole, and the one asked for; else it is made again."""
        try:
            info = self.run.info
            return (
                info["fingerprint"] == self.fingerprint
                and info["files"].keys() >= RESULTS
                and all(
                    sha256(self.folder / name) == known for name, known in info["files"].items()
                )
            )
        except Exception:  # a damaged file may hold anything
            return False

    @property
    def steps_done(self) -> int:
        """The training steps that the run has behind it, finished or not."""
        if self.folder.exists():
            return self.training.steps
        try:
            return int((self.working / PROGRESS).read_text())
        except (OSError, ValueError):
            return 0


def execute(unit: Unit) -> None:
    """Train, predict, score, and put the results into the unit's folder."""
    with on_threads(unit.training.threads):
        _execute(unit)
    shutil.rmtree(unit.working, ignore_errors=True)


def _execute(unit: Unit) -> None:
    prepared = Prepared(unit.prepared)
    plan = Plan(
        unit.loss,
        unit.seed,
        unit.train,
        unit.validation,
        unit.training,
        prepared,
        unit.fold,
        unit.logging,
    )
    network, history = fit(plan, unit.working)
    start = time.perf_counter()
    with whole_folder(unit.folder) as folder:
        with storing_predictions(folder) if unit.keep != "none" else nullcontext() as store:
            cases, lesions = judge(
                network,
                prepared,
                unit.judged,
                unit.fold,
                unit.training,
                unit.scoring,
                store or (lambda case, labels: None),
            )
        text, settings = str(unit.loss), unit.loss.settings
        who = {"loss": text, "seed": unit.seed, "fold": unit.fold}
        options = {key: settings.get(key) for key in ("radius", "volumes")}
        cases = cases.assign(**who, **options).reindex(columns=CASE_COLUMNS)
        lesions = lesions.assign(**who).reindex(columns=LESION_COLUMNS)
        history.seconds += time.perf_counter() - start
        write_csv(folder / "cases.csv", cases)
        write_csv(folder / "lesions.csv", lesions)
        steps = range(1, len(history.losses) + 1)
        write_csv(folder / "losses.csv", pd.DataFrame({"step": steps, "loss": history.losses}))
        write_csv(folder / "curve.csv", pd.DataFrame(history.curve, columns=["step", "dice"]))
        if unit.keep == "all":
            save_model(folder, network, (text, unit.seed, unit.fold), unit.training, prepared)
        files = {path.name: sha256(path) for path in sorted(folder.iterdir())}
        write_json(folder / "run.json", {**_info(unit, network, history), "files": files})


def _info(unit: Unit, network: nn.Module, history: History) -> dict[str, Any]:
    device = next(network.parameters()).device
    return {
        "loss": str(unit.loss),
        "seed": unit.seed,
        "fold": unit.fold,
        "seconds": round(history.seconds, 1),
        # Of the parts, the median: the first one warms up.
        "ms_per_step": round(1000 * float(np.median(history.step_seconds)), 2),
        "peak_memory": history.peak_memory,
        "parameters": sum(part.numel() for part in network.parameters()),
        "learning_rate": unit.training.learning_rate,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
        "fingerprint": unit.fingerprint,
    }


def versions() -> dict[str, str]:
    """The versions that numbers depend on."""
    return {
        "dilated-ce": dilated_ce.__version__,
        **{package: version(package) for package in ("torch", "monai", "lightning")},
        "python": platform.python_version(),
    }


@cache
def shaping_code(places: tuple[str, ...]) -> str:
    """A hash of the modules in these places, whatever their comments and docstrings say."""
    code = {
        path.as_posix(): _arithmetic((PACKAGE / path).read_bytes())
        for place in places
        for path in shaping_files(place)
    }
    return fingerprint(code)


def shaping_files(place: str) -> list[Path]:
    """The modules in a folder of this package, relative to it, or the one that is named."""
    path = PACKAGE / place
    found = [path] if path.is_file() else sorted(path.glob("*.py"))
    return [path.relative_to(PACKAGE) for path in found]


@cache
def _content(path: Path | None) -> str:
    return sha256(path) if path else ""


def _own_code(path: Path | None) -> str:
    try:
        return _arithmetic(path.read_bytes()) if path else ""
    except (OSError, SyntaxError, ValueError):  # in an archive, or edited this very moment
        return ""


def _arithmetic(source: str | bytes) -> str:
    """The code without comments and docstrings: another word in them changes no number."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
