"""Writing the tables and the page of a comparison."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from dilated_ce.study.data.cases import Case, DataSet
from dilated_ce.study.files import write_csv, write_json, write_text
from dilated_ce.study.report import gallery, plots, radii, sentences, tables
from dilated_ce.study.runs.store import Failure, Run
from dilated_ce.study.scores.table import SCORES
from dilated_ce.study.statistics.comparison import Comparison, compare_family
from dilated_ce.study.statistics.ranks import rank_stability
from dilated_ce.study.statistics.side_by_side import Scores, side_by_side
from dilated_ce.study.statistics.verdict import Verdict, judge_family
from dilated_ce.study.wording import count


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
    notes: Sequence[str] = (),
) -> Path:
    """Write `cases.csv`, `lesions.csv`, `curves.csv`, `summary.json`, `report.html` into `out`.

    Args:
        out: folder of the study.
        dataset: what was compared on.
        load_case: a case by name, for the gallery.
        runs: finished runs, at least one.
        failures: runs without a result.
        reference: the loss that the others are compared with.
        margin: Dice (a fraction) within which losses count as equivalent.
        resamples: of the bootstrap of the ranks.
        settings: how it was trained, in sentences.
        versions: of what the numbers depend on.
        trials: runs of the search for learning rates, judged on the validation parts.
        notes: what else went wrong or is worth a warning.

    Returns:
        The path to the page.
    """
    cases = pd.concat([run.cases for run in runs])
    scores = side_by_side(cases)
    lesions = pd.concat([run.lesions for run in runs])
    write_csv(out / "cases.csv", cases)
    write_csv(out / "lesions.csv", lesions)
    write_csv(out / "curves.csv", tables.curves(runs))
    specs = list(dict.fromkeys([run.loss for run in runs] + [f.loss for f in failures]))
    titles = {str(spec): spec.title for spec in specs}
    verdicts = judge_family(compare_family(scores, reference), margin)
    apart = [
        loss
        for loss in scores.losses
        if loss not in (reference, *(verdict.loss for verdict in verdicts))
    ]
    others = tables.differences(scores, reference, dataset.classes[1:])
    details = {
        (other.loss, other.metric): other.difference for other in others if other.class_name is None
    }
    ranks = _ranks(scores, resamples)
    means = tables.summarise(scores)
    sweeps = radii.candidates(runs, specs, {row.loss: row.mean["dice"] for row in means})
    said = [sentences.sentence(verdict, titles, dataset.unit, details) for verdict in verdicts]
    said += [radii.advice(sweep) for sweep in sweeps]
    troubles = sentences.troubles(runs, failures, titles) + list(notes)
    summary = _summary(means, runs, failures, verdicts, others, ranks, reference)
    write_json(out / "summary.json", {**summary, "sentences": said, "troubles": troubles})
    seeds, groups = cases["seed"].nunique(), cases["group"].nunique()
    page = _template().render(
        dataset=dataset,
        titles=titles,
        reference=reference,
        margin=margin,
        seeds=seeds,
        groups=groups,
        num_cases=cases["case"].nunique(),
        num_runs=len(runs),
        sentences=said,
        apart=[titles[loss] for loss in apart],
        limits=sentences.limits(verdicts, seeds, groups),
        troubles=troubles,
        unshared=_unshared(scores, titles),
        nothing_shared=scores.shared_runs.empty,
        first=tables.first_table(means, verdicts),
        dice=[verdict.sides[0][0] for verdict in verdicts],
        other_rows=tables.difference_cells(others, list(titles)),
        sweeps=[(sweep, radii.best(sweep)) for sweep in sweeps],
        ranks=ranks,
        trials=tables.trials(trials),
        score_titles=[tables.TITLES[score] for score in SCORES],
        rows=tables.cells(means),
        class_rows={
            name: tables.cells(tables.summarise(scores.of_class(name)))
            for name in dataset.classes[1:]
            if len(dataset.classes) > 2
        },
        forest=plots.forest([verdict.sides[0][0] for verdict in verdicts], titles, margin)
        if verdicts
        else None,
        recall_and_precision=plots.recall_and_precision(scores, specs),
        curves=plots.learning_curves(runs, specs),
        costs=tables.costs(runs),
        sizes=tables.recall_by_size(lesions).to_dict("records") if len(lesions) else [],
        gallery=gallery.choose(dataset, cases, runs, specs, load_case),
        colours={
            "hit": gallery.HITS,
            "false positive": gallery.FALSE_POSITIVES,
            "false negative": gallery.FALSE_NEGATIVES,
        },
        failures=failures,
        settings=settings,
        versions=versions,
    )
    path = out / "report.html"
    write_text(path, page)
    return path


def _template() -> Template:
    # Autoescape: names of files and folders come from outside and must not become markup.
    environment = Environment(
        loader=PackageLoader("dilated_ce.study.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["count"] = count
    return environment.get_template("compare.html.j2")


def _ranks(scores: Scores, resamples: int) -> list[dict[str, Any]]:
    if len(scores.losses) < 2 or scores.shared_runs.empty:
        return []
    return rank_stability(scores, resamples=resamples).reset_index().to_dict("records")


def _unshared(scores: Scores, titles: Mapping[str, str]) -> list[str]:
    """The runs that not all losses have, which are thus in no mean, by the loss that lacks them."""
    return [
        f"{titles[loss]} lacks seed {seed}, fold {fold}"
        for loss in scores.losses
        for seed, fold in scores.runs.index[~scores.runs[loss]]
    ]


def _summary(
    means: Sequence[tables.Row],
    runs: Sequence[Run],
    failures: Sequence[Failure],
    verdicts: Sequence[Verdict],
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
                    score: {"mean": row.mean[score], "sd_over_seeds": row.spread[score]}
                    for score in SCORES
                }
                for row in means
            },
            "verdicts": [
                {
                    "loss": verdict.loss,
                    "verdict": verdict.word,
                    "comparisons": [
                        {**dataclasses.asdict(comparison), "came_out": side}
                        for comparison, side in verdict.sides
                    ],
                }
                for verdict in verdicts
            ],
            "exploration": [dataclasses.asdict(result) for result in others],
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
