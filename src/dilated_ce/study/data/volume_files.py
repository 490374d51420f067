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
IN_MM = {"micron": 0.001, "mm": 1.0, "meter": 1000.0, "unknown": 1.0}
MOST_OF_VOXEL = 0.25  # by which two forms of a header may place voxels elsewhere
SIZES_APART = 0.01  # how much two sizes of a voxel may differ, as headers are rounded
TO_RAS = np.diag([-1.0, -1.0, 1.0])  # from ITK's axes, to the left and back, to those of NIfTI


@dataclass(frozen=True)
class Grid:
    """Where the voxels of a file lie."""

    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None = None  # (4, 4); pictures have none
    told: NDArray[np.float64] | None = None  # the affine, unless it is the reader's guess
    notes: tuple[str, ...] = ()  # what is worth knowing of the header

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
    return values, Grid(spacing, grid.affine, told, grid.notes)


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
        grid = _nifti_grid(file)
    except Exception as error:
        raise _unreadable(error, "NIfTI") from error
    if grid.told is not None:
        _check_sizes(grid, values.shape[:3])
    return values, grid


def _nifti_grid(file: SpatialImage) -> Grid:
    """The grid of a file in mm, and what its header says twice."""
    header = file.header
    unit = header.get_xyzt_units()[0]
    scale = np.array([IN_MM[unit]] * 3 + [1.0])
    affine = scale[:, None] * np.asarray(file.affine, np.float64)
    notes = []
    if IN_MM[unit] != 1:
        notes.append(f"the voxel sizes are in {unit}s, and were converted to mm")
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is not None and qform is not None:
        apart = farthest(sform - qform, file.shape[:3])
        if not apart <= MOST_OF_VOXEL * min(header.get_zooms()[:3]):
            axes = ["".join(map(str, nibabel.aff2axcodes(form))) for form in (sform, qform)]
            shown = f"({axes[0]}, {axes[1]})" if axes[0] != axes[1] else "(of one orientation)"
            notes.append(f"sform and qform of the header differ {shown}; the sform was taken")
    zooms = tuple(IN_MM[unit] * float(size) for size in header.get_zooms()[:3])
    is_told = header["sform_code"] or header["qform_code"]
    return Grid(zooms, affine, affine if is_told else None, tuple(notes))


def _check_sizes(grid: Grid, shape: tuple[int, ...]) -> None:
    """Whether a header says one size of a voxel; that of an axis of one voxel says nothing.

    Raises:
        ValueError: it says two.
    """
    assert grid.told is not None
    sizes = np.linalg.norm(grid.told[:3, : len(grid.spacing)], axis=0)
    long = np.array(shape[: len(sizes)]) > 1
    if not np.allclose(sizes[long], np.array(grid.spacing)[long], rtol=SIZES_APART, atol=0):
        first, second = (" x ".join(f"{size:.4g}" for size in row) for row in (grid.spacing, sizes))
        raise ValueError(
            f"its header says two sizes of a voxel, {first} mm (pixdim) and {second} mm (the "
            "affine, from its sform); which is right? Write it into both"
        )


def patient_axes(affine: NDArray[np.float64] | None) -> list[int]:
    """Which axis of the patient each axis of a volume is nearest to: 0 right, 1 front, 2 head."""
    if affine is None or not np.isfinite(affine).all():
        return [0, 1, 2]
    axes = orientations.io_orientation(affine)[:, 0]
    return [0, 1, 2] if np.isnan(axes).any() else [int(axis) for axis in axes]


def farthest(affine: NDArray[np.float64], shape: tuple[int, ...]) -> float:
    """The largest distance from 0 to which an affine takes a voxel: that of a corner."""
    linear, origin = affine[:3, : len(shape)], affine[:3, 3]
    corners = np.array([*np.ndindex(*(2,) * len(shape))]) * np.subtract(shape, 1)
    return float(np.linalg.norm(corners @ linear.T + origin, axis=1).max())


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
