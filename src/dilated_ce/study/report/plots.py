"""The plots of a report, as data URIs, so that one file holds everything."""

import base64
import io
import itertools
import warnings
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dilated_ce.study.runs.store import Run
from dilated_ce.study.statistics.comparison import Comparison
from dilated_ce.study.statistics.side_by_side import Scores
from dilated_ce.study.training.loss_spec import LossSpec

# Okabe and Ito's colours, told apart by colour-blind people too.
COLOURS = ("#767676", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = "osD^vPXp*"  # not as many as colours: both together name a loss
STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "dilated-ce",  # the same figure gives the same file
}


@mpl.rc_context(STYLE)
def forest(comparisons: Sequence[Comparison], titles: Mapping[str, str], margin: float) -> str:
    """Differences of Dice to the reference with their intervals, in points."""
    figure = Figure(figsize=(7.5, 0.9 + 0.42 * len(comparisons)), layout="constrained")
    axes = figure.subplots()
    axes.axvspan(-100 * margin, 100 * margin, color="#0072B2", alpha=0.08, linewidth=0)
    axes.axvline(0, color="#555", linewidth=1)
    # Two seeds may give an interval that is many times as wide as all else: it is cut there.
    near = [(*result.per_seed, result.low_of_runs, result.high_of_runs) for result in comparisons]
    reach = 250 * max(margin, np.nanmax(np.abs(np.concatenate(near))))
    for place, result in enumerate(comparisons):
        whole = np.clip([100 * result.low, 100 * result.high], -reach, reach)  # NaN: no line
        for end, marker in zip(whole, "<>", strict=True):
            if abs(end) == reach:
                axes.plot(end, place, marker, color="#0072B2", markersize=6, clip_on=False)
        of_runs = [100 * result.low_of_runs, 100 * result.high_of_runs]
        axes.plot(whole, [place] * 2, color="#0072B2", linewidth=1.2)
        axes.plot(of_runs, [place] * 2, color="#0072B2", linewidth=3.4, solid_capstyle="butt")
        seeds = [100 * value for value in result.per_seed]
        axes.plot(seeds, [place] * len(seeds), "o", color="#767676", markersize=3.5, alpha=0.8)
        axes.plot(
            100 * result.difference,
            place,
            "D",
            color="#0072B2",
            markersize=7,
            markeredgecolor="white",
        )
    axes.set_yticks(range(len(comparisons)), [titles[result.loss] for result in comparisons])
    axes.set_ylim(len(comparisons) - 0.5, -0.5)
    reference = titles[comparisons[0].reference] if comparisons else ""
    axes.set_xlabel(f"points of Dice above {reference}")
    axes.grid(False, axis="y")
    return _svg(figure)


@mpl.rc_context(STYLE)
def recall_and_precision(
    scores: Scores, titles: Mapping[str, str], joined: Sequence[Sequence[str]]
) -> str:
    """Recall against precision over lines of equal Dice; those of `joined` are along a path."""
    figure = Figure(figsize=(5.6, 4.9), layout="constrained")
    axes = figure.subplots()
    by_seed = scores.by_case[["recall", "precision"]].groupby("seed").mean()
    points = 100 * by_seed.stack("loss").dropna()
    values = points.to_numpy() if len(points) else np.array([0.0, 100.0])
    low, high = max(0.0, values.min() - 6), min(100.0, values.max() + 6)
    grid = np.linspace(max(low, 0.1), high, 200)
    recall, precision = np.meshgrid(grid, grid)
    lines = axes.contour(
        recall,
        precision,
        2 * recall * precision / (recall + precision),
        levels=range(0, 101, 5),
        colors="#9a9a9a",
        linewidths=0.7,
    )
    axes.clabel(lines, fmt="Dice %d", fontsize=7)
    means = points.groupby("loss").mean()
    for path in joined:
        there = [loss for loss in path if loss in means.index]
        axes.plot(
            means.loc[there, "recall"],
            means.loc[there, "precision"],
            "-",
            color="#0072B2",
            linewidth=1.2,
            alpha=0.6,
        )
    for index, (loss, title) in enumerate(titles.items()):
        of_loss = points[points.index.get_level_values("loss") == loss]
        axes.scatter(
            of_loss["recall"],
            of_loss["precision"],
            s=42,
            color=COLOURS[index % len(COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            edgecolor="white",
            label=title,
            zorder=3,
        )
    axes.set(xlabel="recall (%)", ylabel="precision (%)", xlim=(low, high), ylim=(low, high))
    axes.grid(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return _svg(figure)


def paths(specs: Sequence[LossSpec]) -> list[list[str]]:
    """DBCE under radii alone different, from balanced CE (R = 0) to CE (R = infinity)."""
    ends = {spec.name: [spec] for spec in specs if spec.name in ("balanced-ce", "ce")}
    found: dict[str, list[LossSpec]] = {}
    for spec in specs:
        rest = {key: value for key, value in spec.settings.items() if key != "radius"}
        if spec.name == "dbce" and isinstance(spec.settings["radius"], float):
            found.setdefault(repr(rest), []).append(spec)
    return [
        [
            str(spec)
            for spec in (
                *ends.get("balanced-ce", []),
                *sorted(path, key=lambda spec: spec.settings["radius"]),
                *ends.get("ce", []),
            )
        ]
        for path in found.values()
        if len(path) > 1
    ]


@mpl.rc_context(STYLE)
def learning_curves(runs: Sequence[Run], specs: Sequence[LossSpec]) -> str:
    """Validation Dice along the steps, and the training loss relative to its start."""
    validated = any(len(run.curve) for run in runs)
    figure = Figure(figsize=(9.6 if validated else 5.2, 3.4), layout="constrained")
    panels = figure.subplots(1, 2 if validated else 1, squeeze=False)[0]
    left, right = panels[0], panels[-1]
    dashes = itertools.cycle(("-", "--", ":", "-."))
    for index, spec in enumerate(specs):
        if index % len(COLOURS) == 0:
            dash = next(dashes)
        of_loss = [run for run in runs if run.loss == spec]
        if not of_loss:
            continue
        style = {"color": COLOURS[index % len(COLOURS)], "linestyle": dash, "label": spec.title}
        curve = pd.concat([run.curve for run in of_loss])
        if len(curve):
            dice = 100 * curve.groupby("step")["dice"].agg(["mean", "min", "max"])
            marker = MARKERS[index % len(MARKERS)]
            left.plot(dice.index, dice["mean"], marker=marker, markersize=4, **style)
            left.fill_between(
                dice.index, dice["min"], dice["max"], color=style["color"], alpha=0.12, linewidth=0
            )
        losses = pd.concat([run.losses for run in of_loss])
        mean = losses.groupby("step")["loss"].mean()
        smooth = mean.ewm(span=max(2, len(mean) // 15)).mean()
        right.plot(smooth.index, smooth / mean.iloc[0], **style)
    if validated:
        left.set(xlabel="step", ylabel="Dice (%)", title="Validation Dice (band: range over runs)")
    right.set(xlabel="step", ylabel="loss / first loss", title="Training loss, smoothed")
    right.legend(frameon=False, fontsize=8)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Glyph .* missing")
        try:
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        except UserWarning:  # letters that Matplotlib's font lacks: the browser has them
            warnings.filterwarnings("ignore", "Glyph .* missing")
            buffer = io.BytesIO()
            with mpl.rc_context({"svg.fonttype": "none"}):
                figure.savefig(buffer, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
