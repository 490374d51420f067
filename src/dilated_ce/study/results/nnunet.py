"""nnU-Net's results folders, of both versions: every fold's `validation/summary.json`.

v2: `nnUNet_results/Dataset004_X/TRAINER__PLANS__CONFIGURATION/fold_0/validation/summary.json`
v1: `nnUNet/CONFIGURATION/Task004_X/TRAINER__PLANS/fold_0/validation_raw/summary.json`
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.description import read_classes
from dilated_ce.study.results.predictions import case_name
from dilated_ce.study.results.read import Read
from dilated_ce.study.scores.score import FALSE_ALARMS, overlap_scores
from dilated_ce.study.scores.settings import Empty
from dilated_ce.study.scores.table import SCORES
from dilated_ce.study.wording import some

SUMMARY = "summary.json"
VALIDATIONS = ("validation", "validation_raw")  # of v2 and v1; never the postprocessed one
V1 = {  # names of scores in v1, beside Dice, recall and precision
    "Hausdorff Distance 95": "hd95",
    "Avg. Symmetric Surface Distance": "assd",
}
DATASET = r"(Dataset|Task)\d{3}"
Label = tuple[int, ...]  # the values of a class: one, or those of a region


@dataclass(frozen=True)
class Entry:
    """A case of a fold, as its summary has it."""

    case: str
    fold: int
    metrics: Mapping[Label, Mapping[str, Any]]
    prediction: Path  # where they may be
    truth: Path


@dataclass(frozen=True)
class Results:
    """What a results folder holds."""

    folder: Path
    trainer: str  # without the seed that its name may end with
    seed: int | None  # which that is
    dataset: str
    labels: Mapping[Label, str]  # the name of each class
    ignored: int | None
    described: bool  # whether dataset.json names the classes
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """What the folder is called in messages."""
        return f"{self.dataset}/{self.folder.name}" if self.dataset else self.folder.name

    @property
    def setting(self) -> str:
        """Trainer, plans and configuration."""
        _, *others = self.folder.name.split("__")
        return "__".join([self.trainer, *others]) if self.trainer else self.folder.name


def is_nnunet(path: Path) -> bool:
    """Whether a path is a results folder, a data set's folder of them, or a summary."""
    if path.is_dir():
        return is_one(path) or bool(results_in(path))
    return path.suffix.lower() == ".json"


def is_one(folder: Path) -> bool:
    """Whether a folder is a results folder, or one of its folds."""
    return bool(_folds(folder)) or _summary_in(folder) is not None


