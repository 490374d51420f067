"""Runs spread over the machines of a Ray cluster, or over this one.

A run whose machine is lost goes on elsewhere, from its checkpoint in the folder that all share.
"""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dilated_ce.study.runs.elsewhere import Probe, answer, confirmed, do_elsewhere, failed
from dilated_ce.study.runs.ray_nodes import Cluster, Needs, look, needs_of, no_room
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure, StudyError
from dilated_ce.study.runs.watcher import Watcher
from dilated_ce.study.wording import count, listing

POLL_SECONDS = 2.0


def spread(
    units: Sequence[Any],
    execution: ExecutionConfig,
    do: Callable[[Any], Failure | None],
    probe: Probe,
    watcher: Watcher,
) -> Generator[tuple[Any, Failure | None], None, None]:
    """Do the units, as many at once as there are CPUs, GPUs and memory for.

    Args:
        units: what to do, of our own training or of nnU-Net's.
        execution: where the cluster is, and what a run reserves.
        do: does one of them, on any machine, and gives None or what went wrong.
        probe: what every machine has to find.
        watcher: is told what is waited for.

    Yields:
        Each unit as it comes to its end, with its failure.

    Raises:
        StudyError: Ray is missing or does not answer, no machine has room for a run, or one of
            those that have does not see the folder or has other code.
    """
    with _connected(execution) as ray:
        needs = needs_of(units[0].training, execution, look(ray))
        room = _Room(ray, needs, execution, watcher)
        while not room.is_there():
            time.sleep(POLL_SECONDS)
        probe.place()
        try:
            _ask_all(ray, needs, probe, watcher)
            yield from _do_all(ray, units, do, probe, execution, room)
        finally:
            probe.remove()


def cores_of_a_gpu(execution: ExecutionConfig) -> int:
    """The CPUs beside each GPU of the cluster, where there are the fewest; 1 without GPUs.

    Raises:
        StudyError: Ray is missing or does not answer.
    """
    with _connected(execution) as ray:
        return look(ray).cores_of_a_gpu()


@contextmanager
def _connected(execution: ExecutionConfig) -> Iterator[Any]:
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
        where = execution.address or "this machine"
        why = f"{error.__cause__ or ''}".strip().splitlines()[:1]  # such as a missing token
        raise StudyError(f"no Ray cluster at {where}: {'; '.join([str(error), *why])}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


class _Room:
    """Whether some machine of the cluster has room for a run, now or later."""

    def __init__(
        self, ray: Any, needs: Needs, execution: ExecutionConfig, watcher: Watcher
    ) -> None:
        self.ray, self.needs, self.execution, self.watcher = ray, needs, execution, watcher
        self.names: dict[str, str] = {}  # of the machines with room
        self.since: float | None = None  # there is none

    def is_there(self) -> bool:
        """Look, and say what has changed.

        Raises:
            StudyError: there is none, and none is to come.
        """
        cluster = look(self.ray)
        names = {node.key: node.name for node in cluster.nodes if self.needs.fit(node.has)}
        for lost in self.names.keys() - names.keys():
            self.watcher.on_note(
                f"{self.names[lost]} is lost; its runs go on elsewhere from their checkpoints"
            )
        self.names = names
        if names:
            if self.since is not None:
                self.watcher.on_state("")
            self.since = None
            return True
        self._wait(cluster)
        return False

    def _wait(self, cluster: Cluster) -> None:
        first = self.since is None
        self.since = time.monotonic() if self.since is None else self.since
        grows = any(self.needs.fit(kind) for kind in cluster.kinds)
        minutes = self.execution.wait if self.execution.wait is not None or grows else 0
        if minutes is not None and time.monotonic() - self.since >= 60 * minutes:
            raise no_room(self.needs, cluster, self.execution)
        if first:
            self._ask_for_one()
            how_long = "" if minutes is None else f" for {minutes:g} minutes"
            self.watcher.on_note(
                f"no machine of the Ray cluster has room for a run ({self.needs}) now; waiting "
                f"for one{how_long}"
            )
            self.watcher.on_state(f"waiting for a machine with {self.needs}")

    def _ask_for_one(self) -> None:
        """Have an autoscaler start a machine, before there is a task that would."""
        from ray.autoscaler import sdk

        bundle = {"CPU": self.needs.cpus, "GPU": self.needs.gpus, "memory": self.needs.memory}
        sdk.request_resources(bundles=[{name: n for name, n in bundle.items() if n}])


def _ask_all(ray: Any, needs: Needs, probe: Probe, watcher: Watcher) -> None:
    """Have every machine with room look for the folder; those that come later look themselves."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in look(ray).nodes if needs.fit(node.has)]
    watcher.on_state(f"asking {count(len(nodes), 'machine')} whether the folder is shared")
    task = ray.remote(answer)
    asked = [
        task.options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.key, soft=False),
        ).remote(probe)
        for node in nodes
    ]
    problems = []
    for node, promise in zip(nodes, asked, strict=True):
        try:
            trouble = confirmed(*ray.get(promise))
        except ray.exceptions.RayError as error:
            trouble = f"{node.name} cannot run dilated-ce: {_line(error)}"
        if trouble is not None:
            problems.append(trouble)
    watcher.on_state("")
    if problems:
        raise StudyError(
            listing("the machines of the Ray cluster cannot share this study", problems)
        )


def _do_all(
    ray: Any,
    units: Sequence[Any],
    do: Callable[[Any], Failure | None],
    probe: Probe,
    execution: ExecutionConfig,
    room: _Room,
) -> Iterator[tuple[Any, Failure | None]]:
    task = ray.remote(do_elsewhere).options(max_retries=execution.retries, **room.needs.options())
    waiting = {task.remote(unit, do, probe): unit for unit in units}
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=POLL_SECONDS)
        for promise in done:
            unit = waiting.pop(promise)
            try:
                yield unit, ray.get(promise)
            except ray.exceptions.RayError as error:  # its machine died, and those of its retries
                yield unit, failed(unit, _line(error), f"{type(error).__name__}: {error}")
        if waiting:
            room.is_there()


def _line(error: Exception) -> str:
    """The first line of an error of Ray's, or the last of what it has from another machine."""
    lines = [line for line in f"{error}".strip().splitlines() if line.strip()]
    cause = getattr(error, "cause", None)
    if cause is not None:
        return f"{type(cause).__name__}: {cause}".strip().splitlines()[0]
    return f"{type(error).__name__}: {lines[0] if lines else ''}".strip()
