"""The tables of docs/results.md on radius, scope and overlap, from results/studies/*-radii/."""

import math
from itertools import product

import numpy as np
import pandas as pd
from evidence import (
    AUTO,
    SETS,
    cases_of,
    difference,
    of_same_seeds,
    pooled,
    show_radius,
    sweep,
)
from marked import row

from dilated_ce.study.report.tables import summarise
from dilated_ce.study.training.loss_spec import parse_loss

RADII = (0, 2, 4, 8, math.inf)  # that were trained on all data sets


def with_ends(name: str) -> pd.DataFrame:
    """The scores of a sweep, and of the main study under the seeds that the sweep has."""
    return pd.concat([of_same_seeds(name), cases_of(f"{name}-radii")])


def sweep_table() -> str:
    """Dice along the radius on each data set: batch volumes / image volumes."""
    tables = {name: sweep(name)["dice"].unstack("balance") for name in SETS}
    radii = sorted({radius for table in tables.values() for radius in table.index})
    lines = [
        row(["R: batch / image", *(show_radius(radius) for radius in radii), "auto"]),
        row(["---", *[":---:"] * (len(radii) + 1)]),  # pairs, which may wrap at the stroke
    ]
    for name, table in tables.items():
        automatic = [
            one.mean["dice"]
            for cases in (cases_of(f"{name}-radii"), of_same_seeds(name))
            for one in summarise(cases)
            if one.loss in (f"{AUTO},balance=batch", AUTO)
        ]
        cells = []
        for radius in radii:
            values = table.reindex([radius])[["batch", "image"]].to_numpy()[0]
            shown = ["-" if np.isnan(value) else f"{100 * value:.1f}" for value in values]
            cells.append("" if np.isnan(values).all() else " / ".join(shown))
        cells.append(" / ".join(f"{100 * value:.1f}" for value in automatic))
        lines.append(row([SETS[name], *cells]))
    return "\n".join(lines)


def fixed_table() -> str:
    """Points of Dice that the automatic radius is above one radius for all data sets."""
    tables = [with_ends(name) for name in SETS]
    lines = _header("auto minus a fixed R")
    for scope, radius in product(("batch", "image"), RADII):
        name = f"R = {show_radius(radius)}, {scope} volumes"
        lines.append(_differences(name, tables, AUTO, _loss_at(radius, scope)))
    return "\n".join(lines)


def balance_table() -> str:
    """Points of Dice that volumes of the image are above those of the batch, radius by radius."""
    tables = [with_ends(name) for name in SETS]
    lines = _header("image minus batch")
    for radius in RADII[:-1]:
        losses = _loss_at(radius, "image"), _loss_at(radius, "batch")
        lines.append(_differences(f"R = {show_radius(radius)}", tables, *losses))
    lines.append(_differences("auto", tables, AUTO, f"{AUTO},balance=batch"))
    return "\n".join(lines)


def overlap_table() -> str:
    """Points of Dice that overlap="max" is above "sum", where both were trained."""
    lines = _header("max minus sum")
    for scope in ("batch", "image"):
        tables = []
        for name in SETS:
            cases = with_ends(name)
            [largest] = [loss for loss in cases["loss"].unique() if _is_largest(loss, scope)]
            names = {largest: "max", largest.removesuffix(",overlap=max"): "sum"}
            tables.append(cases.assign(loss=cases["loss"].replace(names)))
        lines.append(_differences(f"{scope} volumes", tables, "max", "sum"))
    return "\n".join(lines)


def _header(title: str) -> list[str]:
    return [row([title, *SETS.values(), "all four"]), row(["---", *["---"] * (len(SETS) + 1)])]


def _differences(name: str, tables: list[pd.DataFrame], loss: str, reference: str) -> str:
    found = [difference(cases, loss, reference) for cases in tables]
    return row([name, *map(str, found), str(pooled(tables, loss, reference))])


def _loss_at(radius: float, scope: str) -> str:
    """A loss along the radius; the ends, with batch volumes, are those of the main study."""
    if scope == "image":
        return f"dbce:radius={radius:g},balance=image"
    return {0: "balanced-ce", math.inf: "ce"}.get(radius, f"dbce:radius={radius:g}")


def _is_largest(loss: str, scope: str) -> bool:
    settings = parse_loss(loss).settings
    return settings.get("overlap") == "max" and settings.get("balance", "batch") == scope
