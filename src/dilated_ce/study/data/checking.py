"""Looking at every case before anything is trained."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dilated_ce.study.data.cases import (
    IGNORE_INDEX,
    Case,
    CaseSource,
    DataError,
    DataSet,
    Split,
    mask_of,
)
from dilated_ce.study.data.copies import find_copies
from dilated_ce.study.data.split import PARTS
from dilated_ce.study.processes import ProcessDiedError, spread
from dilated_ce.study.wording import count, some

Looking = Callable[[DataSet], Mapping[str, "Look"]]  # at every case, by its name
SPLIT_ANEW = "; split the cases in another way, with --folds or --split"


AXES = {"R": "to the right", "A": "to the front", "S": "to the head"}


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


@dataclass(frozen=True)
class Expected:
    """What the cases of a data set have in common."""

    num_classes: int
    num_channels: int
    overlapping: bool

    @classmethod
    def of(cls, data: DataSet) -> "Expected":
        """Of a data set."""
        return cls(len(data.classes), len(data.channels), data.overlapping)


@dataclass(frozen=True)
class Look:
    """What one look at a case has found."""

    problems: tuple[str, ...] = ()  # that have to be mended
    notes: tuple[str, ...] = ()  # what its reader says
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    voxels: tuple[int, ...] = ()  # of each class; none if it cannot be read
    ignored: int = 0  # voxels
    has_flat: bool = False  # a channel of a single value, beside others
    image: str = ""  # a hash of its values
    labels: str = ""  # a hash of the label map
    orientation: str = ""  # of its files, such as RAS
    across: str = ""  # the axis of the patient across which its slices were cut


def look_at(case: Case, expected: Expected) -> Look:
    """What is wrong with a case, and what is worth knowing of it."""
    flat = sum(bool((channel == channel.flat[0]).all()) for channel in case.image)
    return Look(
        tuple(_problems(case, expected.num_channels, flat)),
        case.notes,
        case.labels.shape,
        case.spacing,
        tuple(
            int(np.count_nonzero(mask_of(case.labels, index, expected.overlapping)))
            for index in range(expected.num_classes)
        ),
        int(np.count_nonzero(case.labels == IGNORE_INDEX)),
        0 < flat < len(case.image),
        _hash(case.image),
        _hash(case.labels),
        case.orientation,
        case.across,
    )


def _hash(values: NDArray) -> str:
    """Of values and shape, in the order that they have in memory: another takes long."""
    digest = hashlib.sha256(f"{values.dtype}{values.shape}".encode())
    digest.update(np.ravel(values, order="K").data)
    return digest.hexdigest()


def look_at_cases(data: DataSet, on_case: Callable[[], None] = lambda: None) -> dict[str, Look]:
    """Read every case once, in processes if that takes long."""
    looks = {}
    try:
        for source, look in spread(partial(_read_and_look, Expected.of(data)), data.cases):
            looks[source.name] = look
            on_case()
    except ProcessDiedError as error:
        raise DataError(str(error)) from error
    return looks


def _read_and_look(expected: Expected, source: CaseSource) -> Look:
    try:
        return look_at(source.load(), expected)
    except DataError as error:
        return Look((f"{source.name}: {error}",))


def check(data: DataSet, looks: Mapping[str, Look]) -> CheckResult:
    """What follows from a look at each case.

    Problems: files that cannot be read, images without a difference in them, a class that is in no
    training case, one image with one mask in two parts, a test part without any class or wholly
    ignored. Notes: what the readers say, folders that are not read, cases that are in no part,
    other images that are the same, cases without foreground, a class in no test case, uneven
    voxel sizes, channels of a single value.
    """
    result = CheckResult(notes=[*data.notes])
    noted: dict[str, list[str]] = {}  # cases by what their readers say
    rows: list[dict[str, Any]] = []
    part_of = {name: part for part in PARTS for name in getattr(data.folds[0], part)}
    ordered = [(source, looks[source.name]) for source in data.cases]
    for source, look in ordered:
        result.problems += look.problems
        for note in look.notes:
            noted.setdefault(note, []).append(source.name)
        if look.voxels:
            rows.append(
                {
                    "case": source.name,
                    "group": source.group,
                    "part": part_of.get(source.name, "unused"),
                    "shape": look.shape,
                    "spacing": look.spacing,
                }
            )
    result.notes += [
        f"{note}, in {count(len(names), 'case')}: {some(names)}" for note, names in noted.items()
    ]
    used = {name for fold in data.folds for part in PARTS for name in getattr(fold, part)}
    unused = [source.name for source in data.cases if source.name not in used]
    if unused:
        verb = "is" if len(unused) == 1 else "are"
        result.notes.append(f"{count(len(unused), 'case')} {verb} in no part: {some(unused)}")
    if data.ignore_index is not None and not any(look.ignored for look in looks.values()):
        result.notes.append("no voxel of any case is ignored")
    voxels = {source.name: list(look.voxels) for source, look in ordered if look.voxels}
    result.table = pd.DataFrame(rows)
    result.voxels = pd.DataFrame.from_dict(voxels, orient="index", columns=list(data.classes))
    if rows:
        for number, fold in enumerate(data.folds):
            where = f"fold {number}: " if len(data.folds) > 1 else ""
            _check_classes(result, data, fold, where)
        _check_axes(result, looks)
        hashes = {name: (look.image, look.labels) for name, look in looks.items() if look.voxels}
        problems, notes = find_copies(hashes, data.folds)
        result.problems += problems
        result.notes += notes
        _note(result, [source.name for source, look in ordered if look.has_flat])
    return result


def _problems(case: Case, num_channels: int, flat: int) -> Iterator[str]:
    if case.labels.size == 1:
        yield f"{case.name}: is a single voxel"
    elif not np.isfinite(case.image).all():
        yield f"{case.name}: holds values that are infinite or no numbers"
    elif flat == len(case.image):
        yield f"{case.name}: all its voxels have the same value"
    if len(case.image) != num_channels:
        yield (
            f"{case.name}: got {count(len(case.image), 'channel')}, expected those of the "
            f"others, {num_channels}"
        )


def _check_classes(result: CheckResult, data: DataSet, fold: Split, where: str) -> None:
    of_test = result.voxels.reindex(fold.test).sum()
    if of_test.sum() == 0:
        result.untested.append(f"{where}all voxels of the test part are ignored{SPLIT_ANEW}")
    elif of_test.iloc[1:].sum() == 0:
        result.untested.append(f"{where}no test case has a voxel of any class{SPLIT_ANEW}")
    for name in data.classes:
        in_part = {part: result.voxels[name].reindex(getattr(fold, part)).sum() for part in PARTS}
        if in_part["train"] == 0:
            result.problems.append(
                f"{where}no training case has a voxel of the class {name!r}"
                f"{_who_has(result, data, fold, name)}"
            )
        elif in_part["test"] == 0 and of_test.iloc[1:].sum() > 0:
            result.notes.append(f"{where}no test case has a voxel of the class {name!r}")


def _who_has(result: CheckResult, data: DataSet, fold: Split, name: str) -> str:
    """Which cases have a class that no training case has, and what can be done."""
    merge = "merge the class with another, or leave it out, in the labels"
    having = result.voxels.index[result.voxels[name] > 0].tolist()
    if not having:
        return f": it is in no case; {merge}"
    part_of = {case: f"{part} part" for part in PARTS for case in getattr(fold, part)}
    by_part: dict[str, list[str]] = {}
    for case in having:
        by_part.setdefault(part_of.get(case, "no part"), []).append(case)
    places = ", ".join(f"{some(cases)} ({part})" for part, cases in by_part.items())
    if len(data.folds) > 1 and len({data.by_name[case].group for case in having}) == 1:
        how = f"a cross-validation tests each case once: {merge}"
    else:
        how = f"draw another split (data.split_seed), give one (--split), or {merge}"
    return f": it is only in {places}; {how}"


def _check_axes(result: CheckResult, looks: Mapping[str, Look]) -> None:
    """Volumes that lie in their files, or are cut, in several ways."""
    stored = Counter(look.orientation for look in looks.values() if look.orientation)
    if len(stored) > 1:
        shown = ", ".join(f"{axes} in {count(n, 'case')}" for axes, n in stored.most_common())
        result.notes.append(
            f"stored in different orientations: {shown}; a network sees them as they are stored"
        )
    cut: dict[str, list[str]] = {}
    for name, look in looks.items():
        if look.across:
            cut.setdefault(look.across, []).append(name)
    if len(cut) == 1:
        (axis,) = cut
        result.notes.append(f"volumes are cut into slices across their axis {AXES[axis]}")
    elif cut:
        ways = [f"across the axis {AXES[axis]} in {some(names)}" for axis, names in cut.items()]
        result.problems.append(
            f"slices would be cut {' and '.join(ways)}, each across its largest spacing; "
            "expected one axis for all: leave out one kind, resample the files so that one axis "
            "has the largest spacing in all, or take volumes whole (--dims 3)"
        )


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
