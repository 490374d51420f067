"""The prepared cases, as `prepare` has written them: read where they are needed."""

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray

from dilated_ce.study.data.arrays import open_array, read_array
from dilated_ce.study.data.cases import Case
from dilated_ce.study.data.intensities import scale_ct

INDEX = "index.json"
PARTS = ("image.b2nd", "labels.b2nd", "centres.npy", "ct.npy")  # of a case


@dataclass(frozen=True)
class Prepared:
    """The prepared cases in a folder."""

    folder: Path

    @cached_property
    def index(self) -> dict[str, Any]:
        """The contents of `index.json`."""
        return json.loads((self.folder / INDEX).read_text(encoding="utf-8"))

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
        """One case, normalised, in memory."""
        image, labels = (read_array(self._path(name, part)) for part in PARTS[:2])
        return Case(name, image, labels, tuple(self.index["cases"][name]["spacing"]))

    def open(self, name: str) -> tuple[blosc2.NDArray, blosc2.NDArray]:
        """The image (channels, *spatial) and the labels (*spatial), read where they are indexed."""
        image, labels = (open_array(self._path(name, part)) for part in PARTS[:2])
        return image, labels

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
        """Foreground voxels of a case (n, 1 + axes): the class, in order, and the place."""
        centres: NDArray[np.int32] = open_array(self._path(name, "centres.npy"))
        return centres

    def _path(self, name: str, part: str) -> Path:
        return self.folder / f"{self.index['cases'][name]['file']}_{part}"
