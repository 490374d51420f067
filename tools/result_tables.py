"""The tables of docs/results.md on losses, from the files under results/studies/."""

import numpy as np
import pandas as pd
from evidence import SETS, STUDIES, cases_of, study_of
from marked import row

from dilated_ce.study.report.tables import Row, show, summarise
from dilated_ce.study.statistics.side_by_side import side_by_side
from dilated_ce.study.training.loss_spec import parse_loss

RADII = ("dbce:radius=2", "dbce:radius=8", "dbce:radius=32")  # of the sweeps
UNITS = {"acdc": "px"}  # the 1 mm in its files is a placeholder


def setup_table() -> str:
    """What was trained on what, and for how long."""
    lines = [
        row(["", "cases: training, validation, test", "classes", "patches", "steps", "seeds"]),
        row(["---", "---", "---", "---", "---:", "---:"]),
    ]
    for name, title in SETS.items():
        study = study_of(name)
        [fold] = study["data"]["folds"]
        training = study["training"]
        sides = " x ".join(map(str, training["patch_size"]))
        lines.append(
            row(
                [
                    title,
                    ", ".join(str(len(fold[part])) for part in ("train", "validation", "test")),
                    ", ".join(study["data"]["classes"][1:]),
                    f"{training['batch_size']} of {sides}",
                    str(training["steps"]),
                    str(cases_of(name)["seed"].nunique()),
                ]
            )
        )
    return "\n".join(lines)


def rows_of(name: str) -> list[Row]:
    """The means of each loss on a data set."""
    return summarise(side_by_side(cases_of(name)))


def scores_table() -> str:
    """The mean Dice on the test cases by loss and data set, best in bold."""
    means = {name: {one.loss: one for one in rows_of(name)} for name in SETS}
    losses = list(next(iter(means.values())))
    overall = {
        loss: float(np.mean([rows[loss].mean["dice"] for rows in means.values()]))
        for loss in losses
    }
    lines = [row(["", *SETS.values(), "mean"]), row(["---", *["---:"] * (len(SETS) + 1)])]
    for loss in losses:
        cells = []
        for rows in means.values():
            found = rows[loss]
            best = max(other.mean["dice"] for other in rows.values())
            text = show("dice", found.mean["dice"], found.spread["dice"])
            cells.append(_bold(text, found.mean["dice"] == best))
        cells.append(_bold(f"{100 * overall[loss]:.1f}", overall[loss] == max(overall.values())))
        lines.append(row([parse_loss(loss).title, *cells]))
    return "\n".join(lines)


def trade_table() -> str:
    """Recall, precision and the distance of the surfaces by loss and data set."""
    means = {name: {one.loss: one.mean for one in rows_of(name)} for name in SETS}
    titles = [f"{title} ({_unit(name)})" for name, title in SETS.items()]
    lines = [row(["recall / precision / HD95", *titles]), row(["---", *["---:"] * len(SETS)])]
    for loss in next(iter(means.values())):
        cells = [
            f"{100 * rows[loss]['recall']:.0f} / {100 * rows[loss]['precision']:.0f} / "
            f"{rows[loss]['hd95']:.1f}"
            for rows in means.values()
        ]
        lines.append(row([parse_loss(loss).title, *cells]))
    return "\n".join(lines)


def errors_table(name: str) -> str:
    """How far from the object the false positives lie: their number per 100 true voxels."""
    tables = [pd.read_csv(STUDIES / one / "false_positives.csv") for one in (name, f"{name}-radii")]
    table = pd.concat(tables).groupby(["loss", "from", "to"])["per_true_voxel"].mean()
    by_loss = 100 * table.unstack("loss")
    unit = _unit(name)
    places = [
        f"beyond {start:g} {unit}" if np.isinf(end) else f"{start:g} to {end:g} {unit}"
        for start, end in by_loss.index
    ]
    lines = [row([SETS[name], *places]), row(["---", *["---:"] * len(places)])]
    for loss in (*dict.fromkeys(cases_of(name)["loss"]), *RADII):
        lines.append(row([parse_loss(loss).title, *(f"{value:.1f}" for value in by_loss[loss])]))
    return "\n".join(lines)


def _unit(name: str) -> str:
    return UNITS.get(name) or str(study_of(name)["data"]["unit"])


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text
