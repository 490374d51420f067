"""Reading a volume with its labels: channels, label values, slices and voxel size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from dilated_ce.study.data.cases import IGNORE_INDEX, Case, DataError, region_code
from dilated_ce.study.data.description import MOST_LABEL
from dilated_ce.study.data.images import decoded, is_in_colour, pixels_of
from dilated_ce.study.data.masks import read_mask
from dilated_ce.study.data.paths import is_picture
from dilated_ce.study.data.volume_files import (
    MOST_VOXELS,
    Grid,
    farthest,
    patient_axes,
    read_volume,
    turned,
)
from dilated_ce.study.wording import count

MODES = {2: "bilinear", 3: "trilinear"}
ROUNDED = 1e-3  # how far labels that went through fractions may be from a whole number
ALIKE = 1.1  # spacings whose ratio is smaller are alike
MOST_APART = 0.25  # voxels between those of an image and its labels: headers are rounded
ONTO_GRID = (
    "resample the labels onto the image's grid, or, if they were drawn on its voxels, save them "
    "with its affine"
)


@dataclass(frozen=True)
class VolumeReader:
    """What the files of a data set have in common."""

    num_channels: int
    values: tuple[tuple[int, ...], ...]  # of each class in the label files, background first
    ignored: int | None
    spatial_dims: int
    spacing: tuple[float, ...] | None  # to resample to
    overlapping: bool = False  # the classes are regions

    def read(self, name: str, images: tuple[Path, ...], label: Path) -> Case:
        """Read a case.

        With `spatial_dims` 2 the slices of a volume come first, (S, H, W): see `as_stack`.

        Raises:
            DataError: a file that cannot be read, shapes that differ, an undeclared label.
        """
        labels, grid = read_labels(label)
        channels: list[NDArray[np.float32]] = []
        orientations = {grid.orientation} - {""}
        headers = [*grid.notes]
        for number, path in enumerate(images):
            parts, own = read_channels(path, in_colour=len(images) < self.num_channels)
            orientations |= {own.orientation} - {""}
            headers += own.notes
            if number == 0:  # whose axes the case has
                goal = own if own.orientation else grid
                labels, grid = turned(labels, grid, goal)
            turns = [turned(part, own, goal) for part in parts]
            _check_case(label.name, labels, grid, path.name, *turns[0])
            channels += [part for part, _ in turns]
        if len(channels) != self.num_channels:
            raise DataError(
                f"{images[0].name}: got {count(len(channels), 'channel')}, dataset.json names "
                f"{self.num_channels}"
            )
        # A copy would be in another order of the axes than NIfTI's, which takes long.
        image = channels[0][None] if len(channels) == 1 else np.stack(channels)
        image = image.astype(np.float32, copy=False)
        if not np.isfinite(image).all():
            raise DataError(f"{images[0].name}: holds values that are infinite or no numbers")
        affine = grid.affine if labels.ndim == 3 else None
        notes = (*_notes(orientations), *dict.fromkeys(headers))
        classes = class_indices(labels, label, self.values, self.ignored, self.overlapping)
        told = goal.orientation if labels.ndim == 3 else ""
        case = Case(name, image, classes, grid.spacing, affine, notes, told)
        if self.spatial_dims == 2:
            case = as_stack(case)
        elif case.labels.ndim == 2:
            raise DataError(f"{label.name}: is a 2D image, others are volumes")
        return case if self.spacing is None else resample(case, self.spacing)


def class_indices(
    labels: NDArray[np.integer],
    path: Path,
    values: Sequence[Sequence[int]],
    ignored: int | None = None,
    overlapping: bool = False,
    named_by: str = "dataset.json",
) -> NDArray[np.uint8]:
    """Class indices, or codes of regions, of the values of a label file.

    Args:
        labels: what the file holds.
        path: of the file.
        values: of each class in the file, background first.
        ignored: the value of voxels that nobody labelled.
        overlapping: the classes are regions.
        named_by: what says which values there are.

    Raises:
        DataError: a value that no class has.
    """
    codes: dict[int, int] = {}
    for index, of_class in enumerate(values):
        for value in of_class:
            code = region_code(index) if overlapping else index
            codes[value] = codes.get(value, 0) | code
    if ignored is not None:
        codes[ignored] = IGNORE_INDEX
    present = _values_of(labels)
    unknown = [value for value in present.tolist() if value not in codes]
    if unknown:
        named = sorted({value for of_class in values for value in of_class})
        raise DataError(
            f"{path.name}: holds the label {unknown[0]}, expected one of "
            f"{', '.join(map(str, named))}, by {named_by}: save it with these values"
        )
    lowest = min(int(present.min()), 0)  # a value below 0 is that of voxels that nobody labelled
    table = np.zeros(int(present.max()) - lowest + 1, np.uint8)
    table[present - lowest] = [codes[value] for value in present.tolist()]
    if labels.dtype == np.uint8 and (table[present] == present).all():
        return labels.astype(np.uint8, copy=False)
    return table[labels - lowest] if lowest else table[labels]


def as_stack(case: Case) -> Case:
    """A volume as its slices; a 2D image as it is.

    See `stack_axis` for the axis across which they are cut.

    Examples:
        >>> volume = np.zeros((4, 5, 6))
        >>> case = Case("a", volume[None], volume, (1.0, 3.0, 1.0))
        >>> as_stack(case).labels.shape, as_stack(case).spacing
        ((5, 4, 6), (3.0, 1.0, 1.0))
    """
    if case.labels.ndim == 2:
        return case
    spacing = np.array(case.spacing)
    axis = stack_axis(case.labels.shape, case.spacing, case.affine)
    tells = case.affine is not None and 1 not in case.labels.shape
    order = (axis, *(other for other in range(3) if other != axis))
    return replace(
        case,
        image=np.ascontiguousarray(np.moveaxis(case.image, axis + 1, 1)),
        labels=np.ascontiguousarray(np.moveaxis(case.labels, axis, 0)),
        spacing=tuple(float(spacing[other]) for other in order),
        affine=None if case.affine is None else case.affine[:, [*order, 3]],
        across="RAS"[patient_axes(case.affine)[axis]] if tells else "",
    )


def stack_axis(
    shape: tuple[int, ...], spacing: tuple[float, ...], affine: NDArray[np.float64] | None = None
) -> int:
    """The axis across which a volume of this shape is cut into slices.

    It is the axis of one voxel, if there is one, or else that of the largest spacing. Of spacings
    within a tenth of it, it is the axis to the head, or else to the front, however the volume is
    stored; without an affine, the last.

    Examples:
        >>> head_first = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])
        >>> stack_axis((9, 9, 9), (1, 1, 1.05), head_first), stack_axis((9, 9, 9), (1, 1, 1.05))
        (0, 2)
    """
    # Of a volume of one slice the spacing says nothing: it may be any number.
    thickness = np.where(np.array(shape) == 1, np.inf, np.array(spacing))
    thickest = np.flatnonzero(thickness >= thickness.max() / ALIKE)
    return int(max(thickest, key=lambda axis: patient_axes(affine)[axis]))


def resample(case: Case, spacing: tuple[float, ...]) -> Case:
    """Resample to another size of a voxel; two sizes are those within the slices of a stack.

    The image is interpolated linearly; a voxel takes the class with the largest share of it.
    """
    if len(spacing) == len(case.spacing) - 1:
        spacing = (case.spacing[0], *spacing)
    if len(spacing) != len(case.spacing):
        raise DataError(
            f"data.spacing: got {len(spacing)} sizes, expected {len(case.spacing)} for {case.name}"
        )
    shape = tuple(
        max(1, round(side * old / new))
        for side, old, new in zip(case.labels.shape, case.spacing, spacing, strict=True)
    )
    if shape == case.labels.shape:
        return case
    if math.prod(shape) > MOST_VOXELS:
        sides = " x ".join(map(str, shape))
        raise DataError(
            f"data.spacing: {case.name} would have {sides} voxels, expected at most 2^30; the "
            f"spacing is in mm, and that of the case is {_size(case.spacing)}"
        )

    def interpolate(values: NDArray[np.floating]) -> NDArray[np.float32]:
        source = torch.from_numpy(values.astype(np.float32))[None]
        resized = F.interpolate(source, shape, mode=MODES[len(shape)], align_corners=False)
        return resized[0].numpy()

    present = np.unique(case.labels)
    shares = [interpolate((case.labels == index)[None].astype(np.float32))[0] for index in present]
    labels = present[np.argmax(shares, axis=0)]
    affine = None
    if case.affine is not None:
        scale = np.divide(case.labels.shape, shape)
        # Voxel 0 of either grid begins, and is not centred, at the same place.
        affine = case.affine @ np.diag([*scale, 1.0])
        affine[:3, 3] += case.affine[:3, :3] @ ((scale - 1) / 2)
    return replace(
        case, image=interpolate(case.image), labels=labels, spacing=spacing, affine=affine
    )


def _values_of(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """The values that there are, in order."""
    if labels.dtype != np.uint8:
        return np.unique(labels)  # which sorts every voxel: ten times as long
    return np.array([value for value in range(int(labels.max()) + 1) if (labels == value).any()])


def _notes(orientations: set[str]) -> tuple[str, ...]:
    if len(orientations) < 2:
        return ()
    shown = " and ".join(sorted(orientations))
    return (f"image and labels are stored in different orientations ({shown}), and were turned",)


def _check_case(
    label: str, labels: NDArray[np.integer], grid: Grid, image: str, values: NDArray, other: Grid
) -> None:
    """Whether an image fits its labels.

    Raises:
        DataError: it does not.
    """
    if values.shape != labels.shape:
        shown = ", ".join(
            " x ".join(map(str, shape)) for shape in sorted({values.shape, labels.shape})
        )
        raise DataError(f"{label}: image and labels have the shapes {shown}")
    try:
        check_grids(grid, other, labels.shape, image)
    except ValueError as error:
        raise DataError(f"{label}: {error}") from error


def check_grids(labels: Grid, image: Grid, shape: tuple[int, ...], name: str) -> None:
    """Whether the voxels of the image called so lie where those of the labels do.

    Raises:
        ValueError: they have another size, or lie elsewhere.
    """
    if not np.allclose(image.spacing[: len(labels.spacing)], labels.spacing, rtol=0.01):
        raise ValueError(
            f"got voxels of {_size(labels.spacing)}, those of {name} have {_size(image.spacing)}; "
            f"{ONTO_GRID}"
        )
    if labels.told is None or image.told is None:
        return
    apart = farthest(labels.told - image.told, shape)
    if apart > MOST_APART * min(labels.spacing):
        raise ValueError(
            f"its voxels lie up to {apart:.3g} mm away from those of {name}, expected the same "
            f"places; {ONTO_GRID}"
        )


def _size(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{size:.4g}" for size in spacing)


def read_channels(
    path: Path, in_colour: bool, may_be_grey: bool = False
) -> tuple[list[NDArray[np.float32]], Grid]:
    """The channels of an image file, each (*spatial), and its grid.

    Args:
        path: of the file.
        in_colour: a picture holds all channels, red, green and blue. Else one whose three channels
            are equal has one.
        may_be_grey: a picture of one channel has three equal ones, as in folders of pictures.

    Raises:
        DataError: a file that cannot be read, or that should be in colour and has one channel.
    """
    try:
        if is_picture(path):
            picture = decoded(path)
            if in_colour and not (may_be_grey or is_in_colour(picture)):
                raise ValueError(
                    f"is one grey channel (mode {picture.mode}), expected all channels in one "
                    "picture in colour, or a file for each, which end with _0000, _0001, ...; "
                    "if all are to be this grey, save the picture as RGB"
                )
            image = pixels_of(picture)
            grey = not in_colour and (image == image[:1]).all()
            return list(image[:1] if grey else image), Grid((1.0, 1.0))
        values, grid = read_volume(path)
    except ValueError as error:
        raise DataError(f"{path.name}: {error}") from error
    return (list(np.moveaxis(values, -1, 0)) if values.ndim == 4 else [values]), grid


def read_labels(path: Path) -> tuple[NDArray[np.integer], Grid]:
    """Label values (*spatial) of a volume or a picture, and their grid.

    Raises:
        DataError: a file that cannot be read, or holds no labels.
    """
    try:
        if is_picture(path):
            return read_mask(path).astype(np.int64), Grid((1.0, 1.0))
        values, grid = read_volume(path)
        if values.ndim == 4:
            raise ValueError("holds labels of 4 axes, expected 3")
        with np.errstate(invalid="ignore"):  # of infinite values, and of what is no number
            indices = values.astype(np.uint8)
        if (indices == values).all():  # as in most files
            return indices, grid
        whole = np.rint(values)
        with np.errstate(invalid="ignore"):  # infinity minus infinity, which is refused below
            unfit = ~(np.abs(values) <= MOST_LABEL) | (np.abs(values - whole) > ROUNDED)
        if unfit.any():
            fix = (
                "save probabilities as labels, such as those above 0.5"
                if values.min() >= 0 and values.max() <= 1
                else "resample labels to the nearest voxel"
            )
            raise ValueError(
                f"holds labels that are no whole numbers, or too large, such as "
                f"{values[unfit][0]:.6g}; expected one small whole number per class: {fix}"
            )
    except ValueError as error:
        raise DataError(f"{path.name}: {error}") from error
    return whole.astype(np.int32), grid
