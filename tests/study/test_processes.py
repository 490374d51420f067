import os
import signal
from itertools import count
from pathlib import Path

import pytest

from dilated_ce.study import machine, processes
from dilated_ce.study.processes import ProcessDiedError, spread


def where(item):
    return os.getpid(), item


def die_at_7(item):
    if item == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


@pytest.fixture
def at_once(monkeypatch):
    """Work is spread from the second item on."""
    monkeypatch.setattr(processes, "ALONE_SECONDS", 0)
    monkeypatch.setattr(machine, "cores", lambda: 2)


def test_what_is_quick_is_done_here():
    assert list(spread(where, range(4), most=2)) == [(n, (os.getpid(), n)) for n in range(4)]


def test_what_takes_long_is_done_elsewhere(at_once):
    done = dict(spread(where, range(9)))
    assert [item for _, item in map(done.get, range(9))] == list(range(9))
    assert done[0][0] == os.getpid()
    assert os.getpid() not in {pid for pid, _ in map(done.get, range(1, 9))}


def test_no_more_is_drawn_than_is_being_done(at_once):
    drawn = []
    outcomes = spread(where, (drawn.append(n) or n for n in count()))
    for _ in range(5):
        next(outcomes)
    outcomes.close()
    assert len(drawn) <= 5 + 2 * 2


def test_a_process_that_is_killed_is_told(at_once):
    with pytest.raises(ProcessDiedError, match="one of 2 processes was killed"):
        list(spread(die_at_7, range(9)))


def test_where_memory_is_short_all_is_done_here(at_once, monkeypatch):
    monkeypatch.setattr(machine, "free_memory", lambda: 2**29)
    assert {pid for _, (pid, _) in spread(where, range(5))} == {os.getpid()}


def test_errors_come_through(at_once):
    with pytest.raises(FileNotFoundError):
        list(spread(Path.stat, [Path("/"), Path("/"), Path("/no such file")]))
