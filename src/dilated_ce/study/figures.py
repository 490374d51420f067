"""The pictures of a report, as data URIs, so that one file holds everything."""

import base64
import io
import math
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from dilated_ce import dilated_balanced_weights
from dilated_ce.study.data import Case
from dilated_ce.study.losses import LossSpec
from dilated_ce.study.summary import per_seed

# Okabe and Ito's colours, told apart by colour-blind people too.
LINE_COLOURS = ("#767676", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = "osD^vPXp*"  # not as many as colours: both together name a loss
HITS, FALSE_POSITIVES, FALSE_NEGATIVES = "#F2F2F2", "#FF9F1C", "#3DA5FF"

STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.hashsalt": "dilated-ce",  # the same figure gives the same file
}


def photograph(case: Case) -> str:
    """The image itself."""
    pixels = (case.image.transpose(1, 2, 0) * 255).round().clip(0, 255).astype(np.uint8)
    return _png(Image.fromarray(pixels))


def overlay(case: Case, prediction: NDArray[np.uint8]) -> str:
    """The dimmed image with hits, false positives and false negatives in colour.

    A pixel of one foreground class that is predicted as another counts as a false positive.
    """
    grey = case.image.mean(0)
    # 32 grey levels and three colours fit a palette, which keeps the file small.
    indices = (grey / max(float(grey.max()), 1e-6) * 31).round().astype(np.uint8)
    levels = [round(level * 0.45 * 255 / 31) for level in range(32)]
    palette = [channel for level in levels for channel in (level,) * 3]
    found, true = prediction > 0, case.labels > 0
    for mask, colour in (
        (true & (prediction == case.labels), HITS),
        (found & (prediction != case.labels), FALSE_POSITIVES),
        (true & ~found, FALSE_NEGATIVES),
    ):
        indices[mask] = len(palette) // 3
        palette += [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    picture = Image.fromarray(indices, mode="P")
    picture.putpalette(palette)
    return _png(picture)


@mpl.rc_context(STYLE)
def trade_off(cases: pd.DataFrame, specs: Sequence[LossSpec]) -> str:
    """Recall against precision, a point per loss and seed, over lines of equal Dice."""
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    axes = figure.subplots()
    scores = per_seed(cases).dropna()
    bounds = scores[["recall", "precision"]].to_numpy()
    if bounds.size == 0:  # no network found anything
        bounds = np.array([0.0, 100.0])
    low, high = max(0.0, bounds.min() - 6), min(100.0, bounds.max() + 6)
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
    for index, spec in enumerate(specs):
        points = scores[scores.index.get_level_values("loss") == str(spec)]
        axes.scatter(
            points["recall"],
            points["precision"],
            s=48,
            color=LINE_COLOURS[index % len(LINE_COLOURS)],
            marker=MARKERS[index % len(MARKERS)],
            edgecolor="white",
            label=spec.title,
            zorder=3,
        )
    axes.set(xlabel="recall (%)", ylabel="precision (%)", xlim=(low, high), ylim=(low, high))
    axes.grid(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    return _svg(figure)


@mpl.rc_context(STYLE)
def learning_curves(
    curves: Mapping[LossSpec, pd.DataFrame], losses: Mapping[LossSpec, pd.DataFrame]
) -> str:
    """Test Dice along the steps, and the training loss relative to its start.

    Args:
        curves: by loss, columns `seed`, `step`, `dice`.
        losses: by loss, columns `seed`, `step`, `loss`.
    """
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for index, spec in enumerate(curves):
        style = {
            "color": LINE_COLOURS[index % len(LINE_COLOURS)],
            "linestyle": ("-", "--", ":", "-.")[index // len(LINE_COLOURS) % 4],
            "label": spec.title,
        }
        curve = curves[spec].groupby("step")["dice"].agg(["mean", "min", "max"]) * 100
        left.plot(
            curve.index, curve["mean"], marker=MARKERS[index % len(MARKERS)], markersize=4, **style
        )
        left.fill_between(
            curve.index, curve["min"], curve["max"], color=style["color"], alpha=0.15, linewidth=0
        )
        mean = losses[spec].groupby("step")["loss"].mean()
        smooth = mean.ewm(span=max(2, len(mean) // 15)).mean()
        right.plot(smooth.index, smooth / mean.iloc[0], **style)
    left.set(xlabel="step", ylabel="test Dice (%)", title="Test Dice (band: range over seeds)")
    right.set(xlabel="step", ylabel="loss / first loss", title="Training loss, smoothed")
    right.legend(frameon=False, fontsize=8)
    return _svg(figure)


@mpl.rc_context(STYLE)
def weight_maps(case: Case, num_classes: int, radii: Sequence[float]) -> str:
    """The weight map of one image for several radii, on one logarithmic scale."""
    labels = torch.from_numpy(case.labels)[None]
    maps = [
        dilated_balanced_weights(labels, radius, num_classes=num_classes)[0].numpy()
        for radius in radii
    ]
    height, width = case.labels.shape
    # Room for the titles above and the colour bar below the panels.
    figure = Figure(figsize=(11, 11 / len(radii) * height / width + 0.95), layout="constrained")
    panels = figure.subplots(1, len(radii), squeeze=False)[0]
    lowest = min(float(m.min()) for m in maps)
    highest = max(float(m.max()) for m in maps) * 1.001  # a scale needs an extent
    for axes, radius, weights in zip(panels, radii, maps, strict=True):
        shown = axes.imshow(
            weights, norm=LogNorm(lowest, highest), cmap="cividis", interpolation="nearest"
        )
        ends = {0.0: " (balanced CE)", math.inf: " (CE)"}
        name = "∞" if radius == math.inf else f"{radius:g}"
        axes.set_title(f"R = {name}{ends.get(radius, '')}", fontsize=10)
        axes.set_axis_off()
    bar = figure.colorbar(shown, ax=list(panels), orientation="horizontal", shrink=0.4, aspect=40)
    ticks = [
        tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if lowest <= tick <= highest
    ]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks], minor=False)
    bar.minorticks_off()
    bar.set_label("weight of a pixel (mean 1)", fontsize=9)
    return _svg(figure, dpi=200)


def _svg(figure: Figure, dpi: int = 100) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", dpi=dpi, metadata={"Date": None})
    return _uri("image/svg+xml", buffer.getvalue())


def _png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return _uri("image/png", buffer.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
