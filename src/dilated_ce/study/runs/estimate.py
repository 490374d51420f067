"""How long a comparison will take, measured on a few steps."""

import io
import itertools
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import torch

from dilated_ce.study import machine
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.runs.at_once import do_at_once
from dilated_ce.study.runs.attempt import attempt
from dilated_ce.study.runs.judging import judge
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.sharing import runs_at_once
from dilated_ce.study.runs.store import Failure, StudyError
from dilated_ce.study.runs.unit import Unit
from dilated_ce.study.training.fit import Plan, fit
from dilated_ce.study.training.loss_spec import LossSpec
from dilated_ce.study.training.networks import build_network
from dilated_ce.study.training.process import on_threads

MEASURED_STEPS = 6


@dataclass(frozen=True)
class Measured:
    """A few steps of a loss, and a case."""

    step: float  # seconds
    case: float  # seconds, to predict it and to score it
    memory: int  # bytes of the process, at most; 0 if unknown


@dataclass(frozen=True)
class Cost:
    """What the runs of a loss cost, each beside as many others as go on at once."""

    loss: LossSpec
    runs: int
    ms_per_step: float
    seconds: float  # of all its runs


@dataclass(frozen=True)
class Estimate:
    """What all runs cost."""

    costs: list[Cost]
    at_once: int
    memory: int  # bytes of a run; 0 if unknown

    @property
    def seconds(self) -> float:
        """From the first to the last."""
        runs = sum(cost.runs for cost in self.costs)
        in_turn = -(-runs // self.at_once)  # the last ones may leave cores idle
        return sum(cost.seconds for cost in self.costs) / runs * in_turn if runs else 0.0


def estimate(
    units: Sequence[Unit],
    execution: ExecutionConfig,
    on_loss: Callable[[], None] = lambda: None,
) -> Estimate:
    """Measure a few steps, and the prediction of one case, under every loss.

    Where several runs go on at once, so many are measured at once, as they slow each other down.

    Raises:
        StudyError: a loss under which these few steps fail.
    """
    firsts = list({unit.loss: unit for unit in reversed(units)}.values())[::-1]
    at_once = min(len(units), runs_at_once(units[0].training, execution))
    measured: dict[LossSpec, list[Measured]] = {unit.loss: [] for unit in firsts}
    if at_once > 1:
        alone = _checked(*next(iter(do_at_once(measure, firsts[:1], 1, execution))))
        free = machine.free_memory()
        if free is not None and alone.memory:
            at_once = max(1, min(at_once, free // alone.memory))
    outcomes: Iterable[tuple[Unit, Measured | Failure]]
    if at_once == 1:
        outcomes = ((unit, measure(unit)) for unit in firsts)
    else:
        known = execution.model_copy(update={"memory": alone.memory / 1e9 or None, "retries": 0})
        many = list(itertools.islice(itertools.cycle(firsts), max(at_once, len(firsts))))
        outcomes = do_at_once(measure, many, at_once, known)
    for unit, outcome in outcomes:
        if not measured[unit.loss]:
            on_loss()
        measured[unit.loss].append(_checked(unit, outcome))
    costs = [_cost(loss, [u for u in units if u.loss == loss], measured[loss]) for loss in measured]
    return Estimate(costs, at_once, max(one.memory for all_ in measured.values() for one in all_))


def _cost(loss: LossSpec, units: Sequence[Unit], measured: Sequence[Measured]) -> Cost:
    step, case = mean(one.step for one in measured), mean(one.case for one in measured)
    seconds = sum(
        unit.training.steps * step
        + case * (len(unit.judged) + len(unit.validation) * unit.training.evaluations)
        for unit in units
    )
    return Cost(loss, len(units), 1000 * step, seconds)


def _checked(unit: Unit, outcome: Measured | Failure) -> Measured:
    if isinstance(outcome, Failure):
        raise StudyError(f"{unit.loss.title} cannot be trained: {outcome.error}")
    return outcome


def measure(unit: Unit) -> Measured | Failure:
    """Train a few steps, predict and score a case."""
    found: list[Measured] = []
    failure = attempt(unit, lambda unit: found.append(_measure(unit)))
    return failure or found[0]


def _measure(unit: Unit) -> Measured:
    # Two parts: the first one warms up.
    training = unit.training.model_copy(update={"steps": MEASURED_STEPS, "evaluations": 2})
    prepared = Prepared(unit.prepared)
    there = prepared.index["cases"]  # of a dry run, a few of them
    train = tuple(name for name in unit.train if name in there)
    judged = tuple(name for name in unit.judged if name in there)
    with tempfile.TemporaryDirectory() as folder, on_threads(unit.training.threads):
        plan = Plan(unit.loss, unit.seed, train, (), training, prepared, unit.fold)
        network, history = fit(plan, Path(folder))
        start = time.perf_counter()
        judge(network, prepared, judged[:1], unit.fold, training, unit.scoring)
        case = time.perf_counter() - start
    return Measured(history.step_seconds[-1], case, machine.memory_of(os.getpid())[1])


def disk_kept(units: Sequence[Unit], prepared: Prepared) -> tuple[int, int]:
    """Bytes that the models will take, and at most those of the predictions, of all runs.

    Predictions are compressed, which most of them shrink a lot by; cases that are not prepared yet
    count as large as the others.
    """
    index = prepared.index
    sizes = [math.prod(entry["shape"]) for entry in index["cases"].values()]
    mean = sum(sizes) / max(1, len(sizes))
    predictions = sum(len(unit.judged) * mean for unit in units if unit.keep != "none")
    keeping = [unit for unit in units if unit.keep == "all"]
    if not keeping:
        return 0, round(predictions)
    network = build_network(
        keeping[0].training, index["spatial_dims"], len(index["channels"]), prepared.num_outputs
    )
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    return file.tell() * len(keeping), round(predictions)
