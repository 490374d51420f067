"""Train for many steps, no two with the same shapes, and watch the memory: `make memory`.

Writes results/quality/memory.csv: every 50 steps the resident memory of the process, the tensors
that are alive, and the entries of the core's cache. A loss that kept anything of a step (labels,
graphs, tables by shape) would show as a slope. Plain cross entropy does the same steps in a process
of its own, as networks and allocators keep things, too.
"""

import argparse
import contextlib
import ctypes
import gc
import math
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rich.progress import track
from torch import nn

from dilated_ce import AdaptiveDilatedCELoss, DilatedBalancedCELoss
from dilated_ce.ball import discs

OUT = Path(__file__).resolve().parents[2] / "results" / "quality" / "memory.csv"
STATM = Path("/proc/self/statm")
PAGE = 4096
NUM_CLASSES = 3


LOSSES = {
    "DBCE": [  # adaptive, with one radius for all classes, and with one per class
        AdaptiveDilatedCELoss(),
        DilatedBalancedCELoss(3, ignore_index=255),
        DilatedBalancedCELoss([math.inf, 2.5, 4], volumes="image"),
    ],
    "CE": [nn.CrossEntropyLoss()],
}


def train(name: str, steps: int, every: int) -> pd.DataFrame:
    """The counts after every so many steps; the losses take turns, in 2D and in 3D."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    networks = {
        2: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, NUM_CLASSES, 1)),
        3: nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, NUM_CLASSES, 1)),
    }
    parameters = [p for network in networks.values() for p in network.parameters()]
    optimizer = torch.optim.AdamW(parameters)
    criteria = LOSSES[name]
    rows = []
    for step in track(range(1, steps + 1), f"training with {name}"):
        ndim = int(random.choice([2, 3]))
        shape = tuple(random.integers(8, {2: 64, 3: 20}[ndim], size=ndim).tolist())
        batch = int(random.integers(1, 5))
        labels = torch.from_numpy(random.integers(NUM_CLASSES, size=(batch, *shape)))
        labels *= torch.from_numpy(random.random(labels.shape) < random.choice([0.01, 0.1, 1]))
        logits = networks[ndim](torch.randn(batch, 1, *shape))
        optimizer.zero_grad()
        criteria[step % len(criteria)](logits, labels).backward()
        optimizer.step()
        del labels, logits
        if step % every == 0:
            rows.append({"loss": name, "step": step, **counts()})
    return pd.DataFrame(rows)


def counts() -> dict[str, float]:
    """What this process holds; the resident memory where the system tells it (Linux)."""
    gc.collect()
    # What glibc keeps of freed memory grows with the variety of the shapes: back to the system.
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    # By type, as `isinstance` would ask objects that raise when they are asked.
    tensors = sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
    resident = int(STATM.read_text().split()[1]) * PAGE / 2**20 if STATM.exists() else math.nan
    return {
        "resident_mib": round(resident, 1),
        "tensors": tensors,
        "cached_balls": discs.cache_info().currsize,
    }


def in_a_process(name: str, steps: int) -> pd.DataFrame:
    """The table of `train`, from a fresh process."""
    # oneDNN keeps 1,024 convolutions that it has compiled, each for one shape: a slope of its own.
    os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] = "0"
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(train, name, steps, 50).result()


def main() -> None:
    """Train, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    table = pd.concat(in_a_process(name, steps) for name in LOSSES)
    table["torch"] = torch.__version__
    OUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUT, index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
