"""From settings and data to the runs that they ask for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dilated_ce.study.data.cases import DataSet
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.runs.local import Outcome
from dilated_ce.study.runs.sharing import threads_of_a_run
from dilated_ce.study.runs.store import Run
from dilated_ce.study.runs.threads import threads_elsewhere
from dilated_ce.study.runs.unit import Unit
from dilated_ce.study.settings.compare import CompareConfig, SettingsError
from dilated_ce.study.training.loss_spec import LossSpec
from dilated_ce.study.training.network_spec import parse_network
from dilated_ce.study.training.settings import ResolvedTraining, TrainingConfig

# The most that a patch is by default: what 2 CPU cores train on in reasonable time.
MOST_SIDES = {2: 128, 3: 64}
USUAL_FACTOR = 16  # by which the sides of a patch are divisible, for a network of the user's
BATCH_SIZES = {2: 8, 3: 4}
LEARNING_RATES = {"adamw": 3e-3, "sgd": 1e-2}
Rates = dict[tuple[LossSpec, int], float]  # by loss and fold


def resolve(
    training: TrainingConfig, prepared: Prepared, runs: int = 1, threads: int | None = None
) -> ResolvedTraining:
    """Fill in what the user left open, from the data and this machine.

    Args:
        training: the settings.
        prepared: the data.
        runs: how many share the machine.
        threads: of each process of a run, if another machine computes.

    Raises:
        SettingsError: a patch that does not fit the data.
    """
    dims = prepared.index["spatial_dims"]
    patch = training.patch_size
    if patch is None:
        shapes = [entry["shape"] for entry in prepared.index["cases"].values()]
        patch = default_patch(training, dims, shapes)
    elif len(patch) == 1:
        patch *= dims
    elif len(patch) != dims:
        raise SettingsError(
            f"training.patch_size: got {len(patch)} sides, expected one or {dims} for {dims}D data."
        )
    threads = threads or training.threads or threads_of_a_run(training, runs)
    return ResolvedTraining.model_validate(
        {
            **training.model_dump(),
            "patch_size": patch,
            "batch_size": training.batch_size or BATCH_SIZES[dims] * training.devices,
            "learning_rate": training.learning_rate or LEARNING_RATES[training.optimizer],
            "threads": threads,
        }
    )


def default_patch(
    training: TrainingConfig, spatial_dims: int, shapes: Sequence[Sequence[int]]
) -> tuple[int, ...]:
    """The median case as far as memory allows, in sides that the network can halve."""
    factor = parse_network(training.network).factor(training.channels) or USUAL_FACTOR
    sides = [list(shape)[-spatial_dims:] for shape in shapes]
    median = np.median(sides, axis=0).clip(max=MOST_SIDES[spatial_dims])
    return tuple(max(factor, int(side) // factor * factor) for side in median)


def plan_units(
    config: CompareConfig,
    data: DataSet,
    prepared: Prepared,
    rates: Rates | None = None,
) -> list[Unit]:
    """Every loss with every seed on every fold; whole comparisons come first."""
    number_of_runs = config.seeds * len(data.folds) * len(config.losses)
    folder, runs = _folders(config, prepared)
    threads = _threads_elsewhere(config, runs)
    training = resolve(config.training, prepared, number_of_runs, threads)
    units = []
    for seed in range(config.seeds):
        for number, fold in enumerate(data.folds):
            for loss in config.losses:
                rate = (rates or {}).get((loss, number), training.learning_rate)
                units.append(
                    Unit(
                        loss,
                        seed,
                        number,
                        fold.train,
                        fold.validation,
                        fold.test,
                        training.model_copy(update={"learning_rate": rate}),
                        config.scoring,
                        folder,
                        runs,
                        keep=config.keep,
                        loggers=config.loggers,
                    )
                )
    return units


def _folders(config: CompareConfig, prepared: Prepared) -> tuple[Path, Path]:
    """Where the data lie and the runs go; absolute, as Ray's workers have another folder."""
    return prepared.folder.resolve(), config.out.resolve() / "runs"


def _threads_elsewhere(config: CompareConfig, runs: Path) -> int | None:
    """The threads of a run where other machines compute; None if this one does."""
    if config.execution.engine == "local":
        return None
    given = config.training.threads
    return given or threads_elsewhere(config.training, config.execution, runs)


def plan_trials(config: CompareConfig, data: DataSet, prepared: Prepared) -> list[Unit]:
    """The trials of learning rates: seed 0 of every fold, judged on its validation part.

    Each fold has its own: the validation cases of one are test cases of another.
    """
    if config.tune is None:
        return []
    number_of_trials = len(data.folds) * len(config.losses) * len(config.tune.factors)
    folder, runs = _folders(config, prepared)
    threads = _threads_elsewhere(config, runs)
    training = resolve(config.training, prepared, number_of_trials, threads)
    trials = []
    for number, fold in enumerate(data.folds):
        for loss in config.losses:
            for factor in config.tune.factors:
                rate = float(f"{training.learning_rate * factor:.3g}")
                steps = config.tune.steps or training.steps
                trials.append(
                    Unit(
                        loss,
                        0,
                        number,
                        fold.train,
                        (),
                        fold.validation,
                        training.model_copy(update={"learning_rate": rate, "steps": steps}),
                        config.scoring,
                        folder,
                        runs,
                        f"tune-lr{rate:g}-",
                        keep="none",
                        loggers=config.loggers,
                    )
                )
    return trials


def best_rates(trials: Sequence[tuple[Unit, Outcome]]) -> Rates:
    """The learning rate with the best validation Dice per loss and fold; the smaller of equal ones.

    A trial that failed counts as the worst; where all trials failed there is no rate.
    """
    scores: dict[tuple[LossSpec, int], list[tuple[float, float]]] = {}
    for unit, outcome in trials:
        if isinstance(outcome, Run):
            dice = 0.0 if np.isnan(outcome.dice) else outcome.dice
            tried = scores.setdefault((unit.loss, unit.fold), [])
            tried.append((dice, -unit.training.learning_rate))
    return {key: -max(pairs)[1] for key, pairs in scores.items()}


def edges(trials: Sequence[tuple[Unit, Outcome]], rates: Rates) -> list[str]:
    """A warning for each loss whose best rate is the smallest or largest of those tried."""
    tried = {unit.training.learning_rate for unit, _ in trials}
    warnings = []
    for (loss, fold), rate in rates.items():
        if rate in (min(tried), max(tried)):
            which = "smallest" if rate == min(tried) else "largest"
            warnings.append(
                f"{loss.title}, fold {fold}: the best learning rate, {rate:g}, is the {which} of "
                f"those tried; a {'smaller' if which == 'smallest' else 'larger'} one may be "
                "better: widen tune.factors."
            )
    return warnings
