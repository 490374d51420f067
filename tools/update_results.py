"""Write the tables and figures of docs/results.md from the files under results/studies/.

python tools/update_results.py           rewrite what lies between the markers, and the figures
python tools/update_results.py --check   fail if docs/results.md is not what the files say

The claims and the goals are stated here, before any run, and come out as they come out.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from marked import renew, row, write_or_check
from matplotlib.figure import Figure

from dilated_ce.study.bootstrap import CONFIDENCE, Scores
from dilated_ce.study.losses import parse_loss
from dilated_ce.study.records import read_cases
from dilated_ce.study.reporting.tables import show, summarise

ROOT = Path(__file__).resolve().parents[1]
STUDIES = ROOT / "results" / "studies"
SETS = {"kvasir": "Kvasir-SEG", "acdc": "ACDC", "hippocampus": "Hippocampus", "stare": "STARE"}
SWEPT = [name for name in SETS if (STUDIES / f"{name}-radii" / "cases.csv").exists()]
RULED = [name for name in SETS if (STUDIES / f"{name}-rules" / "cases.csv").exists()]
RULES = {
    "dbce:radius=auto": "**auto**: thickness, weight by the root of the size",
    "rule=size,shares=equal": "thickness, equal shares of all classes",
    "rule=size,shares=half": "thickness, half of the weight to the largest class",
    "rule=size,shares=half,plain=0.5": "the same, in equal parts with CE",
    "rule=size,factor=2": "twice the thickness",
    "rule=depth": "mean inner distance",
    "rule=growth,factor=4": "the dilated mask has 4 times the voxels",
    "rule=ladder,shares=equal": "mean of the weights under R = 1, 2, 4, ... 32, ∞",
    "rule=follow": "follows the false positives during training",
    "rule=anneal": "from thickness to CE in the course of the training",
}
STYLE = {"axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "results"}
MARGIN = 1.5  # points of Dice within which losses count as equal
RESAMPLES = 20000

AUTO, AUTO_DICE = "dbce:radius=auto", "dbce-dice:radius=auto"


@dataclass(frozen=True)
class Claim:
    """One loss against another, and what is claimed of it."""

    text: str
    loss: str
    reference: str
    kind: str  # "better", "equal" or "not worse"


CLAIMS = (
    Claim("1. DBCE is better than balanced CE", AUTO, "balanced-ce", "better"),
    Claim("2. DBCE is better than CE", AUTO, "ce", "better"),
    Claim("3. DBCE is as good as Dice + CE", AUTO, "dice-ce", "equal"),
)
GOALS = (
    Claim("DBCE is not worse than Dice + CE", AUTO, "dice-ce", "not worse"),
    Claim("Dice + DBCE is better than Dice + CE", AUTO_DICE, "dice-ce", "better"),
)


@dataclass(frozen=True)
class Difference:
    """Points of Dice that one loss is above another, with the 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ({self.low:+.1f} to {self.high:+.1f})"


def cases_of(name: str) -> pd.DataFrame:
    """The scores of a study."""
    return read_cases(STUDIES / name / "cases.csv")


def pairs(cases: pd.DataFrame, loss: str, reference: str) -> Scores:
    """Differences of Dice by seed, fold and patient, in points."""
    keys = ["seed", "fold", "group", "case"]
    dice = {
        name: 100 * cases[cases["loss"] == name].groupby(keys)["dice"].mean()
        for name in (loss, reference)
    }
    return Scores((dice[loss] - dice[reference]).dropna())


def difference(cases: pd.DataFrame, loss: str, reference: str) -> Difference:
    """On one data set; the interval is that of `dilated-ce compare`."""
    scores = pairs(cases, loss, reference)
    return Difference(float(scores.group_means.mean()), *scores.interval(RESAMPLES))


