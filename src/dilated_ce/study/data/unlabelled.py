"""Images without labels: reading them, and writing what was predicted on their grid."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from dilated_ce.study.data.cases import Case, DataError, mask_of, region_code
from dilated_ce.study.data.images import COLOURS, rescale_image, scaled
from dilated_ce.study.data.paths import dead_links, is_picture, is_readable
from dilated_ce.study.data.volume_files import Grid, turned
from dilated_ce.study.data.volumes import MODES, as_stack, read_channels, resample, stack_axis
from dilated_ce.study.wording import count, listing, some

ENDINGS = re.compile(r"\.nii\.gz$|\.[^.]+$", re.IGNORECASE)
CHANNEL = re.compile(r"_(\d{4})$")  # as nnU-Net names the files of the channels
# For people with any kind of colour vision (Okabe and Ito), the background black.
PALETTE = [
    *((0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((0, 114, 178), (213, 94, 0), (204, 121, 167)),
]


@dataclass(frozen=True)
class Unlabelled:
    """An image as it is in its files."""

    image: NDArray[np.float32]  # (channels, *spatial)
    grid: Grid
    is_picture: bool

    @classmethod
    def read(cls, files: Sequence[Path], names: Sequence[str]) -> "Unlabelled":
        """Read the channels of an image, which the network knows by these names.

        Raises:
            DataError: a file that cannot be read, shapes that differ, other channels.
        """
        channels: list[NDArray[np.float32]] = []
        for number, path in enumerate(files):
            parts, own = read_channels(
                path, in_colour=len(files) < len(names), may_be_grey=tuple(names) == COLOURS
            )
            if number == 0:
                grid = own
            channels += [turned(part, own, grid)[0] for part in parts]
        if len({part.shape for part in channels}) > 1:
            raise DataError(f"{files[0].name}: its channels have different shapes")
        if len(channels) != len(names):
            raise DataError(
                f"{files[0].name}: got {count(len(channels), 'channel')}, the network takes "
                f"{len(names)}"
            )
        image = np.stack(channels).astype(np.float32)
        if not np.isfinite(image).all():
            raise DataError(f"{files[0].name}: holds values that are infinite or no numbers")
        return cls(image, grid, is_picture(files[0]))

    def as_case(self, spatial_dims: int, spacing: Sequence[float] | None, scale: float) -> Case:
        """The image as a case without labels, on the grid that the network was trained on.

        Raises:
            DataError: a picture for a network of volumes.
        """
        shape = self.image.shape[1:]
        if len(shape) < spatial_dims:
            raise DataError("got a 2D image, the network takes volumes")
        affine = self.grid.affine if len(shape) == 3 else None
        case = Case("", self.image, np.zeros(shape, np.uint8), self.grid.spacing, affine)
        if spatial_dims == 2:
            case = as_stack(case)
        if scale != 1 and len(shape) == 2:
            image = rescale_image(self.image, scaled(shape, scale))
            case = case.with_image(image)
        return case if spacing is None else resample(case, tuple(spacing))

    def labels_of(
        self, probabilities: NDArray[np.float32], spatial_dims: int, overlapping: bool
    ) -> NDArray[np.uint8]:
        """The labels on the grid of the files, of probabilities (C, *spatial) on the network's."""
        shape = self.image.shape[1:]
        axis = (
            stack_axis(shape, self.grid.spacing, self.grid.affine)
            if len(shape) > spatial_dims
            else None
        )
        if axis is not None:
            probabilities = np.moveaxis(probabilities, 1, axis + 1)
        if probabilities.shape[1:] != shape:
            tensor = torch.from_numpy(np.ascontiguousarray(probabilities))[None]
            mode = MODES[len(shape)]
            probabilities = F.interpolate(tensor, shape, mode=mode, align_corners=False)[0].numpy()
        if not overlapping:
            return probabilities.argmax(0).astype(np.uint8)
        codes = [(p > 0.5) * region_code(index) for index, p in enumerate(probabilities, start=1)]
        return np.sum(codes, axis=0).astype(np.uint8)


def find_unlabelled(paths: Sequence[Path], num_channels: int) -> dict[str, tuple[Path, ...]]:
    """The files of each image, by name: those that are named, and all in folders that are named.

    Of several channels in files of their own, `_0000` at the end of the name is the first.

    Raises:
        DataError: no such file, or none that is an image, two of one name, or too few channels.
    """
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise DataError(f"no such file or folder: {some(missing)}")
    dead = [problem for path in paths if path.is_dir() for problem in dead_links(path)]
    if dead:
        raise DataError(listing(f"{count(len(dead), 'image')} cannot be read", dead))
    files = [
        file
        for path in paths
        for file in (sorted(path.iterdir()) if path.is_dir() else [path])
        if file.is_file() and not file.name.startswith(".")
    ]
    readable = [file for file in files if is_readable(file)]
    if not readable:
        raise DataError(
            f"{', '.join(map(str, paths))}: no image there that can be read; expected PNG, JPEG, "
            "TIFF or BMP, NIfTI, NRRD or MetaImage"
        )
    found: dict[str, list[Path]] = {}
    for file in readable:
        name = ENDINGS.sub("", file.name)
        # Of one channel, too, nnU-Net's files end with its number.
        found.setdefault(CHANNEL.sub("", name), []).append(file)
    for name, of_name in found.items():
        numbered = [CHANNEL.search(ENDINGS.sub("", file.name)) for file in of_name]
        numbers = [int(match[1]) for match in numbered if match]
        if len(of_name) > 1 and numbers != list(range(num_channels)):
            raise DataError(
                f"{name}: got the files {some([file.name for file in of_name])}, expected one, or "
                f"{num_channels} that end with _0000, _0001, ... for the channels"
            )
    return {name: tuple(of_name) for name, of_name in found.items()}


def write_labels(
    out: Path,
    name: str,
    labels: NDArray[np.uint8],
    image: Unlabelled,
    classes: Sequence[str],
    overlapping: bool,
) -> Path:
    """Write labels beside each other: NIfTI of a volume, PNG of a picture; the (first) file."""
    parts = {"": labels}
    if overlapping:
        parts = {
            f"_{re.sub(r'[^A-Za-z0-9.-]', '-', cls)}": mask_of(labels, index, True).astype(np.uint8)
            for index, cls in enumerate(classes)
            if index > 0
        }
    written = []
    for suffix, values in parts.items():
        if image.is_picture:
            path = out / f"{name}{suffix}.png"
            picture = Image.fromarray(values)
            picture.putpalette([value for colour in _palette() for value in colour])
            picture.save(path)
        else:
            path = out / f"{name}{suffix}.nii.gz"
            affine = np.eye(4) if image.grid.affine is None else image.grid.affine
            nifti = nibabel.Nifti1Image(values, affine)
            if image.grid.affine is None:
                nifti.header.set_zooms(image.grid.spacing)
            nibabel.save(nifti, path)
        written.append(path)
    return written[0]


def _palette() -> list[tuple[int, int, int]]:
    return [PALETTE[0], *(PALETTE[1 + index % (len(PALETTE) - 1)] for index in range(255))]
