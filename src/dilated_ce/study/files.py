"""Writing files so that a killed process never leaves half of one."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing; the folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process is part of the name: runs on other machines may write the same file.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, contents: Any) -> None:
    """Write JSON that any reader takes: infinite numbers and NaN are errors."""
    write_text(path, json.dumps(contents, indent=2, allow_nan=False) + "\n")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder to write into, which takes the place of `folder` if all goes well."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def fingerprint(contents: Any) -> str:
    """A hash of anything that is JSON."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
