import pytest

from dilated_ce.study.nnunet.unit import Length
from dilated_ce.study.runs.ray_nodes import Cluster, Needs, Node, needs_of, no_room
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.training.settings import ResolvedTraining

BIG, SMALL = {"CPU": 16.0, "GPU": 2.0, "memory": 64e9}, {"CPU": 6.0, "GPU": 2.0, "memory": 8e9}
HEAD = {"CPU": 4.0, "memory": 8e9}


def cluster(*machines, kinds=()):
    nodes = [Node(f"key{n}", f"node{n}", has) for n, has in enumerate(machines)]
    return Cluster(nodes, kinds)


def needs(*machines, kinds=(), memory=None, gpus=None, **training):
    values = {"batch_size": 4, "patch_size": (16,), "learning_rate": 1, "threads": 2, **training}
    execution = ExecutionConfig(engine="ray", memory=memory, gpus_per_run=gpus)
    return needs_of(ResolvedTraining(**values), execution, cluster(*machines, kinds=kinds))


@pytest.mark.parametrize(
    ("device", "machines", "gpus"),
    [
        ("cpu", [BIG], 0),
        ("auto", [HEAD], 0),
        ("auto", [HEAD, BIG], 1),
        ("gpu", [HEAD], 1),  # and no machine has one, which is said
    ],
)
def test_gpus_are_those_of_the_cluster(device, machines, gpus):
    assert needs(*machines, device=device) == Needs(2, gpus)


def test_all_processes_of_a_run_have_their_threads():
    assert needs(BIG, device="gpu", devices=2, loaders=1) == Needs(4, 2)
    assert needs(BIG, device="gpu", devices=2, loaders=4) == Needs(10, 2)
    assert needs(BIG, device="gpu", memory=12, gpus=0.5) == Needs(2, 0.5, 12_000_000_000)


def test_a_kind_that_is_not_started_counts_too():
    assert needs(HEAD, kinds=[BIG], device="auto").gpus == 1
    assert cluster(HEAD, kinds=[BIG, SMALL]).cores_of_a_gpu() == 3


def test_every_gpu_of_every_machine_has_a_run():
    """One number of threads for all, so that of the machine with the fewest cores for a GPU."""
    assert cluster(HEAD, BIG, SMALL).cores_of_a_gpu() == 3
    assert cluster(HEAD).cores_of_a_gpu() == 1
    theirs = needs_of(Length(9, "cuda", 2), ExecutionConfig(engine="ray"), cluster(BIG, SMALL))
    assert theirs == Needs(6, 2)
    theirs = needs_of(Length(9, "cpu", 1), ExecutionConfig(engine="ray"), cluster(BIG, HEAD))
    assert theirs == Needs(4, 0)


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        (Needs(16, 2), True),
        (Needs(17, 0), False),
        (Needs(1, 3), False),
        (Needs(1, 0, 64_000_000_000), True),
        (Needs(1, 0, 65_000_000_000), False),
    ],
)
def test_a_run_has_to_fit_one_machine(asked, fits):
    assert asked.fit(BIG) is fits


def test_what_is_said_where_there_is_no_room():
    where = cluster(HEAD, kinds=[BIG])
    said = str(no_room(Needs(8, 4), where, ExecutionConfig(engine="ray", wait=3)))
    assert said.startswith("a run needs 8 CPUs and 4 GPUs of one machine, and no machine of")
    assert "so much 3 minutes later, too" in said
    assert "node0: 4 CPUs, no GPU and 8 GB of memory" in said
    assert "not started, but it could be: 16 CPUs, 2 GPUs and 64 GB of memory" in said
    assert "--set execution.wait=MINUTES" in said


def test_memory_is_asked_of_ray():
    assert Needs(2, 1, 5).options() == {"num_cpus": 2, "num_gpus": 1, "memory": 5}
    assert Needs(2, 0).options() == {"num_cpus": 2, "num_gpus": 0}
