"""The sources of a report: which are tables, results folders, predictions, and whose they are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from dilated_ce.study.data.cases import MOST_REGIONS, DataError
from dilated_ce.study.results import nnunet
from dilated_ce.study.results.mask_values import find_masks
from dilated_ce.study.results.predictions import Counting, Masks, Pair, masks_in, score_pairs
from dilated_ce.study.results.read import Read
from dilated_ce.study.results.tables import read_table
from dilated_ce.study.settings.report import ReportConfig, Source
from dilated_ce.study.wording import count, some


@dataclass(frozen=True)
class Opened:
    """The results folders with their methods and seeds, and what was read at once."""

    reads: list[Read]
    pairs: list[Pair]
    notes: list[str]
    problems: list[str]


def read_sources(config: ReportConfig, counting: Counting) -> tuple[list[Read], list[str]]:
    """The scores of all sources, and what is wrong with any of them.

    Args:
        config: names the sources.
        counting: makes a progress bar of a text and a total.
    """
    opened = Opened([], [], [], [])
    times = Counter(source.path.resolve() for source in (*config.results, *config.predictions))
    for path, number in times.items():
        if number > 1:  # it would pass for another training
            opened.problems.append(f"{path}: given {number} times; name every result once")
    _read_tables(config, opened)
    folders = _open_folders(config, opened)
    for results, method, seed in folders:
        try:
            _read_folder(config, results, method, seed, opened)
        except DataError as error:
            opened.problems.append(str(error))
    if config.predictions:
        try:
            _pair_predictions(config, opened, counting)
        except DataError as error:
            opened.problems.append(str(error))
    reads = opened.reads
    if opened.pairs and not opened.problems:
        try:
            cases, lesions = score_pairs(opened.pairs, config.out, counting, config.jobs)
        except DataError as error:
            return reads, [*opened.problems, str(error)]
        notes = opened.notes + _differing(folders, cases)
        unit = "px" if any(pair.masks.coding for pair in opened.pairs) else "mm"
        cases = cases.drop(columns=[name for name in cases if cases[name].isna().all()])
        reads = [*reads, Read(cases, tuple(notes), lesions, unit)]
    elif opened.notes:
        reads = [
            replace(read, notes=(*read.notes, *(opened.notes if place == 0 else ())))
            for place, read in enumerate(reads)
        ]
    return reads, opened.problems


def _read_tables(config: ReportConfig, opened: Opened) -> None:
    named: list[str | None] = []
    for source in config.results:
        if nnunet.is_nnunet(source.path):
            continue
        try:
            if source.path.is_dir():
                raise DataError(
                    f"{source.path}: is no results folder of nnU-Net: expected fold_0, fold_1, ... "
                    "in it, each with validation/summary.json; folders of masks are for "
                    "--predictions"
                )
            read = read_table(
                source.path,
                method=source.method,
                columns=config.columns,
                metrics=config.metrics,
                scale=config.scale,
                columns_of=config.columns_of,
            )
            opened.reads.append(read)
            named.append(source.method)
        except DataError as error:
            opened.problems.append(str(error))
    # A method that is named again was repeated.
    keys = [
        (method, tuple(sorted(set(read.cases["dataset"]))) if "dataset" in read.cases else ())
        for method, read in zip(named, opened.reads, strict=True)
    ]
    for place, (read, seed) in enumerate(zip(opened.reads, _seeds(keys), strict=True)):
        if seed is not None and "seed" not in read.cases:
            opened.reads[place] = replace(read, cases=read.cases.assign(seed=seed))


def _seeds(keys: Sequence[tuple[str | None, object]]) -> list[int | None]:
    """The number of each repeat, of those that have a name, and have it several times."""
    times = Counter(keys)
    return [
        keys[:place].count(key) if key[0] is not None and times[key] > 1 else None
        for place, key in enumerate(keys)
    ]


def _open_folders(
    config: ReportConfig, opened: Opened
) -> list[tuple[nnunet.Results, str, int | None]]:
    """Every results folder with its method and the number of its repeat."""
    found: list[tuple[nnunet.Results, str | None]] = []
    told_seeds: list[int | None] = []
    for source in config.results:
        if not nnunet.is_nnunet(source.path):
            continue
        try:
            paths = [source.path]
            if source.path.is_dir() and not nnunet.is_one(source.path):
                paths = nnunet.results_in(source.path)
            if source.method is not None and len(paths) > 1:
                raise DataError(
                    f"{source.path}: holds {len(paths)} results folders, and --method names one: "
                    f"{some([path.name for path in paths])}"
                )
            found += [(nnunet.open_results(p, config.truth), source.method) for p in paths]
            told_seeds += [source.seed] * len(paths)
        except DataError as error:
            opened.problems.append(str(error))
    methods = [_method(results, method, found) for results, method in found]
    keys = [
        (method if told is not None else None, (method, results.dataset))
        for method, (results, told) in zip(methods, found, strict=True)
    ]
    named = _named_seeds(found, methods, opened)
    seeds = [
        counted if counted is not None else in_name
        for counted, in_name in zip(_seeds(keys), named, strict=True)
    ]
    seeds = [seed if told is None else told for seed, told in zip(seeds, told_seeds, strict=True)]
    # Where the seed is told, as by `compare`, several paths are folds of one training.
    places = [
        ((results.dataset, method, seed), str(results.folder))
        for method, (results, _), seed, told in zip(methods, found, seeds, told_seeds, strict=True)
        if told is None
    ]
    for place, number in Counter(place for place, _ in places).items():
        if number > 1:
            alike_paths = [folder for other, folder in places if other == place]
            _, method, seed = place
            which = "" if seed is None else f", seed {seed}"
            opened.problems.append(
                f"{some(alike_paths)} are all {method or 'without a name'}{which}: say whether "
                f"they are repeats of one method, --method NAME=PATH with one name for all, or "
                f"name each"
            )
    return [
        (results, method, seed)
        for (results, _), method, seed in zip(found, methods, seeds, strict=True)
    ]


def _named_seeds(
    found: Sequence[tuple[nnunet.Results, str | None]], methods: Sequence[str], opened: Opened
) -> list[int | None]:
    """The seeds that the names of trainers end with, if a trainer is there with several of them."""
    by_method: dict[tuple[str, str], set[int]] = {}
    for method, (results, told) in zip(methods, found, strict=True):
        if told is None and results.seed is not None:
            by_method.setdefault((results.dataset, method), set()).add(results.seed)
    if all(len(seeds) < 2 for seeds in by_method.values()):
        return [None] * len(found)
    for (dataset, method), seeds in by_method.items():
        shown = ", ".join(map(str, sorted(seeds)))
        of = f"{dataset}/{method}" if dataset else method
        opened.notes.append(f"{of}: seed {shown}, by the names of its trainers")
    return [results.seed if told is None else None for results, told in found]


def _method(
    results: nnunet.Results,
    told: str | None,
    others: Sequence[tuple[nnunet.Results, str | None]],
) -> str:
    """The name of a method: the trainer, with the plans and configuration where these differ."""
    if told is not None:
        return told
    alike = {
        other.setting for other, name in others if name is None and other.trainer == results.trainer
    }
    return results.setting if len(alike) > 1 or not results.trainer else results.trainer


def _read_folder(
    config: ReportConfig, results: nnunet.Results, method: str, seed: int | None, opened: Opened
) -> None:
    """The scores of a results folder: of its predictions, or else of its summaries."""
    no_prediction, no_truth = nnunet.missing_files(results)
    many_regions = len(results.labels) > MOST_REGIONS
    overlapping = any(len(label) > 1 for label in results.labels)
    if no_prediction or no_truth or (overlapping and many_regions):
        read = nnunet.read_summaries(results, method, config.scoring.empty)
        number = len(results.entries)
        why = (
            f"{count(len(no_prediction), 'prediction')} of {number} are not beside the summaries"
            if no_prediction
            else f"{count(len(no_truth), 'true mask')} of {number} are not at hand (--truth DIR, "
            "or set nnUNet_preprocessed)"
            if no_truth
            else f"of more than {MOST_REGIONS} regions"
        )
        note = f"{results.name}: overlaps alone are read, no surface and lesion scores: {why}"
        cases = read.cases if seed is None else read.cases.assign(seed=seed)
        opened.reads.append(replace(read, cases=cases, notes=(*read.notes, note)))
        return
    masks = Masks(
        ("background", *results.labels.values()),
        ((0,), *results.labels),
        results.ignored,
        overlapping,
        config.scoring,
        "dataset.json" if results.described else "the summary",
    )
    opened.notes.extend(results.notes)
    who = {"loss": method} | ({"dataset": results.dataset} if results.dataset else {})
    opened.pairs.extend(
        Pair(
            {**who, "seed": seed or 0, "fold": entry.fold, "case": entry.case},
            entry.prediction,
            entry.truth,
            masks,
        )
        for entry in results.entries
    )


def _differing(
    folders: Sequence[tuple[nnunet.Results, str, int | None]], cases: pd.DataFrame
) -> list[str]:
    """Notes of folders whose summaries and files are at odds."""
    notes = []
    for results, method, seed in folders:
        of_folder = cases[(cases["loss"] == method) & (cases["seed"] == (seed or 0))]
        if "dataset" in cases and results.dataset:
            of_folder = of_folder[of_folder["dataset"] == results.dataset]
        odd = nnunet.differing(results, of_folder)
        if odd:
            notes.append(
                f"{results.name}: the Dice of the summary is another than that of the files in "
                f"{count(len(odd), 'place')} ({some(odd, 2)}); those of the files are taken"
            )
    return notes


def _beside_names(names: Sequence[str], truth: Sequence[str]) -> str:
    """What names have beside those of the true masks, or these beside them, if it is one thing."""
    for longer, shorter, said in (
        (names, truth, "each has {} beside the name of a true one"),
        (truth, names, "each true one has {} beside the name of a predicted one"),
    ):
        beside = {_beside(name, shorter) for name in longer}
        if len(beside) == 1 and beside != {None}:
            [(before, after)] = filter(None, beside)
            shown = " and ".join(repr(part) for part in (before, after) if part)
            return f"; rename them: {said.format(shown)}"
    return ""


def _beside(name: str, parts: Sequence[str]) -> tuple[str, str] | None:
    """What stands before and after the longest of some parts in a name: case_10, not case_1."""
    inside = max((part for part in parts if part in name), key=len, default=None)
    if inside is None:
        return None
    before, _, after = name.partition(inside)
    return before, after


def _pair_predictions(config: ReportConfig, opened: Opened, counting: Counting) -> None:
    """Each prediction with the true mask of its name."""
    assert config.truth is not None
    truth = masks_in(config.truth)
    problems = []
    folders: list[tuple[Source, Mapping[str, Path]]] = []
    for source in config.predictions:
        try:
            folders.append((source, masks_in(source.path)))
        except DataError as error:
            problems.append(str(error))
    for source, found in folders:
        extra = [name for name in found if name not in truth]
        if len(extra) == len(found):
            problems.append(
                f"{source.path}: no mask has the name of a true one; got {some(extra, 3)}, "
                f"expected such as {some(list(truth), 3)}{_beside_names(extra, list(truth))}"
            )
        elif extra:
            opened.notes.append(
                f"{source.method}: {count(len(extra), 'prediction')} without a true mask: "
                f"{some(extra)}"
            )
    if problems:
        raise DataError("\n".join(problems))
    judged = {name for _, found in folders for name in found}
    unjudged = [name for name in truth if name not in judged]
    if unjudged:
        opened.notes.append(
            f"{count(len(unjudged), 'true mask')} without a prediction of any method: "
            f"{some(unjudged)}"
        )
    used = {name: path for name, path in truth.items() if name in judged}
    masks, notes = find_masks(config, used, [found for _, found in folders], counting)
    opened.notes.extend(notes)
    seeds = _seeds([(source.method, None) for source in config.predictions])
    for (source, found), of_folder, seed in zip(folders, masks, seeds, strict=True):
        opened.pairs.extend(
            Pair(
                {"loss": source.method, "seed": seed or 0, "case": name},
                path,
                used[name],
                of_folder,
            )
            for name, path in found.items()
            if name in used
        )
