"""Runs at once, in processes that die, and under parents that do."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from toy import make_dataset

from dilated_ce.study import machine
from dilated_ce.study.data.prepare import prepare
from dilated_ce.study.planning import plan_units
from dilated_ce.study.runs.at_once import _Memory, do_at_once
from dilated_ce.study.runs.local import carry_out
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.store import Failure
from dilated_ce.study.settings.compare import CompareConfig

TRAINING = {
    "steps": 3,
    "batch_size": 2,
    "patch_size": (16,),
    "channels": (4, 8),
    "evaluations": 1,
    "device": "cpu",
    "threads": 1,
}
AT_ONCE = ExecutionConfig(workers=3, memory=0.001)  # GB: known, so that none waits for another


@pytest.fixture
def units(tmp_path):
    data = make_dataset()
    prepared = prepare(data, tmp_path / "prepared")

    def make(seeds=2):
        config = CompareConfig(
            data={"path": tmp_path},
            losses=("ce", "dice"),
            seeds=seeds,
            training=TRAINING,
            out=tmp_path,
        )
        return plan_units(config, data, prepared)

    return make


def leave_a_mark(unit):
    """A stand-in for a run: how often it was begun, and in which process."""
    unit.runs.mkdir(exist_ok=True)
    with (unit.runs / f"{unit.loss}-{unit.seed}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    return (unit.runs / f"{unit.loss}-{unit.seed}").read_text().split()


def die_twice(unit):
    times = len(leave_a_mark(unit))
    if unit.loss.name == "dice" and unit.seed == 0 and times <= 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return times


def wait_for_ever(unit):
    leave_a_mark(unit)
    time.sleep(600)


def test_the_numbers_are_those_of_one_after_the_other(units):
    def tables(workers):
        execution = ExecutionConfig(workers=workers)
        outcomes = list(carry_out(units(), execution, fresh=True))
        assert len({unit.folder for unit, _, _ in outcomes}) == 4
        runs = {unit.folder.name: run for unit, run, _ in outcomes}
        return [
            pd.concat([getattr(runs[name], table) for name in sorted(runs)])
            for table in ("cases", "losses", "curve")
        ]

    for one, three in zip(tables(1), tables(3), strict=True):
        pd.testing.assert_frame_equal(one, three, check_exact=True)


def test_a_run_whose_process_is_killed_is_begun_again_and_no_other(units):
    times = {
        (unit.loss.name, unit.seed): times
        for unit, times in do_at_once(die_twice, units(), 3, AT_ONCE)
    }
    assert times == {("ce", 0): 1, ("dice", 0): 3, ("ce", 1): 1, ("dice", 1): 1}


def test_one_that_is_killed_again_and_again_failed(units):
    execution = AT_ONCE.model_copy(update={"retries": 1})
    outcomes = {(u.loss.name, u.seed): o for u, o in do_at_once(die_twice, units(), 2, execution)}
    failure = outcomes.pop(("dice", 0))
    assert isinstance(failure, Failure)
    assert "its process was killed by signal 9, at 2 attempts" in failure.error
    assert "fewer --workers" in failure.error
    assert list(outcomes.values()) == [1, 1, 1]


def processes(folder):
    return [int(pid) for path in folder.glob("*-*") for pid in path.read_text().split()]


def are_gone(pids, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_who_stops_listening_ends_the_runs(units):
    some = units()
    outcomes = do_at_once(die_or_wait, some, 2, AT_ONCE)
    assert next(outcomes)[0] == some[0]
    outcomes.close()
    pids = processes(some[0].runs)
    assert len(pids) >= 2
    assert are_gone(pids)


def die_or_wait(unit):
    if unit.seed == 0 and unit.loss.name == "ce":
        until = time.monotonic() + 60
        while len(list(unit.runs.glob("*-*"))) < 1 and time.monotonic() < until:
            time.sleep(0.05)
        leave_a_mark(unit)
    else:
        wait_for_ever(unit)


PARENT = """
import pickle, sys
from pathlib import Path
from dilated_ce.study.runs.at_once import do_at_once
from dilated_ce.study.runs.settings import ExecutionConfig
from test_at_once import wait_for_ever
units = pickle.loads(Path(sys.argv[1]).read_bytes())
print(list(do_at_once(wait_for_ever, units, 2, ExecutionConfig(memory=0.001))))  # no guard
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_runs_end_with_the_process_that_began_them(units, tmp_path, how):
    some = units()
    (tmp_path / "units").write_bytes(pickle.dumps(some))
    (tmp_path / "script.py").write_text(PARENT)
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "script.py", tmp_path / "units"],
        env={**os.environ, "PYTHONPATH": f"{paths}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stderr=subprocess.PIPE,
        start_new_session=True,
        # What a shell starts in the background ignores it, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        until = time.monotonic() + 60
        while len(processes(some[0].runs)) < 2 and time.monotonic() < until:
            time.sleep(0.1)
        pids = processes(some[0].runs)
        assert len(pids) == 2
        if how == signal.SIGINT:
            os.killpg(parent.pid, how)  # as a terminal does
        else:
            parent.kill()
        assert are_gone(pids)
        assert parent.wait(60) == -how
        _, errors = parent.communicate()
        assert errors.count(b"Traceback") == (how == signal.SIGINT)  # of the parent alone
    finally:
        parent.kill()


class Stub:
    """A run under way that takes so much memory."""

    def __init__(self, pid, is_under_way):
        self.process = type("Process", (), {"pid": pid})
        self.is_under_way = is_under_way


@pytest.mark.parametrize(
    ("free", "first", "fits"),
    [
        (100, (40, 40, False), False),  # nobody knows yet what a run takes
        (100, (40, 50, True), True),
        (54, (50, 50, True), False),  # another 55
        (59, (40, 50, True), False),  # 15 of which are to come
        (71, (40, 50, True), True),
    ],
)
def test_no_more_runs_begin_than_fit_into_memory(monkeypatch, free, first, fits):
    now, peak, under_way = first
    monkeypatch.setattr(machine, "free_memory", lambda: free)
    monkeypatch.setattr(machine, "memory_of", lambda pid: (now, peak))
    assert _Memory(None).is_enough([])
    assert _Memory(None).is_enough([Stub(1, under_way)]) is fits


def test_memory_that_is_given_is_believed(monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 100)
    monkeypatch.setattr(machine, "memory_of", lambda pid: (10, 10))
    counted = Counter(_Memory(size).is_enough([Stub(1, False)]) for size in (54, 56))
    assert counted == {True: 1, False: 1}


def be_interrupted(unit):
    raise KeyboardInterrupt  # as Lightning's way of obeying SIGTERM ends


def test_a_run_that_is_asked_to_end_does_so_quietly(units, capfd):
    execution = AT_ONCE.model_copy(update={"retries": 0})
    ((_, failure),) = do_at_once(be_interrupted, units()[:1], 1, execution)
    assert failure.error == "its process ended with exit code 1, at 1 attempts"
    assert "Traceback" not in capfd.readouterr().err
