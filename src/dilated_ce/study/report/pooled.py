"""The page over several data sets: each method's mean difference, and what pooling assumes."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from dilated_ce.study.files import write_csv, write_json, write_text
from dilated_ce.study.report.page import Subject, finite, in_word, keys_in_word, template
from dilated_ce.study.report.sentences import NAMES
from dilated_ce.study.report.tables import TITLES, signed
from dilated_ce.study.scores.table import IN_UNITS
from dilated_ce.study.statistics.comparison import FAMILY, Comparison
from dilated_ce.study.statistics.pooling import Mean, Pooled, pool
from dilated_ce.study.wording import some

ASSUMED = (
    "The mean of data sets takes these as a random sample of data sets like them, each with "
    "patients and networks of its own. It says nothing if they were chosen for what they show, or "
    "share patients, and little of data sets of another kind."
)


def write_pooled(
    out: Path,
    cases: pd.DataFrame,
    subject: Subject,
    families: Mapping[str, Sequence[Comparison]],
    pages: Mapping[str, Path],
    *,
    reference: str,
    troubles: Sequence[str] = (),
) -> Path:
    """Write `cases.csv`, `summary.json` and `report.html` over several data sets.

    Args:
        out: folder for the files.
        cases: rows as in `cases.csv`, with the column dataset.
        subject: what the page says of all of them.
        families: the comparisons of each data set.
        pages: the report of each data set, in a folder of `out`.
        reference: what the others are compared with.
        troubles: what is worth a warning.

    Returns:
        The path to the page.
    """
    pooled = pool(families)
    said = [sentence(pooled, method, subject.unit) for method in _methods(pooled)]
    without = [name for name, family in families.items() if not family]
    troubles = list(troubles)
    if without:
        troubles.append(
            f"{some(without)}: no method shares a run with {reference}; in no mean of data sets"
        )
    limits = [ASSUMED]
    if any(len(one.data_sets) == 2 for one in pooled):
        limits.append("Two data sets tell next to nothing of how such differ: intervals are wide.")
    if any(not one.over.weighted for one in pooled):
        limits.append(
            "Where a data set shows no spread, or has one patient, it cannot be weighed: there "
            "each data set counts the same."
        )
    write_csv(out / "cases.csv", in_word(cases, subject.word))
    summary = {
        "reference": reference,
        "data_sets": {name: path.relative_to(out).as_posix() for name, path in pages.items()},
        "pooled": [_plain(one) for one in pooled],
        **{"losses": {}, "verdicts": [], "exploration": []},  # those are in the reports of each
        "sentences": said,
        "troubles": troubles,
    }
    write_json(out / "summary.json", finite(keys_in_word(summary, subject.word)))
    sizes = cases.groupby("dataset")["case"].nunique()
    page = template("pooled.html.j2").render(
        name=subject.name,
        source=subject.source,
        titles=list(dict.fromkeys(cases["loss"])),
        reference=reference,
        data_sets=[
            {
                "name": name,
                "link": quote(path.relative_to(out).as_posix()),
                "cases": int(sizes[name]),
            }
            for name, path in pages.items()
        ],
        troubles=troubles,
        sentences=said,
        limits=limits,
        metrics=[
            {
                "title": TITLES[metric],
                "rows": [_row(one, list(pages)) for one in pooled if one.metric == metric],
            }
            for metric in FAMILY
            if any(one.metric == metric for one in pooled)
        ],
        settings=subject.settings,
        versions=subject.versions,
    )
    path = out / "report.html"
    write_text(path, page)
    return path


def sentence(pooled: Sequence[Pooled], method: str, unit: str) -> str:
    """What the data sets say together of a method."""
    parts = []
    for one in (one for one in pooled if one.loss == method):
        factor, what = (1, f" {unit}") if one.metric in IN_UNITS else (100, " points")
        over = one.over
        text = (
            f"{NAMES[one.metric]} {factor * over.mean:+.1f}{what} (95 % interval "
            f"{factor * over.low:+.1f} to {factor * over.high:+.1f}"
        )
        if not math.isnan(over.low_of_next):
            ends = " to ".join(f"{factor * e:+.1f}" for e in (over.low_of_next, over.high_of_next))
            text += f"; one more data set: {ends}"
        parts.append(f"{text}; {len(one.data_sets)} data sets)")
    reference = pooled[0].reference
    return f"{method} beside {reference}, mean of data sets: {'; '.join(parts)}."


def _methods(pooled: Sequence[Pooled]) -> list[str]:
    return list(dict.fromkeys(one.loss for one in pooled))


def _row(one: Pooled, names: Sequence[str]) -> dict[str, Any]:
    parts = dict(zip(one.data_sets, one.differences, strict=True))
    over = one.over
    return {
        "method": one.loss,
        "cells": [_cell(one.metric, parts[name]) if name in parts else "-" for name in names],
        "mean": _mean(one.metric, over),
        "next": "-"
        if math.isnan(over.low_of_next)
        else f"{signed(one.metric, over.low_of_next)} to {signed(one.metric, over.high_of_next)}",
    }


def _mean(metric: str, over: Mean) -> str:
    ends = f"{signed(metric, over.low)} to {signed(metric, over.high)}"
    return f"{signed(metric, over.mean)} ({ends})"


def _cell(metric: str, part: Comparison) -> str:
    if math.isnan(part.low):
        return signed(metric, part.difference)
    ends = (part.low, part.high) if part.seeds > 1 else (part.low_of_runs, part.high_of_runs)
    return f"{signed(metric, part.difference)} ({' to '.join(signed(metric, e) for e in ends)})"


def _plain(one: Pooled) -> dict[str, Any]:
    """For machines."""
    return {
        "loss": one.loss,
        "metric": one.metric,
        **dataclasses.asdict(one.over),
        "comparisons": one.comparisons,
        "data_sets": {
            name: {"difference": part.difference, "error": part.error, "groups": part.groups}
            for name, part in zip(one.data_sets, one.differences, strict=True)
        },
    }
