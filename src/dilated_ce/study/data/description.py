"""`dataset.json`, as nnU-Net's two versions and the Medical Segmentation Decathlon write it.

nnU-Net: https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md
Decathlon: http://medicaldecathlon.com
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dilated_ce.study.data.cases import IGNORE_INDEX, MOST_REGIONS, DataError
from dilated_ce.study.data.paths import VOLUME_ENDINGS

ENDINGS = (*VOLUME_ENDINGS, ".png", ".tif", ".tiff", ".bmp")
MOST_LABEL = 2**24  # up to which float32 tells whole numbers apart


@dataclass(frozen=True)
class Listed:
    """A case whose files are named one by one, as they are written there."""

    name: str | None  # None: that of its label
    images: tuple[str, ...]  # a channel each, or one with all of them
    label: str


@dataclass(frozen=True)
class Classes:
    """The classes that `dataset.json` names."""

    names: tuple[str, ...]  # background first
    values: tuple[tuple[int, ...], ...]  # in the label files, of each class: a region has several
    ignored: int | None  # the value of voxels that nobody labelled

    @property
    def are_regions(self) -> bool:
        """Whether classes are made of several values, so that they overlap."""
        return any(len(values) > 1 for values in self.values)


@dataclass(frozen=True)
class Description:
    """What `dataset.json` says."""

    channels: tuple[str, ...]
    classes: tuple[str, ...]  # background first
    values: tuple[tuple[int, ...], ...]  # in the label files, of each class: a region has several
    ignored: int | None  # the value of voxels that nobody labelled
    ending: str | None  # of the files, where they are not listed
    listed: tuple[Listed, ...] | None
    also_listed: tuple[Listed, ...]  # by nnU-Net's first version, which the second does not read
    num_training: int | None

    @property
    def has_regions(self) -> bool:
        """Whether classes are made of several values, so that they overlap."""
        return any(len(values) > 1 for values in self.values)


def read_description(path: Path) -> Description:
    """Read a `dataset.json` of any age.

    Raises:
        DataError: no JSON, or a field that is missing, wrong, or can be read in two ways.
    """
    contents = _contents(path)
    names = contents.get("channel_names", contents.get("modality"))
    if isinstance(names, list):
        names = {str(number): name for number, name in enumerate(names)}
    if not isinstance(names, dict) or not names:
        raise DataError(f'{path}: channel_names is missing; expected such as {{"0": "MRI"}}.')
    classes = _classes(path, contents)
    training = _training(path, contents.get("training"))
    listed = _dataset(path, contents.get("dataset"))
    ending = contents.get("file_ending")
    if listed is None and ending is None:
        listed, training = training, ()
    if not listed and ending is None:
        raise DataError(f"{path}: file_ending is missing; expected such as .nii.gz.")
    if ending is not None and ending not in ENDINGS:
        raise DataError(
            f"{path}: file_ending: got {ending!r}, expected one of {', '.join(ENDINGS)}; convert "
            "the files, for example to NIfTI with SimpleITK."
        )
    number = contents.get("numTraining")
    return Description(
        tuple(str(names[key]) for key in sorted(names, key=_number)),
        classes.names,
        classes.values,
        classes.ignored,
        ending,
        listed,
        () if listed else training,
        number if isinstance(number, int) else None,
    )


def read_classes(path: Path) -> Classes | None:
    """The classes of a `dataset.json`, whatever else it lacks; None if it names none.

    Raises:
        DataError: no JSON, or labels that are wrong or can be read in two ways.
    """
    contents = _contents(path)
    return _classes(path, contents) if "labels" in contents else None


def _contents(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        contents = json.loads(text, object_pairs_hook=_each_key_once)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(contents, dict):
        raise DataError(f"{path}: expected an object with channel_names and labels.")
    return contents


def _classes(path: Path, contents: dict[str, Any]) -> Classes:
    labels = _labels(path, contents.get("labels"))
    ignored = _ignored(path, labels)
    _check_labels(path, labels, ignored, contents.get("regions_class_order"))
    names = sorted(labels, key=lambda name: labels[name] if labels[name] == (0,) else (1,))
    if not any(len(values) > 1 for values in labels.values()):
        names = sorted(labels, key=labels.__getitem__)
    return Classes(tuple(names), tuple(labels[name] for name in names), ignored)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON takes the last of equal keys without a word."""
    contents = dict(pairs)
    if len(contents) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(k for k in keys if keys.count(k) > 1)!r} is there twice")
    return contents


