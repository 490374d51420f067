"""What the values of predicted and true masks mean."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.description import read_classes
from dilated_ce.study.data.mask_coding import MAX_CLASSES, MaskCoding, find_coding
from dilated_ce.study.data.mask_survey import Holding, as_classes, check_codings, first_with
from dilated_ce.study.data.paths import is_picture
from dilated_ce.study.data.volumes import read_labels
from dilated_ce.study.results.predictions import Counting, Masks
from dilated_ce.study.settings.report import ReportConfig
from dilated_ce.study.wording import some

# Masks count their objects if they do so up to this many numbers, and, of the masks looked at,
# this share of the values is one connected part.
LEAST_NUMBERS = 3
MOST_LOOKED_AT = 10
WHOLE = 0.9


def find_masks(
    config: ReportConfig,
    truth: Mapping[str, Path],
    predictions: Sequence[Mapping[str, Path]],
    counting: Counting,
) -> tuple[list[Masks], list[str]]:
    """What the masks of each folder of predictions hold, and what was taken for what.

    The user says it, or a dataset.json beside the true masks does; else every value that the true
    masks hold is a class, the smallest the background.

    Raises:
        DataError: masks that cannot be read, or hold no classes.
    """
    assert config.truth is not None
    pictures = [path for path in truth.values() if is_picture(path)]
    if pictures and len(pictures) < len(truth):
        raise DataError(f"{config.truth}: holds pictures and volumes, expected one kind")
    described = _described(config, config.truth)
    if described is not None:
        return [described] * len(predictions), [
            f"classes are those of dataset.json: {some(list(described.classes[1:]))}"
        ]
    if pictures:
        _expect_pictures(config, predictions)
        coding = find_coding(
            pictures, config.mask_threshold, config.mask_classes, config.ignore_value
        )
        masks = Masks(coding.names, (), coding.ignored, False, config.scoring, "", coding)
        return _of_pictures(config, masks, coding, predictions)
    if config.mask_threshold is not None:
        raise DataError("--mask-threshold is for pictures, and these are volumes")
    ignored = _whole(config.ignore_value)
    if config.mask_classes is not None:
        values = config.mask_classes.values()
        if not all(isinstance(value, int) for value in values):
            raise DataError("--mask-classes: expected whole numbers for volumes")
        of_classes = tuple((int(value),) for value in values)
        return [
            Masks(
                tuple(config.mask_classes),
                of_classes,
                ignored,
                False,
                config.scoring,
                "--mask-classes",
            )
        ] * len(predictions), []
    holdings = []
    with counting("reading the true masks", len(truth)) as on_case:
        for path in truth.values():
            labels, _ = read_labels(path)
            holdings.append((path.name, set(np.unique(labels).tolist())))
            on_case()
    found = set.union(*(held for _, held in holdings))
    if ignored is not None and ignored not in found:
        raise DataError(f"--ignore-value {ignored}: no true mask holds it")
    kept = sorted(found - {ignored})
    if not 2 <= len(kept) <= MAX_CLASSES:
        raise DataError(
            f"{config.truth}: the true masks hold {some([str(v) for v in kept], 8)}, expected a "
            f"background and 1 to {MAX_CLASSES - 1} classes; name them: --mask-classes "
            "background=0,NAME=1"
        )
    _check_classes(kept, [(name, held - {ignored}) for name, held in holdings], truth)
    names = ("foreground",) if len(kept) == 2 else tuple(map(str, kept[1:]))
    note = f"classes are the values of the true masks: {kept[0]} is the background, then "
    masks = Masks(
        ("background", *names),
        tuple((value,) for value in kept),
        ignored,
        False,
        config.scoring,
        "the true masks",
    )
    of_each, notes = _of_volumes(config, masks, predictions)
    return of_each, [note + some([str(value) for value in kept[1:]], 10), *notes]


def _expect_pictures(config: ReportConfig, predictions: Sequence[Mapping[str, Path]]) -> None:
    """Raise a `DataError` if predictions are volumes, where the true masks are pictures."""
    for source, found in zip(config.predictions, predictions, strict=True):
        volumes = [path.name for path in found.values() if not is_picture(path)]
        if volumes:
            raise DataError(
                f"{source.path}: holds volumes ({some(volumes, 2)}) where the true masks are "
                "pictures; save both in one format"
            )


def _whole(ignored: int | str | None) -> int | None:
    """The ignored value of volumes, which may be below 0.

    Raises:
        DataError: it is a colour.
    """
    if isinstance(ignored, str) and re.fullmatch(r"-?\d{1,9}", ignored) is None:
        raise DataError(f"--ignore-value: got {ignored}, expected a whole number for volumes")
    return None if ignored is None else int(ignored)


def _check_classes(
    values: Sequence[int], holdings: Sequence[Holding], truth: Mapping[str, Path]
) -> None:
    """Stop where values of true masks may be no classes.

    Args:
        values: of all masks, without ignored ones.
        holdings: the name of each mask and the values that it holds.
        truth: the files of the masks.

    Raises:
        DataError: with both readings.
    """
    check_codings(holdings, values)
    if values[0] < 0:
        raise DataError(
            f"{first_with(holdings, {values[0]})}, below 0: a class, or voxels that nobody "
            f"labelled? Set --ignore-value {values[0]}, or save the masks with values of 0 or more"
        )
    if _are_numbers_of_objects(holdings, list(truth.values())):
        raise DataError(
            f"the true masks hold 1 to {values[-1]}, each mask from 1 on, and each value is one "
            "connected part: are these numbers of objects, or classes? If objects, save truth and "
            "predictions as 0 and 1 (lesion scores tell connected parts apart); if classes, name "
            f"them: --mask-classes {as_classes(values)}"
        )


def _are_numbers_of_objects(holdings: Sequence[Holding], files: Sequence[Path]) -> bool:
    """Whether masks count their objects: 1, 2, ... up to another number in each mask.

    Classes may look so, too, where they are few: liver and tumor are 1 and 2, and some have no
    tumor. Hence there must be several numbers, and each value be one part.
    """
    numbers = [held - {0} for _, held in holdings]
    if any(of != set(range(1, len(of) + 1)) for of in numbers):
        return False
    if len({len(of) for of in numbers if of}) < LEAST_NUMBERS:
        return False
    several = [path for path, of in zip(files, numbers, strict=True) if len(of) > 1]
    parts = []
    for path in several[:MOST_LOOKED_AT]:
        labels, _ = read_labels(path)
        parts += [ndimage.label(labels == v)[1] for v in np.unique(labels).tolist() if v > 0]
    return parts.count(1) >= WHOLE * len(parts)


def _described(config: ReportConfig, truth: Path) -> Masks | None:
    """What a dataset.json in the folder of the true masks, or above it, says."""
    given = (config.mask_classes, config.mask_threshold, config.ignore_value)
    place = next((p for p in (truth, truth.parent) if (p / "dataset.json").is_file()), None)
    if place is None or any(part is not None for part in given):
        return None
    found = read_classes(place / "dataset.json")
    if found is None:  # one of another tool
        return None
    return Masks(
        found.names,
        found.values,
        found.ignored,
        found.are_regions,
        config.scoring,
        "dataset.json",
    )


def _of_volumes(
    config: ReportConfig, masks: Masks, predictions: Sequence[Mapping[str, Path]]
) -> tuple[list[Masks], list[str]]:
    """Predictions with a foreground of 255 where the truth has 1, or the other way round."""
    usual: dict[tuple[int, ...], tuple[int, int]] = {(0, 1): (0, 255), (0, 255): (0, 1)}
    other = usual.get(tuple(value for of_class in masks.values for value in of_class))
    of_each, notes = [], []
    for source, found in zip(config.predictions, predictions, strict=True):
        own = masks
        if other is not None and _first_values(found.values()) == set(other):
            own = replace(masks, predicted_values=tuple((value,) for value in other))
            notes.append(f"{source.method}: {other[1]} in its masks is read as the foreground")
        of_each.append(own)
    return of_each, notes


def _first_values(files: Iterable[Path]) -> set[int]:
    """The values of the first mask that has more than one."""
    for path in files:
        try:
            values = set(np.unique(read_labels(path)[0]).tolist())
        except DataError:  # told when it is scored
            return set()
        if len(values) > 1:
            return values
    return set()


def _of_pictures(
    config: ReportConfig,
    masks: Masks,
    coding: MaskCoding,
    predictions: Sequence[Mapping[str, Path]],
) -> tuple[list[Masks], list[str]]:
    """Predictions with two values of their own, such as 0 and 1 where the truth has 0 and 255."""
    of_each, notes = [], []
    told = config.mask_classes is not None or config.mask_threshold is not None
    for source, found in zip(config.predictions, predictions, strict=True):
        own = coding
        if not told and len(coding.names) == 2:
            try:
                own = find_coding([path for path in found.values() if is_picture(path)])
            except DataError:  # such as masks that are all empty: read as the true ones
                own = coding
        if own.names == coding.names and own.values != coding.values:
            notes.append(
                f"{source.method}: masks hold {some([str(v) for v in own.values])} where the true "
                f"ones hold {some([str(v) for v in coding.values])}; the larger is the foreground"
            )
            of_each.append(replace(masks, of_predictions=own))
        else:
            of_each.append(masks)
    return of_each, notes
