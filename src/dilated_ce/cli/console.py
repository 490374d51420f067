"""What all commands print with."""

import io
import os
import sys
from typing import NoReturn

import typer
from rich.console import Console

from dilated_ce.study.wording import escape


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Go on where nobody reads any more, as in `| head`: the files are what counts."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


console = _Console()
errors = _Console(stderr=True)


def print_any_text() -> None:
    """Let names appear as escapes where the terminal's encoding lacks their letters."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def fail(message: str) -> NoReturn:
    """End the program with an error for people: exit code 1."""
    errors.print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
