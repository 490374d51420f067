"""The tables of a report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dilated_ce.study.runs.store import Run
from dilated_ce.study.scores.table import IN_UNITS, LOWER_IS_BETTER, SCORES
from dilated_ce.study.statistics.comparison import FAMILY, Comparison, comparable, compare_to
from dilated_ce.study.statistics.side_by_side import Scores
from dilated_ce.study.statistics.verdict import Verdict, interval_of

TITLES = {
    "dice": "Dice",
    "recall": "recall",
    "precision": "precision",
    "nsd": "surface Dice",
    "hd95": "HD95",
    "assd": "ASSD",
    "lesion_f1": "lesion F1",
    "lesion_recall": "lesion recall",
    "lesion_precision": "lesion precision",
    "false_alarm": "false alarms",
    "false_volume": "false volume",
    "ece": "ECE",
}
BINS = 3  # of lesions by size
LESION_PARTS = ("lesion_recall", "lesion_precision")  # that make up their F1


@dataclass(frozen=True)
class Row:
    """One loss: the mean of each score, and its standard deviation over the seeds."""

    loss: str
    mean: dict[str, float]
    spread: dict[str, float]


def summarise(scores: Scores) -> list[Row]:
    """Mean over classes, cases of a patient, seeds, then patients: as the differences are made.

    The means are those of the runs that all losses share: else a loss whose run of a hard fold
    failed would have the better mean for it. Without one they are of all that there is, which
    cannot be compared.

    Examples:
        >>> from dilated_ce.study.statistics.side_by_side import side_by_side
        >>> cases = pd.DataFrame({"loss": "ce", "seed": [0, 1], "fold": 0, "case": "a",
        ...     "group": "a", "class": "lesion", "dice": [0.5, 0.7]})
        >>> [row] = summarise(side_by_side(cases))
        >>> row.mean["dice"], round(row.spread["dice"], 3), row.mean["nsd"]
        (0.6, 0.141, nan)
    """
    runs = scores.shared_runs if len(scores.shared_runs) else scores.runs.index
    by_group = scores.in_runs(scores.by_group, runs)
    means = by_group.groupby(["fold", "group"]).mean().mean()
    # Seeds that lack a fold are of other patients: how they differ says nothing of seeds.
    folds = scores.runs.loc[runs].groupby("seed").sum()
    of_seeds = by_group.groupby("seed").mean()
    rows = []
    for loss in scores.losses:
        complete = folds.index[folds[loss] == folds[loss].max()]
        spread = of_seeds.loc[complete].xs(loss, axis=1, level="loss").std()
        mean = means.xs(loss, level="loss")
        rows.append(Row(loss, *(part.reindex(SCORES).to_dict() for part in (mean, spread))))
    return rows


def curves(runs: Sequence[Run]) -> pd.DataFrame:
    """The Dice on the validation part along the training: loss, seed, fold, step, dice."""
    of_runs = [
        run.curve.assign(loss=str(run.loss), seed=run.seed, fold=run.fold)[
            ["loss", "seed", "fold", "step", "dice"]
        ]
        for run in runs
    ]
    return pd.concat(of_runs)


def cells(rows: Sequence[Row], scores: Sequence[str] = SCORES) -> list[dict[str, Any]]:
    """The rows for the page: texts, with the best of each column marked."""
    best = {}
    for score in scores:
        values = [row.mean[score] for row in rows if not math.isnan(row.mean[score])]
        if values:
            best[score] = min(values) if score in LOWER_IS_BETTER else max(values)
    return [
        {
            "loss": row.loss,
            "cells": [
                {
                    "text": show(score, row.mean[score], row.spread[score]),
                    "best": len(rows) > 1 and row.mean[score] == best.get(score),
                }
                for score in scores
            ],
        }
        for row in rows
    ]


def first_table(rows: Sequence[Row], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Every loss with the scores of the family: mean, difference, interval, and how it came out."""
    by_loss = {verdict.loss: verdict for verdict in verdicts}
    scores = [s for s in FAMILY if any(not math.isnan(row.mean[s]) for row in rows)]
    return {
        "scores": scores,
        "rows": [
            {
                "loss": row.loss,
                "word": by_loss[row.loss].word if row.loss in by_loss else "",
                "cells": [_first_cell(row, score, by_loss.get(row.loss)) for score in scores],
            }
            for row in rows
        ],
    }


