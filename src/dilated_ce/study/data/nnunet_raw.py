"""Data sets in nnU-Net's raw format, and in that of the Medical Segmentation Decathlon.

nnU-Net: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
Decathlon: http://medicaldecathlon.com (its dataset.json lists the pairs of image and label).
"""

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dilated_ce.study.data.cases import IGNORE_INDEX, DataError, Found, FoundCase
from dilated_ce.study.data.volumes import MOST_LABEL, VolumeReader, open_nifti
from dilated_ce.study.wording import listing

ENDINGS = (".nii.gz", ".nii", ".png", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says."""

    channels: tuple[str, ...]
    classes: tuple[str, ...]  # background first
    values: tuple[int, ...]  # of the classes in the label files
    ignored: int | None  # the value of voxels that nobody labelled
    ending: str
    pairs: tuple[tuple[str, str], ...] | None  # image and label, where the file lists them


def open_nnunet_raw(
    folder: Path, dims: int | None = None, spacing: tuple[float, ...] | None = None
) -> Found:
    """Find the cases that `dataset.json` describes; those without labels are left out.

    Args:
        folder: holds `dataset.json`, `imagesTr` and `labelsTr`.
        dims: 3 takes volumes as a whole, 2 their slices; by default what the files are.
        spacing: resamples to this size of a voxel.

    Raises:
        DataError: with everything that is wrong with the description and the names of the files.
    """
    description = read_description(folder / "dataset.json")
    files = _listed(folder, description) if description.pairs else _by_name(folder, description)
    is_image = not description.ending.startswith(".nii")
    # Volumes, if one of them has several slices.
    has_volumes = not is_image and any(_dims_of(label) == 3 for _, label in files.values())
    of_files = 3 if has_volumes else 2
    if dims == 3 and of_files == 2:
        raise DataError(f"{folder}: data.dims is 3, and these are 2D images.")
    if spacing is not None and is_image:
        raise DataError(f"{folder}: data.spacing is for volumes, and these are images.")
    spatial_dims = dims or of_files
    reader = VolumeReader(
        len(description.channels),
        description.values,
        description.ignored,
        spatial_dims,
        spacing,
    )
    return Found(
        source=f"Volumes from the folder {folder.resolve().name}."
        if of_files == 3
        else f"Images from the folder {folder.resolve().name}.",
        classes=description.classes,
        channels=description.channels,
        spatial_dims=spatial_dims,
        unit="px" if is_image else "mm",
        ignore_index=None if description.ignored is None else IGNORE_INDEX,
        cases=tuple(
            FoundCase(name, functools.partial(reader.read, name, images, label), (*images, label))
            for name, (images, label) in files.items()
        ),
        parts=None,
    )


def read_description(path: Path) -> Description:
    """Read a `dataset.json` of either format.

    Raises:
        DataError: no JSON, a field that is missing or wrong, or regions, which overlap.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(contents, dict):
        raise DataError(f"{path}: expected an object with channel_names and labels.")
    channels = contents.get("channel_names", contents.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise DataError(f'{path}: channel_names is missing; expected such as {{"0": "MRI"}}.')
    labels = _labels(path, contents.get("labels"))
    ignored = labels.pop("ignore", None)
    if sorted(labels.values())[:1] != [0]:
        raise DataError(f"{path}: labels lacks the background, 0.")
    if len(labels) < 2:
        raise DataError(f"{path}: labels has the background alone.")
    if len(labels) > IGNORE_INDEX:
        raise DataError(f"{path}: labels: got {len(labels)}, expected at most {IGNORE_INDEX}.")
    if len(set(labels.values())) < len(labels) or ignored in labels.values():
        raise DataError(f"{path}: two labels have the same value.")
    ordered = sorted(labels, key=labels.__getitem__)
    pairs = contents.get("training")
    ending = contents.get("file_ending")
    if pairs is None and ending is None:
        raise DataError(f"{path}: file_ending is missing; expected such as .nii.gz.")
    listed = None if ending is not None else _pairs(path, pairs)
    ending = ".nii.gz" if ending is None else ending
    if ending not in ENDINGS:
        raise DataError(
            f"{path}: file_ending: got {ending!r}, expected one of {', '.join(ENDINGS)}; convert "
            "the files, for example to NIfTI with SimpleITK."
        )
    return Description(
        tuple(str(channels[key]) for key in sorted(channels, key=_number)),
        tuple(ordered),
        tuple(labels[name] for name in ordered),
        ignored,
        ending,
        listed,
    )


def _labels(path: Path, labels: Any) -> dict[str, int]:
    """Values by name, from nnU-Net's {name: value} or the Decathlon's {"value": name}."""
    if not isinstance(labels, dict) or not labels:
        raise DataError(f'{path}: labels is missing; expected such as {{"background": 0, ...}}.')
    if any(isinstance(value, list) for value in labels.values()):
        raise DataError(
            f"{path}: regions, which overlap, cannot be compared here; nnU-Net's own training can "
            "take the loss (docs/how-to/nnunet.md)."
        )
    if all(isinstance(value, str) and not value.isdigit() for value in labels.values()):
        labels = {name: value for value, name in labels.items()}
    try:
        values = {str(name): int(value) for name, value in labels.items()}
    except (TypeError, ValueError, OverflowError):
        values = {}
    rounded = any(labels[name] not in (value, str(value)) for name, value in values.items())
    if not values or rounded or not all(0 <= value <= MOST_LABEL for value in values.values()):
        raise DataError(f"{path}: labels: expected one whole number per class, 0 or more.")
    return values


def _pairs(path: Path, pairs: Any) -> tuple[tuple[str, str], ...]:
    try:
        found = tuple((entry["image"], entry["label"]) for entry in pairs)
    except (TypeError, KeyError):
        found = ()
    if not found or not all(isinstance(name, str) for pair in found for name in pair):
        raise DataError(f'{path}: training: expected a list of {{"image": ..., "label": ...}}.')
    return found


def _number(key: str) -> tuple[int, str]:
    return (int(key) if key.isdigit() else 0, key)


def _listed(folder: Path, description: Description) -> dict[str, tuple[tuple[Path, ...], Path]]:
    """Image and label of each case, as the Decathlon's file lists them."""
    files: dict[str, tuple[tuple[Path, ...], Path]] = {}
    problems = []
    for image, label in description.pairs or ():
        paths = [folder / image, folder / label]
        for path in paths:
            if "\0" in str(path):
                problems.append(f"{path}: is no name of a file")
            elif not path.resolve().is_relative_to(folder.resolve()):
                problems.append(f"{path}: is outside of the folder")
            elif not path.is_file():
                problems.append(f"{path}: no such file")
        name = Path(label).name.removesuffix(".gz").removesuffix(".nii")
        if name in files:
            problems.append(
                f"{files[name][1]} and {paths[1]}: a case has its label's name, and these are "
                "alike; rename one, or list it once"
            )
        files[name] = ((paths[0],), paths[1])
    return _found(folder, files, problems)


def _by_name(folder: Path, description: Description) -> dict[str, tuple[tuple[Path, ...], Path]]:
    """Channels and label of each case, by the names of the files."""
    ending = description.ending
    for part in ("imagesTr", "labelsTr"):
        if not (folder / part).is_dir():
            raise DataError(f"{folder}/{part} is missing.")
    labels = {
        path.name.removesuffix(ending): path for path in _visible(folder / "labelsTr", ending)
    }
    images = {path.name: path for path in _visible(folder / "imagesTr", ending)}
    # A single RGB file may hold three channels, as nnU-Net has it for natural images.
    one_file = not ending.startswith(".nii")
    numbers = range(len(description.channels))
    files, problems = {}, []
    for name, label in labels.items():
        wanted = [f"{name}_{number:04d}{ending}" for number in numbers]
        if one_file and wanted[0] in images and not any(w in images for w in wanted[1:]):
            wanted = wanted[:1]
        missing = [file for file in wanted if file not in images]
        problems += [f"imagesTr/{file}: no such file" for file in missing]
        files[name] = (tuple(images[file] for file in wanted if file in images), label)
    return _found(folder, files, problems)


def _found(
    folder: Path, files: Mapping[str, tuple[tuple[Path, ...], Path]], problems: Iterable[str]
) -> dict[str, tuple[tuple[Path, ...], Path]]:
    problems = list(problems)
    if problems:
        raise DataError(listing(f"{folder}: the files cannot be used", problems))
    if not files:
        raise DataError(f"{folder}: holds no case with a label.")
    return dict(sorted(files.items()))


def _visible(folder: Path, ending: str) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.name.endswith(ending) and not path.name.startswith(".") and path.is_file()
    ]


def _dims_of(path: Path) -> int:
    try:
        shape = open_nifti(path).shape
    except ValueError as error:
        raise DataError(f"{path.name}: {error}") from error
    return 2 if int(np.sum(np.array(shape) > 1)) <= 2 else 3
