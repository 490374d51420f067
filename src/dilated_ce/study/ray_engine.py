"""Runs spread over the machines of a Ray cluster, or over this one.

The folder of the study has to be the same for all machines, such as one on a network disk.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from dilated_ce.study.engine import StudyError, attempt
from dilated_ce.study.settings import ExecutionConfig
from dilated_ce.study.units import Unit


def spread(
    units: Sequence[Unit], execution: ExecutionConfig
) -> Iterator[tuple[Unit, Exception | None]]:
    """Do the units, as many at once as there are CPUs and GPUs for.

    Yields:
        Each unit as it comes to its end, with its error if it failed.

    Raises:
        StudyError: Ray is missing or does not answer, or no machine has room for a run.
    """
    try:
        import ray
    except ImportError:
        raise StudyError("Ray is not installed: pip install 'dilated-ce[ray]'") from None
    try:
        ray.init(
            address=execution.address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise StudyError(
            f"no Ray cluster at {execution.address or 'this machine'}: {error}"
        ) from error
    try:
        needs = _needs(units[0], execution, ray.cluster_resources())
        task = ray.remote(attempt).options(max_retries=execution.retries, **needs)
        waiting = {task.remote(unit): unit for unit in units}
        while waiting:
            done, _ = ray.wait(list(waiting), num_returns=1)
            unit = waiting.pop(done[0])
            try:
                yield unit, ray.get(done[0])
            except ray.exceptions.RayError as error:  # its process or machine died, or a retry too
                yield unit, error
    finally:
        ray.shutdown()


def _needs(unit: Unit, execution: ExecutionConfig, cluster: dict[str, float]) -> dict[str, Any]:
    """What a run reserves: its threads, and its GPUs where there are some."""
    gpus = execution.gpus_per_run
    if gpus is None:
        on_gpu = unit.training.device != "cpu" and cluster.get("GPU", 0) > 0
        gpus = unit.training.devices if on_gpu else 0
    needs = {"num_cpus": unit.training.threads or 1, "num_gpus": gpus}
    for name, wanted in (("CPU", needs["num_cpus"]), ("GPU", needs["num_gpus"])):
        there = cluster.get(name, 0)
        if wanted > there:
            raise StudyError(
                f"a run needs {wanted:g} {name}s, and the whole cluster has {there:g}; lower "
                f"{'training.threads' if name == 'CPU' else 'execution.gpus_per_run'}"
            )
    return needs
