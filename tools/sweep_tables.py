"""The tables of docs/results.md on radius and scope, from results/studies/*-radii/."""

import numpy as np
import pandas as pd
from evidence import SETS, difference, pooled, show_radius, sweep, with_ends
from marked import row

from dilated_ce.study.scores.table import IN_UNITS
from dilated_ce.study.training.loss_spec import parse_loss

RADII = (2, 4, 8)  # that were trained on all data sets


def sweep_table(score: str) -> str:
    """A score along the radius on each data set: batch volumes / image volumes."""
    tables = {name: sweep(name)[score].unstack("volumes") for name in SETS}
    radii = sorted({radius for table in tables.values() for radius in table.index})
    lines = [
        row(["R: batch / image", *map(show_radius, radii)]),
        row(["---", *[":---:"] * len(radii)]),  # pairs, which may wrap at the stroke
    ]
    for name, table in tables.items():
        cells = []
        for radius in radii:
            values = table.reindex([radius])[["batch", "image"]].to_numpy()[0]
            shown = [f"{value if score in IN_UNITS else 100 * value:.1f}" for value in values]
            cells.append("" if np.isnan(values).all() else " / ".join(shown))
        lines.append(row([SETS[name], *cells]))
    return "\n".join(lines)


def fixed_table() -> str:
    """Points of Dice that one radius, with volumes of the batch, is above other losses."""
    lines = _header("DBCE")
    for reference in ("balanced-ce", "ce", "dice-ce"):
        for radius in RADII:
            name = f"R = {radius} minus {parse_loss(reference).title}"
            lines.append(_differences(name, _loss_at(radius, "batch"), reference))
    return "\n".join(lines)


def scope_table() -> str:
    """Points of Dice that volumes of the image are above those of the batch, radius by radius."""
    lines = _header("image minus batch")
    for radius in (0, *RADII):
        losses = _loss_at(radius, "image"), _loss_at(radius, "batch")
        lines.append(_differences(f"R = {radius}", *losses))
    return "\n".join(lines)


def _header(title: str) -> list[str]:
    return [row([title, *SETS.values(), "mean"]), row(["---", *["---"] * (len(SETS) + 1)])]


def _differences(name: str, loss: str, reference: str) -> str:
    tables: list[pd.DataFrame] = [with_ends(name) for name in SETS]
    found = [difference(cases, loss, reference) for cases in tables]
    return row([name, *map(str, found), str(pooled(tables, loss, reference))])


def _loss_at(radius: float, scope: str) -> str:
    """A loss along the radius; R = 0 with batch volumes is that of the main study."""
    if scope == "image":
        return f"dbce:radius={radius:g},volumes=image"
    return f"dbce:radius={radius:g}" if radius > 0 else "balanced-ce"
