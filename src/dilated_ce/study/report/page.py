"""Writing the tables and the page of a report, of scores alone or of runs that were made here."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
from dilated_ce.study.training.loss_spec import LossSpec
from dilated_ce.study.wording import count


@dataclass(frozen=True)
class Subject:
    """What the page says of the scores, beside them."""

    name: str  # of the data
    source: str  # where the cases and the scores are from, in sentences
    classes: tuple[str, ...]  # without the background
    unit: str  # of distances
    settings: Mapping[str, str]  # how it was made, in sentences
    versions: Mapping[str, str]  # of what the numbers depend on
    word: Literal["loss", "method"] = "method"  # what is compared


@dataclass(frozen=True)
class Trained:
    """What is known of networks that were trained here, beside their scores."""

    dataset: DataSet
    load_case: Callable[[str], Case]  # by name, for the gallery
    runs: Sequence[Run]  # finished ones, at least one
    failures: Sequence[Failure]  # runs without a result
    trials: Sequence[Run]  # of the search for learning rates, judged on the validation parts

    @property
    def specs(self) -> list[LossSpec]:
        """The losses, each once."""
        losses = [run.loss for run in self.runs] + [failure.loss for failure in self.failures]
        return list(dict.fromkeys(losses))


@dataclass(frozen=True)
class Written:
    """A page, and the comparisons that it judges."""

    path: Path
    family: tuple[Comparison, ...]


def write_comparison(
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
    """Write the report of runs, as `write_report` does, and `lesions.csv` and `curves.csv`.

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
    trained = Trained(dataset, load_case, runs, failures, trials)
    titles = {str(spec): spec.title for spec in trained.specs}
    write_csv(out / "curves.csv", tables.curves(runs))
    subject = Subject(
        dataset.name,
        f"{dataset.source} {dataset.split} {count(len(runs), 'run')}: the same network, initial "
        "weights, patches and steps for every loss under a seed",
        dataset.classes[1:],
        dataset.unit,
        settings,
        versions,
        "loss",
    )
    return write_report(
        out,
        pd.concat([run.cases for run in runs]),
        subject,
        lesions=pd.concat([run.lesions for run in runs]),
        titles=titles,
        reference=reference,
        margin=margin,
        resamples=resamples,
        troubles=sentences.troubles(runs, failures, titles) + list(notes),
        trained=trained,
    ).path


