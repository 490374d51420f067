"""Which image belongs to which mask, by the names of folders and files.

The names that are understood, in capitals or not:

- folders of images: images, image, imgs, img; of masks: masks, mask, labels, label, annotations,
  annotation, segmentations, segmentation, ground_truth, groundtruth, gt, manual, 1st_manual;
- parts: train, training; val, valid, validation; test, testing; above those folders or in them;
- a mask beside its image, or in a folder of its own: a.png, a_mask.png, a_masks.png, a_label.png,
  a_labels.png, a_seg.png, a_segmentation.png, a_annotation.png, a_gt.png, a_groundtruth.png,
  a_manual.png, a_manual1.png for the image a.jpg, a_training.jpg or a_test.jpg.

What could be two of these stops; what has pictures and is none of them is named in a note.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.paths import PICTURE_ENDINGS, files_in, one_form, pictures_in, subfolders
from dilated_ce.study.wording import count, listing, some

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


def places_in(folder: Path) -> list[Place]:
    """Where the images and masks are, one place or one for each part.

    Raises:
        DataError: nowhere, or in several ways.
    """
    above = _parts_of(folder)
    images, masks = _one_of(folder, IMAGES), _one_of(folder, MASKS)
    within = _parts_of(images) if images else {}
    ways = []
    if (images and pictures_in(images)) or _lie_together(folder):
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
    if images is None or (not _holds_pictures(images) and pictures_in(folder)):
        return Place(part, folder, folder)
    if masks is None:
        raise DataError(
            f"{folder}/masks is missing; expected a mask for each of {images}.{_instead(folder)}"
        )
    return Place(part, images, masks)


def _one_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The subfolder with one of these names: the one that holds pictures, if several exist."""
    named = [path for path in subfolders(folder) if path.name.lower() in names]
    filled = [path for path in named if _holds_pictures(path)]
    if len(filled) > 1:
        raise DataError(
            f"{folder}: {filled[0].name}/ and {filled[1].name}/ hold pictures, and either could be "
            f"the {names[0]}; move or rename the one that is not."
        )
    return next(iter(filled or named), None)


def _parts_of(folder: Path) -> dict[str, Path]:
    """The subfolders that are parts and hold pictures, themselves or in theirs."""
    parts: dict[str, Path] = {}
    for path in subfolders(folder):
        part = PARTS.get(path.name.lower())
        if part is None or not _holds_pictures(path):
            continue
        if part in parts:
            raise DataError(
                f"{folder}: {parts[part].name}/ and {path.name}/ could both be the {part} part; "
                "put them together, or move one away."
            )
        parts[part] = path
    return parts


def _holds_pictures(folder: Path) -> bool:
    return any(pictures_in(path) for path in (folder, *subfolders(folder)))


def _lie_together(folder: Path) -> bool:
    """Whether masks lie beside their images."""
    stems = {one_form(path.stem) for path in pictures_in(folder)}
    return any(_without(stem, MASK_ENDINGS) in stems - {stem} for stem in stems)


def pairs_in(place: Place) -> dict[str, tuple[Path, Path]]:
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
            f"{' '.join(PICTURE_ENDINGS)}. Folders in it are not searched."
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
            problems.append(f"{place.masks.name}/{stem}: no image of that name")
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
    for path in pictures_in(folder):
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
    names = [path.name for path in files_in(masks) if one_form(path.name).startswith(f"{stem}.")]
    return f"; {masks.name}/{names[0]} is not read: convert it to PNG" if names else ""


def _instead(folder: Path) -> str:
    """What a folder holds in the place of pictures."""
    files = files_in(folder)
    if files:
        return (
            f" {count(len(files), 'file')} such as {files[0].name} in it cannot be read as "
            "pictures: convert them to PNG, or describe volumes in a dataset.json."
        )
    others = [f"{path.name}/" for path in subfolders(folder)]
    return f" Found {some(others)} there." if others else ""
