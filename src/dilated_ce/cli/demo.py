"""`dilated-ce demo`: five losses on the STARE images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dilated_ce.cli.console import console, errors, fail

# The study is imported when a command needs it: its libraries take seconds, `--help` must not.
if TYPE_CHECKING:
    from dilated_ce.study.config import StudyConfig
    from dilated_ce.study.data import StudyData
    from dilated_ce.study.runs import Run

DEMO_LOSSES = "ce,balanced-ce,dbce:radius=2,dice-ce,dbce-dice:radius=2"


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your own 2D images: a folder with images/ and masks/, in files of the same "
            "names. In the masks each value is a class, the smallest the background. The last "
            "quarter of the names is the test part, unless there are train/ and test/ in it.",
            show_default="STARE, fetched once",
            metavar="DIR",
        ),
    ] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Noisy discs made on the spot; no download.")
    ] = False,
    losses: Annotated[
        str,
        typer.Option(
            help="ce, balanced-ce, dice-ce, dbce or dbce-dice; the last two take radius=..., "
            "balance=batch|image and overlap=sum|max: ce,dbce:radius=4,balance=image."
        ),
    ] = DEMO_LOSSES,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each loss.")] = 2,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each run.")] = 350,
    scale: Annotated[
        float | None,
        typer.Option(
            help="Resize all images by this factor.", show_default="0.5 for STARE, else 1"
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where to train: auto (a GPU if there is one), cpu or gpu.")
    ] = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the runs, cases.csv and report.html.",
            show_default="runs/demo, with another name for other data",
            metavar="DIR",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train all runs again, the finished ones too.")
    ] = False,
) -> None:
    """Train a small U-Net on retinal vessels under five losses and show the difference.

    As it stands it takes less than 10 minutes on 2 CPU cores. Finished runs are kept: after an
    interruption, run the same command again.
    """
    from dilated_ce.study.report import write_report
    from dilated_ce.study.runs import StudyError, run_study
    from dilated_ce.study.summary import count

    if data is not None and synthetic:
        raise typer.BadParameter("expected one of --data and --synthetic, got both.")
    if scale is not None and synthetic:
        raise typer.BadParameter("synthetic images are not resized.", param_hint="--scale")
    if scale is not None and not 0 < scale <= 4:
        raise typer.BadParameter(
            f"got {scale:g}, expected more than 0 and at most 4.", param_hint="--scale"
        )
    config = _demo_config(losses, seeds, steps, device, out or _default_folder(data, synthetic))
    study_data = _load(data, synthetic, scale)
    console.print(
        f"[bold]{escape(study_data.name)}[/]: "
        f"{count(len(study_data.train), 'training image')} and "
        f"{count(len(study_data.test), 'test image')}, foreground "
        f"{study_data.foreground:.1%} of the pixels. {escape(study_data.split)}",
        highlight=False,
    )

    runs: list[Run] = []
    try:
        progress = RunProgress(config)
        with progress.bars:
            for run, kept in run_study(config, study_data, progress.on_step, fresh):
                runs.append(run)
                progress.on_run(run, kept)
        report = write_report(config, study_data, runs)
    except KeyboardInterrupt:
        same = "the same command without --fresh" if fresh else "the same command"
        errors.print(
            f"\nInterrupted. Finished here: {count(len(runs), 'run')}, kept in "
            f"{escape(str(config.out))}; {same} goes on from there.",
            soft_wrap=True,
        )
        raise typer.Exit(130) from None
    except StudyError as error:
        fail(str(error))
    except OSError as error:
        fail(f"{error}. Is there room in {config.out}, and may you write there?")
    _print_table(config, study_data, runs)
    console.print(
        f"\nPictures and curves: [bold]{escape(str(report))}[/]\n"
        f"Scores per image:    {escape(str(config.out / 'cases.csv'))}",
        highlight=False,
        soft_wrap=True,
    )


def _default_folder(data: Path | None, synthetic: bool) -> Path:
    if data is not None:
        return Path("runs") / f"demo-{data.resolve().name}"
    return Path("runs/demo-synthetic" if synthetic else "runs/demo")


def _demo_config(losses: str, seeds: int, steps: int, device: str, out: Path) -> "StudyConfig":
    import pydantic

    from dilated_ce.study.config import StudyConfig, TrainingConfig
    from dilated_ce.study.losses import parse_losses

    try:
        specs = parse_losses(losses)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--losses") from None
    try:
        return StudyConfig(
            losses=specs,
            seeds=seeds,
            training=TrainingConfig(steps=steps, device=device),
            out=out,
        )
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        text = problem["msg"].removeprefix("Value error, ")
        option = problem["loc"][-1]
        got = "" if option == "losses" else f"got {problem['input']!r}. "
        raise typer.BadParameter(f"{got}{text}.", param_hint=f"--{option}") from None


def _load(folder: Path | None, synthetic: bool, scale: float | None) -> "StudyData":
    from dilated_ce.study.cases import DataError
    from dilated_ce.study.data import load_folder, make_synthetic
    from dilated_ce.study.stare import load_stare

    try:
        if folder is not None:
            return load_folder(folder, scale or 1.0)
        if synthetic:
            return make_synthetic()
        return load_stare(scale or 0.5)
    except DataError as error:
        hint = (
            ""
            if folder
            else (
                "\nWithout the network: `dilated-ce demo --data DIR` takes your own images/ and "
                "masks/, `dilated-ce demo --synthetic` makes its own."
            )
        )
        fail(f"{error}{hint}")


class RunProgress:
    """Progress bars over all steps and those of the current run, and a line per finished run."""

    def __init__(self, config: "StudyConfig") -> None:
        self.steps = config.training.steps
        self.num_runs = len(config.losses) * config.seeds
        self.finished = 0
        self.total = self.num_runs * self.steps
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self.all_runs = self.bars.add_task("", total=self.total)
        self.this_run = self.bars.add_task("", total=self.steps)
        self._describe()

    def on_step(self) -> None:
        """Count one training step."""
        self.bars.advance(self.all_runs)
        self.bars.advance(self.this_run)

    def on_run(self, run: "Run", kept: bool) -> None:
        """Count a finished run and print its score."""
        self.finished += 1
        if kept:  # no progress: it would make the others look as fast
            self.total -= self.steps
            self.bars.update(self.all_runs, total=self.total)
        self.bars.reset(self.this_run)
        self._describe()
        how = "kept from an earlier run" if kept else f"{run.info['seconds']:.0f} s"
        console.print(
            f"[dim]{self.finished:>3}/{self.num_runs}[/]  {escape(run.loss.title)}, "
            f"seed {run.seed}: Dice {100 * run.cases['dice'].mean():.1f} [dim]({how})[/]",
            highlight=False,
        )
        if run.diverged or run.collapsed:
            what = "its loss became infinite" if run.diverged else "it finds no voxel of a class"
            console.print(f"         [yellow]this run went wrong: {what}; it is counted[/]")

    def _describe(self) -> None:
        current = min(self.finished + 1, self.num_runs)
        self.bars.update(self.all_runs, description="all runs")
        self.bars.update(self.this_run, description=f"run {current} of {self.num_runs}")


def _print_table(config: "StudyConfig", data: "StudyData", runs: "list[Run]") -> None:
    import pandas as pd

    from dilated_ce.study.summary import METRICS, caution, compare, count, summarise

    cases = pd.concat([run.cases for run in runs])
    table = Table(
        title=f"{count(len(data.test), 'test image').capitalize()}: mean in %"
        + (f", ± half the range over {config.seeds} seeds" if config.seeds > 1 else ""),
        title_justify="left",
    )
    table.add_column("loss")
    for metric in METRICS:
        table.add_column(metric.capitalize(), justify="right")
    for row in summarise(cases):
        table.add_row(escape(row.loss.title), *row.cells())
    console.print()
    console.print(table)
    for difference in compare(cases):
        console.print(f"  {escape(difference.sentence)}", highlight=False, soft_wrap=True)
    console.print(f"  [dim]({caution(config.seeds, len(data.test))})[/]", highlight=False)