def write_report(
    out: Path,
    cases: pd.DataFrame,
    subject: Subject,
    *,
    reference: str,
    margin: float,
    resamples: int,
    lesions: pd.DataFrame | None = None,
    titles: Mapping[str, str] | None = None,
    troubles: Sequence[str] = (),
    trained: Trained | None = None,
) -> Written:
    """Write `cases.csv`, `summary.json`, `report.html`, and `lesions.csv` if there are any.

    Args:
        out: folder for the files.
        cases: rows as in `cases.csv`; `loss` names what is compared, whatever it is.
        subject: what the page says of the scores.
        reference: what the others are compared with.
        margin: Dice (a fraction) within which two count as equivalent.
        resamples: of the bootstrap of the ranks.
        lesions: rows as in `lesions.csv`.
        titles: what each is called on the page; its own name.
        troubles: what went wrong or is worth a warning.
        trained: what is known of networks that were trained here.

    Returns:
        The path to the page, and the comparisons that it judges.
    """
    titles = titles or {name: name for name in dict.fromkeys(cases["loss"])}
    write_csv(out / "cases.csv", in_word(cases, subject.word))
    if lesions is not None:
        write_csv(out / "lesions.csv", in_word(lesions, subject.word))
    by_side = side_by_side(cases)
    family = compare_family(by_side, reference)
    verdicts = judge_family(family, margin)
    apart = [
        loss
        for loss in by_side.losses
        if loss not in (reference, *(verdict.loss for verdict in verdicts))
    ]
    others = tables.differences(by_side, reference, subject.classes)
    details = {
        (other.loss, other.metric): other.difference for other in others if other.class_name is None
    }
    ranks = _ranks(by_side, resamples)
    means = tables.summarise(by_side)
    sweeps = (
        radii.candidates(trained.runs, trained.specs, {row.loss: row.mean["dice"] for row in means})
        if trained
        else []
    )
    said = [sentences.sentence(verdict, titles, subject.unit, details) for verdict in verdicts]
    said += [radii.advice(sweep) for sweep in sweeps]
    summary = _summary(means, verdicts, others, ranks, reference) | _of_runs(trained)
    summary |= {"sentences": said, "troubles": list(troubles)}
    write_json(out / "summary.json", finite(keys_in_word(summary, subject.word)))
    seeds, groups, num_cases = (cases[key].nunique() for key in ("seed", "group", "case"))
    scores = [score for score in SCORES if score in cases and cases[score].notna().any()]
    page = template("compare.html.j2").render(
        subject=subject,
        word=subject.word,
        words={"loss": "losses"}.get(subject.word, f"{subject.word}s"),
        titles=titles,
        there=[score for score in SCORES if score in cases],
        reference=reference,
        margin=margin,
        seeds=seeds,
        folds=cases["fold"].nunique(),
        groups=groups,
        num_cases=num_cases,
        sentences=said,
        apart=[titles[loss] for loss in apart],
        limits=sentences.limits(verdicts, seeds, groups, num_cases, subject.word),
        troubles=troubles,
        unshared=_unshared(by_side, titles),
        nothing_shared=by_side.shared_runs.empty,
        first=tables.first_table(means, verdicts),
        dice=[verdict.sides[0][0] for verdict in verdicts],
        other_rows=tables.difference_cells(others, list(titles)),
        sweeps=[(sweep, radii.best(sweep)) for sweep in sweeps],
        ranks=ranks,
        trials=tables.trials(trained.trials) if trained else [],
        score_titles=[tables.TITLES[score] for score in scores],
        rows=tables.cells(means, scores),
        class_rows={
            name: tables.cells(tables.summarise(by_side.of_class(name)), scores)
            for name in subject.classes
            if len(subject.classes) > 1
        },
        forest=plots.forest([verdict.sides[0][0] for verdict in verdicts], titles, margin)
        if verdicts
        else None,
        recall_and_precision=plots.recall_and_precision(
            by_side, titles, plots.paths(trained.specs) if trained else []
        )
        if {"recall", "precision"} <= set(scores)
        else None,
        curves=plots.learning_curves(trained.runs, trained.specs) if trained else None,
        costs=tables.costs(trained.runs) if trained else [],
        sizes=tables.recall_by_size(lesions).to_dict("records")
        if lesions is not None and len(lesions)
        else [],
        gallery=gallery.choose(
            trained.dataset, cases, trained.runs, trained.specs, trained.load_case
        )
        if trained
        else [],
        colours={
            "hit": gallery.HITS,
            "false positive": gallery.FALSE_POSITIVES,
            "false negative": gallery.FALSE_NEGATIVES,
        },
        failures=trained.failures if trained else [],
        files=[
            name
            for name in ("cases.csv", "lesions.csv", "curves.csv", "summary.json")
            if (out / name).exists()
        ],
    )
    path = out / "report.html"
    write_text(path, page)
    return Written(path, tuple(family))


def in_word(table: pd.DataFrame, word: str) -> pd.DataFrame:
    """A table as it is written: what is compared has a column of its own name.

    Inside it is `loss`, whatever it is: one name in all of the statistics.
    """
    return table if word == "loss" else table.rename(columns={"loss": word})


def keys_in_word(value: Any, word: str) -> Any:
    """The keys of a summary, as `in_word` has the columns of a table."""
    if word == "loss":
        return value
    if isinstance(value, Mapping):
        names = {"loss": word, "losses": f"{word}s"}
        return {names.get(key, key): keys_in_word(part, word) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [keys_in_word(part, word) for part in value]
    return value


def template(name: str) -> Template:
    """A page of ours."""
    # Autoescape: names of files and folders come from outside and must not become markup.
    environment = Environment(
        loader=PackageLoader("dilated_ce.study.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["count"] = count
    return environment.get_template(name)


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
    verdicts: Sequence[Verdict],
    others: Sequence[Comparison],
    ranks: Sequence[Mapping[str, Any]],
    reference: str,
) -> dict[str, Any]:
    return {
        "reference": reference,
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
    }


def _of_runs(trained: Trained | None) -> dict[str, Any]:
    """What the summary says of runs that were made here."""
    if trained is None:
        return {}

    def name(item: Run | Failure) -> dict[str, Any]:
        return {"loss": str(item.loss), "seed": item.seed, "fold": item.fold}

    runs = trained.runs
    return {
        "runs": len(runs),
        "seconds": sum(run.info["seconds"] for run in runs),
        "device": runs[0].info.get("device", ""),
        "diverged": [name(run) for run in runs if run.diverged],
        "collapsed": [name(run) for run in runs if run.collapsed],
        "failed": [{**name(failure), "error": failure.error} for failure in trained.failures],
    }


def finite(value: Any) -> Any:
    """The value as strict JSON has it: no NaN, no infinity."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
