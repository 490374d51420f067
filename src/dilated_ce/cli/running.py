"""A study on the terminal: what `compare` and `demo` share."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from dilated_ce.cli.console import console, errors
from dilated_ce.study.wording import escape

# The study is imported when a command needs it: its libraries take seconds, `--help` must not.
if TYPE_CHECKING:
    from dilated_ce.study.api import Listener, OpenDataset
    from dilated_ce.study.data.cases import DataSet
    from dilated_ce.study.data.checking import Look
    from dilated_ce.study.data.prepared import Prepared
    from dilated_ce.study.settings.compare import CompareConfig, NnunetCompareConfig

SOME_FAILED = 3  # exit code


def carry_out_study(
    config: "CompareConfig",
    open_dataset: "OpenDataset | None" = None,
    dry_run: bool = False,
    fresh: bool = False,
) -> None:
    """Carry a study out, or say how long it would take, and tell of all that."""
    from dilated_ce.study import api

    try:
        if dry_run:
            _dry_run(config, open_dataset or api.open_configured)
            return
        results = api.compare(config, open_dataset, terminal(), fresh)
    except KeyboardInterrupt:
        same = "the same command without --fresh" if fresh else "the same command"
        errors.print(
            f"\nInterrupted. What is finished is kept in {escape(str(config.out))}; {same} "
            "goes on from there.",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    summarise_losses(config)
    if results.failures:
        raise typer.Exit(SOME_FAILED)


def terminal() -> "Listener":
    """Who listens to a study on the terminal; made here, as the study takes seconds to import."""
    from dilated_ce.study.printing import PrintingListener

    return PrintingListener(console)


def _dry_run(config: "CompareConfig", open_dataset: "OpenDataset") -> None:
    from dilated_ce.study import api
    from dilated_ce.study.data.checking import look_at_cases
    from dilated_ce.study.folder import check_folder, locked

    listener = terminal()
    looks: dict[str, Look] = {}

    def look(data: "DataSet") -> "Mapping[str, Look]":
        check_folder(config, data)
        api.check_losses(config, data)
        with listener.counting("reading the cases", len(data.cases)) as on_case:
            looks.update(look_at_cases(data, on_case))
        return looks

    data = open_dataset(config, look)
    check_folder(config, data)
    api.check_losses(config, data)
    with locked(config.out):
        listener.on_data(data)
        with api.prepare_sample(config, data, listener, looks) as (resolved, prepared):
            api.try_out(resolved, data, prepared)
            _estimate(resolved, data, prepared)


def _estimate(config: "CompareConfig", data: "DataSet", prepared: "Prepared") -> None:
    from dilated_ce.study import machine, planning
    from dilated_ce.study.progress import counting
    from dilated_ce.study.runs.estimate import disk_kept, estimate
    from dilated_ce.study.wording import count

    trials = planning.plan_trials(config, data, prepared)
    units = planning.plan_units(config, data, prepared)
    training = units[0].training
    tell_of_engine(config, training, len(units), units[0].runs)
    if training.device == "gpu" and not machine.has_gpu():
        console.print(
            f"{len(trials) + len(units)} runs of {training.steps} steps. How long they take is not "
            "known here: this machine has no GPU to measure on.",
            highlight=False,
        )
        return
    with counting(console, "measuring a few steps of each loss", len(config.losses)) as on_loss:
        found = estimate([*trials, *units], config.execution, on_loss)
    table = Table(title=f"{len(trials) + len(units)} runs", title_justify="left")
    for column in ("loss", "runs", "ms per step", "s per run"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    for cost in found.costs:
        table.add_row(
            escape(cost.loss.title),
            str(cost.runs),
            f"{cost.ms_per_step:.0f}",
            f"{cost.seconds / cost.runs:.0f}",
        )
    console.print(table)
    how = f"{found.at_once} runs at once" if found.at_once > 1 else "one run after the other"
    memory = f", {found.memory / 1e9:.1f} GB of memory each" if found.memory else ""
    console.print(
        f"patches of {' x '.join(map(str, training.patch_size))}, {training.batch_size} per "
        f"step; {training.steps} steps. In all about "
        f"[bold]{duration(found.seconds)}[/], {how} "
        f"({count(training.threads, 'thread')}{memory}).",
        highlight=False,
    )
    models, predictions = disk_kept(units, prepared)
    console.print(
        f"What is kept (keep: {config.keep}): {_size(models)} of models and at most "
        f"{_size(predictions)} of predictions, beside the scores.",
        highlight=False,
    )


def tell_of_engine(
    config: "CompareConfig | NnunetCompareConfig", training: Any, number: int, runs: Path
) -> None:
    """Say what other machines are asked for, and that times are of this one.

    Args:
        config: whose engine it is.
        training: of a run.
        number: of runs.
        runs: folder of all runs.
    """
    from dilated_ce.study.runs import slurm

    if config.execution.engine == "slurm":
        folder = slurm.folder_of(runs)
        console.print("Slurm is asked for, by one array of jobs with a run each:")
        for line in slurm.script(training, config.execution, folder, number):
            console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    if config.execution.engine != "local":
        console.print("The times below are of this machine; others take their own.")


def summarise_losses(config: "CompareConfig | NnunetCompareConfig") -> None:
    """Print what the report of a comparison of losses says."""
    summary = json.loads((config.out / "summary.json").read_text(encoding="utf-8"))
    summarise(summary, "loss", config.out, {str(loss): loss.title for loss in config.losses})


def summarise(
    summary: Mapping[str, Any], word: str, out: Path, titles: Mapping[str, str] | None = None
) -> None:
    """Print the means, the sentences, and where the report lies; `word`: what was compared."""
    from dilated_ce.study.report.tables import TITLES, show
    from dilated_ce.study.statistics.comparison import FAMILY

    rows = summary.get("losses" if word == "loss" else f"{word}s", {})
    scores = [s for s in FAMILY if any(row[s]["mean"] is not None for row in rows.values())]
    table = Table(title="mean over the test cases", title_justify="left")
    table.add_column(word)
    for score in scores:
        table.add_column(TITLES[score], justify="right")
    for name, row in rows.items():
        means = [row[score]["mean"] for score in scores]
        cells = [
            show(score, math.nan if mean is None else mean)
            for score, mean in zip(scores, means, strict=True)
        ]
        table.add_row(escape((titles or {}).get(name, name)), *cells)
    if rows:
        console.print()
        console.print(table)
    for sentence in [*summary["sentences"], *summary["troubles"]]:
        console.print(f"  {escape(sentence)}", highlight=False, soft_wrap=True)
    console.print(
        f"\nReport:          [bold]{escape(str(out / 'report.html'))}[/]\n"
        f"Scores per case: {escape(str(out / 'cases.csv'))}",
        highlight=False,
        soft_wrap=True,
    )


def _size(number: int) -> str:
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    return f"{number / 1e6:.0f} MB" if number >= 1e7 else f"{number / 1e6:.2g} MB"


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
