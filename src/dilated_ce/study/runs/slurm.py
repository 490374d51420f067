"""Runs as jobs of Slurm, by submitit: one array, of which as many go on at once as Slurm lets.

    OUT/slurm/4711_3_0_log.out      what the job of a run printed
    OUT/slurm/4711_3_submitted.pkl  the unit that it does;  4711_3_0_result.pkl what came of it
    OUT/slurm/4711_submission.sh    what Slurm was asked for

Jobs outlive the command. They bear a name that is made from the folder, so the same command finds
those that go on, and starts no run twice.
"""

import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from dilated_ce.study.files import fingerprint
from dilated_ce.study.runs import slurm_queue
from dilated_ce.study.runs.elsewhere import Probe, cpus_of_a_run, failed
from dilated_ce.study.runs.settings import ExecutionConfig
from dilated_ce.study.runs.slurm_job import Job, notice_seconds
from dilated_ce.study.runs.slurm_queue import State
from dilated_ce.study.runs.store import Failure, StudyError
from dilated_ce.study.runs.watcher import Watcher
from dilated_ce.study.wording import count

MINUTES = 240  # of a job, where the user says nothing
OF_NNUNET = 12  # CPUs; as many processes as change its patches
MOST_TIMEOUTS = 10_000  # a job that comes no further ends itself
POLL_SECONDS = 1.0  # for results, which are files
ASK_SECONDS = 20.0  # for states: squeue is the work of one machine for all users
LOST_SECONDS = 60.0  # after which a job that is over and left nothing is lost
TAIL = 4000  # characters of a log


def spread(
    units: Sequence[Any],
    execution: ExecutionConfig,
    do: Callable[[Any], Failure | None],
    probe: Probe,
    watcher: Watcher,
) -> Generator[tuple[Any, Failure | None], None, None]:
    """Do the units in jobs of Slurm.

    Whoever closes the iterator leaves the jobs alone; how to end them is said.

    Args:
        units: what to do, of our own training or of nnU-Net's.
        execution: what Slurm is asked for.
        do: does one of them, and gives None or what went wrong.
        probe: what every machine has to find.
        watcher: is told how many wait.

    Yields:
        Each unit as it comes to its end, with its failure.

    Raises:
        StudyError: submitit or Slurm is missing, or refuses the jobs.
    """
    folder = folder_of(probe.folder)
    name = name_of(folder)
    jobs = {unit.folder: unit for unit in units}
    going_on = {job: unit for job, unit in going_on_in(folder).items() if unit.folder in jobs}
    if going_on:
        watcher.on_note(
            f"{count(len(going_on), 'run')} found in Slurm's queue, from an earlier start"
        )
    taken = {unit.folder for unit in going_on.values()}
    waiting = {number: jobs[unit.folder] for number, unit in going_on.items()}
    rest = [unit for unit in units if unit.folder not in taken]
    if rest:
        probe.place()
        waiting.update(_submit(rest, execution, do, probe, watcher))
    try:
        yield from _wait_for(waiting, folder, name, watcher)
        for path in probe.folder.glob(".shared-*"):  # of these jobs, and of earlier ones
            path.unlink(missing_ok=True)
    finally:
        if waiting:
            arrays = " ".join(sorted({number.split("_")[0] for number in waiting}))
            watcher.on_note(
                f"{count(len(waiting), 'run')} left to Slurm, without this command. The same "
                f"command waits for what goes on there; to end it: scancel {arrays}"
            )


def folder_of(runs: Path) -> Path:
    """Where submitit keeps what it knows of the jobs, and their logs."""
    return runs.parent / "slurm"


def name_of(folder: Path) -> str:
    """The name of the jobs of a study."""
    return f"dilated-ce-{fingerprint(str(folder))[:8]}"


def going_on_in(folder: Path) -> dict[str, Any]:
    """The units of a study that jobs do or will do, by the number of the job.

    Raises:
        StudyError: Slurm does not answer.
    """
    if not any(folder.glob("*_submitted.pkl")):
        return {}
    states = slurm_queue.jobs_named(name_of(folder))
    if states is None:
        raise StudyError(
            f"{folder} has jobs of Slurm, and squeue does not say whether they go on; start the "
            "same command again where Slurm answers, so that no run is done twice"
        )
    jobs = [_job(folder, number) for number, state in states.items() if not state.is_over]
    return {
        job.job_id: job.submission().args[0] for job in jobs if job.paths.submitted_pickle.exists()
    }


def _submit(
    units: Sequence[Any],
    execution: ExecutionConfig,
    do: Callable[[Any], Failure | None],
    probe: Probe,
    watcher: Watcher,
) -> dict[str, Any]:
    """Give the units to Slurm; the numbers of their jobs."""
    folder = folder_of(probe.folder)
    executor = _executor(folder)
    job = Job(do, probe, execution, execution.time or MINUTES)
    try:
        executor.update_parameters(**parameters(units[0].training, execution, folder))
        if len(units) == 1:
            made = [executor.submit(job, units[0])]
        else:
            made = executor.map_array(job, list(units))
    except (RuntimeError, ValueError, OSError) as error:
        raise StudyError(f"Slurm does not take the jobs: {error}") from error
    numbers = [job.job_id for job in made]
    first = numbers[0].split("_")[0]
    watcher.on_note(
        f"{count(len(units), 'run')} submitted as Slurm job {first}, with logs in {folder}"
    )
    return dict(zip(numbers, units, strict=True))


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise StudyError("submitit is not installed: pip install 'dilated-ce[slurm]'") from None
    return submitit


