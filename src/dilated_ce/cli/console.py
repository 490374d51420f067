"""What all commands print with."""

import io
import os
import re
import sys
from typing import NoReturn

import typer
from rich import markup
from rich.console import Console

# Control characters would reach the terminal, which obeys them; lone surrogates cannot be printed.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


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


def escape(text: str) -> str:
    r"""Text from outside, to be printed as it is.

    Examples:
        >>> print(escape("[red] \x1b[31m"))
        \[red] \x1b[31m
    """
    seen = UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return markup.escape(seen)


def fail(message: str) -> NoReturn:
    """End the program with an error for people: exit code 1."""
    errors.print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