def pooled(tables: list[pd.DataFrame], loss: str, reference: str) -> Difference:
    """The mean over these data sets, each counting the same: other patients and seeds of them."""
    scores = [pairs(cases, loss, reference) for cases in tables]
    mean = float(np.mean([one.group_means.mean() for one in scores]))
    spread = np.mean(
        [one.deviations(RESAMPLES, np.random.default_rng(seed)) for seed, one in enumerate(scores)],
        axis=0,
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = mean + np.quantile(spread, [tail, 1 - tail])
    return Difference(mean, float(low), float(high))


def verdict(kind: str, found: Difference) -> str:
    """What the interval says of the claim."""
    if kind == "better":
        if found.low > 0:
            return "confirmed"
        return "refuted" if found.high < 0 else "open"
    if kind == "not worse":
        if found.low > -MARGIN:
            return "confirmed"
        return "refuted" if found.high < -MARGIN else "open"
    if found.low > 0:
        return "better"
    if found.low > -MARGIN and found.high < MARGIN:
        return "confirmed"
    if found.low > -MARGIN:
        return "not worse"
    return "refuted" if found.high < -MARGIN else "open"


def claims_table(claims: tuple[Claim, ...]) -> str:
    """A row per claim: the difference on each data set and on all, and what it says."""
    tables = [cases_of(name) for name in SETS]
    lines = [row(["", *SETS.values(), "all four"]), row(["---", *["---"] * (len(SETS) + 1)])]
    for claim in claims:
        found = [difference(cases, claim.loss, claim.reference) for cases in tables]
        found.append(pooled(tables, claim.loss, claim.reference))
        lines.append(row([claim.text, *(_judged(claim, one) for one in found)]))
    return "\n".join(lines)


def folds_table() -> str:
    """Every claim on all patients of ACDC, each tested on once."""
    cases = cases_of("acdc-folds")
    patients = cases["group"].nunique()
    lines = [row(["", f"ACDC, all {patients} patients"]), row(["---", "---"])]
    for claim in (*CLAIMS, GOALS[-1]):
        if {claim.loss, claim.reference} <= set(cases["loss"]):
            found = difference(cases, claim.loss, claim.reference)
            lines.append(row([claim.text, _judged(claim, found)]))
    return "\n".join(lines)


def _judged(claim: Claim, found: Difference) -> str:
    return f"{found}<br>{verdict(claim.kind, found)}"


def setup_table() -> str:
    """What was trained on what, and for how long."""
    lines = [
        row(["", "cases: training, validation, test", "classes", "patches", "steps", "seeds"]),
        row(["---", "---", "---", "---", "---:", "---:"]),
    ]
    for name, title in SETS.items():
        study = json.loads((STUDIES / name / "study.json").read_text(encoding="utf-8"))
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


def scores_table(score: str = "dice") -> str:
    """The mean of a score on the test cases by loss and data set, best in bold."""
    means = {name: {one.loss: one for one in summarise(cases_of(name))} for name in SETS}
    losses = list(dict.fromkeys(loss for rows in means.values() for loss in rows))
    lines = [
        row(["", *SETS.values(), "mean"]),
        row(["---", *["---:"] * (len(SETS) + 1)]),
    ]
    overall = {
        loss: float(np.mean([rows[loss].mean[score] for rows in means.values()]))
        for loss in losses
        if all(loss in rows for rows in means.values())
    }
    for loss in losses:
        cells = []
        for rows in means.values():
            if loss not in rows:
                cells.append("")
                continue
            found = rows[loss]
            best = max(other.mean[score] for other in rows.values())
            text = show(score, found.mean[score], found.spread[score])
            cells.append(_bold(text, found.mean[score] == best))
        if loss in overall:
            best = max(overall.values())
            cells.append(_bold(f"{100 * overall[loss]:.1f}", overall[loss] == best))
        else:
            cells.append("")
        lines.append(row([parse_loss(loss).title, *cells]))
    return "\n".join(lines)


def trade_table() -> str:
    """Recall and precision by loss and data set."""
    means = {name: {one.loss: one.mean for one in summarise(cases_of(name))} for name in SETS}
    losses = list(dict.fromkeys(loss for rows in means.values() for loss in rows))
    lines = [row(["recall / precision", *SETS.values()]), row(["---", *["---:"] * len(SETS)])]
    for loss in losses:
        cells = [
            f"{100 * rows[loss]['recall']:.0f} / {100 * rows[loss]['precision']:.0f}"
            if loss in rows
            else ""
            for rows in means.values()
        ]
        lines.append(row([parse_loss(loss).title, *cells]))
    return "\n".join(lines)


def errors_table(name: str) -> str:
    """How far from the object the false positives lie: their number per 100 true voxels."""
    table = pd.read_csv(STUDIES / name / "false_positives.csv")
    unit = json.loads((STUDIES / name / "study.json").read_text(encoding="utf-8"))["data"]["unit"]
    table = 100 * table.groupby(["loss", "from", "to"])["per_true_voxel"].mean().unstack("loss")
    losses = list(dict.fromkeys(cases_of(name)["loss"]))
    places = [
        f"beyond {start:g} {unit}" if np.isinf(end) else f"{start:g} to {end:g} {unit}"
        for start, end in table.index
    ]
    lines = [row([SETS[name], *places]), row(["---", *["---:"] * len(places)])]
    for loss in losses:
        lines.append(row([parse_loss(loss).title, *(f"{value:.1f}" for value in table[loss])]))
    return "\n".join(lines)


def of_same_seeds(name: str) -> pd.DataFrame:
    """The scores of the main study under the seeds that its sweep has."""
    cases = cases_of(name)
    return cases[cases["seed"].isin(cases_of(f"{name}-radii")["seed"].unique())]


def sweep(name: str) -> pd.DataFrame:
    """Mean scores along the radius, by radius and scope of the volumes, over the sweep's seeds.

    The ends come from the main study: balanced CE is R = 0 with batch volumes, CE is R = infinity.
    """
    ends = of_same_seeds(name)
    ends = ends[ends["loss"].isin(["balanced-ce", "ce"])]
    rows = []
    cases = pd.concat([ends, cases_of(f"{name}-radii")])
    for loss, of_loss in cases.groupby("loss", sort=False):
        settings = {"balance": "batch", "overlap": "sum", **parse_loss(str(loss)).settings}
        if settings["radius"] == "auto" or settings["overlap"] != "sum":
            continue
        [mean] = summarise(of_loss)
        rows.append({"radius": settings["radius"], "balance": settings["balance"], **mean.mean})
    return pd.DataFrame(rows).set_index(["radius", "balance"]).sort_index()


def sweep_table() -> str:
    """Dice along the radius on each data set: batch volumes / image volumes."""
    tables = {name: sweep(name)["dice"].unstack("balance") for name in SWEPT}
    radii = sorted({radius for table in tables.values() for radius in table.index})
    lines = [
        row(["R: batch / image", *(_radius(radius) for radius in radii), "auto"]),
        row(["---", *["---:"] * (len(radii) + 1)]),
    ]
    for name, table in tables.items():
        automatic = [
            one.mean["dice"]
            for cases in (cases_of(f"{name}-radii"), of_same_seeds(name))
            for one in summarise(cases)
            if one.loss in (f"{AUTO},balance=batch", AUTO)
        ]
        cells = []
        for radius in radii:
            values = table.reindex([radius])[["batch", "image"]].to_numpy()[0]
            shown = ["-" if np.isnan(value) else f"{100 * value:.1f}" for value in values]
            cells.append("" if np.isnan(values).all() else " / ".join(shown))
        cells.append(" / ".join(f"{100 * value:.1f}" for value in automatic))
        lines.append(row([SETS[name], *cells]))
    return "\n".join(lines)


def forms_table() -> str:
    """Validation / test Dice under the first form of the automatic radius and under this one."""
    first = pd.read_csv(ROOT / "results" / "rules" / "first_form.csv")
    rows = []
    for name in SETS:
        cases, curves = cases_of(name), _curves(name)
        last = curves[curves["step"] == curves["step"].max()].set_index(["loss", "seed"])["dice"]
        for loss in (AUTO, AUTO_DICE):
            test = _of(cases, loss, first["seed"].unique()).groupby(["seed", "case"])["dice"].mean()
            for seed, score in test.groupby("seed").mean().items():
                rows.append((name, loss, seed, last[loss, seed], score))
    now = pd.DataFrame(rows, columns=first.columns)
    lines = [row(["", *SETS.values(), "mean"]), row(["---", *["---:"] * (len(SETS) + 1)])]
    for loss in (AUTO, AUTO_DICE):
        for form, table in (("half to the largest class", first), ("root of the size", now)):
            parts = ["validation", "test"]
            means = 100 * table[table["loss"] == loss].groupby("set")[parts].mean().loc[list(SETS)]
            cells = [*means.itertuples(index=False), means.mean()]
            shown = [" / ".join(f"{value:.1f}" for value in cell) for cell in cells]
            lines.append(row([f"{_title(loss)}, {form}", *shown]))
    return "\n".join(lines)


def rules_table() -> str:
    """Validation and test Dice under every rule for the radius, over the seeds of the rules."""
    columns: dict[str, pd.Series] = {}
    for name in RULED:
        cases, curves = cases_of(f"{name}-rules"), _curves(f"{name}-rules")
        seeds = cases["seed"].unique()
        cases = pd.concat([cases, _of(cases_of(name), AUTO, seeds)])
        curves = pd.concat([curves, _of(_curves(name), AUTO, seeds)])
        last = curves[curves["step"] == curves["step"].max()]
        columns[f"{SETS[name]}, validation"] = last.groupby("loss")["dice"].mean()
        columns[f"{SETS[name]}, test"] = pd.Series(
            {one.loss: one.mean["dice"] for one in summarise(cases)}
        )
    table = 100 * pd.DataFrame(columns)
    lines = [row(["", *columns]), row(["---", *["---:"] * len(columns)])]
    for rule, title in RULES.items():
        loss = next(loss for loss in table.index if _rule(loss) == rule)
        lines.append(row([title, *(f"{value:.1f}" for value in table.loc[loss])]))
    return "\n".join(lines)


def _curves(name: str) -> pd.DataFrame:
    return pd.read_csv(STUDIES / name / "curves.csv")


def _of(table: pd.DataFrame, loss: str, seeds: np.ndarray) -> pd.DataFrame:
    return table[(table["loss"] == loss) & table["seed"].isin(seeds)]


def _rule(loss: str) -> str:
    """As in RULES; the number of steps of "anneal" is that of the study."""
    return loss.removeprefix("radius_rules:RuleLoss:").partition(",steps=")[0]


@mpl.rc_context(STYLE)
def along_radius() -> Figure:
    """Dice, recall and precision from balanced CE to CE, beside the automatic radius."""
    figure = Figure(figsize=(3.1 * len(SWEPT), 5.6), layout="constrained")
    panels = figure.subplots(2, len(SWEPT), squeeze=False)
    for (upper, lower), name in zip(panels.T, SWEPT, strict=True):
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
            axes.set_xticks(range(len(radii)), [_radius(radius) for radius in radii])
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
    titles = {claim: f"{_title(claim.loss)}\nagainst {_title(claim.reference)}" for claim in claims}
    axes.set_yticks(range(len(claims)), [titles[claim] for claim in claims])
    axes.invert_yaxis()
    axes.set_xlabel(f"points of Dice, 95 % interval (grey: within {MARGIN:g})")
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def parts() -> dict[str, str]:
    """The tables by the name of their marker."""
    return {
        "setup": setup_table(),
        "scores": scores_table(),
        "claims": claims_table(CLAIMS),
        "goals": claims_table(GOALS),
        "folds": folds_table(),
        "trade-off": trade_table(),
        "sweep": sweep_table(),
        "forms": forms_table(),
        **({"rules": rules_table()} if RULED else {}),
        **{f"errors-{name}": errors_table(name) for name in ("kvasir", "acdc")},
    }


def _radius(radius: float) -> str:
    return "∞" if np.isinf(radius) else f"{radius:g}"


def _title(loss: str) -> str:
    return parse_loss(loss).title.replace(" (R = auto)", "")


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


@mpl.rc_context(STYLE)  # whose salt names the parts of a file alike every time
def _draw() -> None:
    figures = ROOT / "docs" / "figures"
    forest().savefig(figures / "claims.svg", metadata={"Date": None})
    along_radius().savefig(figures / "along_radius.svg", metadata={"Date": None})


if __name__ == "__main__":
    page = ROOT / "docs" / "results.md"
    write_or_check(page, renew(page, parts()), _draw)
