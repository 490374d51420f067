"""Pictures and masks in folders: images/a.png belongs to masks/a.png.

The names that are understood, in capitals or not:

- folders of images: images, image, imgs, img; of masks: masks, mask, labels, label, annotations,
  annotation, segmentations, segmentation, ground_truth, groundtruth, gt, manual, 1st_manual;
- parts: train, training; val, valid, validation; test, testing; above those folders or in them;
- a mask beside its image, or in a folder of its own: a.png, a_mask.png, a_masks.png, a_label.png,
  a_labels.png, a_seg.png, a_segmentation.png, a_annotation.png, a_gt.png, a_groundtruth.png,
  a_manual.png, a_manual1.png for the image a.jpg, a_training.jpg or a_test.jpg.

What could be two of these stops; what has pictures and is none of them is named in a note.
"""

import functools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dilated_ce.study.data.cases import IGNORE_INDEX, Case, DataError, Found, FoundCase
from dilated_ce.study.data.images import (
    alike,
    decoded,
    naming,
    pixels_of,
    rescale_image,
    rescale_labels,
    scaled,
)
from dilated_ce.study.data.mask_coding import MaskCoding, find_coding
from dilated_ce.study.wording import count, listing, some

# What Pillow reads and people keep pictures in.
IMAGE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga"),
}
IMAGES = ("images", "image", "imgs", "img")
MASKS = (
    *("masks", "mask", "labels", "label", "annotations", "annotation"),
    *("segmentations", "segmentation", "ground_truth", "groundtruth", "gt"),
    *("manual", "1st_manual"),
)
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
MASK_ENDINGS = (
    *("_mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_annotation"),
    *("_gt", "_groundtruth", "_manual", "_manual1"),
)
IMAGE_ENDINGS = ("_training", "_test")  # of the images of DRIVE


@dataclass(frozen=True)
class Place:
    """Where the images and masks of a part are."""

    part: str  # "" if there are no parts
    images: Path
    masks: Path  # the same folder, if the masks lie beside their images


def open_folder(
    folder: Path,
    scale: float = 1.0,
    mask_threshold: int | None = None,
    mask_classes: Mapping[str, int | str] | None = None,
    ignore_value: int | str | None = None,
) -> Found:
    """Find the images with their masks, in folders of their own or in those of parts.

    Args:
        folder: has folders of images and of masks, or parts that have them.
        scale: resizes images and masks.
        mask_threshold: grey values above it are foreground.
        mask_classes: grey value or colour of each class.
        ignore_value: grey value or colour of pixels that nobody labelled.

    Raises:
        DataError: with every problem of the files' names and the masks' values.
    """
    places = _places(folder)
    pairs = {
        (place.part, name): files
        for place in places
        for name, files in _pairs(folder, place).items()
    }
    times = Counter(name for _, name in pairs)
    # A name that two parts share is told apart by its part.
    called = {key: "/".join(key) if times[key[1]] > 1 else key[1] for key in pairs}
    masks = [mask for _, mask in pairs.values()]
    coding = find_coding(masks, mask_threshold, mask_classes, ignore_value)
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
        ignore_index=None if ignore_value is None else IGNORE_INDEX,
        cases=cases,
        parts=None if "" in by_part else by_part,
        notes=not_read(folder, (file.parent for files in pairs.values() for file in files)),
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
            picture = decoded(image_path)
        with naming(f"masks/{mask_path.name}"):
            mask = decoded(mask_path)
        note = alike(picture, mask)
        with naming(f"images/{image_path.name}"):
            image = pixels_of(picture)
        with naming(f"masks/{mask_path.name}"):
            labels = coding.labels(mask)
    except ValueError as error:
        raise DataError(str(error)) from error
    if image.shape[1:] != labels.shape:
        sizes = [" x ".join(map(str, part[::-1])) for part in (image.shape[1:], labels.shape)]
        raise DataError(
            f"images/{image_path.name} has {sizes[0]} pixels, masks/{mask_path.name} {sizes[1]}"
        )
    image = rescale_image(image, scaled(labels.shape, scale))
    notes = () if note is None else (note,)
    return Case(name, np.ascontiguousarray(image), rescale_labels(labels, scale), notes=notes)


