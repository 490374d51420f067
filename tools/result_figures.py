"""The figures of docs/results.md, from the files under results/studies/."""

import matplotlib as mpl
from evidence import (
    AUTO,
    CLAIMS,
    GOALS,
    MARGIN,
    SETS,
    cases_of,
    difference,
    of_same_seeds,
    pooled,
    show_radius,
    sweep,
    title_of,
)
from matplotlib.figure import Figure

from dilated_ce.study.report.tables import summarise
from dilated_ce.study.training.loss_spec import parse_loss

STYLE = {"axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "results"}


@mpl.rc_context(STYLE)
def along_radius() -> Figure:
    """Dice, recall and precision from balanced CE to CE, beside the automatic radius."""
    figure = Figure(figsize=(3.1 * len(SETS), 5.6), layout="constrained")
    panels = figure.subplots(2, len(SETS), squeeze=False)
    for (upper, lower), name in zip(panels.T, SETS, strict=True):
        table = 100 * sweep(name)[["dice", "recall", "precision"]]
        radii = sorted(set(table.index.get_level_values("radius")))
        places = {radius: place for place, radius in enumerate(radii)}
        for scope, colour, marker in (("batch", "#0072B2", "o"), ("image", "#D55E00", "s")):
            part = table.xs(scope, level="balance")
            x = [places[radius] for radius in part.index]
            upper.plot(x, part["dice"], marker=marker, color=colour, label=f"{scope} volumes")
            for score, style in (("recall", "-"), ("precision", "--")):
                label = f"{score}, {scope} volumes"
                lower.plot(x, part[score], style, marker=marker, color=colour, label=label)
        means = {one.loss: one.mean["dice"] for one in summarise(of_same_seeds(name))}
        for loss, style in ((AUTO, "-."), ("dice-ce", ":")):
            title = parse_loss(loss).title
            upper.axhline(100 * means[loss], color="#333333", linestyle=style, label=title)
        upper.set(title=SETS[name], ylabel="Dice (%)")
        lower.set(ylabel="%", xlabel="R")
        for axes in (upper, lower):
            axes.set_xticks(range(len(radii)), [show_radius(radius) for radius in radii])
    panels[0, -1].legend(frameon=False, fontsize=7)
    panels[1, -1].legend(frameon=False, fontsize=7)
    return figure


@mpl.rc_context(STYLE)
def forest() -> Figure:
    """Every claim on every data set with its interval."""
    claims = (*CLAIMS, GOALS[-1])
    figure = Figure(figsize=(8.4, 1.2 + 0.75 * len(claims)), layout="constrained")
    axes = figure.subplots()
    tables = [cases_of(name) for name in SETS]
    colours = ("#0072B2", "#009E73", "#CC79A7", "#E69F00", "#000000")
    markers = ("o", "s", "^", "D", "P")
    axes.axvline(0, color="#767676", linewidth=0.8)
    axes.axvspan(-MARGIN, MARGIN, color="#e8e8e8", zorder=0)
    for index, claim in enumerate(claims):
        found = [difference(cases, claim.loss, claim.reference) for cases in tables]
        found.append(pooled(tables, claim.loss, claim.reference))
        for which, one in enumerate(found):
            axes.errorbar(
                one.mean,
                index + 0.13 * (which - 2),
                xerr=[[one.mean - one.low], [one.high - one.mean]],
                color=colours[which],
                marker=markers[which],
                markersize=5,
                linewidth=1.3,
                label=(*SETS.values(), "all four")[which] if index == 0 else None,
            )
    titles = {
        claim: f"{title_of(claim.loss)}\nagainst {title_of(claim.reference)}" for claim in claims
    }
    axes.set_yticks(range(len(claims)), [titles[claim] for claim in claims])
    axes.invert_yaxis()
    axes.set_xlabel(f"points of Dice, 95 % interval (grey: within {MARGIN:g})")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
