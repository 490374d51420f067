"""Scores for empty cells of tables: classes that a case lacks, or predictions that failed."""

import math

import pandas as pd

from dilated_ce.study.results.checks import ROW, prefix
from dilated_ce.study.scores.score import FALSE_ALARMS
from dilated_ce.study.scores.settings import Empty
from dilated_ce.study.scores.table import LOWER_IS_BETTER, SCORES
from dilated_ce.study.wording import count, some

TRUTH = ["dataset", "case", "class"]
Told = tuple[pd.DataFrame, list[str], list[str]]  # the table, problems, notes


def without_empty_cells(table: pd.DataFrame, empty: Empty | None) -> Told:
    """The table with a score in place of every empty cell; problems; notes.

    An empty Dice means that neither the truth nor the prediction holds the class. Whether a case
    has a score depends on the truth alone, never on a prediction: see `score_case`.

    Args:
        table: the scores of all methods on the same cases.
        empty: how a class is scored that a case lacks; None if the user has not said it.
    """
    if "dice" not in table:
        return table, ["no source has a Dice, by which verdicts and ranks go"], []
    table, problems, notes = _without_absent_classes(table)
    lacking = table["dice"].isna()
    for (name, method), of in lacking.groupby([table["dataset"], table["loss"]], sort=False):
        if of.all():
            problems.append(f"{prefix(name)}{method}: Dice is empty in all rows")
    if lacking.any() and not problems:
        problems = _of_held_classes(table, lacking)
        if empty is None and not problems:
            problems = _beside_zeros(table, lacking)
    if lacking.any() and not problems:
        table, note = _filled(table, lacking, empty or "score")
        notes.append(note)
    return _without_uneven(table, problems, notes)


def _without_absent_classes(table: pd.DataFrame) -> Told:
    """Leave out classes that no case has and nobody predicts: they would score 1 everywhere."""
    absent = table["dice"].isna()
    nowhere = pd.Series(False, table.index)
    if "true_voxels" in table:
        nowhere = _true_size(table) == 0
        absent |= nowhere & (table["dice"] == 1)
    if "false_alarm" in table:
        absent &= ~(table["false_alarm"] > 0)
    of_class = [table["dataset"], table["class"]]
    gone = absent.groupby(of_class, sort=False).transform("all")
    left = ~gone
    problems = [
        f"{prefix(name)}no case holds a class, and none is predicted: {some(classes)}"
        for name, classes in _names(table[gone]).items()
        if not left[table["dataset"] == name].any()
    ]
    if problems:
        return table, problems, []
    notes = [
        f"{prefix(name)}{_classes(classes)}: no case holds it, and no method predicts it: left out"
        for name, classes in _names(table[gone]).items()
    ]
    false = nowhere.groupby(of_class, sort=False).transform("all") & left
    notes += [
        f"{prefix(name)}{_classes(classes)}: no case holds it, and some method predicts it: its "
        "scores are of false alarms alone"
        for name, classes in _names(table[false]).items()
    ]
    return table[left], [], notes


def _true_size(table: pd.DataFrame) -> pd.Series:
    """The size of each row's truth, which one method may tell for all of them."""
    truth = [table[name] for name in TRUTH]
    return table["true_voxels"].groupby(truth, sort=False).transform("max")


def _names(rows: pd.DataFrame) -> dict[str, list[str]]:
    """Classes by the data set."""
    return {
        str(name): of["class"].unique().tolist() for name, of in rows.groupby("dataset", sort=False)
    }


def _classes(names: list[str]) -> str:
    return f"class{'' if len(names) == 1 else 'es'} {some(names)}"


def _of_held_classes(table: pd.DataFrame, lacking: pd.Series) -> list[str]:
    """Empty cells of classes that the truth holds: predictions that are missing."""
    # What is above 0 under any method and in any run shows that the truth holds the class. A recall
    # of 0 does not: some write it where there is nothing to be found.
    shows = table["dice"] > 0
    for name in ("recall", "true_voxels"):
        if name in table:
            shows |= table[name] > 0
    held = shows.groupby([table[name] for name in TRUTH], sort=False).transform("max")
    wrong = table[lacking & held]
    if "false_alarm" in table:
        wrong = table[lacking & held & table["false_alarm"].isna()]
    if wrong.empty:
        return []
    return [
        f"{count(len(wrong), 'empty Dice', 'empty cells of Dice')} although the truth holds the "
        f"class, as other rows show ({_rows(wrong)}): write 0 for a prediction that failed or is "
        "empty"
    ]


