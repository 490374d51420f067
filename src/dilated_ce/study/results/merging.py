"""One table of scores from all sources, and every reason why it could not be."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.patients import ask_for_patients, own_name
from dilated_ce.study.results.checks import (
    CASE,
    ROW,
    RUN,
    alike,
    given_twice,
    in_several_folds,
    methods_alike,
    never_predicted,
    other_classes,
    other_truths,
    prefix,
    repeated,
    shown_pairs,
    told_twice,
    two_groups,
)
from dilated_ce.study.results.empty_cells import without_empty_cells
from dilated_ce.study.results.read import Read
from dilated_ce.study.results.units import other_units
from dilated_ce.study.scores.settings import Empty
from dilated_ce.study.scores.table import COUNTS, SCORES
from dilated_ce.study.wording import count, listing, some


@dataclass(frozen=True)
class Merged:
    """The scores of all methods on the same cases."""

    cases: pd.DataFrame  # dataset, loss, seed, fold, case, group, class, and the scores
    notes: tuple[str, ...]
    lesions: pd.DataFrame | None
    unit: str | None

    def of(self, dataset: str) -> "Merged":
        """The scores on one data set."""
        lesions = self.lesions
        if lesions is not None and "dataset" in lesions:
            lesions = lesions[lesions["dataset"] == dataset]
        return replace(self, cases=self.cases[self.cases["dataset"] == dataset], lesions=lesions)


def merge(
    reads: Sequence[Read],
    *,
    problems: Sequence[str] = (),
    empty: Empty | None = None,
    only_shared: bool = False,
    group_by: str | None = None,
) -> Merged:
    """Put the scores of all sources into one table.

    Args:
        reads: the sources, in the order in which methods are shown.
        problems: of sources that could not be read: they are told along with the others.
        empty: how a class is scored that a case lacks, see `ScoringConfig`; as "score" if nobody
            says it, but then an empty cell beside a 0 is asked about.
        only_shared: cases that some methods lack are left out, instead of an error.
        group_by: regular expression whose first group is the patient in a case's name.

    Raises:
        DataError: with every problem of all sources.
    """
    found = list(problems)
    notes = [note for read in reads for note in read.notes]
    if not reads:
        raise _not_comparable(found)
    table, also, numbered = _together(reads)
    found += also
    notes += numbered
    found += other_units(reads)
    twice = repeated(table)
    found += twice
    folds_differ = in_several_folds(table, _without_folds(reads))
    found += folds_differ
    one_method = methods_alike(table)
    found += one_method
    found += told_twice(table)
    found += other_truths(table)
    classes_differ = other_classes(table)
    found += classes_differ
    if not folds_differ and not one_method:  # in which every case would lack
        failure = "save an empty mask" if _are_masks(reads) else "give it the score of a failure, 0"
        table, lacking, left_out = _same_cases(
            table, only_shared, CASE if classes_differ else ROW, failure
        )
        found += lacking
        notes += left_out
    if not found:
        table, odd, taken = without_empty_cells(table, empty)
        found += odd
        notes += [*taken, *given_twice(table), *never_predicted(table)]
    if group_by is not None:
        table, odd = _grouped(table, group_by)
        found += odd
    if not twice:
        found += two_groups(table)
    if found:
        raise _not_comparable(found)
    if group_by is None:
        notes = [*_patients_asked_for(table, reads), *notes]
    notes += _runs_that_differ(table)
    lesions = [read.lesions for read in reads if read.lesions is not None]
    return Merged(
        table,
        tuple(dict.fromkeys(notes)),
        pd.concat(lesions, ignore_index=True) if len(lesions) == len(reads) else None,
        next((read.unit for read in reads if read.unit), None),
    )


def _not_comparable(problems: Sequence[str]) -> DataError:
    """All problems, each of which may have several lines."""
    lines = [line for problem in problems for line in problem.splitlines()]
    return DataError(listing("These results cannot be compared", lines))


def _together(reads: Sequence[Read]) -> tuple[pd.DataFrame, list[str], list[str]]:
    """All rows, with every column; scores that some methods lack altogether are left out."""
    named = list(
        dict.fromkeys(
            name for read in reads if "dataset" in read.cases for name in read.cases["dataset"]
        )
    )
    problems, notes = [], []
    if len(named) > 1 and any("dataset" not in read.cases for read in reads):
        problems.append(
            f"some results are of {some(named)}, and others do not say of which data set: add a "
            "column dataset"
        )
    only = named[0] if named else ""
    parts = []
    for read in reads:
        part = read.cases
        defaults = {"dataset": only, "seed": 0, "fold": 0, "class": "foreground"}
        part = part.assign(**{name: value for name, value in defaults.items() if name not in part})
        if "group" not in part:
            part["group"] = part["case"]
        parts.append(part)
    table = pd.concat(parts, ignore_index=True)
    for name in ("seed", "fold"):  # of all sources, so that a name is the same number in each
        table[name], wrong, note = _whole(table[name], name)
        problems += wrong
        notes += note
    columns = ["dataset", "loss", "seed", "fold", "case", "group", "class"]
    scores = [name for name in (*SCORES, *COUNTS) if name in table]
    return table[[*columns, *scores]], problems, notes


def _without_folds(reads: Sequence[Read]) -> list[str]:
    """Methods whose sources say nothing of folds, where others do."""
    silent = [read.cases for read in reads if "fold" not in read.cases]
    if len(silent) == len(reads):
        return []
    return list(dict.fromkeys(str(name) for cases in silent for name in cases["loss"]))


def _are_masks(reads: Sequence[Read]) -> bool:
    """Whether all scores are those of masks, of which one that predicts nothing may be missing."""
    return all(read.lesions is not None for read in reads)


def _whole(values: pd.Series, name: str) -> tuple[pd.Series, list[str], list[str]]:
    """Seeds or folds as numbers, problems, and notes; names are numbered in their order."""
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().all() and (numbers == numbers.round()).all():
        return numbers.astype(int), [], []
    texts = values.astype(str).str.strip()
    if (texts == "").any():
        return numbers.fillna(0).astype(int), [f"{name}: empty in some rows"], []
    # One source may say fold_0 where another says 0.
    numbers = pd.to_numeric(texts.str.replace(rf"^{name}[\s_-]*", "", case=False, regex=True),
                            errors="coerce")  # fmt: skip
    if numbers.notna().all() and (numbers == numbers.round()).all():
        return numbers.astype(int), [], []
    digits = texts.str.extract(r"^\D*(\d+)$")[0].astype(float)  # fold_0, seed1
    if digits.notna().all() and digits.nunique() == texts.nunique():
        return digits.astype(int), [], []
    codes, names = pd.factorize(texts, sort=True)
    said = some([f"{text} is {code}" for code, text in enumerate(names)], 6)
    return pd.Series(codes, values.index), [], [f"{name}s have names, and get numbers: {said}"]


def _same_cases(
    table: pd.DataFrame, only_shared: bool, keys: list[str], failure: str
) -> tuple[pd.DataFrame, list[str], list[str]]:
    """Whether all methods of a run have the same cases, or the rows of those that all have.

    By `ROW`, a case that lacks the row of a class is one that the method does not have. `failure`
    is what to do about a method that failed.
    """
    methods = table.groupby(RUN, sort=False)["loss"].transform("nunique")
    having = table.groupby(keys, sort=False)["loss"].transform("nunique")
    having = having.groupby([table[name] for name in CASE], sort=False).transform("min")
    unshared = table[having < methods]
    if unshared.empty:
        return table, [], []
    pairs = alike(sorted(set(unshared["case"])))
    said = [
        f"names of cases differ in form alone: {shown_pairs(pairs)}: write them alike"
    ] if pairs else []  # fmt: skip
    for (name, seed, fold), of_run in unshared.groupby(RUN, sort=False):
        in_run = (table[RUN] == [name, seed, fold]).all(axis=1)
        cases = set(of_run["case"])
        for method in table["loss"][in_run].unique():
            lacking = sorted(cases - set(of_run["case"][of_run["loss"] == method]))
            if lacking:
                said.append(
                    f"{prefix(name)}{method} lacks {count(len(lacking), 'case')} that others have "
                    f"in seed {seed}, fold {fold}: {some(lacking)}"
                )
        if keys == ROW:
            said += _lacking_classes(of_run, f"seed {seed}, fold {fold}", prefix(name))
    if only_shared:
        left = table[having == methods]
        if left.empty:
            return table, [*said, "no case is shared by all methods of a run"], []
        cases = unshared.groupby("dataset")["case"].nunique().sum()
        return left, [], [f"{count(int(cases), 'case')} left out that not all methods have", *said]
    if not pairs:
        said.append(
            f"a case that is left out for a method that failed on it flatters the method: "
            f"{failure}, or compare on the shared cases alone: --cases shared"
        )
    return table, said, []


def _lacking_classes(of_run: pd.DataFrame, run: str, of: str) -> list[str]:
    """Classes of which some methods have no row in a case that they have."""
    there = of_run.groupby(["case", "class", "loss"], sort=False).size().unstack("loss").notna()
    said = []
    for method in there:
        in_case = there[method].groupby("case", sort=False).transform("any")
        for name, rows in there[~there[method] & in_case].groupby("class", sort=False):
            cases = rows.index.get_level_values("case").tolist()
            said.append(
                f"{of}{method} has no row of class {name} in {count(len(cases), 'case')} where "
                f"others have one, in {run}: {some(cases)}"
            )
    return said


def _patients_asked_for(table: pd.DataFrame, reads: Sequence[Read]) -> list[str]:
    """Notes of data sets whose names of cases look as if patients had several, and none says so."""
    told = {
        name
        for read in reads
        if "group" in read.cases
        for name in (read.cases["dataset"] if "dataset" in read.cases else table["dataset"])
    }
    return [
        prefix(name) + note
        for name, of_set in table.groupby("dataset", sort=False)
        if name not in told
        for note in ask_for_patients(
            of_set["case"].unique().tolist(),
            "verdicts may be surer than the patients allow",
        )
    ]


def _grouped(table: pd.DataFrame, pattern: str) -> tuple[pd.DataFrame, list[str]]:
    """The patients by what the pattern finds in the names of the cases."""
    names = table["case"].unique()
    found = {name: re.search(pattern, own_name(name)) for name in names}
    missing = [name for name, match in found.items() if match is None or not match.group(1)]
    if missing:
        return table, [f"--group-by {pattern!r} finds no patient in {some(missing, 3)}"]
    groups = {name: match.group(1) for name, match in found.items() if match}
    return table.assign(group=table["case"].map(groups)), []


def _runs_that_differ(table: pd.DataFrame) -> list[str]:
    """Seeds and folds that some methods lack."""
    notes = []
    for name, of_set in table.groupby("dataset", sort=False):
        runs = {
            method: set(zip(of["seed"], of["fold"], strict=True))
            for method, of in of_set.groupby("loss", sort=False)
        }
        every = set.union(*runs.values())
        for method, there in runs.items():
            folds = sorted({fold for _, fold in every} - {fold for _, fold in there})
            if folds:
                notes.append(f"{prefix(name)}{method} lacks fold {', '.join(map(str, folds))}")
            seeds = sorted({seed for seed, _ in every} - {seed for seed, _ in there})
            if seeds:
                notes.append(f"{prefix(name)}{method} lacks seed {', '.join(map(str, seeds))}")
    return notes
