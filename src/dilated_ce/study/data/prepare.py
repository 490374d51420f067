"""The cases as the networks take them: normalised once, kept on the disk, read where needed.

    prepared/index.json      what is there
    prepared/0a1b2c3d.json   of a case (16 digits): what it was made from, and what a look found
            0a1b2c3d_image.b2nd    float16 (channels, *spatial): mean 0, deviation 1; CT as it is
            0a1b2c3d_labels.b2nd   uint8 (*spatial)
            0a1b2c3d_centres.npy   int32 (n, 1 + axes): classes in order, and voxels to centre on
            0a1b2c3d_ct.npy        float32 (channels of CT, n): some values of the foreground

A case is known by the files that it is made from, their sizes and times: where one changes, that
case alone is made anew, and an interrupted preparation goes on. The arrays are packed in blocks
(see `arrays`), so that a patch costs about its own bytes.
"""

import hashlib
import json
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dilated_ce.study.data.arrays import in_order, read_array, write_array
from dilated_ce.study.data.cases import (
    CaseSource,
    DataError,
    DataSet,
    mask_of,
    num_labels,
)
from dilated_ce.study.data.checking import Expected, Look, look_at
from dilated_ce.study.data.intensities import ct_scaling, normalise, sample_ct
from dilated_ce.study.data.prepared import INDEX, PARTS, Prepared
from dilated_ce.study.files import fingerprint, write_json
from dilated_ce.study.processes import ProcessDiedError, spread

VERSION = 8  # of the files, and of what is read and checked; another one means: make them anew
MOST_CENTRES = 2000  # per class and case
OURS = re.compile(
    r"[0-9a-f]{16}(\.json|_(image|labels)\.b2nd|_(centres|ct)\.npy)|\.[0-9a-f]{16}.*\.partial"
)
BESIDE = re.compile(r"index\.json|\.index\.json.*\.partial|\.DS_Store|\.nfs\w+|Thumbs\.db")


@dataclass(frozen=True)
class Recipe:
    """How every case of a data set is prepared."""

    folder: Path
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    patch_axes: int
    ignore_index: int | None
    overlapping: bool

    @classmethod
    def of(cls, data: DataSet, folder: Path) -> "Recipe":
        """For the cases of a data set, into a folder."""
        return cls(
            folder,
            data.classes,
            data.channels,
            data.spatial_dims,
            data.ignore_index,
            data.overlapping,
        )

    @property
    def ct(self) -> list[int]:
        """The channels that are CT."""
        return [index for index, name in enumerate(self.channels) if name.upper() == "CT"]

    @property
    def expected(self) -> Expected:
        """What every case has to have."""
        return Expected(len(self.classes), len(self.channels), self.overlapping)

    def origin(self, source: CaseSource) -> str:
        """A hash of what a case is made from, and how; its files by size and time, unread."""
        facts = {key: value for key, value in vars(self).items() if key != "folder"}
        stats = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in source.files]
        how = hashlib.sha256(pickle.dumps(source.load)).hexdigest()
        return fingerprint([VERSION, facts, source.name, source.group, stats, how])

    def make(self, source: CaseSource) -> "Record":
        """Read, check and prepare a case; one with problems is checked alone."""
        origin = self.origin(source)
        try:
            case = source.load()
        except DataError as error:
            return Record(origin, Look((f"{source.name}: {error}",)))
        case = replace(case, labels=in_order(case.labels))
        look = look_at(case, self.expected)
        if look.problems:
            return Record(origin, look)
        highest = num_labels(len(self.classes), self.overlapping)
        arrays: tuple[NDArray, ...] = (
            in_order(normalise(case.image, self.ct)),
            case.labels,
            _centres(case.labels, len(self.classes), self.overlapping),
            sample_ct(case, self.ct, highest),
        )
        paths = self.paths(origin)
        for path, values in zip(paths, arrays, strict=True):
            if path.suffix == ".b2nd":
                write_array(path, values, self.patch_axes)
            else:
                np.save(path, values)
        record = Record(origin, look, _digest(arrays), _stats(paths))
        write_json(self.folder / f"{origin[:16]}.json", asdict(record))
        return record

    def paths(self, origin: str) -> list[Path]:
        """The files of the arrays of a case."""
        return [self.folder / f"{origin[:16]}_{part}" for part in PARTS]

    def kept(self, source: CaseSource) -> "Record | None":
        """What there is of a case, if it is whole and made from what the case is now.

        Files are read again if their size or time is another than when they were written.
        """
        try:
            origin = self.origin(source)
            path = self.folder / f"{origin[:16]}.json"
            record = Record.parse(json.loads(path.read_text(encoding="utf-8")))
            if record.origin != origin:
                return None
            paths = self.paths(origin)
            if _stats(paths) != record.stats:
                read = [read_array(p) if p.suffix == ".b2nd" else np.load(p) for p in paths]
                if _digest(read) != record.digest:
                    return None
                record = replace(record, stats=_stats(paths))
                write_json(path, asdict(record))
            return record
        except Exception:  # a damaged file may hold anything
            return None


@dataclass(frozen=True)
class Record:
    """What is known of a case."""

    origin: str
    look: Look
    digest: str = ""  # of the arrays; without one, they were not made
    stats: tuple[tuple[int, int], ...] = ()  # size and time of each file

    @classmethod
    def parse(cls, contents: dict[str, Any]) -> "Record":
        """Of what JSON has made of it."""
        look: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in contents["look"].items()
        }
        stats = tuple((int(size), int(changed)) for size, changed in contents["stats"])
        return cls(contents["origin"], Look(**look), contents["digest"], stats)


