"""The rows of a table as texts, and the numbers that its cells hold."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.wording import count, some

EMPTY = ["", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "<NA>", "null", "None", "-"]
DECIMAL_COMMA = r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?"
DECIMAL_POINT = r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?"
IN_THOUSANDS = r"[+-]?[1-9]\d{0,2},\d{3}"  # 1,234: or a decimal comma
TRUTHS = {"true": "1", "false": "0"}


def read_rows(path: Path, separator: str, header: Sequence[str]) -> pd.DataFrame:
    """The cells as texts; the index says in which line of the file a row ends.

    Rows without any text are left out.

    Raises:
        DataError: no row, or rows that have more or fewer cells than there are columns.
    """
    rows, lines, odd = [], [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator)
            next(reader)
            for cells in reader:
                if not any(cell.strip() for cell in cells):
                    continue
                kept = cells[: len(header)]
                if len(cells) < len(header) or any(cell.strip() for cell in cells[len(header) :]):
                    odd.append(f"{len(cells)} in line {reader.line_num}")
                rows.append(kept)
                lines.append(reader.line_num)
    except (ValueError, csv.Error) as error:
        raise DataError(f"cannot be read as a table: {error}") from error
    if odd:
        raise DataError(
            f"expected {len(header)} cells in every row, as in the first line, got "
            f"{some(odd, 3)}; a name or number that holds the separator {separator!r} needs "
            "quotes around it"
        )
    if not rows:
        raise DataError("holds no row below the names of the columns")
    return pd.DataFrame(rows, index=lines, columns=list(header), dtype=str)


def numbers_in(
    texts: pd.DataFrame, in_units: Iterable[str], per_cent: bool
) -> tuple[pd.DataFrame, list[str]]:
    """The numbers of cells, with a decimal point or comma; and what was taken for what.

    Args:
        texts: the columns that hold numbers.
        in_units: those among them that hold distances.
        per_cent: all others are per cent. Else those whose cells have a % sign are divided by 100.

    Raises:
        DataError: with every column in which some cell is no number, or may mean two things.
    """
    cells = texts.apply(lambda column: column.str.strip())
    cells = cells.mask(cells.isin(EMPTY))
    signed = {
        name: cells[name].str.endswith("%", na=False) for name in cells if name not in in_units
    }
    for name, has_sign in signed.items():
        cells[name] = cells[name].mask(has_sign, cells[name].str[:-1].str.strip())
    cells, problems, notes = _with_points(cells)
    numbers = pd.DataFrame(index=cells.index)
    for name in cells:
        plain = cells[name].str.lower().map(TRUTHS).fillna(cells[name])
        numbers[name] = pd.to_numeric(plain, errors="coerce").astype(float)
        wrong = texts[name][numbers[name].isna() & cells[name].notna()]
        if len(wrong):
            problems.append(f"{name}: expected numbers, got {_places(wrong)}")
    for name, has_sign in signed.items():
        bare = cells[name].notna() & ~has_sign
        if has_sign.any() and bare.any():
            problems.append(
                f"{name}: {count(int(has_sign.sum()), 'cell')} with a % sign "
                f"({_places(texts[name][has_sign], 1)}) and {int(bare.sum())} without "
                f"({_places(texts[name][bare], 1)}): write all alike"
            )
        elif has_sign.any() and not per_cent:
            numbers[name] /= 100
            notes.append(f"{name}: read as per cent, by the % sign of its cells")
    if problems:
        raise DataError("\n".join(problems))
    return numbers, notes


def _with_points(cells: pd.DataFrame) -> tuple[pd.DataFrame, list[str], list[str]]:
    """The cells with decimal points, problems, and notes."""
    flat = cells.melt(ignore_index=False, var_name="column", value_name="text").dropna()
    commas = flat[flat["text"].str.fullmatch(DECIMAL_COMMA)]
    if commas.empty:
        return cells, [], []
    points = flat[flat["text"].str.fullmatch(DECIMAL_POINT)]
    first = _place(commas)
    if len(points):
        return cells, [
            f"numbers with a decimal comma ({first}) and with a point ({_place(points)}): write "
            "all with points"
        ], []  # fmt: skip
    if commas["text"].str.fullmatch(IN_THOUSANDS).all():
        return cells, [
            f"{first}: the comma may be a decimal one, or between thousands: write decimals with "
            "points, and thousands without a sign"
        ], []  # fmt: skip
    with_points = cells.apply(
        lambda column: column.mask(
            column.str.fullmatch(DECIMAL_COMMA, na=False), column.str.replace(",", ".")
        )
    )
    return with_points, [], [f"numbers are read with decimal commas, such as {first}"]


def _place(cells: pd.DataFrame) -> str:
    """The first of some cells, by its line and column."""
    line, (name, text) = cells.index[0], cells.iloc[0]
    return f"{text!r} in line {line} of {name}"


def _places(cells: pd.Series, most: int = 3) -> str:
    return some([f"{text!r} in line {line}" for line, text in cells.items()], most)
