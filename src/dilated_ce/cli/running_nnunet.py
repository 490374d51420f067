"""A comparison in nnU-Net on the terminal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from dilated_ce.cli.console import console, errors
from dilated_ce.cli.running import (
    SOME_FAILED,
    duration,
    summarise_losses,
    tell_of_engine,
    terminal,
)
from dilated_ce.study.wording import escape

# The study is imported when a command needs it: its libraries take seconds, `--help` must not.
if TYPE_CHECKING:
    from dilated_ce.study.nnunet.unit import NnunetUnit
    from dilated_ce.study.nnunet.workplace import Workplace
    from dilated_ce.study.runs.watcher import Watcher
    from dilated_ce.study.settings.compare import NnunetCompareConfig
    from dilated_ce.study.with_nnunet import NnunetListener


def carry_out_with_nnunet(config: "NnunetCompareConfig", dry_run: bool, fresh: bool) -> None:
    """Carry a comparison out, or say what would be done and how long it would take."""
    from dilated_ce.study.with_nnunet import compare_with_nnunet, plan

    try:
        if dry_run:
            place, units = plan(config, fresh)
            _tell(place, units)
            tell_of_engine(config, units[0].training, len(units), units[0].results)
            _estimate(units)
            return
        results = compare_with_nnunet(config, _terminal(), fresh, terminal())
    except KeyboardInterrupt:
        same = "the same command without --fresh" if fresh else "the same command"
        errors.print(
            f"\nInterrupted. Finished runs and the checkpoints of others are kept in "
            f"{escape(str(config.out))}; {same} goes on from there.",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    summarise_losses(config)
    if results.failures:
        raise typer.Exit(SOME_FAILED)


def _terminal() -> "NnunetListener":
    from dilated_ce.study.progress import UnitProgress
    from dilated_ce.study.with_nnunet import NnunetListener

    class Terminal(NnunetListener):
        def on_workplace(self, place: "Workplace", units: "Sequence[NnunetUnit]") -> None:
            _tell(place, units)

        @contextmanager
        def running(self, units: "Sequence[NnunetUnit]") -> "Iterator[Watcher]":
            with UnitProgress(console, "all runs", units, "epochs") as progress:
                yield progress

    return Terminal()


def _tell(place: "Workplace", units: "Sequence[NnunetUnit]") -> None:
    cases = ", ".join(
        f"{fold}: {len(place.splits[fold]['train'])} + {len(place.splits[fold]['val'])}"
        for fold in place.folds
    )
    unit = units[0]
    console.print(
        f"[bold]{escape(place.name)}[/]: {escape(unit.configuration)} of {escape(unit.plans)} on "
        f"{unit.training.device}, {unit.training.steps} epochs. Cases for training and validation "
        f"in fold {cases}.",
        highlight=False,
    )
    console.print(
        "  [dim]note: every run is judged on the validation cases of its fold, which nnU-Net does "
        f"not train on. Its trainings: {escape(str(unit.results))}[/]",
        highlight=False,
        soft_wrap=True,
    )


def _estimate(units: "Sequence[NnunetUnit]") -> None:
    from dilated_ce.study.nnunet.planning import estimate

    costs = estimate(units)
    table = Table(title=f"{len(units)} runs", title_justify="left")
    for column in ("loss", "runs", "finished", "epochs left", "s per epoch"):
        table.add_column(column, justify="left" if column == "loss" else "right")
    for cost in costs:
        seconds = "?" if cost.seconds_per_epoch is None else f"{cost.seconds_per_epoch:.1f}"
        table.add_row(
            escape(cost.loss.title),
            *(str(cost.runs), str(cost.finished), str(cost.epochs), seconds),
        )
    console.print(table)
    for cost in costs:
        console.print(
            f"  [dim]{escape(cost.loss.title)}: {escape(cost.trainer)}[/]", highlight=False
        )
    if any(cost.seconds_per_epoch is None for cost in costs):
        console.print(
            "How long an epoch takes is not known before the first one: start it, let it train a "
            "few, stop it, and ask again. Nothing of them is lost.",
            soft_wrap=True,
        )
        return
    total = sum(cost.epochs * (cost.seconds_per_epoch or 0) for cost in costs)
    console.print(
        f"In all about [bold]{duration(total)}[/] of training, one run after the other, and the "
        "validations.",
        highlight=False,
    )
