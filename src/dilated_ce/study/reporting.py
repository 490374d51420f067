"""A report from results that people already have: `report` is all of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dilated_ce.study.api import Listener
from dilated_ce.study.data.cases import DataError
from dilated_ce.study.files import moved_in, write_json
from dilated_ce.study.folder import locked
from dilated_ce.study.report.page import Subject, Written, write_report
from dilated_ce.study.report.pooled import write_pooled
from dilated_ce.study.results.checks import no_run_shared
from dilated_ce.study.results.merging import Merged, merge
from dilated_ce.study.results.sources import read_sources
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.runs.unit import versions
from dilated_ce.study.settings.report import ReportConfig
from dilated_ce.study.wording import count, listing, some

NO_FILE_NAME = r"[^\w.+-]"  # what is replaced in the name of a data set's folder
REPORT = "report.json"  # what a report was made of: the folder is one of ours
# What others are compared with if nothing is said: nnU-Net's own trainer, however long it trained.
USUAL_REFERENCES = (
    r"nnUNetTrainer(V2)?(_\d+epochs?)?(_\d+iterations)?(_seed\d+)?(__.+)?",
    "dice-ce",
    "ce",
)
WRITTEN = ("cases.csv", "summary.json", "report.html", "lesions.csv")


@dataclass(frozen=True)
class Reported:
    """What a report was made of, and where it lies."""

    cases: pd.DataFrame
    reference: str
    notes: tuple[str, ...]
    path: Path


def report(config: ReportConfig, listener: Listener | None = None) -> Reported:
    """Judge methods by scores, results folders or predictions that are there.

    Args:
        config: all settings; see `ReportConfig`.
        listener: is told how it goes on.

    Returns:
        The scores and the path to the page; `config.out` holds the tables, too.

    Raises:
        DataError: with everything that is wrong with the results.
        StudyError: the folder for the report cannot be written to, or is of something else.
    """
    listener = listener or Listener()
    check_out(config)
    with locked(config.out):
        merged = read_results(config, listener)
        reference = choose_reference(config, merged.cases)
        names = list(dict.fromkeys(merged.cases["dataset"]))
        with moved_in(config.out, first=REPORT, instead_of=WRITTEN) as new:
            write_json(new / REPORT, config.model_dump(mode="json"))
            if len(names) == 1:
                path = _write(config, merged, reference, new, merged.notes).path
            else:
                path = _write_pooled(config, merged, reference, names, new)
    return Reported(merged.cases, reference, merged.notes, config.out / path.relative_to(new))


def _write(
    config: ReportConfig, merged: Merged, reference: str, out: Path, troubles: Sequence[str]
) -> Written:
    """The report of one data set."""
    lesions = merged.lesions
    return write_report(
        out,
        merged.cases.drop(columns="dataset"),
        subject_of(config, merged),
        reference=reference,
        margin=config.margin / 100,
        resamples=config.resamples,
        lesions=None if lesions is None else lesions.drop(columns="dataset", errors="ignore"),
        troubles=troubles,
    )


def _write_pooled(
    config: ReportConfig, merged: Merged, reference: str, names: Sequence[str], out: Path
) -> Path:
    """A report for each data set, and one over all of them."""
    families, pages = {}, {}
    for place, name in enumerate(names):
        folder = out / f"{place + 1:02}-{re.sub(NO_FILE_NAME, '-', name)}"
        written = _write(config, merged.of(name), reference, folder, ())
        families[name], pages[name] = written.family, written.path
    subject = replace(subject_of(config, merged), name=config.name or config.out.resolve().name)
    return write_pooled(
        out,
        merged.cases,
        subject,
        families,
        pages,
        reference=reference,
        troubles=merged.notes,
    )


def check_out(config: ReportConfig) -> None:
    """Leave alone what is in the folder and of no report, and what the report is made of.

    Raises:
        StudyError: a file would be overwritten.
    """
    out = config.out
    sources = [source.path for source in config.results if _is_written(source.path, out)]
    if sources:
        raise StudyError(
            f"the report would overwrite what it reads ({some([str(path) for path in sources])}); "
            "choose another folder with --out."
        )
    there = [name for name in WRITTEN if (out / name).exists()]
    if there and not (out / REPORT).exists():
        raise StudyError(
            f"{out} holds files that are not of a report, and that this one would overwrite "
            f"({some(there)}); choose another folder with --out."
        )


def _is_written(path: Path, out: Path) -> bool:
    """Whether a file is one that a report in the folder writes, there or for a data set."""
    path, out = path.resolve(), out.resolve()
    return path.name in (*WRITTEN, REPORT) and out in (path.parent, path.parent.parent)


def read_results(config: ReportConfig, listener: Listener) -> Merged:
    """Read every source and put all into one table.

    Raises:
        DataError: with everything that is wrong with any of them.
    """
    reads, problems = read_sources(config, listener.counting)
    methods = {name for read in reads for name in read.cases["loss"]}
    classes = {name for read in reads if read.classes_of_columns for name in read.cases["class"]}
    if len(methods) == 1 and classes and config.columns_of is None and not problems:
        [method] = methods
        problems = [
            f"one method, {method!r}, and nothing to compare it with; from the names of columns "
            f"{some(sorted(classes), 8)} were taken as classes. Are these methods or classes? Say "
            "--columns-of methods, or --columns-of classes for a table of means"
        ]
    merged = merge(
        reads,
        problems=problems,
        empty=config.scoring.empty if "empty" in config.scoring.model_fields_set else None,
        only_shared=config.cases == "shared",
        group_by=config.group_by,
    )
    if len(methods) > 1:
        return merged
    note = f"there is one method, {some(sorted(methods))}: nothing is compared"
    return replace(merged, notes=(*merged.notes, note))


def choose_reference(config: ReportConfig, cases: pd.DataFrame) -> str:
    """The method that the others are compared with.

    Raises:
        DataError: it is none of the methods, some data set lacks it, or a method has no run that
            it has.
    """
    methods = list(dict.fromkeys(cases["loss"]))
    if config.reference is not None and config.reference not in methods:
        raise DataError(
            f"--reference: got {config.reference!r}, expected one of {some(methods, 20)}"
        )
    usual = [
        method
        for pattern in USUAL_REFERENCES
        for method in methods
        if re.fullmatch(pattern, method)
    ]
    reference = config.reference or (usual or methods)[0]
    having = {name: set(of["loss"]) for name, of in cases.groupby("dataset", sort=False)}
    problems = [
        f"data set {name}: has no results of {reference}, the reference; got "
        f"{some([method for method in methods if method in there])}"
        for name, there in having.items()
        if reference not in there
    ]
    if problems:
        everywhere = [name for name in methods if all(name in there for there in having.values())]
        other = f", or take one that all have: --reference {everywhere[0]!r}" if everywhere else ""
        problems.append(
            f"every data set needs the reference: add its results, or leave out the data set{other}"
        )
        raise DataError(listing("These results cannot be compared", problems))
    problems = no_run_shared(cases, reference)
    if problems:
        raise DataError(listing("These results cannot be compared", problems))
    return reference


def subject_of(config: ReportConfig, merged: Merged) -> Subject:
    """What the page says of the scores."""
    cases = merged.cases
    sources = [str(source.path) for source in (*config.results, *config.predictions)]
    dataset = next((name for name in cases["dataset"] if name), "")
    number = len(cases[["dataset", "case"]].drop_duplicates())
    return Subject(
        config.name or dataset or config.out.resolve().name,
        f"Scores from {some(sources, 3)}: results that were there, and were not made for this "
        "comparison",
        tuple(dict.fromkeys(cases["class"])),
        config.unit or merged.unit or "units",
        {
            "results": "; ".join(
                f"{source.method}: {source.path}" if source.method else str(source.path)
                for source in (*config.results, *config.predictions)
            ),
            "cases": "those that every method of a run has"
            if config.cases == "shared"
            else f"{count(number, 'case')}, the same for all methods of a run",
        },
        versions(),
    )