def _stats(paths: Iterable[Path]) -> tuple[tuple[int, int], ...]:
    return tuple((path.stat().st_size, path.stat().st_mtime_ns) for path in paths)


def _digest(arrays: Iterable[NDArray]) -> str:
    """A hash of values, however they are packed."""
    digest = hashlib.sha256()
    for values in arrays:
        digest.update(f"{values.dtype}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def _refuse(looks: Mapping[str, Look]) -> None:
    problems = [problem for look in looks.values() for problem in look.problems]
    if problems:
        raise DataError(problems[0])


def prepare(
    data: DataSet,
    folder: Path,
    on_case: Callable[[], None] = lambda: None,
    fresh: bool = False,
    check: Callable[[Mapping[str, Look]], None] = _refuse,
) -> Prepared:
    """Read every case once, check it and normalise it into `folder`; or keep what is there of it.

    Each channel of an image is scaled to mean 0 and standard deviation 1. A channel called CT is
    kept as it is; a run clips it to the 0.5 to 99.5 percentiles of the foreground of the training
    cases of its fold, and scales it by their mean and standard deviation, as in nnU-Net (Isensee et
    al., Nature Methods 2021). So no fold sees what it tests.

    Args:
        data: the cases.
        folder: where to.
        on_case: is called for each case, those that are kept too.
        fresh: what is there is not looked at.
        check: is called with a look at each case, and raises if they cannot be used.

    Raises:
        DataError: of `check`; by default with the first problem. Other cases stay prepared.
    """
    records = prepare_cases(data, folder, on_case, fresh)
    check({name: record.look for name, record in records.items()})
    index = _index(data, Recipe.of(data, folder), records)
    if _read_index(folder) != index:
        write_json(folder / INDEX, index)
    names = {record.origin[:16] for record in records.values()}
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and path.name[:16] not in names:
            path.unlink(missing_ok=True)
    return Prepared(folder)


def prepare_cases(
    data: DataSet, folder: Path, on_case: Callable[[], None] = lambda: None, fresh: bool = False
) -> "dict[str, Record]":
    """Prepare what is missing in `folder`, and give what is known of each case; see `prepare`.

    How the cases are split does not matter.
    """
    recipe = Recipe.of(data, folder)
    folder.mkdir(parents=True, exist_ok=True)
    records = {}
    for source in () if fresh else data.cases:
        record = recipe.kept(source)
        if record is not None:
            records[source.name] = record
            on_case()
    missing = [source for source in data.cases if source.name not in records]
    try:
        for source, record in spread(recipe.make, missing):
            records[source.name] = record
            on_case()
    except ProcessDiedError as error:
        raise DataError(str(error)) from error
    return {source.name: records[source.name] for source in data.cases}


def _index(data: DataSet, recipe: Recipe, records: Mapping[str, Record]) -> dict[str, Any]:
    entries = {
        source.name: {
            "file": records[source.name].origin[:16],
            "group": source.group,
            "spacing": list(records[source.name].look.spacing),
            "shape": list(records[source.name].look.shape),
        }
        for source in data.cases
    }
    scaling: list[dict[str, list[float]]] = [{} for _ in data.folds]
    if recipe.ct:
        values_of = {
            name: dict(zip(recipe.ct, np.load(recipe.paths(record.origin)[3]), strict=True))
            for name, record in records.items()
        }
        scaling = [ct_scaling(fold.train, values_of) for fold in data.folds]
    contents = [
        [name, entry["group"], entry["spacing"], records[name].digest]
        for name, entry in entries.items()
    ]
    return {
        "ct": scaling,
        "digest": fingerprint([contents, scaling]),
        "classes": list(data.classes),
        "channels": list(data.channels),
        "spatial_dims": data.spatial_dims,
        "unit": data.unit,
        "ignore_index": data.ignore_index,
        "overlapping": data.overlapping,
        "reading": {
            "scale": data.scale,
            "spacing": None if data.spacing is None else list(data.spacing),
        },
        "cases": entries,
    }


def _read_index(folder: Path) -> Any:
    try:
        return json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def strange_files(folder: Path) -> list[Path]:
    """What lies in `folder` and is not from `prepare`, which would delete it."""
    if not folder.is_dir():
        return [folder] if folder.exists() else []
    names = sorted(path.name for path in folder.iterdir())
    # An index, damaged or not, is one of ours if it lies beside cases.
    if any(map(OURS.fullmatch, names)):
        names = [name for name in names if not (OURS.fullmatch(name) or BESIDE.fullmatch(name))]
    return [folder / name for name in names]


def _centres(labels: NDArray[np.uint8], num_classes: int, overlapping: bool) -> NDArray[np.int32]:
    """Places of foreground voxels, drawn once: as many as memory and chance allow."""
    random = np.random.default_rng(0)
    parts = []
    for index in range(1, num_classes):
        places = np.flatnonzero(mask_of(labels, index, overlapping))
        if len(places) > MOST_CENTRES:
            places = places[random.choice(len(places), MOST_CENTRES, replace=False)]
        where = np.stack(np.unravel_index(places, labels.shape), axis=1)
        parts.append(np.insert(where, 0, index, axis=1))
    return np.concatenate(parts).astype(np.int32)
