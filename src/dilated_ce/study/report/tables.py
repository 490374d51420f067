"""The tables of a report."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dilated_ce.study.runs.store import Run
from dilated_ce.study.scores.table import IN_UNITS, LOWER_IS_BETTER, SCORES
from dilated_ce.study.statistics.comparison import Comparison, comparable, compare_to

TITLES = {
    "dice": "Dice",
    "recall": "recall",
    "precision": "precision",
    "nsd": "NSD",
    "hd95": "HD95",
    "assd": "ASSD",
    "lesion_f1": "lesion F1",
    "lesion_recall": "lesion recall",
    "lesion_precision": "lesion precision",
    "ece": "ECE",
}
BINS = 3  # of lesions by size


@dataclass(frozen=True)
class Row:
    """One loss: the mean of each score, and half its range over the seeds."""

    loss: str
    mean: dict[str, float]
    spread: dict[str, float]


def summarise(cases: pd.DataFrame, class_name: str | None = None) -> list[Row]:
    """Mean over classes, then cases, then runs; a score without a meaning is left out.

    Examples:
        >>> cases = pd.DataFrame({"loss": "ce", "seed": [0, 1], "case": "a", "class": "lesion",
        ...     **{score: 0.5 for score in SCORES}, "dice": [0.5, 0.7]})
        >>> [row] = summarise(cases)
        >>> row.mean["dice"], round(row.spread["dice"], 3)
        (0.6, 0.1)
    """
    if class_name is not None:
        cases = cases[cases["class"] == class_name]
    scores = list(SCORES)
    by_case = cases.groupby(["loss", "seed", "case"], sort=False)[scores].mean()
    by_seed = by_case.groupby(["loss", "seed"], sort=False).mean()
    return [
        Row(
            str(loss),
            of_loss.mean().to_dict(),
            ((of_loss.max() - of_loss.min()) / 2).to_dict(),
        )
        for loss, of_loss in by_seed.groupby("loss", sort=False)
    ]


def curves(runs: Sequence[Run]) -> pd.DataFrame:
    """The Dice on the validation part along the training: loss, seed, fold, step, dice."""
    of_runs = [
        run.curve.assign(loss=str(run.loss), seed=run.seed, fold=run.fold)[
            ["loss", "seed", "fold", "step", "dice"]
        ]
        for run in runs
    ]
    return pd.concat(of_runs)


def cells(rows: Sequence[Row], seeds: int) -> list[dict[str, Any]]:
    """The rows for the page: texts, with the best of each column marked."""
    best = {}
    for score in SCORES:
        values = [row.mean[score] for row in rows if not math.isnan(row.mean[score])]
        if values:
            best[score] = min(values) if score in LOWER_IS_BETTER else max(values)
    return [
        {
            "loss": row.loss,
            "cells": [
                {
                    "text": show(score, row.mean[score], row.spread[score] if seeds > 1 else None),
                    "best": len(rows) > 1 and row.mean[score] == best.get(score),
                }
                for score in SCORES
            ],
        }
        for row in rows
    ]


def differences(
    cases: pd.DataFrame, reference: str, classes: Sequence[str], resamples: int
) -> list[Comparison]:
    """Every loss against the reference by all else than mean Dice: each class, each other score."""
    wanted: list[tuple[str, str | None]] = [(score, None) for score in SCORES if score != "dice"]
    if len(classes) > 1:
        wanted = [("dice", name) for name in classes] + wanted
    results = []
    for metric, class_name in wanted:
        losses = comparable(cases, reference, metric=metric, class_name=class_name)
        if losses:
            kept = cases[cases["loss"].isin([reference, *losses])]
            results += compare_to(
                kept, reference, metric=metric, class_name=class_name, resamples=resamples
            )
    return results


def difference_cells(
    comparisons: Sequence[Comparison], losses: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each class and score, a cell per loss; see `differences`."""
    by_row: dict[str, dict[str, dict[str, str]]] = {}
    for result in comparisons:
        title = TITLES[result.metric]
        if result.class_name is not None:
            title += f" of {result.class_name}"
        factor, digits = (1, 2) if result.metric in IN_UNITS else (100, 1)
        mean, low, high = (
            f"{factor * value:+.{digits}f}"
            for value in (result.difference, result.low, result.high)
        )
        sign = -1 if result.metric in LOWER_IS_BETTER else 1
        apart = sign * np.sign(result.difference) if result.low > 0 or result.high < 0 else 0
        by_row.setdefault(title, {})[result.loss] = {
            "text": mean if math.isnan(result.low) else f"{mean} ({low} to {high})",
            "verdict": {1: "good", -1: "bad"}.get(int(apart), ""),
        }
    nothing = {"text": "-", "verdict": ""}
    there = [loss for loss in losses if any(loss in row for row in by_row.values())]
    return [
        {"title": title, "cells": {loss: row.get(loss, nothing) for loss in there}}
        for title, row in by_row.items()
    ]


def trials(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Validation Dice of each learning rate that was tried, by loss."""
    by_loss: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        by_loss.setdefault(str(run.loss), []).append(
            {"rate": f"{run.info['learning_rate']:g}", "dice": show("dice", run.dice)}
        )
    return [{"loss": loss, "tried": tried} for loss, tried in by_loss.items()]


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
    return text if spread is None else f"{text} ± {factor * spread:.{digits}f}"


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
