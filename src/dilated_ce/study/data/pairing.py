"""Which mask belongs to which image of a folder, by the names of the files.

The mask of a.jpg, a_training.jpg or a_test.jpg is a.png, in a folder of its own, or a_mask.png,
a_masks.png, a_label.png, a_labels.png, a_seg.png, a_segmentation.png, a_annotation.png, a_gt.png,
a_groundtruth.png, a_manual.png, a_manual1.png, in capitals or not. A mask such as a_mask_1.png is
one of several of an image, which have to be merged.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.paths import (
    PICTURE_ENDINGS,
    dead_links,
    files_in,
    is_picture,
    one_form,
    pictures_in,
    stem_of,
    subfolders,
)
from dilated_ce.study.wording import count, listing, some

MASK_ENDINGS = (
    *("_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_annotation"),
    *("_gt", "_groundtruth", "_manual", "_manual1"),
)
NUMBERED = re.compile(rf"({'|'.join(MASK_ENDINGS)})[_-]?\d+$", re.IGNORECASE)  # one of several
IMAGE_ENDINGS = ("_training", "_test")  # of the images of DRIVE


@dataclass(frozen=True)
class Place:
    """Where the images and masks of a part are."""

    part: str  # "" if there are no parts
    images: Path
    masks: Path  # the same folder, if the masks lie beside their images


def pairs_in(place: Place) -> dict[str, tuple[Path, Path]]:
    """Image and mask by the name that they share, sorted.

    Raises:
        DataError: with everything that is wrong with the names.
    """
    where = place.images.parent if place.images != place.masks else place.images
    problems = dead_links(place.images, place.masks)
    if problems:
        raise DataError(listing(f"{where}: the files cannot be used", problems))
    images, masks = images_and_masks(place)
    if not images and not masks:
        raise DataError(
            f"{place.images} holds no image; expected files with "
            f"{' '.join(PICTURE_ENDINGS)}. Folders in it are not searched."
            f"{instead(place.images)}"
        )
    if not images or not masks:
        raise DataError(one_kind(place, images, masks))
    of_image: dict[str, list[Path]] = {stem: [] for stem in images}
    for stem, mask in masks.items():
        image = _image_of(stem, images)
        if image is not None:
            of_image[image].append(mask)
            continue
        problems.append(
            f"{place.masks.name}/{mask.name}: no image of that name{_unread(place.images, stem)}"
        )
    several = []
    for stem, found in of_image.items():
        file = f"{place.images.name}/{images[stem].name}"
        expected = f"{place.masks.name}/{stem}{_usual_ending(place, masks)}"
        names = [path.name for path in found]
        numbered = [path for path in found if _is_one_of_several(one_form(path.stem), images)]
        if len(found) > 1 and numbered:
            problems.append(f"{file}: several masks of one image: {', '.join(names)}: merge them")
            several.append(found)
        elif len(found) > 1:
            problems.append(
                f"{file}: {' and '.join(names)} could both be its mask; move or rename one"
            )
        elif numbered:
            problems.append(
                f"{file}: {names[0]} is one of several masks by its name, and the only one; "
                f"expected {expected}"
            )
        elif not found:
            problems.append(f"{file}: no mask: expected {expected}{_unread(place.masks, stem)}")
    if problems:
        heading = f"{where}: images and masks do not pair up; a mask has its image's name"
        raise DataError(listing(heading, problems) + _how_to_merge(several))
    return {stem: (images[stem], of_image[stem][0]) for stem in sorted(images)}


def images_and_masks(place: Place) -> tuple[dict[str, Path], dict[str, Path]]:
    """The pictures by their stems; where they lie together, those with a mask's name are masks."""
    if place.images != place.masks:
        return _by_stem(place.images), _by_stem(place.masks)
    files = _by_stem(place.images)
    named = {stem for stem in files if without(stem, MASK_ENDINGS) != stem}
    of_masks = {without(stem, MASK_ENDINGS) for stem in named}
    others = files.keys() - named
    # x_mask_1 is a mask of x, unless it is an image with a mask of its own.
    named |= {
        stem
        for stem in others - of_masks
        if NUMBERED.search(stem) and NUMBERED.sub("", stem) in others | of_masks
    }
    return (
        {stem: path for stem, path in files.items() if stem not in named},
        {stem: path for stem, path in files.items() if stem in named},
    )