def results_in(path: Path) -> list[Path]:
    """The results folders in a data set's folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        found = [part for part in path.iterdir() if part.is_dir() and _folds(part)]
        return sorted(found, key=lambda part: part.name.split("__"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def open_results(path: Path, truth: Path | None = None) -> Results:
    """What a results folder, a fold of it, or a summary alone holds.

    Args:
        path: TRAINER__PLANS__CONFIGURATION, one of its folds, or a summary.json.
        truth: folder of the true masks; else those that the summary names, or those in
            $nnUNet_preprocessed.

    Raises:
        DataError: with everything that is missing or cannot be read.
    """
    folds = _folds(path) if path.is_dir() else {}
    notes: list[str] = []
    if folds:
        folder, summaries = path, {}
        for number, fold in folds.items():
            found = _summary_in(fold)
            if number is None:
                notes.append(
                    f"{path.name}: fold_all is left out: its validation is on the training cases"
                )
            elif found is None:
                notes.append(
                    f"{path.name}: fold {number} has no validation/summary.json: its training is "
                    "not finished, or nnUNetv2_train ... --val was not run"
                )
            else:
                summaries[number] = found
        if not summaries:
            raise DataError(f"{path}: no fold has a validation/summary.json. " + " ".join(notes))
    else:
        found = path if path.is_file() else _summary_in(path)
        if found is None:
            raise DataError(
                f"{path}: expected a results folder of nnU-Net with fold_0, fold_1, ..., or a fold "
                "with validation/summary.json"
            )
        folder, number = _place_of(found)
        summaries = {number: found}
    description, ignored = _labels(folder)
    dataset = next((p.name for p in folder.parents if re.match(DATASET, p.name)), "")
    entries: list[Entry] = []
    for number, summary in summaries.items():
        entries += _entries(summary, number, truth, dataset)
    labels = {label: description.get(label, _shown(label)) for label in _all_labels(entries)}
    described = all(label in description for label in labels)
    if not described:
        notes.append(
            f"{folder.name}: no dataset.json names all of its classes, so that some are called by "
            "their labels; a copy beside the folds names them"
        )
    trainer, seed = folder.name.split("__")[0] if folds or "__" in folder.name else "", None
    if ends := re.fullmatch(r"(.+)_seed(\d+)", trainer):  # as `compare` names its trainings
        trainer, seed = ends[1], int(ends[2])
    return Results(
        folder, trainer, seed, dataset, labels, ignored, described, tuple(entries), tuple(notes)
    )


def read_summaries(results: Results, method: str, empty: Empty = "score") -> Read:
    """The scores that the summaries hold: overlaps, and false alarms.

    Raises:
        DataError: a case lacks a class or its Dice.
    """
    rows, problems = [], []
    for entry in results.entries:
        for label, name in results.labels.items():
            if label not in entry.metrics:
                problems.append(f"{results.name}, fold {entry.fold}: {entry.case} lacks {name}")
                continue
            try:
                scores = _scores(entry.metrics[label], empty)
            except (TypeError, ValueError, KeyError) as error:
                reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
                problems.append(
                    f"{results.name}, fold {entry.fold}: {entry.case}, class {name}: {reason}"
                )
                continue
            rows.append(
                {"loss": method, "fold": entry.fold, "case": entry.case, "class": name, **scores}
            )
    if problems:
        raise DataError("\n".join(problems[:10]))
    table = pd.DataFrame(rows)
    if results.dataset:
        table["dataset"] = results.dataset
    return Read(table, results.notes, None, "mm")


def missing_files(results: Results) -> tuple[list[str], list[str]]:
    """The predictions, and the true masks, that are not at hand, by the names of their cases."""
    return (
        [entry.case for entry in results.entries if not entry.prediction.is_file()],
        [entry.case for entry in results.entries if not entry.truth.is_file()],
    )


def differing(results: Results, scored: pd.DataFrame) -> list[str]:
    """Cases whose Dice in the summary is another than that of the files.

    Args:
        results: of the folder.
        scored: case, class and dice of its predictions.
    """
    dice = scored.set_index(["case", "class"])["dice"]
    found = []
    for entry in results.entries:
        for label, name in results.labels.items():
            told = entry.metrics.get(label, {}).get("Dice")
            if isinstance(told, int | float) and not math.isnan(told):
                here = float(dice.get((entry.case, name), math.nan))
                if not math.isnan(here) and abs(told - here) > 1e-3:
                    found.append(f"{entry.case}, {name}: {told:.3f}, the files give {here:.3f}")
    return found


def _place_of(summary: Path) -> tuple[Path, int]:
    """The results folder and the fold of a summary: where it lies, or else where it was written."""
    for place in (summary, _first_prediction(summary)):
        for fold, folder in pairwise(place.parents):
            if _is_fold(fold.name) and "__" in folder.name:
                return folder, _fold_of(fold.name) or 0
    return summary.parent, 0


def _first_prediction(summary: Path) -> Path:
    """Where the first prediction of a summary was, on the machine that wrote it."""
    try:
        contents = json.loads(summary.read_text(encoding="utf-8-sig"))
        cases = contents.get("metric_per_case") or contents["results"]["all"]
        path = cases[0].get("prediction_file") or cases[0]["test"]
        return Path(path.replace("\\", "/"))
    except Exception:  # what is wrong with it is told when it is read
        return summary


def _folds(folder: Path) -> dict[int | None, Path]:
    """The folds of a results folder; None is that of all cases."""
    try:
        inner = sorted(part for part in folder.iterdir() if part.is_dir())
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}") from error
    return {_fold_of(part.name): part for part in inner if _is_fold(part.name)}


def _is_fold(name: str) -> bool:
    return re.fullmatch(r"fold_(\d+|all)", name) is not None


def _fold_of(name: str) -> int | None:
    return None if name == "fold_all" else int(name.removeprefix("fold_"))


def _summary_in(folder: Path) -> Path | None:
    places = [*(folder / name / SUMMARY for name in VALIDATIONS), folder / SUMMARY]
    return next((place for place in places if place.is_file()), None)


def _labels(folder: Path) -> tuple[dict[Label, str], int | None]:
    """The names of the classes by their values, and the ignored value, as dataset.json has them."""
    for place in (folder, folder.parent, *_of_nnunet(folder.parent.name)):
        if (place / "dataset.json").is_file():
            try:
                found = read_classes(place / "dataset.json")
            except DataError:  # one that another tool wrote; classes keep their labels
                continue
            if found is None:
                continue
            pairs = zip(found.values, found.names, strict=True)
            return {values: name for values, name in pairs if values != (0,)}, found.ignored
    return {}, None


def _of_nnunet(dataset: str) -> list[Path]:
    """Where nnU-Net itself keeps what belongs to a data set."""
    roots = [os.environ.get(name) for name in ("nnUNet_raw", "nnUNet_preprocessed")]
    return [Path(root) / dataset for root in roots if root]


def _entries(summary: Path, fold: int, truth: Path | None, dataset: str) -> list[Entry]:
    """The cases of a summary of either version.

    Raises:
        DataError: no JSON, or none of nnU-Net's.
    """
    try:
        contents = json.loads(summary.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{summary} cannot be read as JSON: {error}") from error
    try:
        if isinstance(contents, dict) and "metric_per_case" in contents:
            cases = [
                (case["prediction_file"], case["reference_file"], case["metrics"])
                for case in contents["metric_per_case"]
            ]
        else:
            cases = [
                (case["test"], case["reference"], _without_files(case))
                for case in contents["results"]["all"]
            ]
        if not cases:
            raise DataError(f"{summary}: lists no case")
        return [
            _entry(summary, fold, truth, dataset, str(prediction), str(reference), metrics)
            for prediction, reference, metrics in cases
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        there = some(sorted(contents), 8) if isinstance(contents, dict) else "no object"
        raise DataError(
            f"{summary}: is no summary of nnU-Net: expected metric_per_case with prediction_file, "
            "reference_file and metrics for each case (v2), or results.all with test, reference "
            f"and the classes (v1); got {there} ({type(error).__name__}: {error})"
        ) from error


def _without_files(case: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in case.items() if key not in ("test", "reference")}


def _entry(
    summary: Path,
    fold: int,
    truth: Path | None,
    dataset: str,
    prediction: str,
    reference: str,
    metrics: Mapping[str, Any],
) -> Entry:
    here = summary.parent / prediction.replace("\\", "/").rsplit("/", 1)[-1]
    name = reference.replace("\\", "/").rsplit("/", 1)[-1]
    places = [Path(reference), *(p / "gt_segmentations" / name for p in _of_nnunet(dataset))]
    if truth is not None:
        places = [truth / name]
    return Entry(
        case_name(prediction),
        fold,
        {label: of for key, of in metrics.items() if (label := _label(key)) != (0,)},
        here,
        next((place for place in places if place.is_file()), places[0]),
    )


def _label(key: str) -> Label:
    """The values of a class: "1", or "(1, 2)" of a region."""
    numbers = re.findall(r"\d+", key)
    if not re.fullmatch(r"\d+|\(\s*\d+\s*(,\s*\d+\s*)*,?\s*\)", key.strip()):
        raise ValueError(f"{key!r} is no label")
    return tuple(sorted(map(int, numbers)))


def _shown(label: Label) -> str:
    return "+".join(map(str, label))


def _all_labels(entries: Sequence[Entry]) -> list[Label]:
    return sorted({label for entry in entries for label in entry.metrics})


def _scores(metrics: Mapping[str, Any], empty: Empty) -> dict[str, float]:
    """Our scores, of what a summary has for a class: a class that is empty is scored as here."""
    if {"TP", "n_pred", "n_ref"} <= set(metrics):
        both, found, true = (round(float(metrics[name])) for name in ("TP", "n_pred", "n_ref"))
        scores = overlap_scores(both, found, true)
    elif {"Total Positives Test", "Total Positives Reference"} <= set(metrics):
        names = ("Total Positives Test", "Total Positives Reference")
        found, true = (round(float(metrics[name])) for name in names)
        dice = _number(metrics["Dice"])
        both = 0 if math.isnan(dice) else round(dice * (found + true) / 2)
        scores = overlap_scores(both, found, true)
        for name, ours in V1.items():
            if name in metrics:
                scores[ours] = 0.0 if found == true == 0 else _number(metrics[name])
    else:
        scores = {"dice": _number(metrics["Dice"])}
    scores.pop("false_volume", None)  # the size of a voxel is not told
    if empty == "skip" and scores.get("true_voxels") == 0:
        scores |= {name: math.nan for name in scores if name in SCORES and name not in FALSE_ALARMS}
    return scores


def _number(value: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"got {value!r}, expected a number")
    return float(value)
