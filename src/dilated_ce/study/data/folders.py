"""Pictures and masks in folders: images/a.png belongs to masks/a.png."""

import functools
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dilated_ce.study.data.cases import IGNORE_INDEX, Case, DataError, Found, FoundCase
from dilated_ce.study.data.images import (
    COLOURS,
    alike,
    decoded,
    naming,
    pixels_of,
    rescale_image,
    rescale_labels,
    scaled,
)
from dilated_ce.study.data.layout import FOLDERS, places_in
from dilated_ce.study.data.mask_coding import MaskCoding, find_coding
from dilated_ce.study.data.pairing import bare, pairs_in
from dilated_ce.study.data.paths import not_read


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
    places = places_in(folder)
    pairs = {
        (place.part, name): files for place in places for name, files in pairs_in(place).items()
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
        channels=COLOURS,
        spatial_dims=2,
        unit="px",
        ignore_index=None if ignore_value is None else IGNORE_INDEX,
        cases=cases,
        parts=None if "" in by_part else by_part,
        notes=not_read(folder, (file for files in pairs.values() for file in files), bare, FOLDERS),
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
        notes = [alike(picture, mask)]
        with naming(f"images/{image_path.name}"):
            image = pixels_of(picture)
        with naming(f"masks/{mask_path.name}"):
            labels = coding.labels(mask)
            notes += [coding.note_on(mask)]
    except ValueError as error:
        raise DataError(str(error)) from error
    if image.shape[1:] != labels.shape:
        sizes = [" x ".join(map(str, part[::-1])) for part in (image.shape[1:], labels.shape)]
        raise DataError(
            f"images/{image_path.name} has {sizes[0]} pixels, masks/{mask_path.name} {sizes[1]}"
        )
    image = rescale_image(image, scaled(labels.shape, scale))
    said = tuple(note for note in notes if note is not None)
    return Case(name, np.ascontiguousarray(image), rescale_labels(labels, scale), notes=said)
