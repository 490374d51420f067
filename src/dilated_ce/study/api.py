"""A comparison from the data to the report: what `dilated-ce compare` does."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from dilated_ce.study.data.cases import DataError, DataSet, Split
from dilated_ce.study.data.checking import CheckResult, check_cases
from dilated_ce.study.data.prepare import Prepared, is_current, prepare, strange_files
from dilated_ce.study.data.reading import open_data
from dilated_ce.study.files import write_json, write_text
from dilated_ce.study.planning import default_patch, resolve
from dilated_ce.study.report import write_report
from dilated_ce.study.runs.local import Outcome, StudyError, carry_out
from dilated_ce.study.runs.store import Failure, Run
from dilated_ce.study.runs.unit import Unit, versions
from dilated_ce.study.settings.compare import CompareConfig, SettingsError
from dilated_ce.study.training.losses import LOSSES, Setting
from dilated_ce.study.training.trial import batch_of, try_loss
from dilated_ce.study.wording import listing, some

# Written at the end, and removed when runs begin.
OUTCOMES = (
    *("cases.csv", "lesions.csv", "curves.csv", "summary.json", "report.html"),
    "error.txt",  # in the place of a report
)

SPLIT = "split.json"
SAMPLED = 4  # training cases that a dry run measures on


@dataclass
class Results:
    """What a comparison has come to."""

    runs: list[Run] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    trials: list[Run] = field(default_factory=list)  # of learning rates
    notes: list[str] = field(default_factory=list)  # warnings about the search for them

    def add(self, outcome: Outcome) -> None:
        """Take in a run or a failure."""
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
        else:
            self.runs.append(outcome)


@dataclass(frozen=True)
class Identity:
    """What data are known by."""

    name: str
    path: Path | None
    cases: frozenset[str]
    classes: tuple[str, ...]

    def is_of(self, other: "Identity") -> bool:
        """Whether the two are the same: a folder may change, and it may be moved."""
        same_content = (self.cases, self.classes) == (other.cases, other.classes)
        return self.name == other.name and (self.path == other.path or same_content)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep the folder of a study for this process.

    Raises:
        StudyError: another process has it, or it cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise StudyError(
            f"another process writes to {out}. Wait for it, or choose another folder with --out."
        ) from None
    except OSError as error:
        raise StudyError(f"{out} cannot be written to: {error}") from error
    try:
        yield
    finally:
        lock.release()


def check_folder(config: CompareConfig, data: DataSet) -> None:
    """Leave alone what is in the folder and not of this study; nothing is written.

    Raises:
        StudyError: a file would be overwritten or deleted, of the data themselves, of someone
            else's, or of a study of other data.
    """
    out = config.out
    in_the_way = _data_in_the_way(data, out)
    if in_the_way:
        raise StudyError(
            f"{out}: the data lie where the study would be written ({some(in_the_way, 1)}); choose "
            "another folder with --out."
        )
    there = _read_identity(out)
    strange = strange_files(out / "prepared")
    strange += [path for path in (out / "runs",) if path.exists() and not path.is_dir()]
    if there is None:
        strange += [
            out / name for name in ("study.json", SPLIT, *OUTCOMES) if (out / name).exists()
        ]
    if strange:
        raise StudyError(
            f"{out} holds files that are not of a study, and that this one would overwrite or "
            f"delete ({some([str(path.relative_to(out)) for path in strange])}); choose another "
            "folder with --out."
        )
    if there is not None and not there.is_of(_identity(config, data)):
        what = there.name if there.name != data.name else f"another {data.name}: {there.path}"
        raise StudyError(
            f"{out} holds a study of other data ({what}); choose another folder with --out."
        )


def _data_in_the_way(data: DataSet, out: Path) -> list[str]:
    """The files of the data that lie where a study writes."""
    names = ("study.json", SPLIT, *OUTCOMES, "prepared", "runs")
    places = {(out / name).resolve() for name in names}
    files = (file.resolve() for case in data.cases for file in case.files)
    return [str(file) for file in files if not places.isdisjoint((file, *file.parents))]


def _identity(config: CompareConfig, data: DataSet) -> Identity:
    path = None if config.data is None else config.data.path.resolve()
    cases = {name for fold in data.folds for part in vars(fold).values() for name in part}
    return Identity(data.name, path, frozenset(cases), data.classes)


def _read_identity(out: Path) -> Identity | None:
    """Of the data of the study in a folder, as `describe` wrote it; None if there is none."""
    try:
        study = json.loads((out / "study.json").read_text(encoding="utf-8"))
        about, settings, _ = study["data"], study["config"]["data"], study["versions"]
        path = Path(settings["path"]).resolve() if settings else None
        cases = {name for fold in about["folds"] for part in fold.values() for name in part}
        return Identity(about["name"], path, frozenset(cases), tuple(about["classes"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def prepare_data(
    data: DataSet,
    out: Path,
    on_case: Callable[[], None] = lambda: None,
    fresh: bool = False,
) -> tuple[Prepared, list[str]]:
    """Check every case and prepare it, unless both was done before.

    Args:
        data: the cases.
        out: folder of the study.
        on_case: called twice for each case, if there is something to do.
        fresh: do it again.

    Returns:
        The prepared cases, and what is worth knowing about them.

    Raises:
        DataError: with every problem of every case.
    """
    folder = out / "prepared"
    if not fresh and is_current(folder, data):
        return Prepared(folder), []
    checked = _checked(data, on_case)
    return prepare(data, folder, on_case, fresh=True), checked.notes


@contextmanager
def prepare_sample(
    config: CompareConfig, data: DataSet, on_case: Callable[[], None] = lambda: None
) -> Iterator[tuple[CompareConfig, Prepared, list[str]]]:
    """Check every case, and prepare but a few, for as long as a dry run needs them.

    Yields:
        The settings with the patches that all cases give, the prepared cases, and the notes.

    Raises:
        DataError: with every problem of every case.
    """
    checked = _checked(data, on_case)
    fold = data.folds[0]
    names = {*fold.train[:: max(1, len(fold.train) // SAMPLED)][:SAMPLED], fold.test[0]}
    part = Split(tuple(n for n in fold.train if n in names), (), fold.test[:1])
    few = replace(
        data, cases=tuple(case for case in data.cases if case.name in names), folds=(part,)
    )
    training = config.training
    if training.patch_size is None:
        shapes = checked.table["shape"].tolist()
        patch = default_patch(training, data.spatial_dims, shapes)
        training = training.model_copy(update={"patch_size": patch})
    with TemporaryDirectory() as folder:
        prepared = prepare(few, Path(folder) / "prepared", fresh=True)
        yield config.model_copy(update={"training": training}), prepared, checked.notes


def _checked(data: DataSet, on_case: Callable[[], None]) -> CheckResult:
    checked = check_cases(data, on_case)
    problems = checked.problems + checked.untested
    if problems:
        raise DataError(listing(f"{data.name}: the data cannot be used as they are", problems))
    return checked


def check_losses(config: CompareConfig, data: DataSet) -> None:
    """Build every loss for these data once.

    Raises:
        SettingsError: with each loss that cannot be used on them.
    """
    problems = []
    for loss in config.losses:
        try:
            loss.build(Setting(data.ignore_index, overlapping=data.overlapping))
        except (ValueError, TypeError) as error:
            problems.append(f"{loss}: {error}")
    if config.tune and not all(fold.validation for fold in data.folds):
        problems.append("tune: there is no validation part to judge learning rates on")
    if problems:
        raise SettingsError("\n".join(problems))


def try_losses(config: CompareConfig, data: DataSet, prepared: Prepared) -> None:
    """Compute the losses of the user's own on a batch of the training, before any training.

    Raises:
        SettingsError: with each that fails.
    """
    own = [loss for loss in config.losses if loss.name not in LOSSES]
    if not own:
        return
    setting = Setting(data.ignore_index, overlapping=data.overlapping)
    training = resolve(config.training, prepared)
    # Of a dry run a few cases are prepared.
    names = tuple(name for name in data.folds[0].train if name in prepared.index["cases"])
    logits, target = batch_of(prepared, names, training, setting)
    problems = []
    for loss in own:
        try:
            try_loss(loss, setting, logits, target)
        except ValueError as error:
            problems.append(f"--losses {loss}: {error}")
    if problems:
        raise SettingsError("\n".join(problems))


def run_all(
    config: CompareConfig,
    data: DataSet,
    units: list[Unit],
    fresh: bool = False,
) -> Iterator[tuple[Unit, Outcome, bool]]:
    """Carry out the units of a comparison; tables of other runs are removed first."""
    for stale in OUTCOMES:
        (config.out / stale).unlink(missing_ok=True)
    write_json(config.out / "study.json", describe(config, data, units))
    # For the same split in another study: `--split`.
    write_json(config.out / SPLIT, [vars(fold) for fold in data.folds])
    yield from carry_out(units, config.execution, fresh)


def describe(config: CompareConfig, data: DataSet, units: list[Unit]) -> dict[str, object]:
    """What is compared, on what, with what."""
    return {
        "config": config.model_dump(mode="json", exclude={"out", "execution"}),
        "training": units[0].training.model_dump(mode="json"),
        "learning_rates": [
            {
                str(unit.loss): unit.training.learning_rate
                for unit in units
                if (unit.seed, unit.fold) == (0, fold)
            }
            for fold in range(len(data.folds))
        ],
        "data": {
            "name": data.name,
            "source": data.source,
            "split": data.split,
            "classes": data.classes,
            "channels": data.channels,
            "unit": data.unit,
            "folds": [vars(fold) for fold in data.folds],
            "sha256": Prepared(units[0].prepared).digest,
        },
        "versions": versions(),
    }


def open_dataset(config: CompareConfig) -> DataSet:
    """The data set that the settings name.

    Raises:
        SettingsError: they name none.
        DataError: with everything that is wrong with its files.
    """
    if config.data is None:
        raise SettingsError("data.path is missing; name a folder with --data.")
    return open_data(config.data)


def report(config: CompareConfig, data: DataSet, prepared: Prepared, results: Results) -> Path:
    """Write the tables and the report; the path to it.

    Raises:
        StudyError: no run came to its end.
    """
    if not results.runs:
        path = config.out / "error.txt"
        write_text(path, "\n".join(failure.trace for failure in results.failures))
        raise StudyError(
            f"all runs failed; the first one: {results.failures[0].error}\n"
            f"Where in the code each failed: {path}"
        )
    # They end in another order after an interruption, or where Ray spreads them.
    runs = sorted(results.runs, key=lambda run: (run.seed, run.fold, config.losses.index(run.loss)))
    return write_report(
        config.out,
        dataset=data,
        load_case=prepared.load,
        runs=runs,
        failures=results.failures,
        reference=str(config.reference),
        margin=config.statistics.margin / 100,
        resamples=config.statistics.resamples,
        settings=settings_in_words(config, prepared, runs),
        versions={**versions(), "device": str(runs[0].info["device"])},
        trials=results.trials,
        notes=results.notes,
    )


def settings_in_words(
    config: CompareConfig, prepared: Prepared, runs: Sequence[Run]
) -> dict[str, str]:
    """How the networks were trained, for the report."""
    training = resolve(config.training, prepared)
    unit = prepared.index["unit"]
    sides = " x ".join(map(str, training.patch_size))
    rates: dict[str, list[float]] = {}
    for run in runs:
        rates.setdefault(run.info["loss"], []).append(run.info["learning_rate"])
    tuned = "; ".join(
        f"{loss} {', '.join(f'{rate:g}' for rate in dict.fromkeys(of_loss))}"
        for loss, of_loss in rates.items()
    )
    return {
        "network": f"MONAI {training.network}, {prepared.index['spatial_dims']}D, channels "
        f"{', '.join(map(str, training.channels))}, {training.norm} normalisation, "
        f"{runs[0].info['parameters']:,} parameters",
        "optimiser": f"{training.optimizer}, {training.schedule} schedule, weight decay "
        f"{training.weight_decay:g}, {training.precision}",
        "learning rate": f"chosen on the validation part of each fold: {tuned}"
        if config.tune
        else f"{training.learning_rate:g} for all losses",
        "training": f"{training.steps} steps of {training.batch_size} patches of {sides}; "
        f"{training.foreground:.0%} centred on foreground; {training.augmentation} augmentation",
        "scores": f"surface Dice (NSD) with a tolerance of {config.scoring.tolerance:g} {unit}; a "
        "class that a case lacks "
        + (
            "is skipped, but for its false alarms"
            if config.scoring.empty == "skip"
            else "scores 1 if nothing of it is predicted, else 0"
        ),
        "data, SHA-256": prepared.digest,
    }
