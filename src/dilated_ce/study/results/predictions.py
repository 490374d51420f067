"""Predicted masks beside the true ones, scored in parallel; a finished case is not scored again."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import dilated_ce
from dilated_ce.study.data.cases import IGNORE_INDEX, DataError
from dilated_ce.study.data.images import decoded
from dilated_ce.study.data.mask_coding import MaskCoding
from dilated_ce.study.data.paths import (
    PICTURE_ENDINGS,
    VOLUME_ENDINGS,
    absence,
    files_in,
    is_dead,
    is_picture,
    is_readable,
    one_form,
    subfolders,
)
from dilated_ce.study.data.volume_files import Grid, turned
from dilated_ce.study.data.volumes import check_grids, class_indices, read_labels
from dilated_ce.study.files import fingerprint
from dilated_ce.study.machine import cores
from dilated_ce.study.scores.lesions import lesion_table
from dilated_ce.study.scores.score import score_case
from dilated_ce.study.scores.settings import ScoringConfig
from dilated_ce.study.wording import count, some

SCORED = "scored.jsonl"  # a line for each finished case
FEW = 6  # masks that are scored here: other processes take seconds to start

Counting = Callable[[str, int], AbstractContextManager[Callable[[], None]]]


@dataclass(frozen=True)
class Masks:
    """What the values of the masks mean, and how they are scored."""

    classes: tuple[str, ...]  # background first
    values: tuple[tuple[int, ...], ...]  # of each class; a region has several
    ignored: int | None  # value in true masks of voxels that nobody labelled
    overlapping: bool
    scoring: ScoringConfig
    named_by: str  # what says which values there are
    coding: MaskCoding | None = None  # of pictures, in place of `values`
    of_predictions: MaskCoding | None = None  # where theirs is another
    predicted_values: tuple[tuple[int, ...], ...] = ()  # where theirs are others, of volumes

    def identity(self) -> dict[str, Any]:
        """What the scores depend on."""
        about = {name: part for name, part in vars(self).items() if name != "scoring"}
        return {**{k: repr(v) for k, v in about.items()}, "scoring": self.scoring.model_dump()}


@dataclass(frozen=True)
class Pair:
    """A predicted mask with the true one, and whose it is."""

    who: Mapping[str, Any]  # loss, case, and seed, fold and dataset if they are known
    prediction: Path
    truth: Path
    masks: Masks


@dataclass(frozen=True)
class Scored:
    """The scores of a pair, a row per class, and its true lesions; or why there are none."""

    rows: list[dict[str, Any]]
    lesions: list[dict[str, Any]]
    error: str = ""


def masks_in(folder: Path) -> dict[str, Path]:
    """The masks of a folder by the names of their cases.

    Raises:
        DataError: no folder, no mask, or two of one case.
    """
    try:
        files = [path for path in files_in(folder) if is_readable(path)]
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error}") from error
    found: dict[str, Path] = {}
    for path in files:
        if is_dead(path):
            raise DataError(f"{path}: {absence(path)}")
        name = case_name(path.name)
        if name in found:
            raise DataError(f"{folder}: {found[name].name} and {path.name} are of one case")
        found[name] = path
    if not found:
        inner = _folders_of_masks(folder)
        where = f"; its folders do ({some(inner, 2)}): name one, or move the masks up" * bool(inner)
        raise DataError(
            f"{folder}: holds no mask (NIfTI, NRRD, MHA, PNG or another picture){where}"
        )
    return found


def _folders_of_masks(folder: Path) -> list[str]:
    """The folders in a folder that hold masks, each with the first one."""
    found = []
    for inner in subfolders(folder):
        try:
            first = next((path for path in files_in(inner) if is_readable(path)), None)
        except OSError:  # one that may not be read
            continue
        if first is not None:
            found.append(f"{inner.name}/{first.name}")
    return found


def case_name(file: str) -> str:
    r"""The name of a file, of any system's path, without its ending.

    Examples:
        >>> case_name(r"C:\preds\case_01.nii.gz"), case_name("/a/b.c.png")
        ('case_01', 'b.c')
    """
    name = file.replace("\\", "/").rsplit("/", 1)[-1]
    lower = name.lower()
    ending = next((e for e in (*VOLUME_ENDINGS, *PICTURE_ENDINGS) if lower.endswith(e)), "")
    return one_form(name[: len(name) - len(ending)])


def score_pairs(
    pairs: Sequence[Pair], out: Path, counting: Counting, jobs: int | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scores of predictions, and their true lesions, as in `cases.csv` and `lesions.csv`.

    What is scored is kept in `out`, so that a run that is cut short goes on from there.

    Args:
        pairs: predictions with their truth.
        out: folder for the scores that are finished.
        counting: makes a progress bar of a text and a total.
        jobs: processes; one per core.

    Raises:
        DataError: with everything that is wrong with the files.
    """
    store = out / SCORED
    keys = [_key(pair) for pair in pairs]
    kept = _read_kept(store)
    wanted = [place for place, key in enumerate(keys) if key not in kept]
    failed: dict[str, tuple[str, list[str]]] = {}  # what is wrong, and the names of its cases
    with counting("scoring the predictions", len(wanted)) as on_case:
        out.mkdir(parents=True, exist_ok=True)
        with store.open("a", encoding="utf-8") as file:
            for place, scored in _score_all(pairs, wanted, jobs):
                on_case()
                if scored.error:
                    pair = pairs[place]
                    cause = f"{pair.who['loss']}: {_without_names(scored.error, pair)}"
                    # Other numbers are no other cause.
                    _, cases = failed.setdefault(re.sub(r"[\d.]+", "0", cause), (cause, []))
                    cases.append(str(pair.who["case"]))
                    continue
                kept[keys[place]] = scored
                line = {"key": keys[place], "rows": scored.rows, "lesions": scored.lesions}
                file.write(json.dumps(line) + "\n")
                file.flush()
    if failed:
        # One cause is told once, however many cases it has.
        lines = [
            f"{cause} ({count(len(cases), 'case')}: {some(sorted(cases), 3)})"
            for cause, cases in failed.values()
        ]
        raise DataError("\n".join(sorted(lines)))
    rows, lesions = [], []
    for pair, key in zip(pairs, keys, strict=True):
        rows += [{**pair.who, **row} for row in kept[key].rows]
        lesions += [{**pair.who, **row} for row in kept[key].lesions]
    return pd.DataFrame(rows), pd.DataFrame(lesions)