def one_form(name: str) -> str:
    """A name in the one of Unicode's forms that names are compared in: é is one letter."""
    return unicodedata.normalize("NFC", name)


def not_read(folder: Path, read: Iterable[Path]) -> tuple[str, ...]:
    """A note of the folders in `folder` that hold pictures and are none of those that are read."""
    known = {path.resolve() for path in read}
    found = [
        f"{place.relative_to(folder)}/ ({count(len(pictures), 'picture')})"
        for place, pictures in _with_pictures(folder)
        if place.resolve() not in known
    ]
    return (f"not read, though pictures are in it: {some(found, 8)}",) if found else ()


def _places(folder: Path) -> list[Place]:
    """Where the images and masks are, one place or one for each part.

    Raises:
        DataError: nowhere, or in several ways.
    """
    above = _parts_of(folder)
    images, masks = _one_of(folder, IMAGES), _one_of(folder, MASKS)
    within = _parts_of(images) if images else {}
    ways = []
    if (images and _pictures(images)) or _lie_together(folder):
        ways.append(str(folder))
    if above:
        ways.append("the parts " + ", ".join(f"{path.name}/" for path in above.values()))
    if images and masks and within:
        ways.append(f"the parts in {images.name}/ and {masks.name}/")
    if len(ways) > 1:
        raise DataError(
            f"{folder}: images and masks are in {' and in '.join(ways)}: which are meant? Name the "
            "folder of one of them with --data, or move the other away."
        )
    if not ways and not images:
        raise DataError(
            f"{folder}: expected images/ and masks/ in it, or train/ and test/ that hold them, or "
            f"a dataset.json.{_instead(folder)}"
        )
    if above:
        places = {part: _place(part, path) for part, path in above.items()}
    elif images and masks and within:
        of_masks = _parts_of(masks)
        missing = [within[part].name for part in within if part not in of_masks]
        if missing:
            raise DataError(f"{masks}: has no {missing[0]}/, which {images} has.")
        places = {part: Place(part, path, of_masks[part]) for part, path in within.items()}
    else:
        return [_place("", folder)]
    if not {"train", "test"} <= set(places):
        found = ", ".join(str(place.images.relative_to(folder)) for place in places.values())
        raise DataError(
            f"{folder}: expected train/ and test/ (and perhaps validation/), found {found} alone. "
            "Rename the part that is to be tested on, or put all images into one images/ and all "
            "masks into one masks/."
        )
    names = {
        place.masks.name.lower() if place.masks != place.images else "": place.masks
        for place in places.values()
    }
    if above and len(names) > 1:
        first, second = [*names.values()][:2]
        raise DataError(
            f"{folder}: the masks are in {first.relative_to(folder)} and in "
            f"{second.relative_to(folder)}: are both of one kind? Give these folders one name."
        )
    return [places[part] for part in ("train", "validation", "test") if part in places]


def _place(part: str, folder: Path) -> Place:
    images, masks = _one_of(folder, IMAGES), _one_of(folder, MASKS)
    if images is None:
        return Place(part, folder, folder)
    if masks is None:
        raise DataError(
            f"{folder}/masks is missing; expected a mask for each of {images}.{_instead(folder)}"
        )
    return Place(part, images, masks)


