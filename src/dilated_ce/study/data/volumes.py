"""Reading a volume with its labels: channels, label values, slices and voxel size."""

import math
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from dilated_ce.study.data.cases import IGNORE_INDEX, Case, DataError
from dilated_ce.study.data.images import read_image
from dilated_ce.study.data.masks import read_mask
from dilated_ce.study.wording import count

MODES = {2: "bilinear", 3: "trilinear"}
MOST_VOXELS = 2**30  # of a file, with all its channels: 4 GB as float32
MOST_LABEL = 2**24  # up to which float32 tells whole numbers apart
DEFLATE = 1032  # the most that gzip makes of a byte
MOST_APART = 0.25  # voxels between those of an image and its labels: headers are rounded


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a file lie."""

    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None = None  # (4, 4); pictures have none
    told: NDArray[np.float64] | None = None  # the affine, unless it is nibabel's guess


@dataclass(frozen=True)
class VolumeReader:
    """What the files of a data set have in common."""

    num_channels: int
    values: tuple[int, ...]  # of the classes in the label files, background first
    ignored: int | None
    spatial_dims: int
    spacing: tuple[float, ...] | None  # to resample to

    def read(self, name: str, images: tuple[Path, ...], label: Path) -> Case:
        """Read a case.

        With `spatial_dims` 2 the slices of a volume come first, (S, H, W): see `as_stack`.

        Raises:
            DataError: a file that cannot be read, shapes that differ, an undeclared label.
        """
        channels, grids = [], []
        for path in images:
            # One picture for several channels holds them all, however grey it is.
            values, grid = _read(path, in_colour=len(images) < self.num_channels)
            grids.append(grid)
            channels += list(values) if values.ndim > 3 or _is_picture(path) else [values]
        if len(channels) != self.num_channels:
            raise DataError(
                f"{images[0].name}: got {count(len(channels), 'channel')}, dataset.json names "
                f"{self.num_channels}"
            )
        labels, grid = _read_labels(label)
        shapes = {tuple(channel.shape) for channel in channels} | {labels.shape}
        if len(shapes) > 1:
            shown = ", ".join(" x ".join(map(str, shape)) for shape in sorted(shapes))
            raise DataError(f"{label.name}: image and labels have the shapes {shown}")
        for path, other in zip(images, grids, strict=True):
            try:
                _check_grids(grid, other, labels.shape, path.name)
            except ValueError as error:
                raise DataError(f"{label.name}: {error}") from error
        image = np.stack(channels).astype(np.float32)
        if not np.isfinite(image).all():
            raise DataError(f"{images[0].name}: holds values that are infinite or no numbers")
        affine = grid.affine if labels.ndim == 3 else None
        case = Case(name, image, self._classes(labels, label), grid.spacing, affine)
        if self.spatial_dims == 2:
            case = as_stack(case)
        elif case.labels.ndim == 2:
            raise DataError(f"{label.name}: is a 2D image, others are volumes")
        return case if self.spacing is None else resample(case, self.spacing)

    def _classes(self, labels: NDArray[np.int64], path: Path) -> NDArray[np.uint8]:
        """Class indices of the values of a label file."""
        indices = np.full(labels.shape, IGNORE_INDEX, np.uint8)
        known = np.zeros(labels.shape, bool) if self.ignored is None else labels == self.ignored
        for index, value in enumerate(self.values):
            here = labels == value
            indices[here] = index
            known |= here
        if not known.all():
            raise DataError(
                f"{path.name}: holds the label {labels[~known].flat[0]}, dataset.json names "
                f"{', '.join(map(str, self.values))}"
            )
        return indices


def as_stack(case: Case) -> Case:
    """A volume as its slices; a 2D image as it is.

    They are cut across the axis of one voxel, if there is one, or else that of the largest spacing;
    of equal ones, the last.

    Examples:
        >>> volume = np.zeros((4, 5, 6))
        >>> case = Case("a", volume[None], volume, (1.0, 3.0, 1.0))
        >>> as_stack(case).labels.shape, as_stack(case).spacing
        ((5, 4, 6), (3.0, 1.0, 1.0))
    """
    if case.labels.ndim == 2:
        return case
    spacing = np.array(case.spacing)
    # Of a volume of one slice the spacing says nothing: it may be any number.
    thickness = np.where(np.array(case.labels.shape) == 1, np.inf, spacing)
    axis = int(len(spacing) - 1 - thickness[::-1].argmax())
    order = (axis, *(other for other in range(3) if other != axis))
    return Case(
        case.name,
        np.ascontiguousarray(np.moveaxis(case.image, axis + 1, 1)),
        np.ascontiguousarray(np.moveaxis(case.labels, axis, 0)),
        tuple(float(spacing[other]) for other in order),
        None if case.affine is None else case.affine[:, [*order, 3]],
    )


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
    return Case(case.name, interpolate(case.image), labels, spacing, affine)


def _check_grids(labels: Grid, image: Grid, shape: tuple[int, ...], name: str) -> None:
    """Whether the voxels of the image called so lie where those of the labels do."""
    if not np.allclose(image.spacing[: len(labels.spacing)], labels.spacing, rtol=0.01):
        raise ValueError(
            f"got voxels of {_size(labels.spacing)}, those of {name} have {_size(image.spacing)}"
        )
    if labels.told is None or image.told is None:
        return
    apart = _farthest(labels.told - image.told, shape)
    if apart > MOST_APART * min(labels.spacing):
        raise ValueError(
            f"its voxels lie up to {apart:.3g} mm away from those of {name}, expected the same "
            "places; resample the labels onto the image's grid, or, if they were drawn on its "
            "voxels, save them with its affine"
        )


def _farthest(affine: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """The largest distance from 0 to which an affine takes a voxel: that of a corner."""
    linear, origin = affine[:3, : len(shape)], affine[:3, 3]
    corners = np.array([*np.ndindex(*(2,) * len(shape))]) * np.subtract(shape, 1)
    return float(np.linalg.norm(corners @ linear.T + origin, axis=1).max())


def _is_picture(path: Path) -> bool:
    return not path.name.endswith((".nii", ".nii.gz"))


def _size(spacing: tuple[float, ...]) -> str:
    return " x ".join(f"{size:.4g}" for size in spacing)


def _read(path: Path, in_colour: bool) -> tuple[NDArray[np.float32], Grid]:
    """An image file: (*spatial), or (channels, *spatial), and its grid.

    A picture has three channels; a grey one has one, unless it is one of a set in colour.
    """
    try:
        if _is_picture(path):
            image = read_image(path)
            grey = not in_colour and (image == image[:1]).all()
            return (image[:1] if grey else image), Grid((1.0, 1.0))
        values, grid = _nifti(path)
    except ValueError as error:
        raise DataError(f"{path.name}: {error}") from error
    if values.ndim == 4:  # the channels come last in NIfTI
        values = np.moveaxis(values, -1, 0)
    return values, grid


def _read_labels(path: Path) -> tuple[NDArray[np.int64], Grid]:
    """Label values (*spatial), and their grid."""
    try:
        if _is_picture(path):
            return read_mask(path).astype(np.int64), Grid((1.0, 1.0))
        values, grid = _nifti(path)
        if values.ndim == 4:
            raise ValueError("holds labels of 4 axes, expected 3")
        if not (np.abs(values) <= MOST_LABEL).all() or (values != np.rint(values)).any():
            raise ValueError(
                "holds labels that are no whole numbers, or too large; expected one small whole "
                "number per class"
            )
    except ValueError as error:
        raise DataError(f"{path.name}: {error}") from error
    return values.astype(np.int64), grid


def open_nifti(path: Path) -> SpatialImage:
    """A file whose header has been looked at; its voxels are not read yet.

    Raises:
        ValueError: no NIfTI, values that are no numbers, or a size that the file cannot have.
    """
    try:
        file = nibabel.load(path)
        shape, dtype = file.shape, file.get_data_dtype()
        size = path.stat().st_size
    except Exception as error:
        raise _unreadable(error) from error
    if dtype.kind not in "biuf":
        raise ValueError(
            f"holds values of the type {dtype}, expected one real number per voxel; write colours "
            "and complex parts as channels"
        )
    shown = " x ".join(map(str, shape))
    if math.prod(shape) > MOST_VOXELS:
        raise ValueError(f"tells of {shown} voxels, expected at most 2^30; crop or resample it")
    if math.prod(shape) * dtype.itemsize > size * (DEFLATE if path.suffix == ".gz" else 1):
        raise ValueError(f"tells of {shown} voxels, which it does not hold; copy the file again")
    return file


def _unreadable(error: Exception) -> ValueError:
    """An error for people; of a damaged file nibabel raises whatever it stumbles over."""
    reason = str(error) or type(error).__name__
    return ValueError(f"cannot be read as NIfTI: {reason}; copy the file again")


def _nifti(path: Path) -> tuple[NDArray[np.float32], Grid]:
    file = open_nifti(path)
    try:
        with np.errstate(over="ignore"):  # to infinity, which `read` names
            values = np.asarray(file.dataobj, dtype=np.float32)
        zooms = file.header.get_zooms()
        affine = np.asarray(file.affine, np.float64)
        is_told = file.header["sform_code"] or file.header["qform_code"]
    except Exception as error:
        raise _unreadable(error) from error
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3, 4) or values.size == 0:
        raise ValueError(f"got an array of shape {values.shape}, expected 2 or 3 axes of space")
    spacing = tuple(float(size) for size in zooms[: min(values.ndim, 3)])
    if not all(np.isfinite(size) and size > 0 for size in spacing):
        raise ValueError(f"got voxels of the size {spacing}, expected sizes above 0")
    told = affine if is_told and np.isfinite(affine).all() else None
    return values, Grid(spacing, affine, told)
