"""A report from results that people already have: `report` is all of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dilated_ce.study.api import Listener
from dilated_ce.study.data.cases import DataError
from dilated_ce.study.files import write_json
from dilated_ce.study.folder import locked
from dilated_ce.study.report.page import Subject, Written, write_report
from dilated_ce.study.report.pooled import write_pooled
from dilated_ce.study.results.merging import Merged, merge
from dilated_ce.study.results.sources import read_sources
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.runs.unit import versions
from dilated_ce.study.settings.report import ReportConfig
from dilated_ce.study.wording import count, some

NO_FILE_NAME = r"[^\w.+-]"  # what is replaced in the name of a data set's folder
REPORT = "report.json"  # what a report was made of: the folder is one of ours
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
    check_out(config.out)
    with locked(config.out):
        merged = read_results(config, listener)
        reference = choose_reference(config, merged.cases)
        write_json(config.out / REPORT, config.model_dump(mode="json"))
        for stale in WRITTEN:
            (config.out / stale).unlink(missing_ok=True)
        names = list(dict.fromkeys(merged.cases["dataset"]))
        if len(names) == 1:
            path = _write(config, merged, reference, config.out, merged.notes).path
        else:
            path = _write_pooled(config, merged, reference, names)
    return Reported(merged.cases, reference, merged.notes, path)


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
    config: ReportConfig, merged: Merged, reference: str, names: Sequence[str]
) -> Path:
    """A report for each data set, and one over all of them."""
    families, pages = {}, {}
    for place, name in enumerate(names):
        folder = config.out / f"{place + 1:02}-{re.sub(NO_FILE_NAME, '-', name)}"
        written = _write(config, merged.of(name), reference, folder, ())
        families[name], pages[name] = written.family, written.path
    subject = replace(subject_of(config, merged), name=config.name or config.out.resolve().name)
    return write_pooled(
        config.out,
        merged.cases,
        subject,
        families,
        pages,
        reference=reference,
        troubles=merged.notes,
    )


def check_out(out: Path) -> None:
    """Leave alone what is in the folder and of no report.

    Raises:
        StudyError: a file would be overwritten.
    """
    there = [name for name in WRITTEN if (out / name).exists()]
    if there and not (out / REPORT).exists():
        raise StudyError(
            f"{out} holds files that are not of a report, and that this one would overwrite "
            f"({some(there)}); choose another folder with --out."
        )


def read_results(config: ReportConfig, listener: Listener) -> Merged:
    """Read every source and put all into one table.

    Raises:
        DataError: with everything that is wrong with any of them.
    """
    reads, problems = read_sources(config, listener.counting)
    return merge(
        reads,
        problems=problems,
        empty=config.scoring.empty,
        only_shared=config.cases == "shared",
        group_by=config.group_by,
    )


def choose_reference(config: ReportConfig, cases: pd.DataFrame) -> str:
    """The method that the others are compared with.

    Raises:
        DataError: it is none of the methods.
    """
    methods = list(dict.fromkeys(cases["loss"]))
    if config.reference is not None:
        if config.reference not in methods:
            raise DataError(
                f"--reference: got {config.reference!r}, expected one of {some(methods, 20)}"
            )
        return config.reference
    usual = ("nnUNetTrainer", "nnUNetTrainerV2", "dice-ce", "ce")
    return next((name for name in usual if name in methods), methods[0])


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
