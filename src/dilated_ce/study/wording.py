"""Numbers, names and problems in a sentence."""

from collections.abc import Sequence


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
