"""Whether scores are what they can be: fractions or per cent, for every method alike."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.results.names import KEYS
from dilated_ce.study.scores.table import COUNTS, IN_UNITS
from dilated_ce.study.wording import count, some

Scale = Literal["fractions", "percent"]
OFTEN_SMALL = {"ece", "false_alarm"}  # below 1 % in a table of per cent, too


def check_scale(path: Path, table: pd.DataFrame, scale: Scale) -> list[str]:
    """Check the scores of a table, with a column `method`; gives notes.

    Raises:
        DataError: with each column that holds what cannot be.
    """
    problems, notes = [], []
    for name in [column for column in table if column not in KEYS and column not in COUNTS]:
        about = [key for key in ("method", "class", "dataset") if key in table]
        rows = table[[*about, "case", name]].rename(columns={name: "score"})
        rows["of"] = rows[about[0]].str.cat(rows[about[1:]], ", ") if about[1:] else rows[about[0]]
        infinite = rows[np.isinf(rows["score"])]
        if len(infinite):
            problems.append(_on_infinite(name, infinite))
        elif name in IN_UNITS:
            problems += _on_distance(name, rows, table.get("dice"))
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


def _on_distance(name: str, rows: pd.DataFrame, dice: pd.Series | None) -> list[str]:
    """Distances that cannot be: below 0, or 0 between masks that share no voxel."""
    fix = "for a distance to nothing write the diagonal of the image, or leave the score out"
    if rows["score"].min() < 0:
        return [f"{name}: got {rows['score'].min():.4g}, expected 0 or more; {fix}"]
    if dice is None or name not in ("hd95", "assd"):
        return []
    apart = rows[(rows["score"] == 0) & (dice == 0)]
    if apart.empty:
        return []
    return [
        f"{name}: 0 in {count(len(apart), 'row')} where Dice is 0 ({_shown(apart, 3)}): masks that "
        f"share nothing are not at a distance of 0; {fix}: --metric dice"
    ]


def _on_scale(name: str, rows: pd.DataFrame, scale: Scale) -> tuple[list[str], list[str]]:
    """Problems and notes of one score between 0 and 1, or 100."""
    most = 100 if scale == "percent" else 1
    outside = rows[(rows["score"] < 0) | (rows["score"] > most * (1 + 1e-9))]
    above = rows[rows["score"] > 0]
    # The usual score of a method, on a class, tells how it is written; single ones may be small.
    in_per_cent = above.groupby("of", sort=False)["score"].median() > 1
    mixed = in_per_cent.any() and not in_per_cent.all() and name not in OFTEN_SMALL
    if mixed and (len(outside) or scale == "percent"):
        cent, fractions = (
            above[above["of"].isin(in_per_cent.index[in_per_cent == which])]
            for which in (True, False)
        )
        alone = set(cent["method"]).isdisjoint(fractions["method"])
        of = "method" if alone else "of"  # else some class or data set of a method
        return [
            f"{name}: {_are(cent[of])} in per cent ({_shown(cent, 1)}), {_are(fractions[of])} in "
            f"fractions ({_shown(fractions, 1)})? Write all alike"
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


def _are(column: pd.Series) -> str:
    names = column.unique().tolist()
    return f"{some(names, 3)} {'is' if len(names) == 1 else 'are'}"


def _shown(rows: pd.DataFrame, most: int) -> str:
    cells = rows.head(most + 1).itertuples(index=False)
    shown = [f"{row.score:.4g} for {row.case}" for row in cells]
    more = f" and {len(rows) - most} more" if len(rows) > most else ""
    return ", ".join(shown[:most]) + more
