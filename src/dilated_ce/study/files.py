"""Writing files so that a killed process never leaves half of one, and knowing them again."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden file to write, which takes the place of `path` if all goes well.

    The folder is made if it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process is part of the name: runs on other machines may write the same file.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    with whole_file(path) as partial:
        partial.write_bytes(text.encode())  # the same on every system: no line ends are changed


def write_json(path: Path, contents: Any) -> None:
    """Write JSON that any reader takes: infinite numbers and NaN are errors."""
    write_text(path, json.dumps(contents, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table, without its index and without a copy of it in memory."""
    with whole_file(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder to write into, which takes the place of `folder` if all goes well."""
    partial, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("partial", "old"))
    for left in (partial, old):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
        raise
    if folder.exists():
        folder.replace(old)  # at once, where deleting it could be cut short
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, however large."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def fingerprint(contents: Any) -> str:
    """A hash of anything that is JSON."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()