def _labels(path: Path, labels: Any) -> dict[str, tuple[int, ...]]:
    """The values of each class, from nnU-Net's {name: value} or the Decathlon's {"value": name}.

    Raises:
        DataError: neither, or both, and they differ.
    """
    if not isinstance(labels, dict) or not labels:
        raise DataError(f'{path}: labels is missing; expected such as {{"background": 0, ...}}.')
    by_name = _values(labels.items())
    by_value = None
    if all(isinstance(name, str) for name in labels.values()):
        by_value = _values((name, value) for value, name in labels.items())
    if by_name is not None and by_value is not None and by_name != by_value:
        name, value = next((n, v) for n, v in labels.items() if by_value.get(n) != by_name[n])
        raise DataError(
            f"{path}: labels: {name!r}: {value!r} can be the class {name!r} with the value {value} "
            f"or the class {value!r} with the value {name}; write {{name: value}}, with names that "
            "are no numbers."
        )
    found = by_name if by_name is not None else by_value
    if found is None:
        raise DataError(
            f"{path}: labels: expected one whole number per class, 0 or more, or a list of them "
            "for a region."
        )
    if len(found) < len(labels):
        raise DataError(f"{path}: labels: two labels have the same name.")
    return found


def _values(pairs: Iterable[tuple[str, Any]]) -> dict[str, tuple[int, ...]] | None:
    """Values by name; None if they are no whole numbers."""
    values: dict[str, tuple[int, ...]] = {}
    for name, value in pairs:
        parts = value if isinstance(value, list) and value else [value]
        numbers = [_whole(part) for part in parts]
        if None in numbers:
            return None
        values[name] = tuple(sorted({number for number in numbers if number is not None}))
    return values


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and 0 <= value <= MOST_LABEL else None


def _ignored(path: Path, labels: dict[str, tuple[int, ...]]) -> int | None:
    """Take the ignored value out of the labels."""
    values = labels.pop("ignore", None)
    if values is not None and len(values) > 1:
        raise DataError(f"{path}: labels: ignore: got {list(values)}, expected one value.")
    return None if values is None else values[0]


def _check_labels(
    path: Path, labels: dict[str, tuple[int, ...]], ignored: int | None, order: Any
) -> None:
    if (0,) not in labels.values():
        raise DataError(f"{path}: labels lacks the background, 0.")
    if len(labels) < 2:
        raise DataError(f"{path}: labels has the background alone.")
    used = {value for values in labels.values() for value in values}
    if len({*labels.values()}) < len(labels) or ignored in used:
        raise DataError(f"{path}: two labels have the same value.")
    if not any(len(values) > 1 for values in labels.values()):
        if len(labels) > IGNORE_INDEX:
            raise DataError(f"{path}: labels: got {len(labels)}, expected at most {IGNORE_INDEX}.")
        return
    regions = {name: values for name, values in labels.items() if values != (0,)}
    mixed = [name for name, values in regions.items() if 0 in values]
    if mixed:
        raise DataError(f"{path}: labels: the region {mixed[0]!r} holds the background, 0.")
    if len(regions) > MOST_REGIONS:
        raise DataError(
            f"{path}: labels: got {len(regions)} regions, expected at most {MOST_REGIONS}."
        )
    if order is not None and not (isinstance(order, list) and len(order) == len(regions)):
        raise DataError(
            f"{path}: regions_class_order: got {order}, expected a value for each of the "
            f"{len(regions)} regions."
        )


def _dataset(path: Path, cases: Any) -> tuple[Listed, ...] | None:
    """The cases that nnU-Net's second version lists by name; None if it lists none."""
    if cases is None:
        return None
    try:
        found = tuple(
            Listed(str(name), _texts(entry["images"]), *_texts(entry["label"]))
            for name, entry in cases.items()
        )
    except (TypeError, KeyError, AttributeError, ValueError):
        found = ()
    if not found:
        raise DataError(
            f'{path}: dataset: expected such as {{"case": {{"images": [...], "label": ...}}}}.'
        )
    return found


def _training(path: Path, pairs: Any) -> tuple[Listed, ...]:
    """The cases that the Decathlon, and nnU-Net's first version, list."""
    if pairs is None:
        return ()
    try:
        found = tuple(
            Listed(None, _texts(entry["image"]), *_texts(entry["label"])) for entry in pairs
        )
    except (TypeError, KeyError, ValueError):
        found = ()
    if not found:
        raise DataError(f'{path}: training: expected a list of {{"image": ..., "label": ...}}.')
    return found


def _texts(value: Any) -> tuple[str, ...]:
    """One path, or a list of them."""
    values = tuple(value) if isinstance(value, list) else (value,)
    if not values or not all(isinstance(text, str) for text in values):
        raise ValueError
    return values


def _number(key: str) -> tuple[int, str]:
    return (int(key) if key.isdigit() else 0, key)