def _executor(folder: Path) -> Any:
    submitit = _submitit()
    try:
        return submitit.SlurmExecutor(folder, max_num_timeout=MOST_TIMEOUTS)
    except RuntimeError:
        raise StudyError(
            "engine: slurm: there is no srun on this machine; start the command where you would "
            "type sbatch"
        ) from None


def _job(folder: Path, number: str) -> Any:
    return _submitit().SlurmJob(folder, number)


def parameters(training: Any, execution: ExecutionConfig, folder: Path) -> dict[str, Any]:
    """What Slurm is asked for, as submitit names it.

    Args:
        training: of our own or nnU-Net's.
        execution: what the user says.
        folder: of submitit.
    """
    gpus = execution.gpus_per_run
    if gpus is None:
        gpus = 0 if training.device == "cpu" else training.devices
    known = _submitit().SlurmExecutor._valid_parameters()
    free = dict(execution.slurm)
    theirs = {name: free.pop(name) for name in list(free) if name in known}
    if {"gres", "gpus_per_task"} & theirs.keys() or {"gpus", "gpus_per_socket"} & free.keys():
        gpus = 0  # said in another way
    cpus = theirs.pop("cpus_per_task", cpus_of_a_run(training) or OF_NNUNET * training.devices)
    minutes = execution.time or MINUTES
    asked = {
        "job_name": name_of(folder),
        "partition": execution.partition,
        "time": minutes,
        "signal_delay_s": notice_seconds(minutes),
        "cpus_per_task": cpus,
        "gpus_per_node": int(gpus) or None,
        "mem": f"{round(1000 * execution.memory)}M" if execution.memory else None,
        "array_parallelism": execution.workers or 256,
        "stderr_to_stdout": True,
        "wckey": None,
        # Since Slurm 22.05 srun does not ask for the CPUs of its job by itself.
        "srun_args": [f"--cpus-per-task={cpus}"],
        "additional_parameters": {"requeue": True, **free},
    }
    # A missing one has submitit's own value, which is wanted but for the key of an account.
    return {
        **{name: value for name, value in asked.items() if value is not None or name == "wckey"},
        **theirs,
    }


def script(training: Any, execution: ExecutionConfig, folder: Path, number: int) -> list[str]:
    """The lines of the script that sbatch is given.

    Args:
        training: of our own or nnU-Net's.
        execution: what the user says.
        folder: of submitit.
        number: of runs.

    Raises:
        StudyError: submitit is missing, or does not take a parameter.
    """
    _submitit()
    from submitit.slurm.slurm import _make_sbatch_string

    asked = parameters(training, execution, folder)
    try:
        text = _make_sbatch_string("run", folder, map_count=number if number > 1 else None, **asked)
    except (TypeError, ValueError) as error:
        raise StudyError(f"execution.slurm: {error}") from error
    return [line for line in text.splitlines() if line and not line.startswith(("# ", "#!"))]


def _wait_for(
    waiting: dict[str, Any], folder: Path, name: str, watcher: Watcher
) -> Generator[tuple[Any, Failure | None], None, None]:
    """Give back what has ended, and take it from what is waited for."""
    states: dict[str, State] | None = {}
    over: dict[str, float] = {}  # when a job without a result was first seen so
    asked = -ASK_SECONDS
    while waiting:
        if time.monotonic() - asked >= ASK_SECONDS:
            asked, states = time.monotonic(), slurm_queue.jobs_named(name)
            if states is None:
                watcher.on_state("Slurm does not answer; asking again")
            else:
                for number in list(over.keys() & states.keys()):
                    if not states[number].is_over:
                        del over[number]
                watcher.on_state(slurm_queue.in_words(states[n] for n in waiting if n in states))
        any(folder.iterdir())  # has a network disk look anew
        for number, unit in list(waiting.items()):
            job = _job(folder, number)
            if job.paths.result_pickle.exists():
                failure = _failure(unit, job)
            elif states is not None and (number not in states or states[number].is_over):
                since = over.setdefault(number, time.monotonic())
                if time.monotonic() - since < LOST_SECONDS:
                    continue
                failure = _lost(unit, job, states.get(number))
            else:
                continue
            del waiting[number]
            yield unit, failure
        if waiting:
            time.sleep(POLL_SECONDS)
    watcher.on_state("")


def _failure(unit: Any, job: Any) -> Failure | None:
    """What a job has said of its run."""
    log = job.paths.stdout
    try:
        found: Failure | None = job.result()
    except Exception as error:  # of submitit, with the traceback of the job's in its text
        lines = [line for line in f"{error}".splitlines() if line.strip()]
        told = [line for line in lines if line and not line.startswith((" ", "-", "You can"))]
        line = next((line for line in reversed(told) if "Error: " in line), told[-1])
        return failed(unit, f"{line.split('Error: ', 1)[-1]} (log: {log})", str(error))
    if found is None or found.of_disk:
        return found
    return failed(unit, f"{found.error} (log: {log})", found.trace)


def _lost(unit: Any, job: Any, state: State | None) -> Failure:
    """A job that is over and has said nothing."""
    log = job.paths.stdout
    how = "is gone from Slurm's list" if state is None else f"ended as {state.name}"
    why = f" ({state.reason})" if state and state.reason else ""
    hint = {
        "OUT_OF_MEMORY": "; ask for more with execution.memory",
        "TIMEOUT": "; ask for more with execution.time",
    }.get(state.name if state else "", "")
    try:
        printed = log.read_text(encoding="utf-8", errors="replace")[-TAIL:]
    except OSError:
        printed = "it printed nothing"
    line = f"Slurm job {job.job_id} {how}{why} and left no result{hint} (log: {log})"
    return failed(unit, line, f"{line}\n{printed}")
