"""What the weights look like, and the path from balanced CE to CE.

A drawn scene, no patient: a large organ, a thin vessel and two small lesions.

    python docs/figures/weight_maps.py      writes docs/figures/weight_maps.svg and path.svg,
                                            and results/weight_maps/path.csv
"""

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from dilated_ce import adaptive_dilated_weights, dilated_balanced_weights

ROOT = Path(__file__).resolve().parents[2]
SIDE = 128
CLASSES = ("background", "organ", "vessel", "lesion")
COLOURS = ("#f2f2f2", "#0072B2", "#E69F00", "#D55E00")
ADAPTIVE = "adaptive"
SHOWN = (0, 2, 8, 32, math.inf, ADAPTIVE)
RADII = (0, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
LESION, BESIDE, FAR = (30, 92), (30, 102), (120, 120)  # pixels whose weights are followed


def scene() -> Tensor:
    """Labels (1, SIDE, SIDE)."""
    row, column = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((SIDE, SIDE), dtype=np.int64)
    labels[np.hypot((row - 78) / 1.3, column - 40) <= 24] = 1
    labels[np.abs(column - 88 - 10 * np.sin(row / 14)) <= 1.5] = 2
    labels[np.hypot(row - 30, column - 92) <= 4] = 3
    labels[np.hypot(row - 96, column - 112) <= 3] = 3
    return torch.from_numpy(labels)[None]


def weigh(radius: float | str) -> Tensor:
    """The weight map (SIDE, SIDE), 1 on average: of a radius, or adaptive."""
    if radius == ADAPTIVE:
        return adaptive_dilated_weights(scene(), num_classes=len(CLASSES))[0]
    return dilated_balanced_weights(scene(), radius, num_classes=len(CLASSES))[0]


def draw_maps() -> Figure:
    """The labels, and the weights under some radii, on one logarithmic scale."""
    figure = Figure(figsize=(9, 4.9), layout="constrained")
    panels = figure.subplots(2, 4)
    labels = scene()[0]
    panels[0, 0].imshow(labels, cmap=ListedColormap(COLOURS), interpolation="nearest")
    panels[0, 0].set_title("labels", fontsize=10)
    key = panels[1, 3]
    for name, colour in zip(CLASSES, COLOURS, strict=True):
        share = 100 * float((labels == CLASSES.index(name)).float().mean())
        text = f"{name}, {share:.1f} %"
        key.plot([], [], "s", color=colour, markeredgecolor="#767676", label=text)
    key.legend(frameon=False, fontsize=9, loc="center", title="class, of the pixels")
    names = {0: "R = 0: balanced CE", math.inf: "R = ∞: CE", ADAPTIVE: "Adaptive DBCE"}
    for axes, radius in zip(panels.flat[1:7], SHOWN, strict=True):
        shown = axes.imshow(weigh(radius), norm=LogNorm(0.2, 60), cmap="viridis")
        axes.set_title(names.get(radius, f"R = {radius}"), fontsize=10)
    for axes in panels.flat:
        axes.set_axis_off()
    bar = figure.colorbar(shown, ax=panels, shrink=0.7, label="weight (1 on average)")
    bar.set_ticks([0.3, 1, 3, 10, 30], labels=["0.3", "1", "3", "10", "30"])
    return figure


def path() -> pd.DataFrame:
    """The weight of three pixels along the radius."""
    maps = {radius: weigh(radius) for radius in (*RADII, math.inf, ADAPTIVE)}
    return pd.DataFrame(
        {
            "radius": list(map(str, maps)),
            **{
                name: [float(weights[place]) for weights in maps.values()]
                for name, place in (("lesion", LESION), ("beside", BESIDE), ("far", FAR))
            },
        }
    )


def draw_path(table: pd.DataFrame) -> Figure:
    """The three weights from balanced CE to CE."""
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(6, 3.2), layout="constrained")
        axes = figure.subplots()
    fixed = table[table["radius"] != ADAPTIVE]
    places = range(len(fixed))
    for column, label, colour, style in (
        ("lesion", "in the lesion", "#D55E00", "o-"),
        ("beside", "6 px outside it", "#0072B2", "s--"),
        ("far", "far from any object", "#767676", "^:"),
    ):
        axes.plot(places, fixed[column], style, markersize=4, color=colour, label=label)
    ticks = [0, 2, 4, 6, 8, 10, 12, 14, 16, len(fixed) - 1]
    radii = ["∞" if radius == "inf" else radius for radius in fixed["radius"]]
    axes.set_xticks(ticks, [radii[tick] for tick in ticks])
    axes.set(yscale="log", xlabel="R (px): from balanced CE to CE", ylabel="weight of a pixel")
    axes.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    """Write the table and the figures."""
    table = path()
    folder = ROOT / "results" / "weight_maps"
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "path.csv", index=False, float_format="%.4g")
    mpl.rcParams["svg.hashsalt"] = "dilated-ce"  # the same figure gives the same file
    for name, figure in (("weight_maps", draw_maps()), ("path", draw_path(table))):
        figure.savefig(
            ROOT / "docs" / "figures" / f"{name}.svg", metadata={"Date": None}, facecolor="white"
        )


if __name__ == "__main__":
    main()
