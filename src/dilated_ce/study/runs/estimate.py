"""How long a comparison will take, measured on a few steps."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dilated_ce.study.data.prepare import Prepared
from dilated_ce.study.runs.local import StudyError
from dilated_ce.study.runs.unit import Unit, judge
from dilated_ce.study.training.fit import Plan, fit
from dilated_ce.study.training.loss_spec import LossSpec
from dilated_ce.study.training.process import on_threads

MEASURED_STEPS = 6


@dataclass(frozen=True)
class Cost:
    """What the runs of a loss cost."""

    loss: LossSpec
    runs: int
    ms_per_step: float
    seconds: float  # of all its runs


def estimate(units: Sequence[Unit], on_loss: Callable[[], None] = lambda: None) -> list[Cost]:
    """Measure a few steps, and the prediction of one case, under every loss.

    Raises:
        StudyError: a loss under which these few steps fail.
    """
    costs = []
    for loss in dict.fromkeys(unit.loss for unit in units):
        of_loss = [unit for unit in units if unit.loss == loss]
        try:
            with on_threads(of_loss[0].training.threads):
                step, case = _measure(of_loss[0])
        except Exception as error:  # of the user's loss, of the libraries, or no memory
            line = f"{type(error).__name__}: {error}".splitlines()[0]
            raise StudyError(f"{loss.title} cannot be trained: {line}") from error
        seconds = sum(
            unit.training.steps * step
            + case * (len(unit.judged) + len(unit.validation) * unit.training.evaluations)
            for unit in of_loss
        )
        costs.append(Cost(loss, len(of_loss), 1000 * step, seconds))
        on_loss()
    return costs


def _measure(unit: Unit) -> tuple[float, float]:
    """Seconds of a training step, and of a case that is predicted and scored."""
    # Two parts: the first one warms up.
    training = unit.training.model_copy(update={"steps": MEASURED_STEPS, "evaluations": 2})
    prepared = Prepared(unit.prepared)
    there = prepared.index["cases"]  # of a dry run, a few of them
    train = tuple(name for name in unit.train if name in there)
    judged = tuple(name for name in unit.judged if name in there)
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(unit.loss, unit.seed, train, (), training, prepared, unit.fold)
        network, history = fit(plan, Path(folder))
    start = time.perf_counter()
    judge(replace(unit, training=training, judged=judged[:1]), network, prepared)
    return history.step_seconds[-1], time.perf_counter() - start
