"""Scores in tables: CSV and TSV, a row per case, class and method, or with columns of their own."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.results.cells import EMPTY, numbers_in, read_texts
from dilated_ce.study.results.columns import ColumnsOf, Layout, lay_out
from dilated_ce.study.results.names import (
    BACKGROUND,
    KEYS,
    PARTS,
    PARTS_BY,
    is_row_of_statistics,
    is_statistic,
    plain,
)
from dilated_ce.study.results.read import Read
from dilated_ce.study.results.scales import Scale, check_scale
from dilated_ce.study.scores.table import COUNTS, IN_UNITS
from dilated_ce.study.wording import count, some

BY_NUMBER = "class {} is taken for the background, and left out; if it is none, name it by a word"


def read_table(
    path: Path,
    *,
    method: str | None = None,
    columns: Mapping[str, str] | None = None,
    metrics: Sequence[str] | None = None,
    scale: Scale = "fractions",
    columns_of: ColumnsOf | None = None,
) -> Read:
    """Read a table of scores.

    It has a row per case, and per class, method, seed, fold and data set where there are several,
    with a column per score; or a column per class and score, `liver_dice` (mist) or `liver-dice`
    (panoptica); or, if `metrics` names one score, a column per method. Distances are taken as they
    are; IoU is turned into Dice, 2 IoU / (1 + IoU). An empty cell means that neither the truth nor
    the prediction holds the class.

    Args:
        path: CSV, with commas or semicolons, or TSV; UTF-8.
        method: what the scores are of; else a column says it, or the name of the file.
        columns: names of columns by what they are: {"method": "algo", "dice": "DSC"}.
        metrics: the scores that are wanted; all.
        scale: of what lies between 0 and 1, such as Dice.
        columns_of: what columns such as `a_dice` are called by: classes, or methods.

    Raises:
        DataError: with everything that is wrong with the table.
    """
    try:
        rows = read_texts(path)
        layout = lay_out(
            list(rows.columns), columns or {}, metrics, columns_of, has_method=method is not None
        )
        notes = [*_check_parts(rows), *_taken(rows, layout)]
        values, read = _numbers(rows, layout, metrics, scale)
        table, also = _long(rows[list(layout.keys.values())], layout, values, metrics)
    except DataError as error:
        lines = [f"{path}: {line}" for line in str(error).splitlines()]
        raise DataError("\n".join(lines)) from error
    notes = [f"{path.name}: {note}" for note in (*also, *notes, *read)]
    table, also = _named(path, table, method)
    notes += also
    notes += [f"{path.name}: {note}" for note in layout.notes]
    if "iou" in table:
        if "dice" not in table:
            iou = table["iou"] / (100 if scale == "percent" else 1)
            table["dice"] = 2 * iou / (1 + iou) * (100 if scale == "percent" else 1)
            notes.append(f"{path.name}: Dice is computed from the IoU, 2 IoU / (1 + IoU)")
        table = table.drop(columns="iou")
    if metrics is not None:
        unwanted = [c for c in table if c not in KEYS and c not in (*COUNTS, *metrics)]
        table = table.drop(columns=unwanted)
    if layout.unread:
        notes.append(f"{path.name}: columns that are not read: {some(list(layout.unread), 8)}")
    notes += [f"{path.name}: {note}" for note in check_scale(path, table, scale)]
    if scale == "percent":
        bounded = [c for c in table if c not in KEYS and c not in IN_UNITS and c not in COUNTS]
        table[bounded] = table[bounded] / 100
        notes.append(f"{path.name}: scores are read as per cent, as --scale percent says")
    classes = {name for name, _ in layout.scores if name is not None}
    return Read(
        table.rename(columns={"method": "loss"}),
        tuple(notes),
        unit=layout.units.get("hd95") or layout.units.get("assd"),
        tolerance=layout.units.get("nsd"),
        classes_of_columns=len(classes) > 1 and layout.named_after == "class",
    )


def _check_parts(rows: pd.DataFrame) -> list[str]:
    """Notes on a column that says which part of the data a row is of.

    Raises:
        DataError: there are several: a method is not judged on what it was trained on.
    """
    for name in rows:
        if plain(name) not in PARTS_BY:
            continue
        parts = rows[name].str.strip()
        kinds = parts.map(plain)
        if not set(kinds) <= PARTS:
            continue
        if kinds.nunique() > 1:
            found = [f"{part} ({count(n, 'row')})" for part, n in parts.value_counts().items()]
            raise DataError(f"{name}: holds {some(found)}: keep the rows of one part, the test")
        return [f"all rows are of the part {parts.iloc[0]!r}, by the column {name}"]
    return []


def _taken(rows: pd.DataFrame, layout: Layout) -> list[str]:
    """Notes on columns that were taken for something, and on those without a name."""
    notes = []
    if "group" in layout.keys:
        column = layout.keys["group"]
        number = count(rows[column].nunique(), "patient")
        notes.append(f"the column {column!r} names the patients: {number}")
    notes += [
        f"the column {layout.keys[key]!r} numbers the {key}s"
        for key in ("seed", "fold")
        if key in layout.keys and layout.keys[key] != key
    ]
    unnamed = rows.loc[:, [not name.strip() for name in rows]]
    if unnamed.apply(lambda column: column.str.strip() != "").any(axis=None):
        notes.append("columns without a name are not read")
    return notes


def _numbers(
    rows: pd.DataFrame, layout: Layout, metrics: Sequence[str] | None, scale: Scale
) -> tuple[pd.DataFrame, list[str]]:
    """The columns of scores as numbers, and what was taken for what."""
    in_units = [column for (_, score), column in layout.scores.items() if score in IN_UNITS]
    if metrics and metrics[0] in IN_UNITS:
        in_units += layout.methods
    columns = [*layout.scores.values(), *layout.methods]
    named = [
        column
        for (_, score), column in layout.scores.items()
        if layout.units.get(score) == "%" and score not in IN_UNITS
    ]
    values, notes = numbers_in(rows[columns], in_units, scale == "percent", named)
    if layout.size is not None:
        sizes, _ = numbers_in(rows[[layout.size]], [layout.size], per_cent=False)
        values = values.join(sizes)
    return values, notes


def _long(
    keys: pd.DataFrame, layout: Layout, values: pd.DataFrame, metrics: Sequence[str] | None
) -> tuple[pd.DataFrame, list[str]]:
    """A row per method, case and class with a column per score."""
    notes = []
    named = keys.rename(columns={column: key for key, column in layout.keys.items()})
    is_case = ~named["case"].map(is_row_of_statistics)
    if not is_case.all():
        left_out = some(named["case"][~is_case].unique().tolist(), 12)
        notes.append(f"rows that are no case are left out: {left_out}")
        named, values = named[is_case], values[is_case]
    if named.empty:
        raise DataError("holds no row of a case")
    problems = _blanks(named, layout)
    if problems:
        raise DataError("\n".join(problems))
    if "class" in named:
        whose = [key for key in ("class", "method", "dataset", "seed") if key in named]
        if named["case"].nunique() > 1 and not named.duplicated(whose).any():
            raise DataError(
                f"{layout.keys['class']}: names another class in every row, such as "
                f"{some(named['class'].tolist(), 2)}: remove the column, or say which names the "
                "class: --column class=NAME"
            )
        is_class = ~named["class"].map(_is_no_class)
        if not is_class.any() and named["class"].nunique() > 1:
            raise DataError(f"holds no class but {some(named['class'].unique().tolist())}")
        if is_class.any() and not is_class.all():
            left_out = some(named["class"][~is_class].unique().tolist(), 12)
            notes.append(f"rows that are no class are left out: {left_out}")
            named, values = named[is_class], values[is_class]
        if zero := _background_among(named["class"].unique().tolist()):
            notes.append(BY_NUMBER.format(zero))
            is_class = named["class"] != zero
            named, values = named[is_class], values[is_class]
    if layout.methods:
        assert metrics is not None
        notes.append(
            f"each of {some(list(layout.methods), 8)} is read as a method, with {metrics[0]} in "
            "its column"
        )
        parts = [named.assign(method=name, **{metrics[0]: values[name]}) for name in layout.methods]
        return pd.concat(parts, ignore_index=True), notes
    by_class: dict[str | None, dict[str, Any]] = {}
    for (name, score), column in layout.scores.items():
        by_class.setdefault(name, {})[score] = values[column]
    if layout.named_after == "class" and (zero := _background_among(list(by_class))):
        notes.append(BY_NUMBER.format(zero))
        del by_class[zero]
    if layout.size is not None and None in by_class:
        by_class[None]["true_voxels"] = values[layout.size]
    parts = [
        named.assign(**({} if name is None else {layout.named_after: name}), **scores)
        for name, scores in by_class.items()
    ]
    return pd.concat(parts, ignore_index=True), notes


def _background_among(names: Sequence[str | None]) -> str | None:
    """The class that is called 0 beside others that are called by numbers, too."""
    numbered = [name for name in names if name and re.fullmatch(r"\d+(\.0+)?", name.strip())]
    zero = [name for name in numbered if float(name) == 0]
    return zero[0] if zero and len(numbered) == len(names) > 1 else None


def _is_no_class(name: str) -> bool:
    """Whether a row is of all classes, or of none."""
    return is_statistic(name) or plain(name) in BACKGROUND


def _blanks(named: pd.DataFrame, layout: Layout) -> list[str]:
    """Cells without a name, which would all be one case, patient, class or data set."""
    problems = []
    for key in [key for key in named if key != "method"]:
        cells = named[key].str.strip()
        blank = cells.isin(EMPTY) if key == "group" else cells == ""
        if not blank.any():
            continue
        what = f"a {'patient' if key == 'group' else key.replace('dataset', 'data set')}"
        lines = some([f"line {line}" for line in named.index[blank]])
        fix = (
            "fill it in; a patient of one case may have the name of the case"
            if key == "group"
            else "fill it in"
        )
        problems.append(
            f"{layout.keys[key]}: {count(int(blank.sum()), 'row')} without the name of {what}: "
            f"{lines}; {fix}" + ("" if key == "case" else ", or remove the column")
        )
    return problems


def _named(path: Path, table: pd.DataFrame, method: str | None) -> tuple[pd.DataFrame, list[str]]:
    """The table with a method in every row."""
    if "method" not in table:
        name = method or path.stem
        note = [] if method else [f"{path.name}: no column names the method; it is {name!r}"]
        return table.assign(method=name), note
    there = table["method"].unique().tolist()
    if any(not name.strip() for name in there):
        number = count(int((table["method"].str.strip() == "").sum()), "row")
        raise DataError(
            f"{path}: {number} without the name of a method; fill it in (merged cells of a "
            "spreadsheet are empty below the first)"
        )
    if method is not None and len(there) > 1:
        raise DataError(
            f"{path}: --method says {method}, and a column holds {some(there)}; give the table "
            "without --method, or remove the column"
        )
    return (table if method is None else table.assign(method=method)), []
