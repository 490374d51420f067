"""`dilated-ce report`: methods judged by results that are there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dilated_ce.cli.console import console, errors
from dilated_ce.cli.endings import one_error
from dilated_ce.cli.options import a_path, classes, one_of, value_of_mask
from dilated_ce.cli.running import summarise, terminal
from dilated_ce.study.wording import escape

if TYPE_CHECKING:
    import pandas as pd

    from dilated_ce.study.settings.report import ReportConfig

RESULTS, MASKS, JUDGING = "Results", "Masks", "Judging"


def report(
    results: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tables of scores (CSV, TSV), and nnU-Net results folders.",
            metavar="[PATH | NAME=PATH]...",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Results and the name of their method. The same name again is another seed.",
            metavar="NAME=PATH",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="A folder of true masks to score predictions against.",
            parser=a_path,
            metavar="DIR",
            rich_help_panel=MASKS,
        ),
    ] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(
            help="A folder of predicted masks, named like the true ones: NIfTI, NRRD, MHA or PNG.",
            metavar="NAME=DIR",
            rich_help_panel=MASKS,
        ),
    ] = None,
    mask_classes: Annotated[
        str | None,
        typer.Option(
            help='Classes and their values in the masks: "background=0,liver=1,tumor=2".',
            rich_help_panel=MASKS,
        ),
    ] = None,
    mask_threshold: Annotated[
        int | None,
        typer.Option(
            help="Grey values above this are foreground in PNG masks.", rich_help_panel=MASKS
        ),
    ] = None,
    ignore_value: Annotated[
        str | None,
        typer.Option(
            help="The value of voxels that nobody labelled in the true masks.",
            metavar="VALUE",
            rich_help_panel=MASKS,
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Tolerance of the surface Dice (NSD), in mm for volumes, pixels for pictures.",
            show_default="2",
            rich_help_panel=MASKS,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes to score with.",
            show_default="one per core",
            rich_help_panel=MASKS,
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="Which column of a table holds what: method=algo, dice=DSC. WHAT is method, case, "
            "class, group, seed, fold, dataset, or a score.",
            metavar="WHAT=COLUMN",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    columns_of: Annotated[
        str | None,
        typer.Option(
            help="What columns such as a_dice and b_dice are called by: classes or methods.",
            autocompletion=one_of("classes", "methods"),
            show_default="classes",
            rich_help_panel=RESULTS,
        ),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            help="How the tables write Dice and the like: fractions or percent.",
            autocompletion=one_of("fractions", "percent"),
            rich_help_panel=RESULTS,
        ),
    ] = "fractions",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            help="A score to use, such as dice. May be repeated.",
            show_default="all found",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    cases: Annotated[
        str,
        typer.Option(
            help="all: every method must have all cases of a run; shared: use those that all have.",
            autocompletion=one_of("all", "shared"),
            rich_help_panel=JUDGING,
        ),
    ] = "all",
    empty: Annotated[
        str | None,
        typer.Option(
            help="For a class that a case lacks: score (1 if none of it is predicted, otherwise "
            "0), or skip. An empty cell beside a 0 in a table asks for it.",
            autocompletion=one_of("score", "skip"),
            show_default="score",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="A regular expression whose first group finds the patient in the name of a "
            "case's file, without its folder.",
            metavar="REGEX",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The method to compare the others with.",
            show_default="nnUNetTrainer, dice-ce, ce or the first",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="Difference in Dice points up to which two methods count as equivalent.",
            show_default="1.5",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(help="Unit of the distances in tables, such as mm.", rich_help_panel=JUDGING),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the data, for the title.", rich_help_panel=JUDGING),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Folder for the report.", parser=a_path, metavar="DIR"),
    ] = Path("runs/report"),
) -> None:
    """Compare methods by results that you already have. Nothing is trained.

    Takes tables of scores, nnU-Net results folders, and predictions beside the truth, in any
    mixture, and writes the report of `compare`: every method against a reference, with intervals
    over patients and seeds, in report.html, cases.csv and summary.json.

    Exit codes: 0 success; 1 the results cannot be compared; 2 a wrong option.
    """
    options = {
        "results": [_source(text) for text in (*(results or ()), *_named("--method", method))],
        "predictions": [_source(text) for text in _named("--predictions", predictions)],
        "truth": truth,
        "columns": _columns(column),
        "columns_of": columns_of,
        "scale": scale,
        "metrics": metric or None,
        "cases": cases,
        "scoring": {
            name: value
            for name, value in (("empty", empty), ("tolerance", tolerance))
            if value is not None
        },
        "group_by": group_by,
        "mask_classes": classes(mask_classes),
        "mask_threshold": mask_threshold,
        "ignore_value": None if ignore_value is None else value_of_mask(ignore_value),
        "reference": reference,
        "margin": margin,
        "unit": unit,
        "name": name,
        "jobs": jobs,
        "out": out,
    }
    _report(_settings({key: value for key, value in options.items() if value is not None}))


def _report(config: "ReportConfig") -> None:
    from dilated_ce.study.data.cases import DataError
    from dilated_ce.study.reporting import report
    from dilated_ce.study.runs.store import StudyError

    with one_error(config.out, DataError, StudyError, kept=False):
        try:
            made = report(config, terminal())
        except KeyboardInterrupt:
            errors.print(
                "\nInterrupted. Scores of finished cases are kept; the same command goes on."
            )
            raise typer.Exit(130) from None
    summary = json.loads((made.path.parent / "summary.json").read_text(encoding="utf-8"))
    console.print(f"  read: {escape(_counted(made.cases))}", highlight=False)
    console.print(f"  reference: {escape(made.reference)}", highlight=False)
    summarise(summary, "method", config.out)


def _counted(cases: "pd.DataFrame") -> str:
    """How much was read: what was taken for a case, a method or a class by mistake shows here."""
    from dilated_ce.study.wording import count, some

    def named(column: str, what: str, several: str = "") -> str:
        names = [str(name) for name in cases[column].unique()]
        return f"{count(len(names), what, several)} ({some(names, 8)})"

    number = len(cases[["dataset", "case"]].drop_duplicates())
    patients = len(cases[["dataset", "group"]].drop_duplicates())
    of = "" if patients == number else f" of {count(patients, 'patient')}"
    parts = [
        count(number, "case") + of,
        named("loss", "method"),
        named("class", "class", "classes"),
    ]
    parts += [
        count(cases[column].nunique(), column)
        for column in ("seed", "fold")
        if cases[column].nunique() > 1
    ]
    if cases["dataset"].nunique() > 1:
        parts.append(named("dataset", "data set"))
    return ", ".join(parts)


def _settings(options: dict[str, object]) -> "ReportConfig":
    import pydantic

    from dilated_ce.study.settings.report import ReportConfig

    try:
        return ReportConfig.model_validate(options)
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] != "value_error":
            text = f"got {problem['input']!r:.100}. {text}"
        names = {"metrics": "metric", "columns": "column", "scoring": "empty", "results": "method"}
        first = str(problem["loc"][0]) if problem["loc"] else ""
        option = "--" + names.get(first, first).replace("_", "-") if first else None
        raise typer.BadParameter(text, param_hint=option) from None


def _named(option: str, texts: list[str] | None) -> list[str]:
    for text in texts or ():
        if "=" not in text:
            raise typer.BadParameter(f"got {text!r}, expected NAME=PATH.", param_hint=option)
    return texts or []


def _source(text: str) -> dict[str, str | None]:
    """A path, or NAME=PATH: names and paths may hold = themselves, so a path is what is there."""
    if Path(text).exists():
        return {"path": text, "method": None}
    places = [place for place, letter in enumerate(text) if letter == "="]
    fitting = [place for place in places if Path(text[place + 1 :]).exists() and text[place + 1 :]]
    if len(fitting) > 1:
        paths = " and ".join(text[place + 1 :] for place in fitting)
        raise typer.BadParameter(
            f"{text!r}: {paths} are both there; write the path with ./ before."
        )
    if fitting:
        return {"path": text[fitting[0] + 1 :], "method": text[: fitting[0]]}
    path = text[places[-1] + 1 :] if places else text
    raise typer.BadParameter(f"{path!r}: no such file or folder.")


def _columns(texts: list[str] | None) -> dict[str, str]:
    columns = {}
    for text in texts or ():
        what, equals, name = text.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"got {text!r}, expected WHAT=COLUMN.", param_hint="--column")
        columns[what.strip()] = name
    return columns
