"""The cases as the networks take them: normalised once, kept on the disk, read where needed.

    prepared/index.json       what is there, its SHA-256, and what it was made from
    prepared/0_image.npy      float16 (channels, *spatial): mean 0, standard deviation 1
    prepared/0_labels.npy     uint8 (*spatial)
    prepared/0_centres.npy    int32 (n, 1 + axes): class and place of voxels to centre patches on

The arrays are mapped into memory, so a patch costs no more than its own bytes, and the processes of
a machine share what they read.
"""

import hashlib
import json
import pickle
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dilated_ce.study.data.cases import Case, CaseSource, DataSet, mask_of, num_labels
from dilated_ce.study.files import fingerprint, sha256, whole_folder, write_json

VERSION = 3  # of the files, and of what is read and checked; another one means: make them anew
MOST_CENTRES = 2000  # per class and case
ARRAYS = re.compile(r"\d+_(image|labels|centres)\.npy")
BESIDE_ARRAYS = re.compile(r"index\.json|\.DS_Store|\.nfs\w+|Thumbs\.db")


@dataclass(frozen=True)
class Prepared:
    """The prepared cases in a folder."""

    folder: Path

    @cached_property
    def index(self) -> dict[str, Any]:
        """The contents of `index.json`."""
        return json.loads((self.folder / "index.json").read_text(encoding="utf-8"))

    @property
    def digest(self) -> str:
        """A hash of every voxel, label, centre and spacing."""
        return str(self.index["digest"])

    @property
    def num_classes(self) -> int:
        """The number of classes, with the background."""
        return len(self.index["classes"])

    @property
    def overlapping(self) -> bool:
        """Whether a voxel may be of several classes; its labels are codes then (see `mask_of`)."""
        return bool(self.index["overlapping"])

    @property
    def num_outputs(self) -> int:
        """The channels of a network: the classes, or those that overlap, without background."""
        return self.num_classes - self.overlapping

    def load(self, name: str) -> Case:
        """One case, normalised; its arrays are read from the disk as they are used."""
        entry = self.index["cases"][name]
        image, labels = (
            np.load(self.folder / f"{entry['file']}_{part}.npy", mmap_mode="r")
            for part in ("image", "labels")
        )
        return Case(name, image, labels, tuple(entry["spacing"]))

    def centres(self, name: str) -> NDArray[np.int32]:
        """Foreground voxels of a case (n, 1 + axes): the class, and the place."""
        centres: NDArray[np.int32] = np.load(
            self.folder / f"{self.index['cases'][name]['file']}_centres.npy"
        )
        return centres


def prepare(
    data: DataSet, folder: Path, on_case: Callable[[], None] = lambda: None, fresh: bool = False
) -> Prepared:
    """Normalise all cases into `folder`, or keep what is there if it was made from the same.

    Each channel of an image is scaled to mean 0 and standard deviation 1; a channel called CT is
    clipped to the 0.5 to 99.5 percentiles of the foreground of the training cases first, and scaled
    by their mean and standard deviation, as in nnU-Net (Isensee et al., Nature Methods 2021). All
    folds share these four numbers: they are those of the training cases of the first.
    With `fresh`, what is there is not looked at.

    Raises:
        DataError: a case that cannot be read.
    """
    origin = _origin(data)
    if not fresh and is_current(folder, data):
        return Prepared(folder)
    with whole_folder(folder) as partial:
        entries: dict[str, Any] = {}
        files: dict[str, str] = {}
        digest = hashlib.sha256()
        scaling = _ct_scaling(data)
        for number, source in enumerate(data.cases):
            case = source.load()
            entry = {
                "file": str(number),
                "group": source.group,
                "spacing": list(case.spacing),
                "shape": list(case.labels.shape),
            }
            image = _normalise(case.image, scaling).astype(np.float16)
            labels = np.ascontiguousarray(case.labels)
            centres = _centres(labels, len(data.classes), data.overlapping)
            digest.update(json.dumps([source.name, entry]).encode())
            for part, values in (("image", image), ("labels", labels), ("centres", centres)):
                path = partial / f"{number}_{part}.npy"
                np.save(path, values)
                files[path.name] = sha256(path)
                digest.update(values.tobytes())
            entries[source.name] = entry
            on_case()
        index = {
            "origin": origin,
            "digest": digest.hexdigest(),
            "files": files,
            "classes": data.classes,
            "channels": data.channels,
            "spatial_dims": data.spatial_dims,
            "unit": data.unit,
            "ignore_index": data.ignore_index,
            "overlapping": data.overlapping,
            "cases": entries,
        }
        write_json(partial / "index.json", index)
    return Prepared(folder)


