"""What the machines of a Ray cluster have, and what it could grow by."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dilated_ce.study.runs.elsewhere import cpus_of_a_run, in_words
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.wording import listing

Resources = Mapping[str, float]


@dataclass(frozen=True)
class Node:
    """A machine of the cluster."""

    key: str  # Ray's
    name: str
    has: Resources


@dataclass(frozen=True)
class Cluster:
    """The machines that are there, and the kinds that an autoscaler would add."""

    nodes: Sequence[Node]
    kinds: Sequence[Resources] = ()

    @property
    def all(self) -> list[Resources]:
        """What each machine has, of those that are there and those that may come."""
        return [*(node.has for node in self.nodes), *self.kinds]

    @property
    def has_gpus(self) -> bool:
        """Whether there are GPUs, or may be."""
        return any(has.get("GPU", 0) for has in self.all)

    def cores_of_a_gpu(self) -> int:
        """The CPUs beside each GPU, where there are the fewest; 1 without GPUs."""
        parts = [has.get("CPU", 0) / has["GPU"] for has in self.all if has.get("GPU", 0)]
        return max(1, int(min(parts, default=1)))

    def listed(self) -> str:
        """What there is, for people."""
        there = [f"{node.name}: {_words(node.has)}" for node in self.nodes]
        kinds = [f"not started, but it could be: {_words(has)}" for has in self.kinds]
        return listing("The machines of the cluster", there + kinds or ["there is none"])


def _words(has: Resources) -> str:
    return in_words(has.get("CPU", 0), has.get("GPU", 0), has.get("memory"))


@dataclass(frozen=True)
class Needs:
    """What a run reserves on one machine."""

    cpus: float
    gpus: float
    memory: int | None = None  # bytes

    def __str__(self) -> str:
        """For people."""
        return in_words(self.cpus, self.gpus, self.memory)

    def fit(self, has: Resources) -> bool:
        """Whether a machine has room for one run, if nothing else is on it."""
        return (
            has.get("CPU", 0) >= self.cpus
            and has.get("GPU", 0) >= self.gpus
            and has.get("memory", float("inf")) >= (self.memory or 0)
        )

    def options(self) -> dict[str, Any]:
        """The same for Ray."""
        asked: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        return asked if self.memory is None else {**asked, "memory": self.memory}


def needs_of(training: Any, execution: ExecutionConfig, cluster: Cluster) -> Needs:
    """What each run reserves: its threads, its GPUs, and the memory that the user says it takes.

    Args:
        training: of our own or nnU-Net's; on `auto` there are GPUs for a run if there are some.
        execution: what the user says of GPUs and memory.
        cluster: where.

    Raises:
        StudyError: no machine will ever have room for one.
    """
    gpus = execution.gpus_per_run
    if gpus is None:
        on_gpu = training.device in ("gpu", "cuda") or (
            training.device != "cpu" and cluster.has_gpus
        )
        gpus = training.devices if on_gpu else 0
    cpus: float | None = cpus_of_a_run(training)
    if cpus is None:
        fewest = min((has.get("CPU", 0) for has in cluster.all if has.get("CPU")), default=1)
        cpus = training.devices * cluster.cores_of_a_gpu() if gpus else fewest
    return Needs(cpus, gpus, execution.bytes_of_a_run)


def no_room(needs: Needs, cluster: Cluster, execution: ExecutionConfig) -> StudyError:
    """What is said where no machine has room."""
    waited = f" {execution.wait:g} minutes later, too" if execution.wait else ""
    return StudyError(
        f"a run needs {needs} of one machine, and no machine of the Ray cluster has so "
        f"much{waited}. {cluster.listed()}\nLower training.threads, execution.gpus_per_run or "
        "execution.memory; or, where machines are still to come, let it wait for them: "
        "--set execution.wait=MINUTES"
    )


def look(ray: Any) -> Cluster:
    """The cluster that this process is connected with."""
    nodes = [
        Node(node["NodeID"], str(node.get("NodeManagerHostname", "")), node["Resources"])
        for node in ray.nodes()
        if node["Alive"]
    ]
    return Cluster(nodes, _kinds())


def _kinds() -> list[Resources]:
    """What an autoscaler would start: Ray has no public way to ask, so an error is no answer."""
    with contextlib.suppress(Exception):
        from ray._private.state import state

        config = state.get_cluster_config()
        groups = [] if config is None else config.node_group_configs
        return [dict(group.resources) for group in groups if group.max_count]
    return []
