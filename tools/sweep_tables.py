"""The tables of docs/results.md on radius, scope and overlap, from results/studies/*-radii/."""

import math

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

from dilated_ce.study.losses import parse_loss
from dilated_ce.study.reporting.tables import summarise


def with_ends(name: str) -> pd.DataFrame:
    """The scores of a sweep, and of the main study under the seeds that the sweep has."""
    return pd.concat([of_same_seeds(name), cases_of(f"{name}-radii")])


def sweep_table() -> str:
    """Dice along the radius on each data set: batch volumes / image volumes."""
    tables = {name: sweep(name)["dice"].unstack("balance") for name in SETS}
    radii = sorted({radius for table in tables.values() for radius in table.index})
    lines = [
        row(["R: batch / image", *(show_radius(radius) for radius in radii), "auto"]),
        row(["---", *["---:"] * (len(radii) + 1)]),
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
    common = set.intersection(*(set(table["loss"]) for table in tables))
    lines = [
        row(["auto minus a fixed R", *SETS.values(), "all four"]),
        row(["---", *["---"] * (len(SETS) + 1)]),
    ]
    for loss in sorted(common, key=_by_scope_and_radius):
        settings = parse_loss(loss).settings
        if settings.get("radius", "auto") == "auto" or settings.get("overlap") == "max":
            continue
        found = [difference(cases, AUTO, loss) for cases in tables]
        found.append(pooled(tables, AUTO, loss))
        scope = settings.get("balance", "batch")
        name = f"R = {show_radius(settings['radius'])}, {scope} volumes"
        lines.append(row([name, *map(str, found)]))
    return "\n".join(lines)


def balance_table() -> str:
    """Points of Dice that volumes of the image are above those of the batch, radius by radius."""
    tables = [with_ends(name) for name in SETS]
    lines = [
        row(["image minus batch", *SETS.values(), "all four"]),
        row(["---", *["---"] * (len(SETS) + 1)]),
    ]
    pairs = {f"R = {radius}": f"dbce:radius={radius}" for radius in (0, 2, 4, 8)}
    pairs = {name: (f"{loss},balance=image", loss) for name, loss in pairs.items()}
    pairs |= {"R = 0": (pairs["R = 0"][0], "balanced-ce"), "auto": (AUTO, f"{AUTO},balance=batch")}
    for name, (image, batch) in pairs.items():
        found = [difference(cases, image, batch) for cases in tables]
        lines.append(row([name, *map(str, found), str(pooled(tables, image, batch))]))
    return "\n".join(lines)


def overlap_table() -> str:
    """Points of Dice that overlap="max" is above "sum", where both were trained."""
    lines = [row(["max minus sum", *SETS.values(), "all four"])]
    lines.append(row(["---", *["---"] * (len(SETS) + 1)]))
    for scope in ("batch", "image"):
        tables = []
        for name in SETS:
            cases = with_ends(name)
            [largest] = [loss for loss in cases["loss"].unique() if _is_largest(loss, scope)]
            names = {largest: "max", largest.removesuffix(",overlap=max"): "sum"}
            tables.append(cases.assign(loss=cases["loss"].replace(names)))
        found = [difference(cases, "max", "sum") for cases in tables]
        cells = [*map(str, found), str(pooled(tables, "max", "sum"))]
        lines.append(row([f"{scope} volumes", *cells]))
    return "\n".join(lines)


def _by_scope_and_radius(loss: str) -> tuple[str, float]:
    settings = parse_loss(loss).settings
    radius = settings.get("radius", "auto")
    return settings.get("balance", "batch"), math.inf if radius == "auto" else radius


def _is_largest(loss: str, scope: str) -> bool:
    settings = parse_loss(loss).settings
    return settings.get("overlap") == "max" and settings.get("balance", "batch") == scope
