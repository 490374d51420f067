"""What is written about a study: all of it for machines, and how it was trained for people."""

from collections.abc import Sequence

from dilated_ce.study.data.cases import DataSet
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.planning import resolve
from dilated_ce.study.runs.store import Run
from dilated_ce.study.runs.unit import Unit, versions
from dilated_ce.study.settings.compare import CompareConfig
from dilated_ce.study.training.network_spec import WITH_CHANNELS, WITH_NORM, parse_network
from dilated_ce.study.training.settings import ResolvedTraining


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
        "network": ", ".join(
            [
                parse_network(training.network).title,
                f"{prepared.index['spatial_dims']}D",
                *_levels(training),
                f"{runs[0].info['parameters']:,} parameters",
                *([f"started from {training.weights.name}"] if training.weights else []),
            ]
        ),
        "optimiser": f"{training.optimizer}, {training.schedule} schedule, weight decay "
        f"{training.weight_decay:g}, {training.precision}, {training.forward}",
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


def _levels(training: ResolvedTraining) -> list[str]:
    """What the settings say of the network's levels, if it is one that listens to them."""
    name = parse_network(training.network).name
    channels = f"channels {', '.join(map(str, training.channels))}"
    norm = f"{training.norm} normalisation"
    return [channels] * (name in WITH_CHANNELS) + [norm] * (name in WITH_NORM)
