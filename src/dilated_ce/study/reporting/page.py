"""Writing the tables and the page of a comparison."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from dilated_ce.study.data.cases import Case, DataSet
from dilated_ce.study.files import write_csv, write_json, write_text
from dilated_ce.study.losses import LossSpec
from dilated_ce.study.records import SCORES, Failure, Run
from dilated_ce.study.reporting import pictures, plots, radii, tables, words
from dilated_ce.study.statistics import Comparison, comparable, compare_to, rank_stability
from dilated_ce.study.wording import count

MOST_CASES = 12  # in pictures: the worst, the median and the best one, and others


def write_report(
    out: Path,
    *,
    dataset: DataSet,
    load_case: Callable[[str], Case],
    runs: Sequence[Run],
    failures: Sequence[Failure],
    reference: str,
    margin: float,
    resamples: int,
    settings: Mapping[str, str],
    versions: Mapping[str, str],
    trials: Sequence[Run] = (),
) -> Path:
    """Write `cases.csv`, `lesions.csv`, `curves.csv`, `summary.json`, `report.html` into `out`.

    Args:
        out: folder of the study.
        dataset: what was compared on.
        load_case: a case by name, for the pictures.
        runs: finished runs, at least one.
        failures: runs without a result.
        reference: the loss that the others are compared with.
        margin: Dice (a fraction) within which losses count as equivalent.
        resamples: of the bootstrap.
        settings: how it was trained, in words.
        versions: of what the numbers depend on.
        trials: runs of the search for learning rates, judged on the validation part.

    Returns:
        The path to the page.
    """
    cases = pd.concat([run.cases for run in runs])
    lesions = pd.concat([run.lesions for run in runs])
    write_csv(out / "cases.csv", cases)
    write_csv(out / "lesions.csv", lesions)
    write_csv(out / "curves.csv", tables.curves(runs))
    specs = list(dict.fromkeys([run.loss for run in runs] + [f.loss for f in failures]))
    titles = {str(spec): spec.title for spec in specs}
    results, apart = _compare(cases, reference, margin, resamples)
    others = tables.differences(cases, reference, dataset.classes[1:], resamples)
    ranks = _ranks(cases, resamples)
    means = tables.summarise(cases)
    sweeps = radii.candidates(runs, specs, {row.loss: row.mean["dice"] for row in means})
    sentences = [words.sentence(result, titles) for result in results]
    sentences += [radii.advice(sweep) for sweep in sweeps]
    troubles = words.troubles(runs, failures, titles)
    summary = _summary(means, runs, failures, results, others, ranks, reference)
    write_json(out / "summary.json", {**summary, "sentences": sentences, "troubles": troubles})
    # Autoescape: names of files and folders come from outside and must not become markup.
    environment = Environment(
        loader=PackageLoader("dilated_ce.study.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["count"] = count
    seeds, groups = cases["seed"].nunique(), cases["group"].nunique()
    page = environment.get_template("compare.html.j2").render(
        dataset=dataset,
        titles=titles,
        reference=reference,
        margin=margin,
        seeds=seeds,
        groups=groups,
        num_cases=cases["case"].nunique(),
        num_runs=len(runs),
        sentences=sentences,
        apart=[titles[loss] for loss in apart],
        limits=words.limits(results, seeds, groups),
        troubles=troubles,
        results=results,
        verdicts=[words.verdict(result) for result in results],
        other_rows=tables.difference_cells(others, list(titles)),
        sweeps=[(sweep, radii.best(sweep)) for sweep in sweeps],
        ranks=ranks,
        trials=tables.trials(trials),
        score_titles=[tables.TITLES[score] for score in SCORES],
        rows=tables.cells(means, seeds),
        class_rows={
            name: tables.cells(tables.summarise(cases, name), seeds)
            for name in dataset.classes[1:]
            if len(dataset.classes) > 2
        },
        omitted=int(cases["dice"].isna().sum()),
        num_scores=len(cases),
        forest=plots.forest(results, titles, margin) if results else None,
        trade_off=plots.trade_off(cases, specs),
        curves=plots.learning_curves(runs, specs),
        costs=tables.costs(runs),
        sizes=tables.recall_by_size(lesions).to_dict("records") if len(lesions) else [],
        gallery=_gallery(dataset, cases, runs, specs, load_case),
        colours={
            "hit": pictures.HITS,
            "false positive": pictures.FALSE_POSITIVES,
            "false negative": pictures.FALSE_NEGATIVES,
        },
        failures=failures,
        settings=settings,
        versions=versions,
    )
    path = out / "report.html"
    write_text(path, page)
    return path


def _compare(
    cases: pd.DataFrame, reference: str, margin: float, resamples: int
) -> tuple[list[Comparison], list[str]]:
    """The comparisons by Dice, and the losses that no run lets compare with the reference."""
    losses = comparable(cases, reference)
    apart = [loss for loss in dict.fromkeys(cases["loss"]) if loss not in (reference, *losses)]
    if not losses:
        return [], apart
    kept = cases[cases["loss"].isin([reference, *losses])]
    return compare_to(kept, reference, margin=margin, resamples=resamples), apart


def _ranks(cases: pd.DataFrame, resamples: int) -> list[dict[str, Any]]:
    if cases["loss"].nunique() < 2:
        return []
    try:
        return rank_stability(cases, resamples=resamples).reset_index().to_dict("records")
    except ValueError:  # no run that all losses share
        return []


def _summary(
    means: Sequence[tables.Row],
    runs: Sequence[Run],
    failures: Sequence[Failure],
    results: Sequence[Comparison],
    others: Sequence[Comparison],
    ranks: Sequence[Mapping[str, Any]],
    reference: str,
) -> Any:
    def name(item: Run | Failure) -> dict[str, Any]:
        return {"loss": str(item.loss), "seed": item.seed, "fold": item.fold}

    return _finite(
        {
            "reference": reference,
            "runs": len(runs),
            "seconds": sum(run.info["seconds"] for run in runs),
            "device": runs[0].info.get("device", ""),
            "losses": {
                row.loss: {
                    score: {"mean": row.mean[score], "half_range_over_seeds": row.spread[score]}
                    for score in SCORES
                }
                for row in means
            },
            "comparisons": [dataclasses.asdict(result) for result in results],
            "other_scores": [dataclasses.asdict(result) for result in others],
            "ranks": ranks,
            "diverged": [name(run) for run in runs if run.diverged],
            "collapsed": [name(run) for run in runs if run.collapsed],
            "failed": [{**name(failure), "error": failure.error} for failure in failures],
        }
    )


def _finite(value: Any) -> Any:
    """The value as strict JSON has it: no NaN, no infinity."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _gallery(
    dataset: DataSet,
    cases: pd.DataFrame,
    runs: Sequence[Run],
    specs: Sequence[LossSpec],
    load_case: Callable[[str], Case],
) -> list[dict[str, Any]]:
    """Cases under every loss, first seed and fold: worst, median and best, then some others."""
    first = [run for run in runs if (run.seed, run.fold) == (runs[0].seed, runs[0].fold)]
    of_first = cases[(cases["seed"] == runs[0].seed) & (cases["fold"] == runs[0].fold)]
    dice = of_first.groupby("case")["dice"].mean().dropna().sort_values(kind="stable")
    picks = {"worst": 0, "median": len(dice) // 2, "best": len(dice) - 1} if len(dice) > 2 else {}
    roles = {dice.index[place]: role for role, place in picks.items()}
    others = [name for name in dice.index if name not in roles]
    step = max(1, math.ceil(len(others) / (MOST_CASES - len(roles))))
    by_loss = of_first.groupby(["loss", "case"])["dice"].mean() * 100
    run_of = {run.loss: run for run in first}
    gallery = []
    for name in [*roles, *others[::step]]:
        case = load_case(name)
        of_case = {spec: run_of[spec].prediction(name) for spec in specs if spec in run_of}
        num_classes = len(dataset.classes)
        place = pictures.best_slice(
            case,
            {str(spec): part for spec, part in of_case.items()},
            dataset.spatial_dims,
            num_classes,
        )
        panels: list[dict[str, Any]] = [
            {"title": "image", "source": pictures.photograph(case, place), "dice": None},
            {
                "title": "truth",
                "source": pictures.overlay(case, case.labels, place, num_classes),
                "dice": None,
            },
        ]
        for spec, prediction in of_case.items():
            score = float(by_loss[str(spec), name])
            panels.append(
                {
                    "title": spec.title,
                    "source": pictures.overlay(case, prediction, place, num_classes),
                    "dice": None if math.isnan(score) else score,
                }
            )
        gallery.append(
            {
                "name": name,
                "role": roles.get(name, ""),
                "slice": None if place is None else place[1],
                "panels": panels,
            }
        )
    return gallery
