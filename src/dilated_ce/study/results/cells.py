"""The rows of a table as texts, and the numbers that its cells hold."""

import csv
import io
import re
from collections.abc import Container, Sequence
from pathlib import Path

import pandas as pd

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.wording import count, some

EMPTY = [
    *("", "nan", "NaN", "NAN", "NA", "N/A", "n/a", "<NA>", "null", "NULL", "None", "-", "--"),
    *(".", "#N/A", "#NV", "#DIV/0!"),  # of SPSS and Excel: 0 / 0 is the Dice of two empty masks
]
DECIMAL_COMMA = r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?"
DECIMAL_POINT = r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?"
IN_THOUSANDS = r"[+-]?[1-9]\d{0,2},\d{3}"  # 1,234: or a decimal comma
TRUTHS = {"true": "1", "false": "0"}


def read_texts(path: Path) -> pd.DataFrame:
    """The cells as texts, below the names of the columns; the index has the lines of the file.

    Rows without any text are left out.

    Raises:
        DataError: no table, names that are there twice, no row, or rows that have more or fewer
            cells than there are columns.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("is no UTF-8 text; save it as CSV in UTF-8") from error
    except OSError as error:
        raise DataError(f"cannot be read: {error}") from error
    told = re.match(r"sep=(.)\r?\n", text)  # as Excel writes it
    above = 0 if told is None else 1
    text = text if told is None else text[told.end() :]
    by_separator = {sep: _records(text, sep) for sep in ([told[1]] if told else ",;\t")}
    separator = max(by_separator, key=lambda sep: len(next(iter(by_separator[sep]), ((), 0))[0]))
    if not by_separator[separator]:
        raise DataError("is empty, expected the names of columns in its first line")
    (names, _), *rows = by_separator[separator]
    rows = [(cells, line + above) for cells, line in rows if any(cell.strip() for cell in cells)]
    # R writes the names of rows without a name above them.
    if rows and all(len(cells) == len(names) + 1 for cells, _ in rows) and names[-1].strip():
        names = ["", *names]
    names = [" ".join(name.split()) for name in names]  # some have a line break
    _check_names(names)
    if not rows:
        raise DataError("holds no row below the names of the columns")
    odd = [
        f"{len(cells)} in line {line}"
        for cells, line in rows
        if len(cells) < len(names) or any(cell.strip() for cell in cells[len(names) :])
    ]
    if odd:
        raise DataError(
            f"expected {len(names)} cells in every row, as in the first line, got "
            f"{some(odd, 3)}; a name or number that holds the separator {separator!r} needs "
            "quotes around it"
        )
    texts = [cells[: len(names)] for cells, _ in rows]
    return pd.DataFrame(texts, index=[line for _, line in rows], columns=names, dtype=str)


def _records(text: str, separator: str) -> list[tuple[list[str], int]]:
    """The records of a text, and the lines in which they end."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        return [(cells, reader.line_num) for cells in reader]
    except csv.Error as error:
        raise DataError(f"cannot be read as a table: {error}") from error


def _check_names(names: Sequence[str]) -> None:
    """Whether these can be the names of columns.

    Spreadsheets write columns without a name where something once stood: these may repeat.
    """
    named = [name for name in names if name.strip()]
    twice = sorted({name for name in named if named.count(name) > 1})
    if len(names) < 2 or len(named) < 2:
        got = next(iter(named), "")
        raise DataError(
            f"got {got[:60]!r} as its first line, expected the names of columns with commas, "
            "semicolons or tabs between them; remove what stands above them"
        )
    if twice:
        raise DataError(
            f"two columns have one name: {some(twice)}; of two rows of names make one, such as "
            "liver_dice"
        )


def numbers_in(
    texts: pd.DataFrame, in_units: Container[str], per_cent: bool, named: Container[str] = ()
) -> tuple[pd.DataFrame, list[str]]:
    """The numbers of cells, with a decimal point or comma; and what was taken for what.

    Args:
        texts: the columns that hold numbers.
        in_units: those among them that hold distances.
        per_cent: all others are per cent. Else those whose cells have a % sign are divided by 100.
        named: those that are called per cent, which are divided as well.

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
            problems.append(
                f"{name}: expected numbers, got {_places(wrong)}; leave a cell empty where there "
                "is no score, and remove a column that holds none"
            )
    for name, has_sign in signed.items():
        bare = cells[name].notna() & ~has_sign
        if has_sign.any() and bare.any():
            problems.append(
                f"{name}: {count(int(has_sign.sum()), 'cell')} with a % sign "
                f"({_places(texts[name][has_sign], 1)}) and {int(bare.sum())} without "
                f"({_places(texts[name][bare], 1)}): write all alike"
            )
        elif name in named and not has_sign.any() and 0 < numbers[name].max() <= 1:
            problems.append(
                f"{name}: its name says per cent, and no value is above 1: if these are fractions, "
                "take the % out of the name"
            )
        elif (has_sign.any() or name in named) and not per_cent:
            numbers[name] /= 100
            by = "the % sign of its cells" if has_sign.any() else "its name"
            notes.append(f"{name}: read as per cent, by {by}")
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
