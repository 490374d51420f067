"""The cases as the networks take them: normalised once, kept on the disk, read where needed.

    prepared/index.json       what is there, its SHA-256, and what it was made from
    prepared/0_image.npy      float16 (channels, *spatial): mean 0, deviation 1; CT as it is
    prepared/0_labels.npy     uint8 (*spatial)
    prepared/0_centres.npy    int32 (n, 1 + axes): class and place of voxels to centre patches on

The arrays are mapped into memory, so a patch costs no more than its own bytes, and the processes of
a machine share what they read.
"""

import hashlib
import json
import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dilated_ce.study.data.cases import Case, CaseSource, DataSet, mask_of, num_labels
from dilated_ce.study.files import fingerprint, sha256, whole_folder, write_json

VERSION = 5  # of the files, and of what is read and checked; another one means: make them anew
MOST_CENTRES = 2000  # per class and case
SAMPLED_VALUES = 5000  # of CT, per case
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

    def scale(self, image: NDArray[np.float32], fold: int) -> NDArray[np.float32]:
        """An image (channels, *spatial) with its CT as the training cases of a fold have it."""
        return scale_ct(image, self.index["ct"][fold])

    def load_scaled(self, name: str, fold: int) -> Case:
        """One case as a network of the fold takes it."""
        case = self.load(name)
        if not self.index["ct"][fold]:
            return case
        return replace(case, image=self.scale(case.image.astype(np.float32), fold))

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

    Each channel of an image is scaled to mean 0 and standard deviation 1. A channel called CT is
    kept as it is; a run clips it to the 0.5 to 99.5 percentiles of the foreground of the training
    cases of its fold, and scales it by their mean and standard deviation, as in nnU-Net (Isensee et
    al., Nature Methods 2021). So no fold sees what it tests.
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
        highest = num_labels(len(data.classes), data.overlapping)
        ct = _ct_channels(data)
        values_of_ct: dict[str, dict[int, NDArray[np.float32]]] = {}
        for number, source in enumerate(data.cases):
            case = source.load()
            entry = {
                "file": str(number),
                "group": source.group,
                "spacing": list(case.spacing),
                "shape": list(case.labels.shape),
            }
            image = normalise(case.image, ct).astype(np.float16)
            values_of_ct[source.name] = _sample(case, ct, highest)
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
        scaling = [_ct_scaling(fold.train, values_of_ct) for fold in data.folds]
        digest.update(json.dumps(scaling).encode())
        index = {
            "origin": origin,
            "ct": scaling,
            "digest": digest.hexdigest(),
            "files": files,
            "classes": data.classes,
            "channels": data.channels,
            "spatial_dims": data.spatial_dims,
            "unit": data.unit,
            "ignore_index": data.ignore_index,
            "overlapping": data.overlapping,
            "reading": {"scale": data.scale, "spacing": data.spacing},
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

    train = [fold.train for fold in data.folds] if _ct_channels(data) else []
    described = [describe(case) for case in data.cases]
    facts = (data.classes, data.channels, data.spatial_dims, data.ignore_index, data.overlapping)
    return fingerprint([VERSION, facts, train, described])


def _ct_channels(data: DataSet) -> list[int]:
    return [index for index, name in enumerate(data.channels) if name.upper() == "CT"]


def _sample(case: Case, channels: Iterable[int], num_labels: int) -> dict[int, NDArray]:
    """Values of the foreground in the channels that are CT, drawn once."""
    foreground = (case.labels > 0) & (case.labels < num_labels)
    random = np.random.default_rng(0)
    found = {channel: case.image[channel][foreground] for channel in channels}
    return {
        channel: random.choice(values, SAMPLED_VALUES)
        for channel, values in found.items()
        if values.size
    }


def _ct_scaling(
    train: Iterable[str], values_of: Mapping[str, Mapping[int, NDArray]]
) -> dict[str, list[float]]:
    """Lower and upper clip, mean and standard deviation of each channel that is CT."""
    samples: dict[int, list[NDArray]] = {}
    for name in train:
        for channel, values in values_of[name].items():
            samples.setdefault(channel, []).append(values)
    scaling = {}
    for channel, parts in samples.items():
        values = np.concatenate(parts).astype(np.float64)
        low, high = np.percentile(values, (0.5, 99.5))
        deviation = max(float(values.std()), 1e-8)
        scaling[str(channel)] = [float(low), float(high), float(values.mean()), deviation]
    return scaling


def scale_ct(
    image: NDArray[np.float32], scaling: Mapping[str, Sequence[float]]
) -> NDArray[np.float32]:
    """An image (channels, *spatial) with the channels in `scaling` clipped and scaled.

    By channel: lower and upper clip, mean and standard deviation.
    """
    scaled = image
    for channel, (low, high, mean, deviation) in scaling.items():
        scaled = scaled.copy() if scaled is image else scaled
        values = image[int(channel)]
        scaled[int(channel)] = (values.clip(low, high) - mean) / deviation
    return scaled


def normalise(image: NDArray[np.float32], ct: Iterable[int]) -> NDArray[np.float32]:
    """An image (channels, *spatial) with each channel at mean 0, deviation 1, but those of CT."""
    normalised = np.empty_like(image)
    largest = float(np.finfo(np.float16).max)
    for channel, values in enumerate(image):
        if channel in ct:  # in Hounsfield units, of which 16 bits hold the whole ones up to 2048
            normalised[channel] = values.clip(-largest, largest)
            continue
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
