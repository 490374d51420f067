"""Numbers, names and problems in a sentence, and text from outside in one."""

import re
from collections.abc import Sequence

from rich import markup

# Control characters would reach the terminal, which obeys them; lone surrogates cannot be printed.
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def count(number: int, what: str, several: str = "") -> str:
    """A number with its noun: `one seed`, `2 seeds`; with `several` for `2 losses`."""
    return f"one {what}" if number == 1 else f"{number} {several or what + 's'}"


def listing(heading: str, problems: Sequence[str], most: int = 20) -> str:
    """Problems below a heading, a line each."""
    more = [f"... and {len(problems) - most} more"] if len(problems) > most else []
    return "\n  - ".join([f"{heading}:", *problems[:most], *more])


def some(names: Sequence[str], most: int = 5) -> str:
    """The first of some names, and how many there are beside them."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def escape(text: str) -> str:
    r"""Text from outside, to be printed as it is.

    Examples:
        >>> print(escape("[red] \x1b[31m"))
        \[red] \x1b[31m
    """
    seen = UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return markup.escape(seen)
