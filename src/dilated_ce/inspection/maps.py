"""Weight maps of cases, as arrays and as files."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dilated_ce import adaptive_dilated_weights, dilated_balanced_weights
from dilated_ce.inspection.measuring import Measured, images_of
from dilated_ce.study.data.cases import Case, DataSet

COLOURS = "cividis"  # the same to people with and without colour blindness


def weigh(
    case: Case,
    data: DataSet,
    radius: float | None,
    *,
    volumes: str | Sequence[float] = "batch",
    num_voxels: float | None = None,
) -> NDArray[np.float32]:
    """The weight of every voxel of a case: what the functions of the core give, and no more.

    Args:
        case: of the data set; the slices of a stack, in 2D, are a batch of images.
        data: says what is a class, what is ignored, and in how many dimensions to dilate.
        radius: in the data's unit; None for adaptive weights.
        volumes: with a radius: "batch" for those of the whole case, "image" for those of each
            slice, or numbers, of which `Measured.balancing` gives both.
        num_voxels: on which the volumes were counted; the mean weight of these is then 1.

    Returns:
        float32 (*spatial), 0 where nobody labelled.

    Raises:
        ValueError: a label that is no class, or what `dilated_balanced_weights` does not take.

    Examples:
        >>> from dilated_ce.study.data.cases import Split
        >>> labels = np.array([[0, 0, 0, 0, 1, 0, 0]], np.uint8)
        >>> data = DataSet(
        ...     "tiny", "Made up.", ("background", "spot"), ("grey",), 2, "px", None,
        ...     (), (Split((), (), ()),), "Not split.",
        ... )
        >>> weigh(Case("a", np.zeros((1, 1, 7), np.float32), labels), data, 1).round(2)
        array([[0.5 , 0.5 , 0.5 , 1.67, 1.67, 1.67, 0.5 ]], dtype=float32)
    """
    images = np.ascontiguousarray(images_of(case.labels, data.spatial_dims))
    labels = torch.from_numpy(images)
    options: dict[str, Any] = {
        "num_classes": len(data.classes),
        "spacing": case.spacing[-data.spatial_dims :],
        "ignore_index": data.ignore_index,
    }
    if radius is None:
        weights = adaptive_dilated_weights(labels, **options)
    else:
        weights = dilated_balanced_weights(
            labels, radius, volumes=volumes, num_voxels=num_voxels, **options
        )
    array: NDArray[np.float32] = weights.numpy().reshape(case.labels.shape)
    return array


def write_weight_maps(
    folder: Path,
    data: DataSet,
    radius: float | None,
    cases: Sequence[str],
    *,
    volumes: str = "batch",
    measured: Measured | None = None,
) -> list[Path]:
    """Write the weight maps of some cases.

    Of a volume, or a stack of slices, it is a file such as `case_R2.nii.gz` or
    `case_adaptive.nii.gz` (float32, with the
    affine of the labels, so that viewers lay it over them; the slices of a stack run along the last
    axis). Of an image it is `case_R2.npy` with the weights (float32) and `case_R2.png` to look at:
    one logarithmic colour scale for all images of the call, whose ends the PNG's text "weights"
    names. A file appears when it is whole; one with the same name is replaced.

    Args:
        folder: made if it is missing.
        data: the data set.
        radius: in the data's unit; None for adaptive weights.
        cases: names of cases.
        volumes: with a radius, of the "batch" or the "image", as in `weigh`.
        measured: take the volumes of the whole training part instead, so that the mean weight is 1
            over that part and not over each case. Nothing to adaptive weights, as these depend on
            each image alone.

    Returns:
        The files.

    Raises:
        DataError: a case that cannot be read.
        OSError: a file that cannot be written.
        ValueError: a case that is not in the data set, a radius at which nothing was measured, or
            as `weigh`.
    """
    unknown = [name for name in cases if name not in data.by_name]
    if unknown:
        raise ValueError(
            f"cases: {', '.join(unknown[:5])} {'is' if len(unknown) == 1 else 'are'} not among the "
            f"{len(data.cases)} cases of {data.name}, such as {data.cases[0].name}."
        )
    balancing: dict[str, Any] = {"volumes": volumes}
    if measured is not None and radius is not None:
        balancing = measured.balancing(radius)
    ending = "_adaptive" if radius is None else f"_R{radius:g}"
    folder.mkdir(parents=True, exist_ok=True)
    written, arrays = [], []
    low, high = np.inf, 0.0
    for name, stem in zip(cases, _stems(cases, ending), strict=True):
        case = data.by_name[name].load()
        weights = weigh(case, data, radius, **balancing)
        if weights.ndim == 3:
            written.append(folder / f"{stem}.nii.gz")
            with whole_file(written[-1]) as partial:
                nib.save(_nifti(weights, case, data), partial)
            continue
        arrays.append(folder / f"{stem}.npy")
        with whole_file(arrays[-1]) as partial:
            np.save(partial, weights)
        positive = weights[weights > 0]
        if positive.size:
            low, high = min(low, float(positive.min())), max(high, float(positive.max()))
    text = PngInfo()
    text.add_text("weights", f"{low:.6g} to {high:.6g}, logarithmic, {COLOURS}; ignored: clear")
    for array in arrays:
        with whole_file(array.with_suffix(".png")) as partial:
            paint(np.load(array), (low, high)).save(partial, pnginfo=text)
        written += [array, array.with_suffix(".png")]
    return written


def paint(weights: NDArray[np.float32], limits: tuple[float, float]) -> Image.Image:
    """Weights (H, W) on a logarithmic colour scale between the limits; weight 0 is transparent.

    A picture of 255 colours and one that is transparent: the pixel values are 0 at the lower limit,
    254 at the upper one, and 255 where the weight is 0.
    """
    low, high = limits
    # A scale needs an extent: a map of ones is a single colour in its middle.
    scale = LogNorm(low, high) if high > low * 1.001 else LogNorm(low / 2, high * 2)
    place = np.asarray(scale(np.where(weights > 0, weights, low)), np.float64)
    indices = np.where(weights > 0, (place.clip(0, 1) * 254).round(), 255).astype(np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(_palette())
    picture.info["transparency"] = 255
    return picture


def _palette() -> bytes:
    colours = (colormaps[COLOURS](np.linspace(0, 1, 255))[:, :3] * 255).round().astype(np.uint8)
    return colours.tobytes() + bytes(3)


def _nifti(weights: NDArray[np.float32], case: Case, data: DataSet) -> nib.Nifti1Image:
    """A volume, or a stack (S, H, W) with its slices moved to the last axis, as NIfTI has them."""
    spacing = (1.0,) * (3 - len(case.spacing)) + tuple(case.spacing)
    affine = case.affine
    if data.spatial_dims == 2:
        weights, spacing = np.moveaxis(weights, 0, -1), (*spacing[1:], spacing[0])
        affine = None if affine is None else affine[:, [1, 2, 0, 3]]
    image = nib.Nifti1Image(weights, np.diag([*spacing, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("mm" if data.unit == "mm" else "unknown")
    return image


def _stems(names: Sequence[str], ending: str) -> Iterator[str]:
    """Names for files, without an ending: safe in any folder, no two of them alike."""
    used: set[str] = set()
    for name in names:
        plain = re.sub(r"[^\w.+-]", "-", name).lstrip(".-")[:100] or "case"
        stem, number = plain + ending, 1
        while stem.lower() in used:  # as some file systems take capitals for small letters
            number += 1
            stem = f"{plain}-{number}{ending}"
        used.add(stem.lower())
        yield stem


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A hidden path to write to, which takes the place of `path` if all goes well."""
    # The ending stays, as it tells libraries what to write.
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
