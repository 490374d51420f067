"""nnU-Net's commands as processes, of which none outlives the one that asked for it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

TAIL = 20_000  # characters of the output that are looked at for what went wrong
_going_on: "set[subprocess.Popen[bytes]]" = set()  # in whatever thread


class NnunetError(Exception):
    """A command of nnU-Net's that failed: one line for people, and below it what it printed."""


def command(name: str) -> str:
    """The path of one of nnU-Net's commands: that of this environment, else any.

    Raises:
        NnunetError: there is none.
    """
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise NnunetError(f"{name} is not there: pip install 'dilated-ce[nnunet]'")
    return found


def run_command(
    arguments: Sequence[str], environment: Mapping[str, str], output: Path, append: bool = False
) -> None:
    """Carry a command out, which prints into a file.

    Args:
        arguments: the command.
        environment: all of its variables.
        output: file for all that it prints.
        append: whether the file keeps what it has.

    Raises:
        NnunetError: it ended with another code than 0.
    """
    supervisor = [sys.executable, "-IS", str(Path(__file__).with_name("supervise.py"))]
    output.parent.mkdir(parents=True, exist_ok=True)
    # A file and not a pipe: what dies leaves workers behind, which would keep a pipe open.
    with output.open("ab" if append else "wb") as file:
        start = file.tell()
        process = subprocess.Popen(
            [*supervisor, *arguments],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
        _going_on.add(process)
        try:
            code = process.wait()
        finally:
            _end(process)
            _going_on.discard(process)
    if code:
        with output.open("rb") as file:
            file.seek(max(start, output.stat().st_size - TAIL))
            printed = file.read().decode(errors="replace")
        raise NnunetError(f"{_line(printed, code)}\n{_trace(printed)}")


def end_all() -> None:
    """End the commands that go on in other threads."""
    for process in list(_going_on):
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that is in its session."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    if process.stdin:
        process.stdin.close()
    process.wait()


def _line(printed: str, code: int) -> str:
    """What went wrong, in a line: the last error that Python names."""
    how = f"ended with exit code {code}" if code < 128 else f"was killed by signal {code - 128}"
    for line in reversed(printed[printed.rfind("Traceback") :].splitlines()):
        name, colon, _ = line.partition(":")
        if (colon and name.replace(".", "").isidentifier()) and not line.startswith(" "):
            return f"{line.strip()} (nnU-Net {how})"
    return f"nnU-Net {how}"


def _trace(printed: str) -> str:
    start = printed.find("Traceback")
    return printed[start:] if start >= 0 else "\n".join(printed.splitlines()[-40:])
