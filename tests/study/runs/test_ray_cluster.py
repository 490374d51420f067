"""Ray's own clusters of several nodes, on this machine."""

import threading
import time

import pytest
from toy_runs import Notes, tables, unit_maker

from dilated_ce.study.runs.local import carry_out
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Run, StudyError

pytestmark = pytest.mark.slow
LOCAL = ExecutionConfig()


@pytest.fixture
def cluster(monkeypatch):
    """A head that computes nothing, to which nodes may be added."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else as the home of this user has it
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


def test_a_run_whose_node_is_killed_comes_to_the_same_scores(cluster, tmp_path):
    settings = {"losses": ("ce", "dice"), "steps": 200, "evaluations": 20}
    here = unit_maker(tmp_path / "here")(**settings)
    list(carry_out(here, LOCAL))
    units = unit_maker(tmp_path / "spread")(**settings)
    doomed, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
    killed = []

    def kill():
        while not any(10 < unit.steps_done < 150 for unit in units):
            time.sleep(0.05)
        killed.extend(unit.steps_done for unit in units)
        cluster.remove_node(doomed, allow_graceful=False)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    notes = Notes()
    execution = ExecutionConfig(engine="ray", address=cluster.address)
    outcomes = []
    for _, outcome, _ in carry_out(units, execution, watcher=notes):
        outcomes.append(outcome)
        if len(outcomes) == 1:  # the other run may end before Ray itself knows of the loss
            thread.join(60)
            _wait_until_known_lost(doomed.node_id)
    assert all(isinstance(outcome, Run) for outcome in outcomes), outcomes
    assert max(killed) < 200
    assert any("is lost; its runs go on elsewhere" in note for note in notes.notes)
    assert tables(units) == tables(here)
    assert not list((tmp_path / "spread" / "runs").glob(".*"))


def _wait_until_known_lost(node, seconds=60):
    import ray

    end = time.monotonic() + seconds
    while any(known["NodeID"] == node and known["Alive"] for known in ray.nodes()):
        assert time.monotonic() < end, "Ray still takes the killed node for alive"
        time.sleep(0.1)


def test_a_cluster_without_room_is_an_error(cluster, tmp_path):
    units = unit_maker(tmp_path)(("ce",))
    fixed = ExecutionConfig(engine="ray", address=cluster.address)
    with pytest.raises(StudyError, match=r"(?s)1 CPU and no GPU of one machine, .*execution.wait"):
        list(carry_out(units, fixed))


def test_ray_on_this_machine_says_what_it_lacks(tmp_path):
    units = unit_maker(tmp_path)(threads=1000)
    with pytest.raises(StudyError, match="a run needs 1000 CPUs and no GPU of one machine"):
        list(carry_out(units, ExecutionConfig(engine="ray")))
    units = unit_maker(tmp_path)(("ce",), seeds=2)
    execution = ExecutionConfig(engine="ray", memory=0.5)
    assert all(isinstance(run, Run) for _, run, _ in carry_out(units, execution))
