"""The process that trains: its threads, its peak memory, and no trace of Lightning left in it."""

import logging
import multiprocessing
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch.utilities import disable_possible_user_warnings
from monai.data import get_track_meta, set_track_meta

_LOGS = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]


@contextmanager
def on_threads(number: int) -> Iterator[None]:
    """Have PyTorch compute on so many CPU threads, and then on as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def as_guest() -> Iterator[None]:
    """Run Lightning and MONAI as guests.

    - Ctrl-C stays KeyboardInterrupt: Lightning would end the program, and ignore the next Ctrl-C.
    - What Lightning tells of the machine and of its own insides is kept quiet.
    - MONAI's patches are plain tensors: none needs its origin, and they take half the time.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    levels, track = [log.level for log in _LOGS], get_track_meta()
    set_track_meta(False)
    try:
        with warnings.catch_warnings():
            _keep_quiet()
            yield
    except SystemExit as end:
        if in_main_thread:  # no other may set handlers
            signal.signal(signal.SIGINT, handler)
        raise KeyboardInterrupt from end
    finally:
        for log, level in zip(_LOGS, levels, strict=True):
            log.setLevel(level)
        set_track_meta(track)


def _keep_quiet() -> None:
    for log in _LOGS:
        log.setLevel(logging.ERROR)
    disable_possible_user_warnings()
    for what in ("does not have many workers", "LeafSpec", "exists and is not empty", "all_gather"):
        warnings.filterwarnings("ignore", message=f".*{what}.*")


def reset_peak_memory() -> None:
    """Forget the peak so far."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if sys.platform == "linux":
        # Writing 5 resets the peak of this process's resident memory (man 5 proc).
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:  # not allowed in some containers: the peak is then that of the process
            return


def peak_memory(device: torch.device) -> int:
    """The peak since the last reset in bytes: of the GPU, else of the process; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


# The processes that share a run are Lightning's children and inherit nothing of the above.
if multiprocessing.current_process().name != "MainProcess":
    _keep_quiet()