def is_current(folder: Path, data: DataSet) -> bool:
    """Whether `folder` holds these cases, prepared from files that have not changed since.

    All that was prepared is read once, as a damaged file would be trained on.
    """
    try:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        return bool(index["origin"] == _origin(data)) and all(
            sha256(folder / name) == known for name, known in index["files"].items()
        )
    except Exception:  # a damaged index may hold anything
        return False


def strange_files(folder: Path) -> list[Path]:
    """What lies in `folder` and is not from `prepare`, which would delete it."""
    if not folder.is_dir():
        return [folder] if folder.exists() else []
    names = sorted(path.name for path in folder.iterdir())
    # A damaged index is one of ours if it lies beside arrays.
    if "index.json" in names and any(map(ARRAYS.fullmatch, names)):
        names = [n for n in names if not (ARRAYS.fullmatch(n) or BESIDE_ARRAYS.fullmatch(n))]
    return [folder / name for name in names]


def _origin(data: DataSet) -> str:
    """A hash of what the prepared files are made from; files by size and time, unread."""

    def describe(case: CaseSource) -> list[Any]:
        stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in case.files]
        how = hashlib.sha256(pickle.dumps(case.load)).hexdigest()
        return [case.name, case.group, stats, how]

    train = data.folds[0].train if "CT" in _upper(data.channels) else ()
    described = [describe(case) for case in data.cases]
    facts = (data.classes, data.channels, data.spatial_dims, data.ignore_index, data.overlapping)
    return fingerprint([VERSION, facts, train, described])


def _upper(names: Iterable[str]) -> list[str]:
    return [name.upper() for name in names]


def _ct_scaling(data: DataSet) -> dict[int, tuple[float, float, float, float]]:
    """Lower and upper clip, mean and standard deviation of each channel that is CT.

    Of the training cases of the first fold, for all folds: every case is prepared once.
    """
    channels = [index for index, name in enumerate(_upper(data.channels)) if name == "CT"]
    if not channels:
        return {}
    random = np.random.default_rng(0)
    highest = num_labels(len(data.classes), data.overlapping)
    samples: dict[int, list[NDArray[np.float32]]] = {channel: [] for channel in channels}
    for name in data.folds[0].train:
        case = data.by_name[name].load()
        foreground = (case.labels > 0) & (case.labels < highest)
        for channel in channels:
            values = case.image[channel][foreground]
            if values.size:
                samples[channel].append(random.choice(values, 5000))
    scaling = {}
    for channel, parts in samples.items():
        values = np.concatenate(parts)
        low, high = np.percentile(values, (0.5, 99.5))
        scaling[channel] = (low, high, values.mean(), max(float(values.std()), 1e-8))
    return scaling


def _normalise(
    image: NDArray[np.float32], scaling: dict[int, tuple[float, float, float, float]]
) -> NDArray[np.float32]:
    normalised = np.empty_like(image)
    for channel, values in enumerate(image):
        if channel in scaling:
            low, high, mean, deviation = scaling[channel]
            values = values.clip(low, high)
        else:
            # MONAI's NormalizeIntensity sums in float32, in an order that depends on the number of
            # threads: the last digit is enough to make the data count as changed.
            mean = float(values.mean(dtype=np.float64))
            deviation = float(values.std(dtype=np.float64)) or 1.0
        normalised[channel] = (values - mean) / deviation
    return normalised


def _centres(labels: NDArray[np.uint8], num_classes: int, overlapping: bool) -> NDArray[np.int32]:
    """Places of foreground voxels, drawn once: as many as memory and chance allow."""
    random = np.random.default_rng(0)
    parts = []
    for index in range(1, num_classes):
        places = np.argwhere(mask_of(labels, index, overlapping))
        if len(places) > MOST_CENTRES:
            places = places[random.choice(len(places), MOST_CENTRES, replace=False)]
        parts.append(np.insert(places, 0, index, axis=1))
    return np.concatenate(parts).astype(np.int32)
