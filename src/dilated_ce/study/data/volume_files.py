"""Volumes in files: NIfTI through nibabel, NRRD and MetaImage (.mha) through SimpleITK."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from nibabel import orientations
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

MOST_VOXELS = 2**30  # of a file, with all its channels: 4 GB as float32
DEFLATE = 1032  # the most that gzip makes of a byte
TO_RAS = np.diag([-1.0, -1.0, 1.0])  # from ITK's axes, to the left and back, to those of NIfTI


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a file lie."""

    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None = None  # (4, 4); pictures have none
    told: NDArray[np.float64] | None = None  # the affine, unless it is the reader's guess

    @property
    def orientation(self) -> str:
        """Where the axes lead to, such as RAS; "" if the file does not tell."""
        return "" if self.told is None else "".join(nibabel.aff2axcodes(self.told))


def is_nifti(path: Path) -> bool:
    """Whether a file is one by its name."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def shape_of(path: Path) -> tuple[int, ...]:
    """The axes of a volume, whose voxels are not read yet.

    Raises:
        ValueError: a file that cannot be read.
    """
    return open_nifti(path).shape if is_nifti(path) else tuple(_open_itk(path).GetSize())


def read_volume(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """The voxels (*spatial), or (*spatial, channels), of a file of any of the formats.

    Raises:
        ValueError: a file that cannot be read, or has other than 2 or 3 axes of space.
    """
    values, grid = _nifti(path) if is_nifti(path) else _itk(path)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim not in (2, 3, 4) or values.size == 0:
        raise ValueError(f"got an array of shape {values.shape}, expected 2 or 3 axes of space")
    spacing = grid.spacing[: min(values.ndim, 3)]
    if not all(np.isfinite(size) and size > 0 for size in spacing):
        raise ValueError(f"got voxels of the size {spacing}, expected sizes above 0")
    told = grid.told if grid.told is not None and np.isfinite(grid.told).all() else None
    return values, Grid(spacing, grid.affine, told)


def turned(values: NDArray, grid: Grid, other: Grid) -> tuple[NDArray, Grid]:
    """A volume (*spatial) with its axes in the order and direction of another's, voxel by voxel.

    Examples:
        >>> there = Grid((1.0,) * 3, np.eye(4), np.eye(4))
        >>> here = np.diag([-1.0, 1.0, 1.0, 1.0])
        >>> turned(np.arange(3).reshape(3, 1, 1), Grid((1.0,) * 3, here, here), there)[0].ravel()
        array([2, 1, 0])
    """
    if values.ndim != 3 or not grid.orientation or not other.orientation:
        return values, grid
    assert grid.told is not None
    start, goal = (orientations.io_orientation(each.told) for each in (grid, other))
    if np.array_equal(start, goal):
        return values, grid
    change = orientations.ornt_transform(start, goal)
    affine = grid.told @ orientations.inv_ornt_aff(change, values.shape)
    spacing = tuple(grid.spacing[axis] for axis in np.argsort(change[:, 0]))
    return (
        np.ascontiguousarray(orientations.apply_orientation(values, change)),
        replace(grid, spacing=spacing, affine=affine, told=affine),
    )


def open_nifti(path: Path) -> SpatialImage:
    """A file whose header has been looked at; its voxels are not read yet.

    Raises:
        ValueError: no NIfTI, values that are no numbers, or a size that the file cannot have.
    """
    try:
        file = nibabel.load(path)
        shape, dtype = file.shape, file.get_data_dtype()
    except Exception as error:
        raise _unreadable(error, "NIfTI") from error
    if dtype.kind not in "biuf":
        raise ValueError(
            f"holds values of the type {dtype}, expected one real number per voxel; write colours "
            "and complex parts as channels"
        )
    _check_size(path, shape, dtype.itemsize, path.suffix == ".gz")
    return file


def _nifti(path: Path) -> tuple[NDArray[np.float32], Grid]:
    file = open_nifti(path)
    try:
        with np.errstate(over="ignore"):  # to infinity, which `VolumeReader` names
            values = np.asarray(file.dataobj, dtype=np.float32)
        zooms = file.header.get_zooms()
        affine = np.asarray(file.affine, np.float64)
        is_told = file.header["sform_code"] or file.header["qform_code"]
    except Exception as error:
        raise _unreadable(error, "NIfTI") from error
    return values, Grid(tuple(map(float, zooms[:3])), affine, affine if is_told else None)


def _open_itk(path: Path) -> SimpleITK.ImageFileReader:
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        shape = (*reader.GetSize(), reader.GetNumberOfComponents())
        kind = SimpleITK.GetPixelIDValueAsString(reader.GetPixelID())
    except Exception as error:
        raise _unreadable(error, "NRRD or MetaImage") from error
    if "complex" in kind:
        raise ValueError(f"holds values of the type {kind}, expected one real number per voxel")
    _check_size(path, shape, 1, True)
    return reader


def _itk(path: Path) -> tuple[NDArray[np.float32], Grid]:
    reader = _open_itk(path)
    try:
        image = reader.Execute()
        values = SimpleITK.GetArrayFromImage(image).astype(np.float32)
    except Exception as error:
        raise _unreadable(error, "NRRD or MetaImage") from error
    axes = range(image.GetDimension())
    # ITK's arrays have the last axis first, and the components of a voxel at the end.
    values = values.transpose(*reversed(axes), *range(len(axes), values.ndim))
    spacing = tuple(map(float, image.GetSpacing()))
    if len(axes) < 3:
        return values, Grid(spacing)
    direction = np.array(image.GetDirection()).reshape(len(axes), len(axes))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = TO_RAS @ direction @ np.diag(spacing[:3])
    affine[:3, 3] = TO_RAS @ image.GetOrigin()[:3]
    # Without a space an NRRD tells the sizes of its voxels alone.
    is_told = path.suffix.lower() != ".nrrd" or image.HasMetaDataKey("NRRD_space")
    return values, Grid(spacing[:3], affine, affine if is_told else None)


def _check_size(path: Path, shape: tuple[int, ...], bytes_each: int, is_packed: bool) -> None:
    """Before anything is read: a header may claim what no memory holds."""
    shown = " x ".join(map(str, shape))
    if math.prod(shape) > MOST_VOXELS:
        raise ValueError(f"tells of {shown} voxels, expected at most 2^30; crop or resample it")
    if math.prod(shape) * bytes_each > path.stat().st_size * (DEFLATE if is_packed else 1):
        raise ValueError(f"tells of {shown} voxels, which it does not hold; copy the file again")


def _unreadable(error: Exception, what: str) -> ValueError:
    """An error for people; of a damaged file a reader raises whatever it stumbles over."""
    lines = (str(error) or type(error).__name__).strip().splitlines()
    return ValueError(f"cannot be read as {what}: {lines[-1]}; copy the file again")
