"""Writing files so that a killed process never leaves half of one, and knowing them again."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
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


@contextmanager
def moved_in(folder: Path, *, first: str, instead_of: Sequence[str]) -> Iterator[Path]:
    """A hidden folder to write into, whose files move into `folder` if all goes well.

    What else `folder` holds stays, but for files of an earlier time that are not written anew.

    Args:
        folder: that is there.
        first: the file that is moved before all others.
        instead_of: names of files that are removed, where one of them is written and these are not.
    """
    partial = folder / ".new"
    shutil.rmtree(partial, ignore_errors=True)  # by a process that was killed
    partial.mkdir()
    try:
        yield partial
        files = [path.relative_to(partial) for path in partial.rglob("*") if path.is_file()]
        for file in sorted(files, key=lambda file: file != Path(first)):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (partial / file).replace(folder / file)
        for part in {file.parent for file in files if file.name in instead_of}:
            for name in instead_of:
                if part / name not in files:
                    (folder / part / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


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
