"""The figure of docs/results.md, from the files under results/studies/."""

import matplotlib as mpl
from evidence import SETS, of_same_seeds, show_radius, sweep
from matplotlib.figure import Figure

from dilated_ce.study.report.tables import summarise
from dilated_ce.study.statistics.side_by_side import side_by_side
from dilated_ce.study.training.loss_spec import parse_loss

STYLE = {"axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "results"}


@mpl.rc_context(STYLE)
def along_radius() -> Figure:
    """Dice, recall and precision from balanced CE to CE, with Dice + CE as a line."""
    figure = Figure(figsize=(3.1 * len(SETS), 5.6), layout="constrained")
    panels = figure.subplots(2, len(SETS), squeeze=False)
    for (upper, lower), name in zip(panels.T, SETS, strict=True):
        table = 100 * sweep(name)[["dice", "recall", "precision"]]
        radii = sorted(set(table.index.get_level_values("radius")))
        places = {radius: place for place, radius in enumerate(radii)}
        for scope, colour, marker in (("batch", "#0072B2", "o"), ("image", "#D55E00", "s")):
            part = table.xs(scope, level="volumes")
            x = [places[radius] for radius in part.index]
            upper.plot(x, part["dice"], marker=marker, color=colour, label=f"{scope} volumes")
            for score, style in (("recall", "-"), ("precision", "--")):
                label = f"{score}, {scope} volumes"
                lower.plot(x, part[score], style, marker=marker, color=colour, label=label)
        means = {one.loss: one.mean["dice"] for one in summarise(side_by_side(of_same_seeds(name)))}
        title = parse_loss("dice-ce").title
        upper.axhline(100 * means["dice-ce"], color="#333333", linestyle=":", label=title)
        upper.set(title=SETS[name], ylabel="Dice (%)")
        lower.set(ylabel="%", xlabel="R")
        for axes in (upper, lower):
            axes.set_xticks(range(len(radii)), [show_radius(radius) for radius in radii])
    panels[0, -1].legend(frameon=False, fontsize=7)
    panels[1, -1].legend(frameon=False, fontsize=7)
    return figure
