"""The words that a comparison is written in: a case, a split, a data set.

A data set knows its cases by name and reads each when it is asked for, so that hundreds of volumes
need not fit into memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

IGNORE_INDEX = 255  # the label of voxels that nobody labelled, whatever their files have
Parts = Mapping[str, Sequence[str]]  # names of cases by part
MOST_REGIONS = 7  # a bit each, and no code is IGNORE_INDEX


class DataError(Exception):
    """Data that cannot be used; the message says what is wrong with which files, and what to do."""


@dataclass(frozen=True)
class Case:
    """One image or volume with its label map, in memory.

    `spatial` is (H, W) for an image, (X, Y, Z) for a volume, and (S, H, W) for a volume whose S
    slices are trained on one by one.
    """

    name: str
    image: NDArray[np.float32]  # (channels, *spatial)
    # (*spatial): class indices, 0 is the background; of classes that overlap see `mask_of`.
    labels: NDArray[np.uint8]
    spacing: tuple[float, ...] = (1.0, 1.0)  # size of a voxel along each axis, in the data's unit
    # (4, 4): from a voxel's place along the three axes to the patient's space in mm, as in NIfTI.
    affine: NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()  # what is worth knowing of how it was read
    orientation: str = ""  # where the axes of its files lead to, such as RAS, if they tell
    across: str = ""  # the axis of the patient across which slices were cut: R, A or S

    def with_image(self, image: NDArray[np.float32]) -> "Case":
        """The case with another image (channels, *spatial)."""
        return replace(self, image=image)


def region_code(index: int) -> int:
    """The bit of a class that may overlap with others; the background has none."""
    return 1 << (index - 1) if index else 0


def mask_of(labels: NDArray[np.uint8], index: int, overlapping: bool) -> NDArray[np.bool_]:
    """The voxels of a class: those with its index, or, of classes that overlap, with its bit.

    Examples:
        >>> labels = np.array([0, 1, 3, IGNORE_INDEX], np.uint8)  # none, the first, both, unknown
        >>> mask_of(labels, 2, overlapping=True).tolist()
        [False, False, True, False]
    """
    if not overlapping or index == 0:
        return labels == index
    return ((labels & region_code(index)) > 0) & (labels != IGNORE_INDEX)


def num_labels(num_classes: int, overlapping: bool) -> int:
    """How many labels there can be, from 0 on; a label beyond is of no class."""
    return region_code(num_classes) if overlapping else num_classes


@dataclass(frozen=True)
class CaseSource:
    """A case that is read when it is needed."""

    name: str  # unique in its data set
    load: Callable[[], Case]  # raises DataError; can be pickled
    group: str  # patient or the like: a group is never on two sides of a split
    files: tuple[Path, ...] = ()  # that it is read from: if they change, so does the case


@dataclass(frozen=True)
class Split:
    """Which cases, by name, train the networks, tune their learning rates, and judge them."""

    train: tuple[str, ...]
    validation: tuple[str, ...]  # may be empty
    test: tuple[str, ...]


@dataclass(frozen=True)
class DataSet:
    """The cases of a study, how they are split, and what the report says about them."""

    name: str
    source: str  # where it is from and whom to credit, a sentence
    classes: tuple[str, ...]  # names, background first
    channels: tuple[str, ...]  # of the images, such as ("red", "green", "blue") or ("T1",)
    spatial_dims: int  # 2 or 3: of the patches that a network sees
    unit: str  # of spacing and distances: "px" or "mm"
    ignore_index: int | None  # the label of voxels that nobody labelled
    cases: tuple[CaseSource, ...]
    folds: tuple[Split, ...]  # one, or as many as the cross-validation has
    split: str  # how it was split, a sentence
    notes: tuple[str, ...] = ()  # what is worth knowing of its files
    overlapping: bool = False  # a voxel may be of several classes, as with nnU-Net's regions
    scale: float = 1.0  # by which pictures were resized
    spacing: tuple[float, ...] | None = None  # to which volumes were resampled, in mm

    @property
    def regions(self) -> tuple["DataSet", ...]:
        """Classes that overlap, each as a data set of its own beside its background."""
        return tuple(
            replace(
                self,
                classes=(self.classes[0], name),
                overlapping=False,
                cases=tuple(
                    replace(case, load=partial(_load_region, case.load, index))
                    for case in self.cases
                ),
            )
            for index, name in enumerate(self.classes[1:], start=1)
        )

    @cached_property
    def by_name(self) -> dict[str, CaseSource]:
        """The cases by their names."""
        return {case.name: case for case in self.cases}


def _load_region(load: Callable[[], Case], index: int) -> Case:
    case = load()
    mask = mask_of(case.labels, index, overlapping=True).astype(np.uint8)
    return replace(case, labels=np.where(case.labels == IGNORE_INDEX, case.labels, mask))


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
    parts: Parts | None  # as the folders are split
    notes: tuple[str, ...] = ()
    overlapping: bool = False
