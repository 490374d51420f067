"""Data sets that a `dataset.json` describes: nnU-Net's raw format of any age, the Decathlon's."""

import functools
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dilated_ce.study.data.cases import IGNORE_INDEX, DataError, Found, FoundCase
from dilated_ce.study.data.description import Description, Listed, read_description
from dilated_ce.study.data.images import COLOURS
from dilated_ce.study.data.paths import (
    PICTURE_ENDINGS,
    absence,
    dead_links,
    ending_of,
    files_in,
    is_dead,
    is_picture,
    not_read,
    one_form,
    stem_of,
)
from dilated_ce.study.data.volume_files import shape_of
from dilated_ce.study.data.volumes import VolumeReader
from dilated_ce.study.wording import listing, some

CHANNEL = re.compile(r"_\d{4}$")  # the number of a channel at the end of a name
Files = dict[str, tuple[tuple[Path, ...], Path]]  # images and label of each case


def open_nnunet_raw(
    folder: Path, dims: int | None = None, spacing: tuple[float, ...] | None = None
) -> Found:
    """Find the cases that `dataset.json` describes; those without labels are left out.

    Args:
        folder: holds `dataset.json` and what it describes: `imagesTr` and `labelsTr`, or the files
            that it lists.
        dims: 3 takes volumes as a whole, 2 their slices; by default what the files are.
        spacing: resamples to this size of a voxel.

    Raises:
        DataError: with everything that is wrong with the description and the names of the files.
    """
    description = read_description(folder / "dataset.json")
    files = _files(folder, description)
    of_pictures = all(is_picture(label) for _, label in files.values())
    # Volumes, if one of them has several slices.
    of_files = 3 if any(_dims_of(label) == 3 for _, label in files.values()) else 2
    if dims == 3 and of_files == 2:
        raise DataError(f"{folder}: data.dims is 3, and these are 2D images.")
    if spacing is not None and of_pictures:
        raise DataError(f"{folder}: data.spacing is for volumes, and these are images.")
    reader = VolumeReader(
        len(description.channels),
        description.values,
        description.ignored,
        dims or of_files,
        spacing,
        description.has_regions,
    )
    return Found(
        source=f"Volumes from the folder {folder.resolve().name}."
        if of_files == 3
        else f"Images from the folder {folder.resolve().name}.",
        classes=description.classes,
        channels=description.channels,
        spatial_dims=dims or of_files,
        unit="px" if of_pictures else "mm",
        ignore_index=None if description.ignored is None else IGNORE_INDEX,
        overlapping=description.has_regions,
        cases=tuple(
            FoundCase(name, functools.partial(reader.read, name, images, label), (*images, label))
            for name, (images, label) in files.items()
        ),
        parts=None,
        notes=_notes(folder, description, files),
    )


def _files(folder: Path, description: Description) -> Files:
    """Images and label of each case.

    Raises:
        DataError: files that are missing or of two cases; two lists of the cases that differ.
    """
    if description.listed:
        return _listed(folder, description.listed, len(description.channels))
    assert description.ending is not None
    found = _by_name(folder, description.ending, len(description.channels))
    if description.also_listed:
        listed = {stem_of(Path(_slashes(case.label))) for case in description.also_listed}
        differing = sorted(listed ^ found.keys())
        if differing:
            raise DataError(
                f"{folder / 'dataset.json'}: training lists {len(listed)} cases, and labelsTr "
                f"holds {len(found)}; they differ in {some(differing)}. nnU-Net's second version, "
                "to which file_ending belongs, takes all files, the first one those listed: remove "
                "training, or file_ending."
            )
    return found


