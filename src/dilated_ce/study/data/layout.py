"""Which folders hold the images and which the masks, by their names.

The names that are understood, in capitals or not:

- folders of images: images, image, imgs, img; of masks: masks, mask, labels, label, annotations,
  annotation, segmentations, segmentation, ground_truth, groundtruth, gt, manual, 1st_manual;
- parts: train, training; val, valid, validation; test, testing; above those folders or in them;
- masks beside their images, or in a folder of their own: see `pairing`.

What could be two of these stops; what has pictures and is none of them is named in a note.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.pairing import (
    MASK_ENDINGS,
    Place,
    images_and_masks,
    instead,
    one_kind,
    without,
)
from dilated_ce.study.data.paths import (
    absence,
    files_in,
    is_dead,
    is_picture,
    is_readable,
    one_form,
    pictures_in,
    subfolders,
)

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
FOLDERS = {*IMAGES, *MASKS, *PARTS}  # what folders of cases are called


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
    if not ways and not images and not masks and pictures_in(folder):
        here = Place("", folder, folder)
        raise DataError(one_kind(here, *images_and_masks(here)))
    if not ways and not images:
        raise DataError(
            f"{folder}: expected images/ and masks/ in it, or train/ and test/ that hold them, or "
            f"a dataset.json.{instead(folder)}{_of_single_cases(folder)}"
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


def _of_single_cases(folder: Path) -> str:
    """What to do with a folder that holds one for each case, as BIDS, BraTS and KiTS have it."""
    cases = subfolders(folder)
    files = [path for case in cases for path in case.rglob("*") if is_readable(path)]
    if len(cases) < 2 or not files:
        return ""
    if any(is_picture(path) for path in files):
        return (
            " A folder for each case is not read: link or copy the files to images/NAME.png and "
            "masks/NAME.png."
        )
    return (
        " A folder for each case is not read: link or copy the files to imagesTr/NAME_0000.nii.gz "
        "(and _0001, ... for further channels) and labelsTr/NAME.nii.gz, beside a dataset.json as "
        "nnU-Net has it."
    )


def _place(part: str, folder: Path) -> Place:
    images, masks = _one_of(folder, IMAGES), _one_of(folder, MASKS)
    if images is None or (not _holds_pictures(images) and pictures_in(folder)):
        return Place(part, folder, folder)
    if masks is None:
        raise DataError(
            f"{folder}/masks is missing; expected a mask for each of {images}.{instead(folder)}"
        )
    return Place(part, images, masks)


def _one_of(folder: Path, names: Sequence[str]) -> Path | None:
    """The subfolder with one of these names: the one that holds pictures, if several exist."""
    named = _named(folder, names)
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
    for path in _named(folder, PARTS):
        part = PARTS[path.name.lower()]
        if not _holds_pictures(path):
            continue
        if part in parts:
            raise DataError(
                f"{folder}: {parts[part].name}/ and {path.name}/ could both be the {part} part; "
                "put them together, or move one away."
            )
        parts[part] = path
    return parts


def _named(folder: Path, names: Collection[str]) -> list[Path]:
    """The subfolders with one of these names.

    Raises:
        DataError: one is a link that leads nowhere.
    """
    for path in files_in(folder):
        if path.name.lower() in names and is_dead(path):
            raise DataError(f"{path}: {absence(path)}.")
    return [path for path in subfolders(folder) if path.name.lower() in names]


def _holds_pictures(folder: Path) -> bool:
    return any(pictures_in(path) for path in (folder, *subfolders(folder)))


def _lie_together(folder: Path) -> bool:
    """Whether masks lie beside their images."""
    stems = {one_form(path.stem) for path in pictures_in(folder)}
    return any(without(stem, MASK_ENDINGS) in stems - {stem} for stem in stems)
