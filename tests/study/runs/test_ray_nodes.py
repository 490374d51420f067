import pytest
from toy_runs import Notes

from dilated_ce.study.nnunet.unit import Length
from dilated_ce.study.runs import ray_cluster
from dilated_ce.study.runs.ray_nodes import Cluster, Needs, Node, needs_of, no_room
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import StudyError
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


@pytest.fixture
def room(monkeypatch):
    """Whether there is room for a run with a GPU, in clusters that are looked at one by one."""

    def make(*clusters, wait=None):
        seen, notes = iter(clusters), Notes()
        monkeypatch.setattr(ray_cluster, "look", lambda ray: next(seen))
        monkeypatch.setattr(ray_cluster._Room, "_ask_for_one", lambda self: None)
        execution = ExecutionConfig(engine="ray", wait=wait)
        return ray_cluster._Room(None, Needs(4, 1), execution, notes), notes

    return make


def test_a_fixed_cluster_without_room_is_an_error_at_once(room):
    there, notes = room(cluster(HEAD))
    with pytest.raises(StudyError, match="4 CPUs and 1 GPU of one machine"):
        there.is_there()
    assert not notes.notes


def test_a_cluster_that_grows_is_waited_for(room):
    there, notes = room(cluster(kinds=[BIG]), cluster(kinds=[BIG]), cluster(BIG, kinds=[BIG]))
    assert [there.is_there() for _ in range(3)] == [False, False, True]
    (note,) = notes.notes
    assert note.endswith("has room for a run (4 CPUs and 1 GPU) now; waiting for one")
    assert notes.states == ["waiting for a machine with 4 CPUs and 1 GPU", ""]


def test_a_kind_that_is_too_small_is_not_waited_for(room):
    with pytest.raises(StudyError):
        room(cluster(kinds=[HEAD]))[0].is_there()


def test_machines_are_waited_for_as_long_as_is_said(room, monkeypatch):
    there, notes = room(*[cluster(HEAD)] * 3, wait=30)
    clock = iter([0, 0, 1799, 1801])
    monkeypatch.setattr(ray_cluster.time, "monotonic", lambda: next(clock))
    assert not there.is_there()
    assert not there.is_there()
    with pytest.raises(StudyError, match="30 minutes later, too"):
        there.is_there()
    assert notes.notes[0].endswith("waiting for one for 30 minutes")


def test_a_lost_machine_is_told(room):
    there, notes = room(cluster(BIG, SMALL), cluster(BIG))
    assert there.is_there()
    assert there.is_there()
    assert notes.notes == ["node1 is lost; its runs go on elsewhere from their checkpoints"]
