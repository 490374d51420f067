"""What this machine has: cores, GPUs, and memory that nobody uses."""

import os
import sys
import warnings
from pathlib import Path

import torch
from joblib import cpu_count


def cores() -> int:
    """The cores that this process may use: of a container or a job its own, not hyper-threads.

    `LOKY_MAX_CPU_COUNT` lowers it, as for everything that is built on joblib.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where physical cores cannot be told from others
        return max(1, cpu_count(only_physical_cores=True))


def has_gpu() -> bool:
    """Whether PyTorch sees a GPU of any kind here."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def gpus() -> list[str]:
    """The names of the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` takes them."""
    if not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible:
        return visible.split(",")
    return [str(number) for number in range(torch.cuda.device_count())]


def free_memory() -> int | None:
    """Bytes that new processes may take, of the machine and of its container; None if unknown."""
    if sys.platform != "linux":
        return None
    free = [1024 * _field(Path("/proc/meminfo"), "MemAvailable")]
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        folder = Path("/sys/fs/cgroup")
        try:
            cache = _field(folder / Path(limit).parent / "memory.stat", "inactive_file")
            free.append(
                int((folder / limit).read_text()) - int((folder / used).read_text()) + cache
            )
        except (OSError, ValueError):  # another version of cgroups, or "max"
            continue
    return max(0, min(free))


def memory_of(process: int) -> tuple[int, int]:
    """Bytes in memory of a process: now, and at most so far; 0 if unknown or gone."""
    status = Path(f"/proc/{process}/status")
    try:
        return 1024 * _field(status, "VmRSS"), 1024 * _field(status, "VmHWM")
    except (OSError, ValueError):
        return 0, 0


def _field(path: Path, name: str) -> int:
    """The number behind a name in a file of the kernel's."""
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.replace(":", " ").split()
        if words and words[0] == name:
            return int(words[1])
    raise ValueError(f"{path} has no {name}")
