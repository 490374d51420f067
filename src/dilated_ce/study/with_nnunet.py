"""A comparison of losses in nnU-Net, from what it has prepared to the report."""

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from dilated_ce.study.api import Listener
from dilated_ce.study.files import write_json, write_text
from dilated_ce.study.folder import OUTCOMES, STUDY, locked
from dilated_ce.study.nnunet.carry_out import carry_out, check_settings
from dilated_ce.study.nnunet.planning import plan_units
from dilated_ce.study.nnunet.unit import PRINTED, RESULTS, NnunetRun, NnunetUnit
from dilated_ce.study.nnunet.workplace import Workplace, find_workplace
from dilated_ce.study.report.page import Subject, write_report
from dilated_ce.study.reporting import read_results
from dilated_ce.study.results.merging import Merged
from dilated_ce.study.runs.store import Failure, StudyError
from dilated_ce.study.runs.unit import versions
from dilated_ce.study.runs.watcher import Watcher
from dilated_ce.study.settings.compare import NnunetCompareConfig
from dilated_ce.study.settings.report import ReportConfig, Source
from dilated_ce.study.wording import some


@dataclass
class NnunetResults:
    """What a comparison in nnU-Net has come to."""

    runs: list[NnunetRun] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


class NnunetListener:
    """Is told what goes on, and does nothing of it; the command line has one that talks."""

    def on_workplace(self, place: Workplace, units: Sequence[NnunetUnit]) -> None:
        """nnU-Net's data set is there, and these runs are to be done."""

    def running(self, units: Sequence[NnunetUnit]) -> AbstractContextManager[Watcher]:
        """The runs begin; the watcher is told how they go on."""
        return nullcontext(Watcher())


def plan(config: NnunetCompareConfig, fresh: bool = False) -> tuple[Workplace, list[NnunetUnit]]:
    """Check everything that can be checked before any training.

    Args:
        config: all settings.
        fresh: whether runs that are there will be trained again.

    Raises:
        DataError: what nnU-Net lacks, and the command that makes it; runs of other settings.
        StudyError: the folder holds something else.
    """
    place = find_workplace(config.nnunet)
    units = plan_units(config.losses, config.seeds, place, config.out, config.execution.engine)
    _check_folder(config.out, place)
    if not fresh:
        check_settings(units)
    return place, units


def compare_with_nnunet(
    config: NnunetCompareConfig,
    listener: NnunetListener | None = None,
    fresh: bool = False,
    scoring: Listener | None = None,
) -> NnunetResults:
    """Train nnU-Net under every loss, and write the report.

    Args:
        config: all settings; see `settings.file.build_nnunet_config`.
        listener: is told how it goes on.
        fresh: train again what is finished.
        scoring: is told how the scoring of the predictions goes on.

    Returns:
        The runs. `config.out` holds the report and its tables, and `nnUNet_results`.

    Raises:
        DataError, StudyError: what is wrong, and what to do.
    """
    listener = listener or NnunetListener()
    place, units = plan(config, fresh)
    with locked(config.out):
        listener.on_workplace(place, units)
        place.write_splits()
        for stale in OUTCOMES:
            (config.out / stale).unlink(missing_ok=True)
        write_json(config.out / STUDY, _describe(config, place))
        results = NnunetResults()
        with (
            listener.running(units) as watcher,
            closing(carry_out(units, config.execution, fresh, watcher)) as done,
        ):
            for unit, outcome, kept in done:
                if isinstance(outcome, Failure):
                    results.failures.append(outcome)
                else:
                    results.runs.append(outcome)
                watcher.on_outcome(unit, outcome, kept)
        _conclude(config, place, results, scoring or Listener())
    return results


def _check_folder(out: Path, place: Workplace) -> None:
    there = [name for name in (STUDY, *OUTCOMES) if (out / name).exists()]
    if not there:
        return
    try:
        study = json.loads((out / STUDY).read_text(encoding="utf-8"))
        known, trainer = study["data"]["name"], study["config"]["trainer"]
    except (OSError, ValueError, KeyError, TypeError):
        raise StudyError(
            f"{out} holds files that are not of such a comparison, and that this one would "
            f"overwrite ({some(there)}); choose another folder with --out."
        ) from None
    if (known, trainer) != (place.name, "nnunet"):
        raise StudyError(
            f"{out} holds another comparison (of {known}, trainer {trainer}); choose another "
            "folder with --out."
        )


