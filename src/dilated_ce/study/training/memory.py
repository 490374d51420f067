"""Peak memory of a run, per device."""

import sys
from pathlib import Path

import torch


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