def _listed(folder: Path, cases: Iterable[Listed], num_channels: int) -> Files:
    """The files that the description lists."""
    files: Files = {}
    problems: list[str] = []
    for case in cases:
        label = _find(folder, case.label)
        images = tuple(_find(folder, image) for image in case.images)
        if len(images) == 1:
            images = _by_channel(images[0], num_channels)
        for path in (*images, label):
            if "\0" in str(path):
                problems.append(f"{path}: is no name of a file")
            elif not (is_dead(path) or path.resolve().is_relative_to(folder.resolve())):
                problems.append(f"{path}: is outside of the folder; copy it, or link to it there")
            elif not path.is_file():
                problems.append(f"{path}: {absence(path)}")
        name = one_form(case.name or stem_of(label))
        if name in files:
            problems.append(
                f"{files[name][1]} and {label}: a case has its label's name, and these are "
                "alike; rename one, or list it once"
            )
        files[name] = (images, label)
    alone = [images[0] for images, _ in files.values() if len(images) == 1]
    if num_channels > 1 and len(alone) < len(files):
        problems += [
            f"{path}: is one picture for all channels, and others have a file for each"
            for path in alone
            if is_picture(path)
        ]
    return _found(folder, files, problems)


def _find(folder: Path, text: str) -> Path:
    """The file that a path means, which may be written on another system."""
    if "\0" in text:
        return folder / text
    for path in (folder / text, folder / _slashes(text)):
        if path.is_file():
            return path
    path = folder / _slashes(text)
    if path.resolve().is_relative_to(folder.resolve()) and path.parent.is_dir():
        alike = [
            file for file in files_in(path.parent) if one_form(file.name) == one_form(path.name)
        ]
        return alike[0] if len(alike) == 1 else path
    return path


def _by_channel(image: Path, num_channels: int) -> tuple[Path, ...]:
    """The files of an image that nnU-Net's first version lists without the number of a channel."""
    ending = ending_of(image)
    stem = image.name[: len(image.name) - len(ending)]
    numbered = tuple(image.with_name(f"{stem}_{n:04d}{ending}") for n in range(num_channels))
    if "\0" in str(image) or image.is_file():
        return (image,)
    is_there = numbered[0].is_file() or is_dead(numbered[0])
    return numbered if is_there else (image,)


def _by_name(folder: Path, ending: str, num_channels: int) -> Files:
    """Channels and label of each case, by the names of the files."""
    for part in ("imagesTr", "labelsTr"):
        if not (folder / part).is_dir():
            what = f": {absence(folder / part)}" if is_dead(folder / part) else " is missing"
            raise DataError(f"{folder / part}{what}.")
    labels, images = (
        {
            one_form(path.name): path
            for path in files_in(folder / part)
            if path.name.endswith(ending)
        }
        for part in ("labelsTr", "imagesTr")
    )
    wanted_of = {
        file: [f"{file.removesuffix(ending)}_{n:04d}{ending}" for n in range(num_channels)]
        for file in labels
    }
    # A picture in colour may hold three channels, as nnU-Net has it for natural images: then none
    # of the cases has a file for the second or third.
    in_one = num_channels == len(COLOURS) and ending in PICTURE_ENDINGS
    in_one &= not any(file in images for wanted in wanted_of.values() for file in wanted[1:])
    files: Files = {}
    problems = dead_links(folder / "imagesTr", folder / "labelsTr")
    for file, label in labels.items():
        name = file.removesuffix(ending)
        wanted = wanted_of[file][:1] if in_one else wanted_of[file]
        problems += [f"imagesTr/{file}: no such file" for file in wanted if file not in images]
        files[name] = (tuple(images[file] for file in wanted if file in images), label)
    return _found(folder, files, problems)


def _found(folder: Path, files: Files, problems: list[str]) -> Files:
    if problems:
        raise DataError(listing(f"{folder}: the files cannot be used", problems))
    if not files:
        raise DataError(f"{folder}: holds no case with a label.")
    return dict(sorted(files.items()))


def _notes(folder: Path, description: Description, files: Files) -> tuple[str, ...]:
    """What the folder holds beside the cases, and a number of them that is another."""
    read = [path for images, label in files.values() for path in (*images, label)]
    notes = not_read(folder, read, lambda stem: CHANNEL.sub("", stem))
    if description.num_training not in (None, len(files)):
        said = description.num_training
        notes += (f"dataset.json says numTraining {said}, and {len(files)} cases are there",)
    return notes


def _slashes(text: str) -> str:
    return text.replace("\\", "/")


def _dims_of(path: Path) -> int:
    if is_picture(path):
        return 2
    try:
        shape = shape_of(path)
    except ValueError as error:
        raise DataError(f"{path.name}: {error}") from error
    return 2 if int(np.sum(np.array(shape) > 1)) <= 2 else 3
