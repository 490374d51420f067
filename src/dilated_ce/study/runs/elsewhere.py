"""Runs on other machines: they see the same folder, have the same code, and leave whole runs.

All of it is asked and none of it believed. A machine that does not see the folder would train into
the void, and one with another PyTorch would file its numbers under the versions of this one.
"""

import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dilated_ce.study.files import write_text
from dilated_ce.study.runs.store import Failure
from dilated_ce.study.runs.unit import CORE, SHAPING, shaping_code, versions

PATIENCE_SECONDS = 60.0  # network disks show a new file to other machines within a minute
SHARE_IT = (
    "All machines need the data and --out under the same path, such as on a network disk that all "
    "of them mount."
)


@dataclass(frozen=True)
class Probe:
    """What another machine has to find: a file of ours, and our code.

    Args:
        folder: of the runs, which all machines share.
        needed: what else they have to see: the prepared cases.
    """

    folder: Path
    needed: tuple[Path, ...] = ()
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    code: dict[str, str] = field(default_factory=lambda: code_here())

    @property
    def file(self) -> Path:
        """What this machine leaves for the others."""
        return self.folder / f".shared-{self.token}"

    def place(self) -> None:
        """Leave it."""
        write_text(self.file, self.token)

    def remove(self) -> None:
        """Take it away."""
        self.file.unlink(missing_ok=True)

    def trouble(self) -> str | None:
        """On another machine: why no run can go on there, in words; None if all is well."""
        host = socket.gethostname()
        missing = [path for path in (self.file, *self.needed) if not appears(path)]
        if missing:
            return (
                f"{host} does not see {missing[0]}, which the machine of the command does. "
                f"{SHARE_IT}"
            )
        here = code_here()
        differing = [
            f"{name} {here.get(name, 'missing')} there and {known} here"
            for name, known in self.code.items()
            if here.get(name) != known
        ]
        if differing:
            return (
                f"{host} has other code than the machine of the command: {'; '.join(differing)}. "
                "The numbers of one study come from one: install the same on all machines."
            )
        return None


def code_here() -> dict[str, str]:
    """What the numbers of a run come from, on this machine."""
    return {**versions(), "code of dilated-ce": shaping_code((*SHAPING, CORE))[:12]}


def appears(path: Path, seconds: float | None = None) -> bool:
    """Whether a file is there, or comes within the time that network disks take."""
    end = time.monotonic() + (PATIENCE_SECONDS if seconds is None else seconds)
    while not path.exists():
        if time.monotonic() >= end:
            return False
        time.sleep(0.2)
        if path.parent.is_dir():  # a listing has the system ask the disk anew
            any(path.parent.iterdir())
    return True


def answer(probe: Probe) -> tuple[str, str | None, Path]:
    """On another machine: its name, what is wrong there, and a file that it has left."""
    trouble = probe.trouble()
    path = probe.file.with_name(f"{probe.file.name}-{uuid.uuid4().hex[:8]}")
    if trouble is None:
        write_text(path, probe.token)
    return socket.gethostname(), trouble, path


def confirmed(host: str, trouble: str | None, path: Path) -> str | None:
    """On this machine: what is wrong with a machine that has answered; None if all is well."""
    if trouble is not None:
        return trouble
    if not appears(path):
        return f"{host} wrote {path}, which this machine does not see. {SHARE_IT}"
    path.unlink(missing_ok=True)
    return None


def do_elsewhere(unit: Any, do: Callable[[Any], Failure | None], probe: Probe) -> Failure | None:
    """On another machine: do a unit, if the folder and the code are there."""
    trouble = probe.trouble()
    return do(unit) if trouble is None else failed(unit, trouble)


def verified(unit: Any, failure: Failure | None) -> Failure | None:
    """On this machine: the failure of a unit, which there is too where its run is not here."""
    if failure is not None:
        return failure
    end = time.monotonic() + PATIENCE_SECONDS
    while not unit.is_finished:
        if time.monotonic() >= end:
            return failed(
                unit,
                f"it ended well on another machine, and {unit.folder} is not here, or not whole. "
                f"{SHARE_IT}",
            )
        time.sleep(0.5)
        any(unit.folder.parent.iterdir())
    return None


def failed(unit: Any, line: str, trace: str | None = None) -> Failure:
    """A failure in words."""
    return Failure(unit.loss, unit.seed, unit.fold, line, trace or line)


def cpus_of_a_run(training: Any) -> int | None:
    """The CPUs of all processes of a run; None where its threads are left to it, as by nnU-Net.

    Those that load patches are among the threads, while the GPU trains.
    """
    if training.threads is None:
        return None
    return int(training.devices * max(training.threads, 1 + training.loaders))


def in_words(cpus: float, gpus: float, memory: float | None) -> str:
    """What a run takes.

    Examples:
        >>> in_words(4, 1, 8e9)
        '4 CPUs, 1 GPU and 8 GB of memory'
        >>> in_words(1, 0, None)
        '1 CPU and no GPU'
    """
    parts: Sequence[str] = [
        f"{cpus:g} CPU{'' if cpus == 1 else 's'}",
        f"{gpus:g} GPU{'' if gpus == 1 else 's'}" if gpus else "no GPU",
    ]
    if memory is None:
        return " and ".join(parts)
    return f"{', '.join(parts)} and {memory / 1e9:.3g} GB of memory"
