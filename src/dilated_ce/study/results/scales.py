"""Whether scores are what they can be: fractions or per cent, for every method alike."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.results.columns import KEYS
from dilated_ce.study.scores.table import IN_UNITS
from dilated_ce.study.wording import count, some

Scale = Literal["fractions", "percent"]
OFTEN_SMALL = {"ece", "false_alarm"}  # below 1 % in a table of per cent, too


def check_scale(path: Path, table: pd.DataFrame, scale: Scale) -> list[str]:
    """Check the scores of a table, with a column `method`; gives notes.

    Raises:
        DataError: with each column that holds what cannot be.
    """
    problems, notes = [], []
    for name in [column for column in table if column not in KEYS]:
        rows = table[["method", "case", name]].rename(columns={name: "score"})
        infinite = rows[np.isinf(rows["score"])]
        if len(infinite):
            problems.append(_on_infinite(name, infinite))
        elif name in IN_UNITS:
            if rows["score"].min() < 0:
                problems.append(f"{name}: got {rows['score'].min():.4g}, expected 0 or more")
        else:
            said, noted = _on_scale(name, rows, scale)
            problems += said
            notes += noted
    if problems:
        raise DataError("\n".join(f"{path}: {problem}" for problem in problems))
    return notes


def _on_infinite(name: str, rows: pd.DataFrame) -> str:
    what = (
        "a distance to nothing: write the diagonal of the image"
        if name in IN_UNITS
        else "no score is infinite"
    )
    return (
        f"{name}: {count(len(rows), 'infinite value')} "
        f"({some([str(case) for case in rows['case'].unique()], 3)}); {what}, or leave the score "
        "out by naming the others: --metric dice"
    )


def _on_scale(name: str, rows: pd.DataFrame, scale: Scale) -> tuple[list[str], list[str]]:
    """Problems and notes of one score between 0 and 1, or 100."""
    most = 100 if scale == "percent" else 1
    outside = rows[(rows["score"] < 0) | (rows["score"] > most * (1 + 1e-9))]
    above = rows[rows["score"] > 0]
    # The usual score of a method tells how it is written; single ones may be small.
    in_per_cent = above.groupby("method", sort=False)["score"].median() > 1
    mixed = in_per_cent.any() and not in_per_cent.all() and name not in OFTEN_SMALL
    if mixed and (len(outside) or scale == "percent"):
        cent, fractions = (
            above[above["method"].isin(in_per_cent.index[in_per_cent == which])]
            for which in (True, False)
        )
        return [
            f"{name}: {_methods(cent)} in per cent ({_shown(cent, 1)}), {_methods(fractions)} in "
            f"fractions ({_shown(fractions, 1)})? Write all methods alike"
        ], []
    if len(outside):
        fits = in_per_cent.all() and rows["score"].between(0, 100).sum() == rows["score"].count()
        hint = (
            "; if these are per cent, say so: --scale percent"
            if scale == "fractions" and fits
            else ""
        )
        return [
            f"{name}: {count(len(outside), 'value')} outside of 0 to {most} ({_shown(outside, 3)})"
            f"{hint}"
        ], []
    if scale == "fractions" or name in OFTEN_SMALL or above.empty:
        return [], []
    if above["score"].max() <= 1 or not in_per_cent.any():
        return [
            f"{name}: --scale percent is given, and no value is above 1: expected per cent; "
            "fractions are read without it"
            if above["score"].max() <= 1
            else f"{name}: --scale percent is given, and most values are below 1 "
            f"({_shown(above[above['score'] <= 1], 2)}): expected per cent in all"
        ], []
    small = above[above["score"] <= 1]
    if small.empty:
        return [], []
    return [], [
        f"{name}: {count(len(small), 'value')} below 1 read as per cent, too: {_shown(small, 3)}"
    ]


def _methods(rows: pd.DataFrame) -> str:
    names = rows["method"].unique().tolist()
    return f"{some(names, 3)} {'is' if len(names) == 1 else 'are'}"


def _shown(rows: pd.DataFrame, most: int) -> str:
    cells = rows.head(most + 1).itertuples(index=False)
    shown = [f"{row.score:.4g} for {row.case}" for row in cells]
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(shown[:most]) + more
