"""Looking at every case before anything is trained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from dilated_ce.study.data.cases import IGNORE_INDEX, Case, DataError, DataSet, Split, mask_of
from dilated_ce.study.data.split import PARTS
from dilated_ce.study.wording import count, some

SPLIT_ANEW = "; split the cases in another way, with --folds or --split"


@dataclass
class CheckResult:
    """What was found."""

    problems: list[str] = field(default_factory=list)  # that have to be mended
    untested: list[str] = field(default_factory=list)  # folds whose test part can judge nothing
    notes: list[str] = field(default_factory=list)  # that are worth knowing
    # One row per case: case, group, part (in the first fold), shape, spacing.
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    # Voxels of each class (columns) in each case (rows).
    voxels: pd.DataFrame = field(default_factory=pd.DataFrame)


def check_cases(data: DataSet, on_case: Callable[[], None] = lambda: None) -> CheckResult:
    """Read every case once and list all that is wrong, with names.

    Problems: files that cannot be read, images without a difference in them, a class that is in no
    training case, a test part without any class or wholly ignored. Notes: what the readers say,
    folders that are not read, cases without foreground, a class in no test case, uneven voxel
    sizes, channels of a single value.
    """
    result = CheckResult(notes=[*data.notes])
    noted: dict[str, list[str]] = {}  # cases by what their readers say
    ignored = 0  # voxels
    rows: list[dict[str, Any]] = []
    voxels: dict[str, list[int]] = {}
    flat: list[str] = []  # cases with a channel of a single value, beside others
    part_of = {name: part for part in PARTS for name in getattr(data.folds[0], part)}
    for source in data.cases:
        try:
            case = source.load()
        except DataError as error:
            result.problems.append(f"{source.name}: {error}")
        else:
            result.problems += _problems(case, data)
            for note in case.notes:
                noted.setdefault(note, []).append(source.name)
            flat += [source.name] if 0 < _count_flat(case) < len(case.image) else []
            voxels[source.name] = [
                int(np.count_nonzero(mask_of(case.labels, index, data.overlapping)))
                for index in range(len(data.classes))
            ]
            ignored += int(np.count_nonzero(case.labels == IGNORE_INDEX))
            rows.append(
                {
                    "case": source.name,
                    "group": source.group,
                    "part": part_of.get(source.name, "unused"),
                    "shape": case.labels.shape,
                    "spacing": case.spacing,
                }
            )
        on_case()
    result.notes += [
        f"{note}, in {count(len(names), 'case')}: {some(names)}" for note, names in noted.items()
    ]
    if data.ignore_index is not None and not ignored:
        result.notes.append("no voxel of any case is ignored")
    result.table = pd.DataFrame(rows)
    result.voxels = pd.DataFrame.from_dict(voxels, orient="index", columns=list(data.classes))
    if rows:
        for number, fold in enumerate(data.folds):
            where = f"fold {number}: " if len(data.folds) > 1 else ""
            _check_classes(result, data, fold, where)
        _note(result, flat)
    return result


def _problems(case: Case, data: DataSet) -> list[str]:
    problems = []
    if case.labels.size == 1:
        problems.append(f"{case.name}: is a single voxel")
    elif not np.isfinite(case.image).all():
        problems.append(f"{case.name}: holds values that are infinite or no numbers")
    elif _count_flat(case) == len(case.image):
        problems.append(f"{case.name}: all its voxels have the same value")
    if len(case.image) != len(data.channels):
        problems.append(
            f"{case.name}: got {count(len(case.image), 'channel')}, expected those of the "
            f"others, {len(data.channels)}"
        )
    return problems


def _count_flat(case: Case) -> int:
    """The number of channels all of whose voxels have the same value."""
    return sum(bool((channel == channel.flat[0]).all()) for channel in case.image)


def _check_classes(result: CheckResult, data: DataSet, fold: Split, where: str) -> None:
    of_test = result.voxels.reindex(fold.test).sum()
    if of_test.sum() == 0:
        result.untested.append(f"{where}all voxels of the test part are ignored{SPLIT_ANEW}")
    elif of_test.iloc[1:].sum() == 0:
        result.untested.append(f"{where}no test case has a voxel of any class{SPLIT_ANEW}")
    for name in data.classes:
        in_part = {part: result.voxels[name].reindex(getattr(fold, part)).sum() for part in PARTS}
        if in_part["train"] == 0:
            result.problems.append(f"{where}no training case has a voxel of the class {name!r}")
        elif in_part["test"] == 0 and of_test.iloc[1:].sum() > 0:
            result.notes.append(f"{where}no test case has a voxel of the class {name!r}")


def _note(result: CheckResult, flat: list[str]) -> None:
    table = result.table
    if flat:
        cases = count(len(flat), "case")
        result.notes.append(f"a channel of a single value in {cases}: {some(flat)}")
    empty = result.voxels.index[(result.voxels.iloc[:, 1:] == 0).all(axis=1)].tolist()
    if empty:
        result.notes.append(f"no foreground in {count(len(empty), 'case')}: {some(empty)}")
    axes = min(map(len, table["spacing"]))  # a 2D image among stacks has no thickness
    spacing = np.array([sizes[-axes:] for sizes in table["spacing"]])
    median = np.median(spacing, axis=0)
    odd = ((spacing > 2 * median) | (spacing < median / 2)).any(axis=1)
    if odd.any():
        result.notes.append(
            f"voxels twice or half as large as the median in {count(odd.sum(), 'case')}: "
            f"{some(table.loc[odd, 'case'].tolist())}; data.spacing resamples them"
        )
