"""The tables of docs/results.md, from the files under results/studies/."""

import numpy as np
import pandas as pd
from evidence import (
    AUTO,
    AUTO_DICE,
    CLAIMS,
    GOALS,
    ROOT,
    SETS,
    STUDIES,
    Claim,
    Difference,
    cases_of,
    curves_of,
    difference,
    of_seeds,
    pooled,
    study_of,
    title_of,
    verdict,
)
from marked import row

from dilated_ce.study.report.tables import show, summarise
from dilated_ce.study.training.loss_spec import parse_loss

UNITS = {"acdc": "px"}  # the 1 mm in its files is a placeholder
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
    unit = UNITS.get(name) or study_of(name)["data"]["unit"]
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


def long_table() -> str:
    """Dice after the usual number of steps and after many, under the seeds that trained long."""
    long = cases_of("kvasir-long")
    usual = cases_of("kvasir")
    usual = usual[usual["seed"].isin(long["seed"].unique())]
    means = [{one.loss: one.mean["dice"] for one in summarise(cases)} for cases in (usual, long)]
    steps = [f"{study_of(name)['training']['steps']:,} steps" for name in ("kvasir", "kvasir-long")]
    lines = [
        row(["Kvasir-SEG", *steps, "then minus Dice + CE"]),
        row(["---", "---:", "---:", "---"]),
    ]
    for loss in means[1]:
        scores = [f"{100 * of[loss]:.1f}" for of in means]
        gap = "" if loss == "dice-ce" else str(difference(long, loss, "dice-ce"))
        lines.append(row([title_of(loss), *scores, gap]))
    return "\n".join(lines)


def forms_table() -> str:
    """Validation / test Dice under the first form of the automatic radius and under this one."""
    first = pd.read_csv(ROOT / "results" / "rules" / "first_form.csv")
    rows = []
    for name in SETS:
        cases, curves = cases_of(name), curves_of(name)
        last = curves[curves["step"] == curves["step"].max()].set_index(["loss", "seed"])["dice"]
        for loss in (AUTO, AUTO_DICE):
            test = (
                of_seeds(cases, loss, first["seed"].unique())
                .groupby(["seed", "case"])["dice"]
                .mean()
            )
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
            lines.append(row([f"{title_of(loss)}, {form}", *shown]))
    return "\n".join(lines)


def rules_table() -> str:
    """Validation / test Dice under every rule for the radius, over the seeds of the rules."""
    columns = {}
    for name in SETS:
        cases, curves = cases_of(f"{name}-rules"), curves_of(f"{name}-rules")
        seeds = cases["seed"].unique()
        cases = pd.concat([cases, of_seeds(cases_of(name), AUTO, seeds)])
        curves = pd.concat([curves, of_seeds(curves_of(name), AUTO, seeds)])
        last = curves[curves["step"] == curves["step"].max()]
        columns[SETS[name], "validation"] = last.groupby(last["loss"].map(_rule))["dice"].mean()
        columns[SETS[name], "test"] = pd.Series(
            {_rule(one.loss): one.mean["dice"] for one in summarise(cases)}
        )
    table = 100 * pd.DataFrame(columns)
    for part in ("validation", "test"):
        table["mean", part] = table.xs(part, axis=1, level=1).mean(axis=1)
    titles = [*(SETS[name] for name in SETS), "mean"]
    lines = [row(["validation / test", *titles]), row(["---", *["---:"] * len(titles)])]
    for rule, title in RULES.items():
        scores = table.loc[rule]
        cells = [
            f"{scores[name, 'validation']:.1f} / {scores[name, 'test']:.1f}" for name in titles
        ]
        lines.append(row([title, *cells]))
    return "\n".join(lines)


def _rule(loss: str) -> str:
    """As in RULES; the number of steps of "anneal" is that of the study, "depth" the default."""
    if loss == "radius_rules:RuleLoss":
        return "rule=depth"
    return loss.removeprefix("radius_rules:RuleLoss:").partition(",steps=")[0]


def _bold(text: str, best: bool) -> str:
    return f"**{text}**" if best else text
