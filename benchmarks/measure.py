"""How it is measured: medians of alternating turns, and peaks of memory."""

import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from methods import Case, Method, methods_of

STATUS = Path("/proc/self/status")


def medians(methods: dict[str, Method], seconds: float, device: str) -> dict[str, float]:
    """The median time of each method in ms, over rounds in which every method has its turn.

    Methods that take over 10 times as long as the fastest have 3 turns, so that they do not keep
    the others from theirs. On a GPU a turn is 10 calls, as many as a loop would queue.
    """
    calls = 10 if device == "cuda" else 1
    times: dict[str, list[float]] = {name: [] for name in methods}

    def turn(name: str) -> None:
        _wait(device)
        before = time.perf_counter()
        for _ in range(calls):
            methods[name]()
        _wait(device)
        times[name].append(1000 * (time.perf_counter() - before) / calls)

    for name in methods:
        methods[name]()  # first calls fill caches
        turn(name)
    fastest = min(first for (first,) in times.values())
    quick = [name for name, (first,) in times.items() if first <= 10 * fastest]
    start = time.perf_counter()
    rounds = 0
    while rounds < 9 or time.perf_counter() - start < seconds:
        for name in methods if rounds < 2 else quick:
            turn(name)
        rounds += 1
    return {name: float(np.median(values)) for name, values in times.items()}


@contextmanager
def keep_busy(cores: int) -> Iterator[None]:
    """Keep so many cores busy by an endless loop, pinned to each; on Linux."""
    loops = [
        subprocess.Popen(
            [
                *(sys.executable, "-c"),
                f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass",
            ]
        )
        for core in sorted(os.sched_getaffinity(0))[:cores]
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def peaks(case: Case, device: str) -> dict[str, float]:
    """Peak memory of each method, over what its input takes, in bytes per voxel.

    On a GPU from PyTorch's counter. On a CPU from the peak of the resident set, in a process of its
    own in which every large block that is freed goes back to the system at once; Linux only.
    """
    if device != "cuda" and not STATUS.exists():
        return {}
    ended = subprocess.run(
        [sys.executable, __file__, *map(str, vars(case).values()), device],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    rows = [line.split("\t") for line in ended.stdout.splitlines()]
    return {name: float(value) for name, value in rows}


def _peak(method: Method, device: str) -> int:
    """Bytes at the peak over those before."""
    method()  # loads code and fills caches
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        method()
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # makes the peak the present size
    before = _status("VmRSS")
    method()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """In a process of its own: the peak of every method of one case."""
    what, *numbers, labels, busy, device = sys.argv[1:]
    batch, classes, side, ndim, radius = (int(float(number)) for number in numbers)
    case = Case(what, batch, classes, side, ndim, radius, labels, int(busy))
    for name, method in methods_of(case, device).items():
        voxels = case.batch * case.side**case.ndim
        print(name, _peak(method, device) / voxels, sep="\t")


if __name__ == "__main__":
    main()
