"""How many threads a run has that another machine computes.

The threads of a run shape its last digits, so all runs of a study have the same number, whatever
machine they come to. It is kept beside the runs: a cluster may look otherwise tomorrow.
"""

import json
import os
from pathlib import Path

from dilated_ce.study import machine
from dilated_ce.study.files import write_json
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.training.settings import TrainingConfig

THREADS = "threads.json"  # in the folder of all runs
BESIDE_A_GPU = 4  # where nobody knows how many cores there are for each


def threads_elsewhere(training: TrainingConfig, execution: ExecutionConfig, runs: Path) -> int:
    """The CPU threads of each process of a run, where the user leaves them open.

    `OMP_NUM_THREADS`, or what the study had before; else one, so that many runs go on at once.
    Beside a GPU it is its part of the cores: in a Ray cluster of the machine where that is least,
    so that every GPU of every machine has a run. Slurm gives what it is asked for: four.

    Args:
        training: whether on GPUs.
        execution: the engine, and where the cluster is.
        runs: the folder of all runs.

    Raises:
        StudyError: Ray does not answer.
    """
    given = given_threads()
    if given is not None:
        return given
    known = known_threads(runs)
    if known is not None:
        return known
    if training.device == "cpu":
        return 1
    if execution.engine == "slurm":
        return 1 if execution.gpus_per_run == 0 and training.device == "auto" else BESIDE_A_GPU
    if execution.address is None:  # Ray starts here
        gpus = len(machine.gpus())
        return max(1, machine.cores() // gpus) if gpus else 1
    from dilated_ce.study.runs.ray_cluster import cores_of_a_gpu

    return cores_of_a_gpu(execution)


def given_threads() -> int | None:
    """`OMP_NUM_THREADS`, if it is a number."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else None


def known_threads(runs: Path) -> int | None:
    """What the runs in a folder have, of an earlier start; None if nobody wrote it there."""
    try:
        threads = json.loads((runs / THREADS).read_text(encoding="utf-8"))["threads"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return threads if isinstance(threads, int) and threads > 0 else None


def keep_threads(runs: Path, threads: int) -> None:
    """Write down what the runs in a folder have."""
    if known_threads(runs) != threads:
        write_json(runs / THREADS, {"threads": threads})
