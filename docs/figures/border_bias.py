"""Why dilation helps: where the best possible predictor puts the border of an object.

Discs of true radius 8 px are labelled with radii that vary by sigma = 2 px from image to image, as
when annotators disagree or the image is blurred. A predictor that sees only the distance from the
centre, and minimises a weighted cross entropy, predicts at each distance the weighted share of the
pixels that are labelled as object. Its border lies where that share is 0.5. No training: the
shares are counted per distance bin.

    python docs/figures/border_bias.py      writes results/border_bias/crossings.csv
                                            and docs/figures/border_bias.svg
"""

import csv
import math
from pathlib import Path

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from torch import Tensor

from dilated_ce import adaptive_dilated_weights, dilated_balanced_weights

ROOT = Path(__file__).resolve().parents[2]
TRUE_RADIUS, SIGMA = 8.0, 2.0
IMAGES, SIDE = 2000, 64
BIN = 0.5  # px
RADII = (0, 1, 2, 3, 4, 6, 12, math.inf)
BATCH, IMAGE = "batch", "image"  # where the volumes are counted
ADAPTIVE = ("adaptive", IMAGE)  # no radius; its volumes are those of the image
SHOWN = {
    (0, BATCH): ("balanced CE (R = 0)", "#E69F00", "-"),
    (2, BATCH): ("DBCE, R = 2", "#56B4E9", "-"),
    (6, BATCH): ("DBCE, R = 6", "#0072B2", "-"),
    ADAPTIVE: ("Adaptive DBCE", "#009E73", "-."),
    (math.inf, BATCH): ("CE (R = ∞)", "#767676", "--"),
}


def noisy_discs(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Labels (IMAGES, SIDE, SIDE) of the discs, and the distance of each pixel from its centre."""
    random = torch.Generator().manual_seed(seed)
    centre = SIDE / 2 + torch.rand(IMAGES, 2, generator=random) - 0.5
    axis = torch.arange(SIDE) + 0.5
    distance = torch.hypot(
        axis[None, :, None] - centre[:, 0, None, None],
        axis[None, None, :] - centre[:, 1, None, None],
    )
    labelled = TRUE_RADIUS + SIGMA * torch.randn(IMAGES, generator=random)
    return (distance <= labelled[:, None, None]).long(), distance


def object_shares(labels: Tensor, distance: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The centres of the distance bins, and the weighted share of object pixels in each."""
    bins = (distance / BIN).long().flatten()
    total = torch.bincount(bins, weights.double().flatten())
    of_object = torch.bincount(bins, (weights * labels).double().flatten(), len(total))
    return (torch.arange(len(total)) + 0.5) * BIN, of_object / total


def crossing(centres: Tensor, shares: Tensor) -> float:
    """The distance at which the share falls through 0.5, interpolated between bins."""
    last = int((shares >= 0.5).nonzero().max())
    above, below = shares[last].item(), shares[last + 1].item()
    return centres[last].item() + BIN * (above - 0.5) / (above - below)


def experiment() -> dict[tuple[float | str, str], tuple[Tensor, Tensor]]:
    """Bin centres and object shares for each radius and scope of the volumes, and for adaptive."""
    labels, distance = noisy_discs()
    maps: dict[tuple[float | str, str], Tensor] = {
        (radius, scope): dilated_balanced_weights(labels, radius, num_classes=2, volumes=scope)
        for scope in (BATCH, IMAGE)
        for radius in RADII
    }
    maps[ADAPTIVE] = adaptive_dilated_weights(labels, num_classes=2)
    return {key: object_shares(labels, distance, weights) for key, weights in maps.items()}


def draw(results: dict[tuple[float | str, str], tuple[Tensor, Tensor]]) -> Figure:
    """Shares along the distance, and the border against the radius."""
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
    left.axhline(0.5, color="#bbbbbb", linewidth=0.8)
    left.axvline(TRUE_RADIUS, color="#bbbbbb", linewidth=0.8)
    for setting, (name, colour, style) in SHOWN.items():
        left.plot(*results[setting], style, color=colour, label=name)
    left.set(
        xlim=(2, 16),
        xlabel="distance from the centre (px)",
        ylabel="predicted share of object",
        title="The best possible predictor",
    )
    left.legend(frameon=False, fontsize=8)

    finite = [radius for radius in RADII if radius != math.inf]
    right.axhline(TRUE_RADIUS, color="#bbbbbb", linewidth=0.8)
    right.annotate("true border", (12, TRUE_RADIUS), (0, 4), textcoords="offset points", ha="right")
    for scope, colour, style in ((BATCH, "#0072B2", "o-"), (IMAGE, "#D55E00", "s--")):
        borders = [crossing(*results[radius, scope]) for radius in finite]
        right.plot(finite, borders, style, color=colour, label=f"DBCE, {scope} volumes")
    right.axhline(
        crossing(*results[ADAPTIVE]), linestyle="-.", color="#009E73", label="Adaptive DBCE"
    )
    right.legend(frameon=False, fontsize=8)
    right.set(
        xlabel="radius R of the dilation (px)",
        ylabel="predicted border (px)",
        title=f"Its border, labels uncertain by {SIGMA:g} px",
    )
    return figure


def main() -> None:
    """Write the tables and the figure."""
    results = experiment()
    folder = ROOT / "results" / "border_bias"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "crossings.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["radius", "volumes", "predicted_border_px", "bias_px"])
        for (radius, scope), result in results.items():
            border = crossing(*result)
            writer.writerow([radius, scope, f"{border:.2f}", f"{border - TRUE_RADIUS:+.2f}"])
            print(f"R = {radius!s:>8}, {scope} volumes: border at {border:5.2f} px")
    mpl.rcParams["svg.hashsalt"] = "dilated-ce"  # the same figure gives the same file
    draw(results).savefig(
        ROOT / "docs" / "figures" / "border_bias.svg", metadata={"Date": None}, facecolor="white"
    )


if __name__ == "__main__":
    main()
