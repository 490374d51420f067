"""How fast a comparison trains on this machine's CPUs, and what memory that takes.

- Steps per second of a run over those of a bare PyTorch loop: the same network, optimiser and loss,
  and patches that are already in memory, cut and augmented.
- Steps per second of all runs together, by runs at once and threads of each, precision, and whether
  the network is compiled.
- The peak of memory of a run, by the number of its cases.

They are written to results/comparison/training.json. Each run is a process of its own.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import torch
from preparing import make
from torch.nn import functional

from dilated_ce.study import machine
from dilated_ce.study.api import Listener, prepare_data
from dilated_ce.study.data.prepared import Prepared
from dilated_ce.study.data.reading import DataConfig, open_data
from dilated_ce.study.planning import resolve
from dilated_ce.study.training.fit import Plan, build_optimizer, build_schedule, fit
from dilated_ce.study.training.loss_spec import parse_loss
from dilated_ce.study.training.networks import build_network
from dilated_ce.study.training.patches import Patches, change
from dilated_ce.study.training.process import on_threads
from dilated_ce.study.training.settings import ResolvedTraining, TrainingConfig

RESULT = Path(__file__).parents[1] / "results" / "comparison" / "training.json"
FORWARDS = {2: ("eager", "compiled"), 3: ("eager",)}
BATCHES = 8  # that the bare loop has in memory
CASES = (8, 32, 128)


def plan_of(folder: Path, training: ResolvedTraining, number: int | None = None) -> Plan:
    """A run on the first cases of prepared data."""
    prepared = Prepared(folder)
    names = tuple(prepared.index["cases"])[:number]
    return Plan(parse_loss("ce"), 0, names, (), training, prepared)


def trained(folder: Path, training: ResolvedTraining, number: int | None = None) -> dict[str, Any]:
    """Train as `compare` does; seconds of a step, of all parts but the first, and the memory."""
    with tempfile.TemporaryDirectory() as out, on_threads(training.threads):
        _, history = fit(plan_of(folder, training, number), Path(out))
    _, peak = machine.memory_of(os.getpid())
    return {"seconds": median(history.step_seconds[1:]), "peak": peak}


def bare(folder: Path, training: ResolvedTraining) -> dict[str, Any]:
    """Seconds of a step of a plain loop."""
    plan = plan_of(folder, training)
    patches = Patches(
        plan.prepared, 0, plan.train, training.patch_size, 0, training.foreground, augment=True
    )
    size = training.batch_size
    dims = len(training.patch_size)
    layout = torch.channels_last if dims == 2 else torch.contiguous_format
    with on_threads(training.threads):
        batches = []
        for first in range(0, size * BATCHES, size):
            found = [patches[index] for index in range(first, first + size)]
            batches.append(change({key: torch.stack([p[key] for p in found]) for key in found[0]}))
        index = plan.prepared.index
        network = build_network(
            training, index["spatial_dims"], len(index["channels"]), plan.prepared.num_outputs
        ).to(memory_format=layout)  # type: ignore[call-overload]
        optimizer = build_optimizer(network.parameters(), training)
        schedule = build_schedule(optimizer, training)
        seconds = []
        for step in range(training.steps):
            start = time.perf_counter()
            batch = batches[step % BATCHES]
            logits = network(batch["image"])
            loss = functional.cross_entropy(logits.float(), batch["labels"][:, 0].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            seconds.append(time.perf_counter() - start)
    return {"seconds": median(seconds[training.steps // 5 :])}


def at_once(
    number: int, do: Callable[..., dict[str, Any]], *arguments: Any
) -> list[dict[str, Any]]:
    """The same in several processes at the same time."""
    with ProcessPoolExecutor(number, get_context("spawn")) as pool:
        return [f.result() for f in [pool.submit(do, *arguments) for _ in range(number)]]


def main() -> None:
    """Make the data, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40, help="of each run")
    parser.add_argument("--cases", type=int, nargs="*", default=CASES)
    parser.add_argument(
        "--sides", type=int, nargs=2, default=(128, 48), help="of patches, in 2D and 3D"
    )
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    cores = machine.cores()
    result: dict[str, Any] = {"cores": cores, "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        make(root / "data", max(arguments.cases), 96)
        folders = {}
        for dims in (2, 3):
            data = open_data(DataConfig(path=root / "data", dims=dims))
            folders[dims] = prepare_data(data, root / f"study{dims}", Listener()).folder

        def training(dims: int, **changes: Any) -> ResolvedTraining:
            side = arguments.sides[dims - 2]
            config = TrainingConfig(
                steps=arguments.steps, patch_size=(side,) * dims, device="cpu", **changes
            )
            return resolve(config, Prepared(folders[dims]), runs=cores)

        result["steps per second, over those of a bare loop"] = {
            f"{dims}D, {threads} threads": round(
                at_once(1, bare, folders[dims], (config := training(dims, threads=threads)))[0][
                    "seconds"
                ]
                / at_once(1, trained, folders[dims], config)[0]["seconds"],
                3,
            )
            for dims in (2, 3)
            for threads in dict.fromkeys((1, cores))
        }
        table = []
        for dims in (2, 3):
            for number, threads in dict.fromkeys([(1, cores), (cores, 1)]):
                for precision in ("32-true", "bf16-mixed"):
                    for forward in FORWARDS[dims]:
                        config = training(
                            dims, threads=threads, precision=precision, forward=forward
                        )
                        found = at_once(number, trained, folders[dims], config)
                        rate = sum(1 / run["seconds"] for run in found)
                        table.append(
                            {"data": f"{dims}D", "runs at once": number, "threads of each": threads,
                             "precision": precision, "forward": forward,
                             "steps per second of all": round(rate, 2)}
                        )  # fmt: skip
        result["runs at once"] = table
        config = training(3, threads=1)
        result["peak MB of a run, by its cases"] = {
            str(number): round(at_once(1, trained, folders[3], config, number)[0]["peak"] / 1e6)
            for number in arguments.cases
        }
    print(json.dumps(result, indent=2))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