def _beside_zeros(table: pd.DataFrame, lacking: pd.Series) -> list[str]:
    """Empty cells where another method has 0: one of the two failed, and a table cannot say which.

    There is no problem where the table says that the truth lacks the class.
    """
    zero = table["dice"] == 0
    said = pd.Series(False, table.index)  # that the truth lacks the class
    if "true_voxels" in table:
        said |= table["true_voxels"] == 0
    if "false_alarm" in table:
        said |= table["false_alarm"].notna()
    if "recall" in table:  # a method with recalls has none where there is nothing to be found
        has_recall = table["recall"].notna().groupby(table["loss"], sort=False).transform("max")
        said |= zero & has_recall & table["recall"].isna()
    truth = [table[name] for name in TRUTH]
    known = said.groupby(truth, sort=False).transform("max")
    zeros = zero.groupby(truth, sort=False).transform("max")
    unclear = table[lacking & zeros & ~known]
    problems = []
    for (name, method), of in unclear.groupby(["dataset", "loss"], sort=False):
        here = table[zero].merge(of[TRUTH], on=TRUTH)
        others = [other for other in here["loss"].unique() if other != method] or [method]
        problems.append(
            f"{prefix(name)}{method} has an empty Dice in {count(len(of), 'place')} where "
            f"{some(others)} has 0 ({_cells(of)}): if {method} failed there, write 0; if the truth "
            f"lacks the class, so that {method} is right and the 0 is a false alarm, say how such "
            "a case counts: --empty score, or --empty skip"
        )
    return problems


def _cells(rows: pd.DataFrame) -> str:
    """Cases, with the class where there are several."""
    names = rows["case"].astype(str)
    if rows["class"].nunique() > 1:
        names = names + " (" + rows["class"].astype(str) + ")"
    return some(names.unique().tolist(), 3)


def _rows(rows: pd.DataFrame) -> str:
    return some(
        [f"{row['case']}, {row['class']} of {row['loss']}" for _, row in rows.head(4).iterrows()], 3
    )


def _filled(table: pd.DataFrame, lacking: pd.Series, empty: Empty) -> tuple[pd.DataFrame, str]:
    """The table with the scores of classes that a case lacks, and what to say of it."""
    table = table.copy()
    by_method = lacking.groupby(table["loss"], sort=False).sum()
    number = f"{count(int(lacking.sum()), 'empty cell')} of Dice (" + some(
        [f"{method}: {of}" for method, of in by_method.items() if of], 6
    ) + ")"  # fmt: skip
    if empty == "skip":
        absent = lacking.groupby([table[name] for name in ROW], sort=False).transform("max")
        scores = [name for name in SCORES if name in table and name not in FALSE_ALARMS]
        table.loc[absent, scores] = math.nan
        return table, (
            f"{number}: the class is taken as one that the case lacks, and is skipped under every "
            "method"
        )
    table.loc[lacking, "dice"] = 1.0
    for name in ("nsd", "precision", "lesion_f1", "lesion_precision", "hd95", "assd"):
        if name in table:
            best = 0.0 if name in LOWER_IS_BETTER else 1.0
            table.loc[lacking & table[name].isna(), name] = best
    return table, (
        f"{number}: taken as a class that neither the truth nor the prediction holds, which scores "
        "1 (--empty skip leaves it out)"
    )


def _without_uneven(table: pd.DataFrame, problems: list[str], notes: list[str]) -> Told:
    """Leave out scores that some methods lack where others have them."""
    keys = [table[name] for name in ROW]
    for name in [score for score in SCORES if score in table and score != "dice"]:
        there = table[name].notna()
        by_row = there.groupby(keys, sort=False)
        uneven = by_row.transform("max") & ~there
        if not uneven.any():
            continue
        methods = there.groupby(table["loss"], sort=False).any()
        without = [str(method) for method in methods.index[~methods]]
        if without and len(without) < len(methods):
            notes.append(f"{name} is left out: {some(without)} has none")
        else:
            row = table[uneven].iloc[0]
            notes.append(
                f"{name} is left out: it is missing in {count(int(uneven.sum()), 'row')} where "
                f"another method has it (such as {row['case']}, {row['class']} of {row['loss']}); "
                "a pair that is dropped for what was predicted flatters a method. Write the worst "
                "score there, for a distance the diagonal of the image"
            )
        table = table.drop(columns=name)
    return table, problems, notes