def _one_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The subfolder with one of these names: the one that holds pictures, if several exist."""
    named = [path for path in _subfolders(folder) if path.name.lower() in names]
    filled = [path for path in named if _pictures(path)]
    if len(filled) > 1:
        raise DataError(
            f"{folder}: {filled[0].name}/ and {filled[1].name}/ hold pictures, and either could be "
            f"the {names[0]}; move or rename the one that is not."
        )
    return next(iter(filled or named), None)


def _parts_of(folder: Path) -> dict[str, Path]:
    """The subfolders that are parts and hold pictures, themselves or in theirs."""
    parts: dict[str, Path] = {}
    for path in _subfolders(folder):
        part = PARTS.get(path.name.lower())
        holds = _pictures(path) or any(_pictures(inner) for inner in _subfolders(path))
        if part is None or not holds:
            continue
        if part in parts:
            raise DataError(
                f"{folder}: {parts[part].name}/ and {path.name}/ could both be the {part} part; "
                "put them together, or move one away."
            )
        parts[part] = path
    return parts


def _lie_together(folder: Path) -> bool:
    """Whether masks lie beside their images."""
    stems = {one_form(path.stem) for path in _pictures(folder)}
    return any(_without(stem, MASK_ENDINGS) in stems - {stem} for stem in stems)


def _pairs(root: Path, place: Place) -> dict[str, tuple[Path, Path]]:
    """Image and mask by the name that they share, sorted."""
    where = place.images.parent if place.images != place.masks else place.images
    images = _by_stem(place.images)
    if place.images == place.masks:
        masks = {
            stem: path for stem, path in images.items() if _without(stem, MASK_ENDINGS) != stem
        }
        images = {stem: path for stem, path in images.items() if stem not in masks}
    else:
        masks = _by_stem(place.masks)
    if not images:
        raise DataError(
            f"{place.images} holds no image; expected files with "
            f"{' '.join(sorted(IMAGE_SUFFIXES))}. Folders in it are not searched."
            f"{_instead(place.images)}"
        )
    of_image: dict[str, list[Path]] = {stem: [] for stem in images}
    short = {_without(stem, IMAGE_ENDINGS): stem for stem in images}
    problems = []
    for stem, mask in masks.items():
        bare = _without(stem, MASK_ENDINGS)
        image = next(
            (s for s in (stem, bare, short.get(stem), short.get(bare)) if s in images), None
        )
        if image is None:
            problems.append(f"{mask.parent.name}/{mask.name}: no image of that name")
        else:
            of_image[image].append(mask)
    for stem, found in of_image.items():
        file = f"{place.images.name}/{stem}"
        if len(found) > 1:
            names = " and ".join(path.name for path in found)
            problems.append(f"{file}: {names} could both be its mask; move or rename one")
        elif not found:
            problems.append(f"{file}: no mask of that name{_unread(place.masks, stem)}")
    if problems:
        heading = f"{where}: images and masks do not pair up; a mask has its image's name"
        raise DataError(listing(heading, problems))
    return {stem: (images[stem], of_image[stem][0]) for stem in sorted(images)}


def _by_stem(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in _pictures(folder):
        stem = one_form(path.stem)
        if stem in files:
            raise DataError(f"{folder}: {files[stem].name} and {path.name} share a name.")
        files[stem] = path
    return files


def _without(stem: str, endings: Iterable[str]) -> str:
    """A stem without the ending that it may have.

    Examples:
        >>> _without("lesion_Mask", MASK_ENDINGS), _without("lesion", MASK_ENDINGS)
        ('lesion', 'lesion')
    """
    lower = stem.lower()
    ending = next((e for e in endings if lower.endswith(e) and len(stem) > len(e)), "")
    return stem[: len(stem) - len(ending)]


def _unread(masks: Path, stem: str) -> str:
    """What is said of a file that has the name of a mask, and a format that is not read."""
    names = [path.name for path in _files(masks) if one_form(path.name).startswith(f"{stem}.")]
    return f"; {masks.name}/{names[0]} is not read: convert it to PNG" if names else ""


def _instead(folder: Path) -> str:
    """What a folder holds in the place of pictures."""
    files = _files(folder)
    if files:
        return (
            f" {count(len(files), 'file')} such as {files[0].name} in it cannot be read as "
            "pictures: convert them to PNG, or describe volumes in a dataset.json."
        )
    others = [f"{path.name}/" for path in _subfolders(folder)]
    return f" Found {some(others)} there." if others else ""


def _pictures(folder: Path) -> list[Path]:
    return [path for path in _files(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def _files(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_file()]


def _subfolders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]


def _with_pictures(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """The folders with pictures, from this one all the way down, but for what links lead to."""
    try:
        pictures, inner = _pictures(folder), _subfolders(folder)
    except OSError:  # one that may not be read, and need not
        return
    if pictures:
        yield folder, pictures
    for path in inner if not folder.is_symlink() else ():
        yield from _with_pictures(path)
