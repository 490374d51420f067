"""The folder of a study: one process at a time, and nothing of anybody else's is lost in it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from dilated_ce.study.data.cases import DataSet
from dilated_ce.study.data.prepare import strange_files
from dilated_ce.study.runs.store import StudyError
from dilated_ce.study.settings.compare import CompareConfig
from dilated_ce.study.wording import some

STUDY, SPLIT = "study.json", "split.json"
# Written at the end, and removed when runs begin.
OUTCOMES = (
    *("cases.csv", "lesions.csv", "curves.csv", "summary.json", "report.html"),
    "error.txt",  # in the place of a report
)


@dataclass(frozen=True)
class Identity:
    """What data are known by."""

    name: str
    path: Path | None
    cases: frozenset[str]
    classes: tuple[str, ...]

    def is_of(self, other: "Identity") -> bool:
        """Whether the two are the same: a folder may change, and it may be moved."""
        same_content = (self.cases, self.classes) == (other.cases, other.classes)
        return self.name == other.name and (self.path == other.path or same_content)


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep the folder of a study for this process.

    Raises:
        StudyError: another process has it, or it cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise StudyError(
            f"another process writes to {out}. Wait for it, or choose another folder with --out."
        ) from None
    except OSError as error:
        raise StudyError(f"{out} cannot be written to: {error}") from error
    try:
        yield
    finally:
        lock.release()


def check_folder(config: CompareConfig, data: DataSet) -> None:
    """Leave alone what is in the folder and not of this study; nothing is written.

    Raises:
        StudyError: a file would be overwritten or deleted, of the data themselves, of someone
            else's, or of a study of other data.
    """
    out = config.out
    in_the_way = _data_in_the_way(data, out)
    if in_the_way:
        raise StudyError(
            f"{out}: the data lie where the study would be written ({some(in_the_way, 1)}); choose "
            "another folder with --out."
        )
    there = _read_identity(out)
    strange = strange_files(out / "prepared")
    strange += [path for path in (out / "runs",) if path.exists() and not path.is_dir()]
    if there is None:
        strange += [out / name for name in (STUDY, SPLIT, *OUTCOMES) if (out / name).exists()]
    if strange:
        raise StudyError(
            f"{out} holds files that are not of a study, and that this one would overwrite or "
            f"delete ({some([str(path.relative_to(out)) for path in strange])}); choose another "
            "folder with --out."
        )
    if there is not None and not there.is_of(_identity(config, data)):
        what = there.name if there.name != data.name else f"another {data.name}: {there.path}"
        raise StudyError(
            f"{out} holds a study of other data ({what}); choose another folder with --out."
        )


def _data_in_the_way(data: DataSet, out: Path) -> list[str]:
    """The files of the data that lie where a study writes."""
    names = (STUDY, SPLIT, *OUTCOMES, "prepared", "runs")
    places = {(out / name).resolve() for name in names}
    files = (file.resolve() for case in data.cases for file in case.files)
    return [str(file) for file in files if not places.isdisjoint((file, *file.parents))]


def _identity(config: CompareConfig, data: DataSet) -> Identity:
    path = None if config.data is None else config.data.path.resolve()
    cases = {name for fold in data.folds for part in vars(fold).values() for name in part}
    if not data.folds:  # still to be drawn: of all cases
        cases = {case.name for case in data.cases}
    return Identity(data.name, path, frozenset(cases), data.classes)


def _read_identity(out: Path) -> Identity | None:
    """Of the data of the study in a folder, as `describe` wrote it; None if there is none."""
    try:
        study = json.loads((out / STUDY).read_text(encoding="utf-8"))
        about, settings, _ = study["data"], study["config"]["data"], study["versions"]
        path = Path(settings["path"]).resolve() if settings else None
        cases = {name for fold in about["folds"] for part in fold.values() for name in part}
        return Identity(about["name"], path, frozenset(cases), tuple(about["classes"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
