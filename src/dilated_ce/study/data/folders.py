"""2D images and masks in folders: images/a.png belongs to masks/a.png."""

import functools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dilated_ce.study.data.cases import Case, DataError, Found, FoundCase
from dilated_ce.study.data.images import naming, read_image, rescale_image, rescale_labels, scaled
from dilated_ce.study.data.mask_coding import MaskCoding, find_coding
from dilated_ce.study.wording import listing

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".ppm", ".pgm"}
PARTS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


def open_folder(
    folder: Path,
    scale: float = 1.0,
    mask_threshold: int | None = None,
    mask_classes: Mapping[str, int | str] | None = None,
) -> Found:
    """Find the images with their masks in `images/` and `masks/`, or in those of parts.

    Args:
        folder: has `images/` and `masks/`, or `train/` and `test/` (and `validation/`) with both.
        scale: resizes images and masks.
        mask_threshold: grey values above it are foreground.
        mask_classes: grey value or colour of each class.

    Raises:
        DataError: with every problem of the files' names and the masks' values.
    """
    if (folder / "images").is_dir():
        pairs = {("", name): files for name, files in _pairs(folder).items()}
    else:
        parts = [part for part in PARTS if (folder / part / "images").is_dir()]
        if not {"train", "test"} <= set(parts):
            raise DataError(
                f"{folder}: expected images/ and masks/ in it, or train/ and test/ that hold them, "
                "or a dataset.json."
            )
        pairs = {
            (PARTS[part], name): files
            for part in parts
            for name, files in _pairs(folder / part).items()
        }
    times = Counter(name for _, name in pairs)
    # A name that two parts share is told apart by its part.
    called = {key: "/".join(key) if times[key[1]] > 1 else key[1] for key in pairs}
    coding = find_coding([mask for _, mask in pairs.values()], mask_threshold, mask_classes)
    cases = tuple(
        FoundCase(
            called[key],
            functools.partial(load_image, called[key], image, mask, coding, scale),
            (image, mask),
        )
        for key, (image, mask) in pairs.items()
    )
    by_part: dict[str, list[str]] = {}
    for part, name in pairs:
        by_part.setdefault(part, []).append(called[part, name])
    return Found(
        source=f"Images from the folder {folder.resolve().name}.",
        classes=coding.names,
        channels=("red", "green", "blue"),
        spatial_dims=2,
        unit="px",
        ignore_index=None,
        cases=cases,
        parts=None if "" in by_part else by_part,
    )


def load_image(
    name: str, image_path: Path, mask_path: Path, coding: MaskCoding, scale: float
) -> Case:
    """Read an image with its mask.

    Raises:
        DataError: a file that cannot be read, or two sizes.
    """
    try:
        with naming(f"images/{image_path.name}"):
            image = read_image(image_path)
        with naming(f"masks/{mask_path.name}"):
            labels = coding.read(mask_path)
    except ValueError as error:
        raise DataError(str(error)) from error
    if image.shape[1:] != labels.shape:
        sizes = [" x ".join(map(str, part[::-1])) for part in (image.shape[1:], labels.shape)]
        raise DataError(
            f"images/{image_path.name} has {sizes[0]} pixels, masks/{mask_path.name} {sizes[1]}"
        )
    image = rescale_image(image, scaled(labels.shape, scale))
    return Case(name, np.ascontiguousarray(image), rescale_labels(labels, scale))


def _pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Image and mask by the name that they share, sorted."""
    if not (folder / "masks").is_dir():
        raise DataError(f"{folder}/masks is missing; expected a mask for each of {folder}/images.")
    images, masks = (_files_by_name(folder / part) for part in ("images", "masks"))
    if not images:
        suffixes = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(
            f"{folder}/images holds no image; expected files with {suffixes}. Folders in it are "
            "not searched."
        )
    problems = [f"images/{name}: no mask of that name" for name in images if name not in masks]
    problems += [f"masks/{name}: no image of that name" for name in masks if name not in images]
    if problems:
        heading = f"{folder}: images and masks do not pair up; a mask has its image's name"
        raise DataError(listing(heading, problems))
    return {name: (images[name], masks[name]) for name in sorted(images)}


def _files_by_name(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        hidden = path.name.startswith(".")
        if path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file():
            if path.stem in files:
                raise DataError(f"{folder}: {files[path.stem].name} and {path.name} share a name.")
            files[path.stem] = path
    return files
