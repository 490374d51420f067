"""Tables between markers in Markdown files: what is written by people around them stays."""

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path


def row(cells: list[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"


def renew(path: Path, parts: Mapping[str, str]) -> str:
    """The text of a file with every part from `<!-- name: ... -->` to `<!-- end -->` anew."""
    text = path.read_text(encoding="utf-8")
    for name, part in parts.items():
        pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
        text, count = re.subn(
            pattern, lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text, flags=re.DOTALL
        )
        if count != 1:
            raise SystemExit(f"{path.name}: expected one marker for {name}, found {count}.")
    return text


def write_or_check(path: Path, new: str, draw: Callable[[], None] = lambda: None) -> None:
    """Write the new text, and draw what goes with it; with --check, fail if it is not there yet."""
    if "--check" not in sys.argv[1:]:
        path.write_text(new, encoding="utf-8")
        draw()
    elif path.read_text(encoding="utf-8") != new:
        raise SystemExit(f"{path.name} does not say what results/ holds: run make results.")
