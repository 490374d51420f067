"""What a reader finds in a folder, before it is split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dilated_ce.study.cases import Case, CaseSource


@dataclass(frozen=True)
class FoundCase:
    """A case that is not yet in a group."""

    name: str
    load: Callable[[], Case]
    files: tuple[Path, ...]

    def in_group(self, group: str) -> CaseSource:
        """The case as one of a data set."""
        return CaseSource(self.name, self.load, group, self.files)


@dataclass(frozen=True)
class Found:
    """The cases of a folder, and what they are made of."""

    source: str
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    spatial_dims: int
    unit: str
    ignore_index: int | None
    cases: tuple[FoundCase, ...]
    parts: Mapping[str, Sequence[str]] | None  # as the folders are split
