"""The figures of the page, as data URIs."""

import base64
import io
import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from dilated_ce.inspection.advice import foreground_shares
from dilated_ce.inspection.measuring import Measured
from dilated_ce.inspection.words import radius_name
from dilated_ce.study.data.cases import DataSet

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#5c6670"
STYLE = {
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "dilated-ce",  # the same figure gives the same file
}


@mpl.rc_context(STYLE)
def foreground_histogram(measured: Measured) -> str:
    """How many training cases have how much foreground, on a logarithmic axis if they differ."""
    shares = foreground_shares(measured).to_numpy() * 100
    present = shares[shares > 0]
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.subplots()
    if len(present):
        uneven = present.max() / present.min() > 20
        space = np.geomspace if uneven else np.linspace
        ends = (present.min() * 0.98, present.max() * 1.02)
        bins = min(20, max(5, math.ceil(math.sqrt(len(present)))))
        axes.hist(present, bins=space(*ends, bins + 1).tolist(), color=BLUE, edgecolor="white")
        if uneven:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    empty = len(shares) - len(present)
    note = f" ({empty} without any)" if empty else ""
    axes.set(xlabel=f"foreground (% of the voxels){note}", ylabel="training cases")
    return _svg(figure)


@mpl.rc_context(STYLE)
def imbalance_curve(measured: Measured, data: DataSet) -> str:
    """The effective imbalance against R, for both scopes of the volumes."""
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.subplots()
    for scope, colour, style, label in (
        ("data", BLUE, "o-", "volumes of the training part"),
        ("image", ORANGE, "s--", "volumes of each image (median)"),
    ):
        rows = [measured.weights_at(radius, scope) for radius in measured.radii]
        values = [row["imbalance"] for row in rows]
        axes.plot(range(len(rows)), values, style, color=colour, markersize=5, label=label)
    axes.axhline(1, color=GREY, linewidth=1, linestyle=":")
    _finish(axes, measured.radii, data, "largest / smallest class weight")
    return _svg(figure)


@mpl.rc_context(STYLE)
def weight_curves(measured: Measured, data: DataSet) -> str:
    """The mean weight of foreground, rim and far background against R."""
    figure = Figure(figsize=(4.8, 3.4), layout="constrained")
    axes = figure.subplots()
    rows = [measured.weights_at(radius, "data") for radius in measured.radii]
    for place, colour, style, label in (
        ("foreground", BLUE, "o-", "foreground"),
        ("rim", ORANGE, "s--", "background within R of it"),
        ("far", GREY, "^-.", "background beyond"),
    ):
        values = [row[place] for row in rows]
        axes.plot(range(len(rows)), values, style, color=colour, markersize=5, label=label)
    axes.axhline(1, color=GREY, linewidth=1, linestyle=":")
    _finish(axes, measured.radii, data, "mean weight of a voxel")
    return _svg(figure)


def _finish(axes: mpl.axes.Axes, radii: Sequence[float], data: DataSet, label: str) -> None:
    """A category for each radius, as 0 and infinity have no place on a scale; values by log."""
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xticks(range(len(radii)), [radius_name(radius) for radius in radii])
    axes.set(xlabel=f"radius R ({data.unit})", ylabel=label)
    axes.legend(frameon=False, fontsize=9)


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"
