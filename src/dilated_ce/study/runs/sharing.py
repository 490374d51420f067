"""How the runs of a study share the cores and GPUs of a machine.

Runs know nothing of each other, and a step of a small network has little to give to a second
thread: two runs with a thread each train about 1.7 times as much in the same time as one run with
two. So a run has one thread, as long as there are as many runs as cores.
"""

from dilated_ce.study import machine
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.threads import given_threads
from dilated_ce.study.training.settings import ResolvedTraining, TrainingConfig


def threads_of_a_run(training: TrainingConfig, runs: int) -> int:
    """The CPU threads of each process of a run on this machine, where the user leaves them open.

    `OMP_NUM_THREADS`, or the run's part of the cores. It does not depend on how many runs go on at
    once: sums over other threads would end in other digits.

    Args:
        training: whose `devices` share a run.
        runs: how many there are.
    """
    given = given_threads()
    if given is not None:
        return given
    cores = machine.cores()
    if on_gpu(training):
        return max(1, cores // max(1, len(machine.gpus())))
    return max(1, cores // (max(1, runs) * training.devices))


def runs_at_once(training: ResolvedTraining, execution: ExecutionConfig) -> int:
    """How many runs go on at once here, if memory allows: one per GPU, or as the cores allow."""
    if execution.engine != "local":
        return 1  # here; elsewhere, as there is room
    if execution.workers is not None:
        return execution.workers
    if on_gpu(training):
        return max(1, len(machine.gpus()) // training.devices)
    return max(1, machine.cores() // (training.threads * training.devices))


def gpus_of_runs(training: ResolvedTraining, at_once: int) -> list[str | None]:
    """For each of the runs that go on at once, its GPUs; None where it is to see what is there."""
    gpus = machine.gpus() if on_gpu(training) else []
    shares = len(gpus) // training.devices
    if not shares:
        return [None] * at_once
    groups = [gpus[n * training.devices : (n + 1) * training.devices] for n in range(shares)]
    return [",".join(groups[number % shares]) for number in range(at_once)]


def on_gpu(training: TrainingConfig) -> bool:
    """Whether runs on this machine train on GPUs."""
    return training.device != "cpu" and machine.has_gpu()
