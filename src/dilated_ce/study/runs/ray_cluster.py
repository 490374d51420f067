"""Runs spread over the machines of a Ray cluster, or over this one.

The folder of the study has to be the same for all machines, such as one on a network disk.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dilated_ce.study.runs.attempt import attempt
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure, StudyError


def spread(
    units: Sequence[Any],
    execution: ExecutionConfig,
    do: Callable[[Any], Failure | None] = attempt,
) -> Iterator[tuple[Any, Failure | None]]:
    """Do the units, as many at once as there are CPUs and GPUs for.

    Args:
        units: what to do, of our own training or of nnU-Net's.
        execution: where the cluster is, and what a run reserves.
        do: does one of them, on any machine, and gives None or what went wrong.

    Yields:
        Each unit as it comes to its end, with its failure.

    Raises:
        StudyError: Ray is missing or does not answer, or no machine has room for a run.
    """
    try:
        import ray
    except ImportError:
        raise StudyError("Ray is not installed: pip install 'dilated-ce[ray]'") from None
    try:
        ray.init(
            # Without "local" Ray joins whatever cluster this machine last knew, dead or alive.
            address=execution.address or "local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise StudyError(
            f"no Ray cluster at {execution.address or 'this machine'}: {error}"
        ) from error
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        needs = _needs(units[0], execution, machines)
        task = ray.remote(do).options(max_retries=execution.retries, **needs)
        waiting = {task.remote(unit): unit for unit in units}
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            unit = waiting.pop(done[0])
            try:
                yield unit, ray.get(done[0])
            except ray.exceptions.RayError as error:  # its process or machine died, or a retry too
                line = f"{type(error).__name__}: {error}".strip()
                yield unit, Failure(unit.loss, unit.seed, unit.fold, line.splitlines()[0], line)
    finally:
        ray.shutdown()


def _needs(
    unit: Any, execution: ExecutionConfig, machines: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """What a run reserves on one machine: its threads, and its GPUs where there are some."""
    gpus = execution.gpus_per_run
    if gpus is None:
        on_gpu = unit.training.device != "cpu" and any(there.get("GPU", 0) for there in machines)
        gpus = unit.training.devices if on_gpu else 0
    cpus = unit.training.threads
    if cpus is None:  # a GPU's part of them, or all
        cpus = max(there.get("CPU", 0) // max(1, there.get("GPU", 0)) for there in machines)
    if not any(there.get("CPU", 0) >= cpus and there.get("GPU", 0) >= gpus for there in machines):
        listed = ", ".join(f"{m.get('CPU', 0):g} and {m.get('GPU', 0):g}" for m in machines)
        raise StudyError(
            f"a run needs {cpus:g} CPUs and {gpus:g} GPUs of one machine, and those of the cluster "
            f"have {listed}; lower training.threads or execution.gpus_per_run"
        )
    return {"num_cpus": cpus, "num_gpus": gpus}
