"""The report of a study: one HTML file that opens offline and holds everything."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from dilated_ce.study import figures
from dilated_ce.study.config import StudyConfig
from dilated_ce.study.data import StudyData
from dilated_ce.study.losses import LossSpec
from dilated_ce.study.runs import Run, versions, write_atomically
from dilated_ce.study.summary import METRICS, caution, compare, count, summarise

WEIGHT_MAP_RADII = (0.0, 2.0, 4.0, 8.0, math.inf)
SHOWN_CASES = 3  # the others are folded away


def write_report(config: StudyConfig, data: StudyData, runs: Sequence[Run]) -> Path:
    """Write `report.html` into the study's folder; the path to it."""
    cases = pd.concat([run.cases for run in runs])
    specs = list(dict.fromkeys(run.loss for run in runs))
    by_loss = {spec: [run for run in runs if run.loss == spec] for spec in specs}
    # Autoescape: names of files and folders come from outside and must not become markup.
    environment = Environment(
        loader=PackageLoader("dilated_ce.study"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["count"] = count
    page = environment.get_template("report.html.j2").render(
        data=data,
        config=config,
        training=config.training.model_dump(),
        versions=versions(config.training.device),
        specs=specs,
        metrics=METRICS,
        rows=_rows(cases, by_loss),
        differences=compare(cases),
        caution=caution(config.seeds, len(data.test)),
        omitted=int(cases[list(METRICS)].isna().any(axis=1).sum()),
        num_scores=len(cases),
        troubles=_troubles(runs),
        trade_off=figures.trade_off(cases, specs),
        learning_curves=figures.learning_curves(
            {spec: _stack(by_loss[spec], "curve") for spec in specs},
            {spec: _stack(by_loss[spec], "losses") for spec in specs},
        ),
        weight_map_case=data.test[0].name,
        weight_maps=figures.weight_maps(data.test[0], len(data.classes), WEIGHT_MAP_RADII),
        gallery=_gallery(data, cases, by_loss),
        shown_cases=SHOWN_CASES,
        colours={
            "hit": figures.HITS,
            "false positive": figures.FALSE_POSITIVES,
            "false negative": figures.FALSE_NEGATIVES,
        },
    )
    path = config.out / "report.html"
    write_atomically(path, page)
    return path


def _rows(cases: pd.DataFrame, by_loss: dict[LossSpec, list[Run]]) -> list[dict[str, Any]]:
    rows = summarise(cases)
    best = pd.DataFrame([row.mean for row in rows]).max()  # leaves out what has no meaning
    return [
        {
            "title": row.loss.title,
            "name": str(row.loss),
            "cells": [
                {"text": text, "best": row.mean[metric] == best[metric]}
                for metric, text in zip(METRICS, row.cells(), strict=True)
            ],
            "seconds": sum(run.info["seconds"] for run in by_loss[row.loss])
            / len(by_loss[row.loss]),
        }
        for row in rows
    ]


def _troubles(runs: Sequence[Run]) -> list[str]:
    """Runs that went wrong, in words; they stay in every table."""
    troubles = []
    for run in runs:
        name = f"{run.loss.title}, seed {run.seed}"
        if run.diverged:
            troubles.append(f"{name}: the training loss became infinite or not a number.")
        if run.collapsed:
            troubles.append(f"{name}: collapsed; it finds no voxel of a class in any test image.")
    return troubles


def _stack(runs: Sequence[Run], table: str) -> pd.DataFrame:
    return pd.concat([getattr(run, table).assign(seed=run.seed) for run in runs])


def _gallery(
    data: StudyData, cases: pd.DataFrame, by_loss: dict[LossSpec, list[Run]]
) -> list[dict[str, Any]]:
    """Every test case under every loss (first seed): worst, median and best, then the others."""
    dice = cases.groupby("case")["dice"].mean().dropna().sort_values(kind="stable")
    picks = [0, len(dice) // 2, len(dice) - 1]
    names = [dice.index[pick] for pick in picks] if len(dice) > 2 else []
    roles = dict(zip(names, ("worst", "median", "best"), strict=False))
    by_name = {case.name: case for case in data.test}
    ordered = names + [name for name in by_name if name not in names]
    first_seed = {spec: runs[0].predictions for spec, runs in by_loss.items()}
    dice = cases[cases["seed"] == 0].groupby(["loss", "case"])["dice"].mean() * 100
    gallery = []
    for name in ordered:
        case = by_name[name]
        panels: list[dict[str, Any]] = [
            {"title": "image", "source": figures.photograph(case), "dice": None},
            {"title": "truth", "source": figures.overlay(case, case.labels), "dice": None},
        ]
        for spec, predictions in first_seed.items():
            score = float(dice[str(spec), name])
            panels.append(
                {
                    "title": spec.title,
                    "source": figures.overlay(case, predictions[name]),
                    "dice": None if math.isnan(score) else score,
                }
            )
        gallery.append({"name": name, "role": roles.get(name, ""), "panels": panels})
    return gallery
