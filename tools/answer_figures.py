"""The figures of docs/results.md, from the files under results/evidence/."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
from answer_tables import ARMS, CLAIMS, EVIDENCE, SETS, on_sets, over_sets, read
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = {"axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "results"}
SCORES = {
    "dice": "Dice, points",
    "hd95": "HD95, % of the reference's",
    "precision": "precision, points",
    "recall": "recall, points",
}
LESS_IS_BETTER = ("hd95",)
FIRST_RATE = 3e-3  # at which the radii were tried
NEITHER, BETTER, WORSE = "#777777", "#0072B2", "#D55E00"
WITH_RADIUS = {"dbce": "#0072B2", "dbce-dice": "#009E73"}
LINES = {"ce": ":", "balanced-ce": "-.", "dice-ce": "--"}


@mpl.rc_context(STYLE)
def differences(group: str = "main") -> Figure:
    """A row for every question: the difference on each data set, and over them, of four scores."""
    asked = read("answers")
    asked = asked[(asked["group"] == group) & (asked["over"] == "all")]
    figure = Figure(figsize=(11, 2.2 * len(asked) + 0.3), layout="constrained")
    panels = figure.subplots(len(asked), len(SCORES), squeeze=False, sharey="row", sharex="col")
    for panel, said in zip(panels, asked.itertuples(), strict=True):
        found = on_sets(said.arm, said.reference, group)
        means = over_sets(said.arm, said.reference, group)
        for axes, score in zip(panel, SCORES, strict=True):
            _forest(axes, found.xs(score, level="score"), means.loc[score], score)
        panel[0].set_title(f"{CLAIMS[said.question]}: {said.word}", loc="left", fontsize=9)
    for axes, title in zip(panels[-1], SCORES.values(), strict=True):
        axes.set_xlabel(title)
    return figure


def _forest(axes: Axes, found: pd.DataFrame, mean: pd.Series, score: str) -> None:
    """The interval of every data set, and below them that of the mean over sets."""
    columns, names = ["difference", "low", "high"], [n for n in SETS if n in found.index]
    names = [name for name in names if name != "healthy"]
    unit = found.loc[names, "of_reference"] if score == "hd95" else 1.0
    rows = pd.concat([found.loc[names, columns].div(unit, axis=0), mean[columns].to_frame().T])
    for place, (difference, low, high) in enumerate(100 * rows.to_numpy(float)):
        above, below = low > 0, high < 0
        if score in LESS_IS_BETTER:
            above, below = below, above
        colour = BETTER if above else WORSE if below else NEITHER
        is_mean = place == len(names)
        axes.plot([low, high], [place, place], color=colour, lw=3 if is_mean else 1.3)
        axes.plot(difference, place, "D" if is_mean else "o", color=colour, ms=4)
    axes.axvline(0, color="black", lw=0.6)
    titles = [*(SETS[name] for name in names), "over the sets"]
    axes.set_yticks(range(len(titles)), titles, fontsize=8)
    axes.set_ylim(len(titles) - 0.5, -0.5)


@mpl.rc_context(STYLE)
def along_radius(evidence: Path = EVIDENCE) -> Figure:
    """Dice on the validation part along the radius, with the other losses as lines."""
    names = [name for name in SETS if (evidence / name / "trials.csv").exists()]
    figure = Figure(figsize=(11, 2.6 * -(-len(names) // 4)), layout="constrained")
    panels = list(figure.subplots(-(-len(names) // 4), 4, squeeze=False).flat)
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels[: len(names)], names, strict=True):
        trials = pd.read_csv(evidence / name / "trials.csv").query("rate == @FIRST_RATE")
        parts = trials["loss"].str.extract(r"^([\w-]+)(?::radius=(\d+))?$")
        trials = trials.assign(arm=parts[0], radius=parts[1].astype(float))
        for arm, colour in WITH_RADIUS.items():
            of = trials[trials["arm"] == arm].sort_values("radius")
            axes.plot(of["radius"], 100 * of["validation_dice"], "o-", color=colour, ms=4,
                      label=ARMS[arm])  # fmt: skip
        for arm, style in LINES.items():
            [dice] = trials.loc[trials["arm"] == arm, "validation_dice"]
            axes.axhline(100 * dice, color="black", ls=style, lw=1, label=ARMS[arm])
        axes.set_xscale("log", base=2)
        axes.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
        axes.set(title=SETS[name], xlabel="R")
    panels[0].set_ylabel("Dice, %")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5,
                  frameon=False)  # fmt: skip
    return figure