def _image_of(mask: str, images: Collection[str]) -> str | None:
    """The image that a mask belongs to, by their stems."""
    short = {without(stem, IMAGE_ENDINGS): stem for stem in images}
    names = (mask, without(mask, MASK_ENDINGS), NUMBERED.sub("", mask))
    return next((s for name in names for s in (name, short.get(name)) if s in images), None)


def _is_one_of_several(mask: str, images: Collection[str]) -> bool:
    """Whether a mask is called so, and no image just like it."""
    return (
        NUMBERED.search(mask) is not None
        and mask not in images
        and without(mask, MASK_ENDINGS) == mask  # and not _manual1
    )


def one_kind(place: Place, images: Mapping[str, Path], masks: Mapping[str, Path]) -> str:
    """What is said of images without any mask, or of masks without any image."""
    if not images:
        (first, *_) = masks.values()
        return (
            f"{place.masks}: {count(len(masks), 'mask')} and no images in {place.images}; expected "
            f"such as {bare(first.stem)}.png for {first.name}.{instead(place.images)}"
        )
    (first, *_) = images.values()
    if place.images != place.masks:
        return (
            f"{place.images}: {count(len(images), 'picture')} and no masks in {place.masks}; "
            f"expected such as {first.stem}.png for {first.name}.{instead(place.masks)}"
        )
    return (
        f"{place.images}: {count(len(images), 'picture')} and no masks; expected such as "
        f"{first.stem}_mask.png for {first.name}, or images in images/ and masks in masks/."
    )


def _usual_ending(place: Place, masks: Mapping[str, Path]) -> str:
    """What most masks have after their image's name, such as `_mask.png`."""
    endings = Counter(
        path.name[len(without(stem, MASK_ENDINGS)) :]
        for stem, path in masks.items()
        if not NUMBERED.search(stem)
    )
    usual = "_mask.png" if place.images == place.masks else ".png"
    return max(endings, key=endings.__getitem__, default=usual)


def _how_to_merge(several: Sequence[Sequence[Path]]) -> str:
    if not several:
        return ""
    paths = [str(path) for path in several[0]]
    return (
        "\nTo merge masks that are black and white, such as the first of these, and then move away "
        f"all but {several[0][0].name}:\n"
        "  from functools import reduce; from PIL import Image, ImageChops\n"
        "  reduce(ImageChops.lighter, [Image.open(file).convert('L') for file in "
        f"{paths}]).save({paths[0]!r})"
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in pictures_in(folder):
        stem = one_form(path.stem)
        if stem in files:
            raise DataError(f"{folder}: {files[stem].name} and {path.name} share a name.")
        files[stem] = path
    return files


def bare(stem: str) -> str:
    """The name of the case that a file may belong to: its stem without the ending of a mask.

    Examples:
        >>> bare("a_mask"), bare("a_mask_1"), bare("a_test"), bare("a_1")
        ('a', 'a', 'a', 'a_1')
    """
    shorter = without(stem, (*MASK_ENDINGS, *IMAGE_ENDINGS))
    return NUMBERED.sub("", stem) or stem if shorter == stem else shorter


def without(stem: str, endings: Iterable[str]) -> str:
    """A stem without the ending that it may have.

    Examples:
        >>> without("lesion_Mask", MASK_ENDINGS), without("lesion", MASK_ENDINGS)
        ('lesion', 'lesion')
    """
    lower = stem.lower()
    ending = next((e for e in endings if lower.endswith(e) and len(stem) > len(e)), "")
    return stem[: len(stem) - len(ending)]


def _unread(folder: Path, stem: str) -> str:
    """What is said of a file of this case whose format is not read."""
    names = [
        path.name
        for path in files_in(folder)
        if not is_picture(path) and bare(stem_of(path)) == bare(stem)
    ]
    return f"; {folder.name}/{names[0]} is not read: convert it to PNG" if names else ""


def instead(folder: Path) -> str:
    """What a folder holds in the place of what was expected."""
    files = files_in(folder)
    pictures = [path for path in files if is_picture(path)]
    others = [path for path in files if not is_picture(path)]
    if pictures:
        return f" Found {count(len(pictures), 'picture')} there, such as {pictures[0].name}."
    if others:
        return (
            f" {count(len(others), 'file')} such as {others[0].name} in it cannot be read as "
            "pictures: convert them to PNG, or describe volumes in a dataset.json."
        )
    folders = [f"{path.name}/" for path in subfolders(folder)]
    return f" Found {some(folders)} there." if folders else ""
