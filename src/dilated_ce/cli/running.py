"""A study on the terminal: what `compare` and `demo` share."""

import json
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from dilated_ce.cli.console import console, errors, escape
from dilated_ce.cli.progress import UnitProgress, counting

# The study is imported when a command needs it: its libraries take seconds, `--help` must not.
if TYPE_CHECKING:
    from dilated_ce.study.api import Results
    from dilated_ce.study.data.cases import DataSet
    from dilated_ce.study.data.prepare import Prepared
    from dilated_ce.study.settings.compare import CompareConfig

SOME_FAILED = 3  # exit code


def carry_out_study(
    config: "CompareConfig",
    open_dataset: "Callable[[CompareConfig], DataSet]",
    dry_run: bool = False,
    fresh: bool = False,
) -> None:
    """Check the data, train what is missing, write the report, and tell of all that."""
    try:
        results = _carry_out(config, open_dataset, dry_run, fresh)
    except KeyboardInterrupt:
        same = "the same command without --fresh" if fresh else "the same command"
        errors.print(
            f"\nInterrupted. What is finished is kept in {escape(str(config.out))}; {same} "
            "goes on from there.",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    if results is not None and results.failures:
        raise typer.Exit(SOME_FAILED)


def _carry_out(
    config: "CompareConfig",
    open_dataset: "Callable[[CompareConfig], DataSet]",
    dry_run: bool,
    fresh: bool,
) -> "Results | None":
    from dilated_ce.study import api

    data = open_dataset(config)
    api.check_folder(config, data)
    api.check_losses(config, data)
    with api.locked(config.out):
        parts = ", ".join(
            f"{len(cases)} for {name}"
            for name, cases in (
                ("training", data.folds[0].train),
                ("validation", data.folds[0].validation),
                ("test", data.folds[0].test),
            )
            if cases
        )
        console.print(
            f"[bold]{escape(data.name)}[/]: {len(data.cases)} cases, {parts}"
            f"{f' in fold 0 of {len(data.folds)}' if len(data.folds) > 1 else ''}. "
            f"{escape(data.split)}",
            highlight=False,
        )
        if dry_run:
            with ExitStack() as stack:
                with counting("reading the cases", len(data.cases)) as on_case:
                    sample = api.prepare_sample(config, data, on_case)
                    resolved, prepared, notes = stack.enter_context(sample)
                _print_notes(notes)
                api.try_losses(resolved, data, prepared)
                _estimate(resolved, data, prepared)
            return None
        with counting("reading and preparing the cases", 2 * len(data.cases)) as on_case:
            prepared, notes = api.prepare_data(data, config.out, on_case, fresh)
        _print_notes(notes)
        api.try_losses(config, data, prepared)
        results = _train(config, data, prepared, fresh)
        api.report(config, data, prepared, results)
        _summarise(config)
    return results


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"  [dim]note: {escape(note)}[/]", highlight=False, soft_wrap=True)


def _train(
    config: "CompareConfig", data: "DataSet", prepared: "Prepared", fresh: bool
) -> "Results":
    from dilated_ce.study import api, planning
    from dilated_ce.study.runs.local import carry_out
    from dilated_ce.study.runs.store import Run

    rates = None
    results = api.Results()
    trials = planning.plan_trials(config, data, prepared)
    if trials:
        outcomes = []
        with UnitProgress("tuning", trials) as progress:
            for unit, outcome, kept in carry_out(trials, config.execution, fresh):
                outcomes.append((unit, outcome))
                progress.on_outcome(unit, outcome, kept)
        results.trials = [outcome for _, outcome in outcomes if isinstance(outcome, Run)]
        rates = planning.best_rates(outcomes)
        results.notes = planning.edges(outcomes, rates)
        for (loss, fold), rate in rates.items():
            name = f"{escape(loss.title)}, fold {fold}"
            console.print(f"  {name}: learning rate {rate:g}", highlight=False)
    units = planning.plan_units(config, data, prepared, rates)
    with UnitProgress("all runs", units) as progress:
        for unit, outcome, kept in api.run_all(config, data, units, fresh):
            results.add(outcome)
            progress.on_outcome(unit, outcome, kept)
    return results


def _estimate(config: "CompareConfig", data: "DataSet", prepared: "Prepared") -> None:
    from dilated_ce.study import planning
    from dilated_ce.study.runs.estimate import estimate

    trials = planning.plan_trials(config, data, prepared)
    units = planning.plan_units(config, data, prepared)
    with counting("measuring a few steps of each loss", len(config.losses)) as on_loss:
        costs = estimate([*trials, *units], on_loss)
    table = Table(title=f"{len(trials) + len(units)} runs", title_justify="left")
    for column in ("loss", "runs", "ms per step", "s per run"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    for cost in costs:
        table.add_row(
            escape(cost.loss.title),
            str(cost.runs),
            f"{cost.ms_per_step:.0f}",
            f"{cost.seconds / cost.runs:.0f}",
        )
    console.print(table)
    training = units[0].training
    console.print(
        f"patches of {' x '.join(map(str, training.patch_size))}, {training.batch_size} per "
        f"step; {training.steps} steps. In all about "
        f"[bold]{_duration(sum(cost.seconds for cost in costs))}[/], one run after the other.",
        highlight=False,
    )


def _summarise(config: "CompareConfig") -> None:
    from dilated_ce.study.report.tables import TITLES, show
    from dilated_ce.study.statistics.comparison import FAMILY

    summary = json.loads((config.out / "summary.json").read_text(encoding="utf-8"))
    losses = summary["losses"]
    scores = [s for s in FAMILY if any(row[s]["mean"] is not None for row in losses.values())]
    table = Table(title="mean over the test cases", title_justify="left")
    table.add_column("loss")
    for score in scores:
        table.add_column(TITLES[score], justify="right")
    titles = {str(loss): loss.title for loss in config.losses}
    for loss, row in losses.items():
        means = [row[score]["mean"] for score in scores]
        cells = [
            show(score, math.nan if mean is None else mean)
            for score, mean in zip(scores, means, strict=True)
        ]
        table.add_row(escape(titles[loss]), *cells)
    console.print()
    console.print(table)
    for sentence in [*summary["sentences"], *summary["troubles"]]:
        console.print(f"  {escape(sentence)}", highlight=False, soft_wrap=True)
    console.print(
        f"\nReport:          [bold]{escape(str(config.out / 'report.html'))}[/]\n"
        f"Scores per case: {escape(str(config.out / 'cases.csv'))}",
        highlight=False,
        soft_wrap=True,
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
