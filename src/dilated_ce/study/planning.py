"""From settings and data to the runs that they ask for."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from dilated_ce.study.data.cases import DataSet
from dilated_ce.study.data.prepare import Prepared
from dilated_ce.study.runs.local import Outcome
from dilated_ce.study.runs.store import Run
from dilated_ce.study.runs.unit import Unit
from dilated_ce.study.settings.compare import CompareConfig, SettingsError
from dilated_ce.study.training.loss_spec import LossSpec
from dilated_ce.study.training.settings import ResolvedTraining, TrainingConfig

# The most that a patch is by default: what 2 CPU cores train on in reasonable time.
MOST_SIDES = {2: 128, 3: 64}
BATCH_SIZES = {2: 8, 3: 4}
LEARNING_RATES = {"adamw": 3e-3, "sgd": 1e-2}


def resolve(
    training: TrainingConfig, prepared: Prepared, engine: str = "local"
) -> ResolvedTraining:
    """Fill in what the user left open, from the data and this machine.

    Args:
        training: the settings.
        prepared: the data.
        engine: a run has the threads that PyTorch takes by itself (the cores, or
            OMP_NUM_THREADS), or with "ray" its part of them, so that as many runs go on at once
            as there are GPUs, or CPUs.

    Raises:
        SettingsError: a patch that does not fit the data.
    """
    dims = prepared.index["spatial_dims"]
    shapes = [entry["shape"][-dims:] for entry in prepared.index["cases"].values()]
    factor = 2 ** (len(training.channels) - 1)
    patch = training.patch_size
    if patch is None:
        median = np.median(shapes, axis=0).clip(max=MOST_SIDES[dims])
        patch = tuple(max(factor, int(side) // factor * factor) for side in median)
    elif len(patch) == 1:
        patch *= dims
    elif len(patch) != dims:
        raise SettingsError(
            f"training.patch_size: got {len(patch)} sides, expected one or {dims} for {dims}D data."
        )
    return ResolvedTraining.model_validate(
        {
            **training.model_dump(),
            "patch_size": patch,
            "batch_size": training.batch_size or BATCH_SIZES[dims] * training.devices,
            "learning_rate": training.learning_rate or LEARNING_RATES[training.optimizer],
            "threads": training.threads or _threads(engine),
        }
    )


def _threads(engine: str) -> int:
    if engine != "ray":
        return torch.get_num_threads()
    gpus = torch.cuda.device_count()
    return max(1, torch.get_num_threads() // gpus) if gpus else 1


def plan_units(
    config: CompareConfig,
    data: DataSet,
    prepared: Prepared,
    rates: dict[LossSpec, float] | None = None,
) -> list[Unit]:
    """Every loss with every seed on every fold; whole comparisons come first."""
    training = resolve(config.training, prepared, config.execution.engine)
    folder, runs = _folders(config, prepared)
    units = []
    for seed in range(config.seeds):
        for number, fold in enumerate(data.folds):
            for loss in config.losses:
                rate = (rates or {}).get(loss, training.learning_rate)
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
                    )
                )
    return units


def _folders(config: CompareConfig, prepared: Prepared) -> tuple[Path, Path]:
    """Where the data lie and the runs go; absolute, as Ray's workers have another folder."""
    return prepared.folder.resolve(), config.out.resolve() / "runs"


def plan_trials(config: CompareConfig, data: DataSet, prepared: Prepared) -> list[Unit]:
    """The trials of learning rates: seed 0 of fold 0, judged on the validation part."""
    if config.tune is None:
        return []
    training = resolve(config.training, prepared, config.execution.engine)
    folder, runs = _folders(config, prepared)
    fold = data.folds[0]
    trials = []
    for loss in config.losses:
        for factor in config.tune.factors:
            rate = float(f"{training.learning_rate * factor:.3g}")
            steps = config.tune.steps or max(1, training.steps // 3)
            trials.append(
                Unit(
                    loss,
                    0,
                    0,
                    fold.train,
                    (),
                    fold.validation,
                    training.model_copy(update={"learning_rate": rate, "steps": steps}),
                    config.scoring,
                    folder,
                    runs,
                    f"tune-lr{rate:g}-",
                )
            )
    return trials


def best_rates(trials: Iterable[tuple[Unit, Outcome]]) -> dict[LossSpec, float]:
    """The learning rate with the best validation Dice per loss; the smaller of equal ones.

    A trial that failed counts as the worst; a loss whose trials all failed has no rate here.
    """
    scores: dict[LossSpec, list[tuple[float, float]]] = {}
    for unit, outcome in trials:
        if isinstance(outcome, Run):
            dice = 0.0 if np.isnan(outcome.dice) else outcome.dice
            scores.setdefault(unit.loss, []).append((dice, -unit.training.learning_rate))
    return {loss: -max(pairs)[1] for loss, pairs in scores.items()}