def _score_all(
    pairs: Sequence[Pair], wanted: Sequence[int], jobs: int | None
) -> Iterator[tuple[int, Scored]]:
    """Each pair's place and scores, in the order in which they are finished."""
    jobs = jobs or cores()
    if jobs == 1 or len(wanted) <= FEW:
        for place in wanted:
            yield place, score_pair(pairs[place])
        return
    parallel = joblib.Parallel(n_jobs=min(jobs, len(wanted)), return_as="generator_unordered")
    yield from parallel(joblib.delayed(_in_process)(place, pairs[place]) for place in wanted)


def _in_process(place: int, pair: Pair) -> tuple[int, Scored]:
    torch.set_num_threads(1)
    return place, score_pair(pair)


def score_pair(pair: Pair) -> Scored:
    """Read and score a prediction; what is wrong with its files is told, and not raised."""
    masks = pair.masks
    try:
        truth, grid = _read(pair.truth, masks, masks.coding, masks.values)
        found, other = _read(
            pair.prediction,
            masks,
            masks.of_predictions or masks.coding,
            masks.predicted_values or masks.values,
            is_predicted=True,
        )
        found, other = turned(found, other, grid)
        if found.shape != truth.shape:
            shapes = (" x ".join(map(str, part.shape)) for part in (found, truth))
            raise DataError(
                f"{pair.prediction}: has {' voxels, the true mask '.join(shapes)}; resample it"
            )
        try:
            check_grids(other, grid, truth.shape, str(pair.truth))
        except ValueError as error:
            raise DataError(f"{pair.prediction}: {error}") from error
        ignored = None if masks.ignored is None else IGNORE_INDEX
        scores = score_case(
            found,
            truth,
            len(masks.classes),
            spacing=grid.spacing,
            tolerance=masks.scoring.tolerance,
            empty=masks.scoring.empty,
            ignore_index=ignored,
            overlapping=masks.overlapping,
        )
        names = masks.classes[1:]
        rows = [{"class": name, **row} for name, row in zip(names, scores, strict=True)]
        lesions = lesion_table(
            found, truth, masks.classes, grid.spacing, ignored, masks.overlapping
        )
    except DataError as error:
        return Scored([], [], str(error))
    return Scored(rows, lesions)


def _read(
    path: Path,
    masks: Masks,
    coding: MaskCoding | None,
    of_classes: Sequence[Sequence[int]],
    is_predicted: bool = False,
) -> tuple[NDArray[np.uint8], Grid]:
    """The class indices of a mask, and where its voxels lie."""
    if is_picture(path) and coding is not None:
        try:
            return coding.labels(decoded(path), is_predicted), Grid((1.0, 1.0))
        except ValueError as error:
            raise DataError(f"{path}: {error}") from error
    values, grid = read_labels(path)
    indices = class_indices(
        values, path, of_classes, masks.ignored, masks.overlapping, masks.named_by
    )
    return indices, grid


def _without_names(error: str, pair: Pair) -> str:
    """What is wrong with a pair, in the same words for every case; the truth is called so."""
    found, true = pair.prediction, pair.truth
    for name, called in ((str(found), ""), (str(true), "the true mask"), (found.name, ""),
                         (true.name, "the true mask")):  # fmt: skip
        error = error.replace(f"{name}: ", f"{called}: " if called else "")
        for written in (f'"{name}"', f"'{name}'", name):
            error = error.replace(written, called or "the file")
    return error


def _key(pair: Pair) -> str:
    """A hash of all that the scores of a pair depend on."""
    files = []
    for path in (pair.prediction, pair.truth):
        about = path.stat()
        files.append([str(path.resolve()), about.st_size, about.st_mtime_ns])
    return fingerprint([files, pair.masks.identity(), dilated_ce.__version__])


def _read_kept(store: Path) -> dict[str, Scored]:
    """The scores of an earlier time; half a line, of a process that was killed, is none."""
    kept = {}
    try:
        text = store.read_text(encoding="utf-8")
    except OSError:
        return {}
    for line in text.splitlines():
        try:
            found = json.loads(line)
            kept[found["key"]] = Scored(found["rows"], found["lesions"])
        except (ValueError, KeyError, TypeError):
            continue
    if text and not text.endswith("\n"):
        with store.open("a", encoding="utf-8") as file:
            file.write("\n")
    return kept