def _first_cell(row: Row, score: str, verdict: Verdict | None) -> dict[str, str]:
    cell = dict.fromkeys(("difference", "interval", "side", "parts"), "")
    cell |= {"title": TITLES[score], "mean": show(score, row.mean[score], row.spread[score])}
    if score == "lesion_f1":
        recall, precision = (show(part, row.mean[part]) for part in LESION_PARTS)
        cell["parts"] = f"recall {recall}, precision {precision}"
    for comparison, side in verdict.sides if verdict else ():
        if comparison.metric == score:
            cell |= {"difference": signed(score, comparison.difference), "side": side}
            if not math.isnan(comparison.low):
                ends = interval_of(comparison, side)
                cell["interval"] = " to ".join(signed(score, end) for end in ends)
    return cell


def differences(scores: Scores, reference: str, classes: Sequence[str]) -> list[Comparison]:
    """Every loss against the reference by what is not in the family: each class, other scores."""
    others = [(scores, score) for score in SCORES if score not in FAMILY]
    if len(classes) > 1:
        others = [(scores.of_class(name), "dice") for name in classes] + others
    losses = comparable(scores, reference)
    return [
        comparison
        for of_class, metric in others
        if losses and of_class.has(metric, [reference, *losses])
        for comparison in compare_to(of_class, reference, losses, metric=metric)
    ]


def difference_cells(
    comparisons: Sequence[Comparison], losses: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each class and score, a cell per loss; see `differences`."""
    by_row: dict[str, dict[str, str]] = {}
    for result in comparisons:
        title = TITLES[result.metric]
        if result.class_name is not None:
            title += f" of {result.class_name}"
        mean, low, high = (
            signed(result.metric, value) for value in (result.difference, result.low, result.high)
        )
        by_row.setdefault(title, {})[result.loss] = (
            mean if math.isnan(result.low) else f"{mean} ({low} to {high})"
        )
    there = [loss for loss in losses if any(loss in row for row in by_row.values())]
    return [
        {"title": title, "cells": {loss: row.get(loss, "-") for loss in there}}
        for title, row in by_row.items()
    ]


def trials(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Validation Dice of each learning rate that was tried, by loss and fold."""
    by_loss: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in runs:
        by_loss.setdefault((str(run.loss), run.fold), []).append(
            {"rate": f"{run.info['learning_rate']:g}", "dice": show("dice", run.dice)}
        )
    return [{"loss": loss, "fold": fold, "tried": tried} for (loss, fold), tried in by_loss.items()]


def show(score: str, mean: float, spread: float | None = None) -> str:
    """A score with its spread: per cent, or units.

    Examples:
        >>> show("dice", 0.7812, 0.004), show("hd95", 3.456), show("dice", math.nan)
        ('78.1 ± 0.4', '3.46', '-')
    """
    if math.isnan(mean):
        return "-"
    factor, digits = (1, 2) if score in IN_UNITS else (100, 2 if score == "ece" else 1)
    text = f"{factor * mean:.{digits}f}"
    if spread is None or math.isnan(spread):
        return text
    return f"{text} ± {factor * spread:.{digits}f}"


def signed(score: str, difference: float) -> str:
    """A difference with its sign: points, or units.

    Examples:
        >>> signed("dice", 0.0312), signed("hd95", -3.456)
        ('+3.1', '-3.5')
    """
    factor, digits = (1, 1) if score in IN_UNITS else (100, 2 if score == "ece" else 1)
    return f"{factor * difference:+.{digits}f}"


def recall_by_size(lesions: pd.DataFrame) -> pd.DataFrame:
    """The share of lesions found, by thirds of their volume within each class.

    Returns:
        Columns class, size (1 smallest), low, high (volumes), lesions (their number), and one per
        loss with the share found, over all its runs.
    """
    rows = []
    for name, of_class in lesions.groupby("class", sort=False):
        true = of_class.drop_duplicates(["case", "lesion"])
        edges = np.unique(true["volume"].quantile(np.linspace(0, 1, BINS + 1)[1:-1]))
        size = np.searchsorted(edges, of_class["volume"])
        of_true = np.searchsorted(edges, true["volume"])
        for number in np.unique(of_true):
            volumes = true["volume"][of_true == number]
            found = of_class[size == number].groupby("loss", sort=False)["found"].mean()
            rows.append(
                {
                    "class": name,
                    "size": int(number) + 1,
                    "low": volumes.min(),
                    "high": volumes.max(),
                    "lesions": len(volumes),
                    **found.to_dict(),
                }
            )
    return pd.DataFrame(rows)


def costs(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What each loss costs, the mean over its runs."""
    table = pd.DataFrame([run.info for run in runs])
    means = table.groupby("loss", sort=False)[["ms_per_step", "peak_memory", "seconds"]].mean()
    return [
        {
            "loss": str(loss),
            "ms_per_step": f"{row['ms_per_step']:.1f}",
            "memory": f"{row['peak_memory'] / 2**20:,.0f}" if row["peak_memory"] else "-",
            "seconds": f"{row['seconds']:.0f}",
        }
        for loss, row in means.iterrows()
    ]
