"""A study from the data to the report: `compare` is all of it, in the order of what happens."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dilated_ce.study.data.cases import DataError, DataSet, Split
from dilated_ce.study.data.checking import CheckResult, Look, Looking, check, look_at_cases
from dilated_ce.study.data.prepare import prepare, prepare_cases
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.data.reading import open_data
from dilated_ce.study.description import describe, settings_in_words
from dilated_ce.study.files import write_json, write_text
from dilated_ce.study.folder import OUTCOMES, SPLIT, STUDY, check_folder, locked
from dilated_ce.study.planning import (
    Rates,
    best_rates,
    default_patch,
    edges,
    plan_trials,
    plan_units,
    resolve,
)
from dilated_ce.study.report.page import write_comparison
from dilated_ce.study.runs.local import carry_out
from dilated_ce.study.runs.store import Failure, Run, StudyError
from dilated_ce.study.runs.unit import Unit, versions
from dilated_ce.study.runs.watcher import Watcher
from dilated_ce.study.settings.compare import CompareConfig, SettingsError
from dilated_ce.study.training.loss_parts import Setting
from dilated_ce.study.training.losses import LOSSES
from dilated_ce.study.training.trial import batch_of, try_loss, try_network
from dilated_ce.study.wording import count, listing

SAMPLED = 4  # training cases that a dry run measures on
PREPARED, PREPARING = "prepared", "reading and preparing the cases"
OpenDataset = Callable[[CompareConfig, Looking], DataSet]


@dataclass
class Results:
    """What a comparison has come to."""

    runs: list[Run] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    trials: list[Run] = field(default_factory=list)  # of learning rates
    notes: list[str] = field(default_factory=list)  # warnings about the search for them


class Listener:
    """Is told what goes on, and does nothing of it; the command line has one that talks."""

    def on_data(self, data: DataSet) -> None:
        """The data are open."""

    def on_notes(self, notes: Sequence[str]) -> None:
        """The checks found what is worth knowing."""

    def on_rates(self, rates: Rates) -> None:
        """Learning rates were found."""

    def counting(self, what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """So many things are to be done; the function is called after each."""
        return nullcontext(lambda: None)

    def running(self, what: str, units: Sequence[Unit]) -> AbstractContextManager[Watcher]:
        """These units are to be carried out; the watcher is told how."""
        return nullcontext(Watcher())


def compare(
    config: CompareConfig,
    open_dataset: OpenDataset | None = None,
    listener: Listener | None = None,
    fresh: bool = False,
) -> Results:
    """Train the network under every loss, and write the report.

    Args:
        config: all settings; see `settings.file.build_config`.
        open_dataset: gives the data, and may ask for a look at each case before they are split; by
            default `open_configured`.
        listener: is told how it goes on.
        fresh: train again what is finished.

    Returns:
        The runs. `config.out` holds the report and its tables.

    Raises:
        SettingsError, DataError, StudyError: what is wrong, and what to do.
    """
    listener = listener or Listener()
    with opened(config, open_dataset or open_configured, listener, fresh) as (data, prepared):
        try_out(config, data, prepared)
        results = Results()
        rates = search_rates(config, data, prepared, results, listener, fresh)
        units = plan_units(config, data, prepared, rates)
        train(config, data, units, results, listener, fresh)
        conclude(config, data, prepared, results)
    return results


@contextmanager
def opened(
    config: CompareConfig, open_dataset: OpenDataset, listener: Listener, fresh: bool = False
) -> Iterator[tuple[DataSet, Prepared]]:
    """The data and their prepared cases, in a folder that is kept for this process.

    Each case is read once, even where the split is drawn by what the cases hold.

    Raises:
        SettingsError, DataError, StudyError: what is wrong, and what to do.
    """
    is_prepared = False

    def look(data: DataSet) -> Mapping[str, Look]:
        nonlocal is_prepared
        check_folder(config, data)
        check_losses(config, data)
        with locked(config.out), listener.counting(PREPARING, len(data.cases)) as on_case:
            records = prepare_cases(data, config.out / PREPARED, on_case, fresh)
        is_prepared = True
        return {name: record.look for name, record in records.items()}

    data = open_dataset(config, look)
    check_folder(config, data)
    check_losses(config, data)
    with locked(config.out):
        listener.on_data(data)
        yield data, prepare_data(data, config.out, listener, fresh and not is_prepared)


def open_configured(config: CompareConfig, look: Looking = look_at_cases) -> DataSet:
    """The data set that the settings name; see `open_data`.

    Raises:
        SettingsError: they name none.
        DataError: with everything that is wrong with its files.
    """
    if config.data is None:
        raise SettingsError("data.path is missing; name a folder of data (--data).")
    return open_data(config.data, look)


def prepare_data(data: DataSet, out: Path, listener: Listener, fresh: bool = False) -> Prepared:
    """Check and prepare every case, unless that was done before.

    Raises:
        DataError: with every problem of every case.
    """
    checked = CheckResult()

    def check_all(looks: Mapping[str, Look]) -> None:
        nonlocal checked
        checked = check(data, looks)
        _refuse(data, checked)

    with listener.counting(PREPARING, len(data.cases)) as on_case:
        prepared = prepare(data, out / PREPARED, on_case, fresh, check_all)
    listener.on_notes(checked.notes)
    return prepared


@contextmanager
def prepare_sample(
    config: CompareConfig,
    data: DataSet,
    listener: Listener,
    looks: Mapping[str, Look] | None = None,
) -> Iterator[tuple[CompareConfig, Prepared]]:
    """Check every case, and prepare but a few, for as long as a dry run needs them.

    Args:
        config: all settings.
        data: the cases.
        listener: is told how it goes on.
        looks: at each case, if there were any.

    Yields:
        The settings with the patches that all cases give, and the prepared cases.

    Raises:
        DataError: with every problem of every case.
    """
    if not looks:
        with listener.counting("reading the cases", len(data.cases)) as on_case:
            looks = look_at_cases(data, on_case)
    checked = check(data, looks)
    _refuse(data, checked)
    listener.on_notes(checked.notes)
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
        yield config.model_copy(update={"training": training}), prepared


def _refuse(data: DataSet, checked: CheckResult) -> None:
    problems = checked.problems + checked.untested
    if problems:
        raise DataError(listing(f"{data.name}: the data cannot be used as they are", problems))


def check_losses(config: CompareConfig, data: DataSet) -> None:
    """Build every loss for these data once.

    Raises:
        SettingsError: with each loss that cannot be used on them.
    """
    problems = []
    for loss in config.losses:
        try:
            loss.build(_setting(data))
        except (ValueError, TypeError) as error:
            problems.append(f"{loss}: {error}")
    if config.tune and not all(fold.validation for fold in data.folds):
        problems.append("tune: there is no validation part to judge learning rates on")
    if problems:
        raise SettingsError("\n".join(problems))


def _setting(data: DataSet) -> Setting:
    outputs = len(data.classes) - data.overlapping
    return Setting(data.ignore_index, overlapping=data.overlapping, num_outputs=outputs)


def search_rates(
    config: CompareConfig,
    data: DataSet,
    prepared: Prepared,
    results: Results,
    listener: Listener,
    fresh: bool = False,
) -> Rates | None:
    """The best learning rate of each loss on each fold, if the settings ask for a search."""
    trials = plan_trials(config, data, prepared)
    if not trials:
        return None
    outcomes = []
    with (
        listener.running("tuning", trials) as watcher,
        closing(carry_out(trials, config.execution, fresh, watcher)) as done,
    ):
        for unit, outcome, kept in done:
            outcomes.append((unit, outcome))
            watcher.on_outcome(unit, outcome, kept)
    results.trials = [outcome for _, outcome in outcomes if isinstance(outcome, Run)]
    rates = best_rates(outcomes)
    results.notes = edges(outcomes, rates)
    listener.on_rates(rates)
    return rates


def try_out(config: CompareConfig, data: DataSet, prepared: Prepared) -> None:
    """Compute the losses of the user's own, and a step of the network, before any training.

    Raises:
        SettingsError: with each that fails.
    """
    setting, training = _setting(data), resolve(config.training, prepared)
    # Of a dry run a few cases are prepared.
    names = tuple(name for name in data.folds[0].train if name in prepared.index["cases"])
    own = [loss for loss in config.losses if loss.name not in LOSSES]
    problems = []
    if own:
        logits, target = batch_of(prepared, names, training, setting)
    for loss in own:
        try:
            try_loss(loss, setting, logits, target)
        except ValueError as error:
            problems.append(f"--losses {loss}: {error}")
    if not problems:
        here = config.execution.engine == "local" and training.device != "cpu"
        try:
            try_network(prepared, names, training, config.losses[0], setting, here)
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))


def train(
    config: CompareConfig,
    data: DataSet,
    units: list[Unit],
    results: Results,
    listener: Listener,
    fresh: bool = False,
) -> None:
    """Carry out the units of a comparison; tables of other runs are removed first."""
    for stale in OUTCOMES:
        (config.out / stale).unlink(missing_ok=True)
    write_json(config.out / STUDY, describe(config, data, units))
    # For the same split in another study: `--split`.
    write_json(config.out / SPLIT, [vars(fold) for fold in data.folds])
    with (
        listener.running("all runs", units) as watcher,
        closing(carry_out(units, config.execution, fresh, watcher)) as done,
    ):
        for unit, outcome, kept in done:
            if isinstance(outcome, Failure):
                results.failures.append(outcome)
            else:
                results.runs.append(outcome)
            watcher.on_outcome(unit, outcome, kept)
    lacking = [run.folder.name for run in results.runs if not run.has(config.keep)]
    if lacking:
        listener.on_notes(
            [
                f"{count(len(lacking), 'run')} finished before, with less kept than keep: "
                f"{config.keep} asks for ({lacking[0]}); --fresh trains all runs again"
            ]
        )


def conclude(config: CompareConfig, data: DataSet, prepared: Prepared, results: Results) -> Path:
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
    return write_comparison(
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