def _describe(config: NnunetCompareConfig, place: Workplace) -> dict[str, object]:
    return {
        "config": config.model_dump(mode="json", exclude={"out", "execution"}),
        "data": {
            "name": place.name,
            "labels": place.description["labels"],
            "folds": [place.splits[fold] for fold in place.folds],
        },
        "versions": {**versions(), "nnunetv2": version("nnunetv2")},
    }


def _conclude(
    config: NnunetCompareConfig, place: Workplace, results: NnunetResults, listener: Listener
) -> None:
    """Score the validation cases, and write the tables and the report.

    Raises:
        StudyError: no run came to its end.
    """
    if not results.runs:
        path = config.out / "error.txt"
        write_text(path, "\n".join(failure.trace for failure in results.failures))
        raise StudyError(
            f"all runs failed; the first one: {results.failures[0].error}\n"
            f"What nnU-Net printed: {path}, and {PRINTED} in the folder of each fold."
        )
    order = [str(loss) for loss in config.losses]
    runs = sorted(results.runs, key=lambda run: (order.index(str(run.loss)), run.seed, run.fold))
    merged = read_results(
        ReportConfig(
            results=tuple(
                Source(path=run.folder, method=str(run.loss), seed=run.seed) for run in runs
            ),
            truth=place.truth,
            scoring=config.scoring,
            group_by=config.nnunet.group_by,
            out=config.out,
        ),
        listener,
    )
    there = [loss for loss in order if loss in set(merged.cases["loss"])]
    reference = str(config.reference)
    lesions = merged.lesions
    write_report(
        config.out,
        merged.cases.drop(columns="dataset"),
        _subject(config, place, runs, merged),
        reference=reference if reference in there else there[0],
        margin=config.statistics.margin / 100,
        resamples=config.statistics.resamples,
        lesions=None if lesions is None else lesions.drop(columns="dataset", errors="ignore"),
        titles={str(loss): loss.title for loss in config.losses},
        troubles=[*_troubles(results), *merged.notes],
    )


def _troubles(results: NnunetResults) -> list[str]:
    said = [
        f"{failure.loss.title}, seed {failure.seed}, fold {failure.fold} failed and is left out: "
        f"{failure.error}"
        for failure in results.failures
    ]
    for run in results.runs:
        what = f"{run.loss.title}, seed {run.seed}, fold {run.fold}"
        if run.diverged:
            said.append(f"{what}: its training loss became infinite or NaN; it is counted.")
        if run.collapsed:
            said.append(f"{what}: it finds no voxel of a class; it is counted.")
    return said


def _subject(
    config: NnunetCompareConfig, place: Workplace, runs: Sequence[NnunetRun], merged: Merged
) -> Subject:
    theirs = config.nnunet
    trained = len(place.splits[place.folds[0]]["train"])
    seconds = {
        loss.title: [epoch.seconds for run in runs if run.loss == loss for epoch in run.epochs]
        for loss in config.losses
    }
    steps = f", {theirs.iterations} steps each" if theirs.iterations else ""
    return Subject(
        place.name,
        f"Trained by nnU-Net on its own folds ({', '.join(map(str, place.folds))}), and judged on "
        "the validation cases of each, on which it neither trains nor stops",
        tuple(dict.fromkeys(merged.cases["class"])),
        "mm",
        {
            "training": f"nnU-Net {version('nnunetv2')}, {theirs.configuration} of {theirs.plans}, "
            f"{theirs.epochs} epochs{steps}, {trained} training cases in fold {place.folds[0]}",
            "seconds per epoch": "; ".join(
                f"{loss} {sum(of) / len(of):.1f}" for loss, of in seconds.items() if of
            ),
            "scores": f"surface Dice (NSD) with a tolerance of {config.scoring.tolerance:g} mm",
            "trainings": str(config.out / RESULTS),
        },
        {**versions(), "nnunetv2": version("nnunetv2")},
        "loss",
    )
