"""Splitting cases into training, validation and test parts; a group is never on two sides."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dilated_ce.study import plain_yaml
from dilated_ce.study.data.cases import DataError, Split
from dilated_ce.study.wording import listing, some

PARTS = ("train", "validation", "test")


def make_folds(
    groups: Mapping[str, str],
    parts: Mapping[str, Sequence[str]] | None,
    split_file: Path | None = None,
    num_folds: int | None = None,
) -> tuple[tuple[Split, ...], str]:
    """The folds, and a sentence that says how they were made.

    - `split_file` decides, if there is one: lists of names as train, validation and test, or a list
      of such, none of which tests a group that another does; nnU-Net's `val` is the test part.
    - `num_folds`: every group is in the test part once; drawn once for all (seed 0).
    - `parts`, as the folders have them.
    - Otherwise the last quarter of the sorted groups is the test part.

    Where the validation part is missing, it is the last fifth of the training groups, if there are
    at least three. The last three rules are our choice.

    Args:
        groups: the group of each case by the case's name.
        parts: names of cases by part.
        split_file: JSON or YAML.
        num_folds: of a cross-validation.

    Raises:
        DataError: unknown names, parts that share a group, parts without a case, groups
            that two folds test, too many folds.

    Examples:
        >>> folds, words = make_folds({name: name for name in "abcdefgh"}, None)
        >>> folds[0].train, folds[0].validation, folds[0].test
        (('a', 'b', 'c', 'd', 'e'), ('f',), ('g', 'h'))
    """
    if split_file is not None:
        splits = _read(split_file, groups)
        return splits, f"Split as {split_file.name} says."
    if num_folds is not None:
        names = sorted(set(groups.values()))
        if num_folds > len(names):
            raise DataError(
                f"data.folds: got {num_folds}, expected at most {len(names)}, as many "
                "as there are groups of cases."
            )
        shuffled = np.random.default_rng(0).permutation(names).tolist()
        folds = [
            _split(groups, None, [name for name, group in groups.items() if group in held_out])
            for held_out in (set(shuffled[fold::num_folds]) for fold in range(num_folds))
        ]
        return tuple(folds), f"Cross-validation with {num_folds} folds."
    if parts is not None:
        split = _split(groups, parts["train"], parts["test"], parts.get("validation"))
        return (_checked(split, groups, "the folders"),), "Split as the folders are."
    ordered = sorted(set(groups.values()))
    if len(ordered) < 2:
        raise DataError(
            f"got {len(ordered)} case or patient, expected at least 2: one to train on and one to "
            "test on."
        )
    last = set(ordered[-max(1, len(ordered) // 4) :])
    test = [name for name, group in groups.items() if group in last]
    return (_split(groups, None, test),), "The last quarter of the sorted names is for testing."


def _split(
    groups: Mapping[str, str],
    train: Sequence[str] | None,
    test: Sequence[str],
    validation: Sequence[str] | None = None,
) -> Split:
    """A split; all that is not tested trains, and a fifth of that validates, if not given."""
    held_out = set(test)
    learning = sorted(groups.keys() - held_out if train is None else train)
    if validation is None:
        ordered = sorted({groups[name] for name in learning if name in groups})
        count = max(1, len(ordered) // 5) if len(ordered) > 2 else 0
        last = set(ordered[len(ordered) - count :])
        validation = [name for name in learning if groups.get(name) in last]
        learning = [name for name in learning if groups.get(name) not in last]
    return Split(tuple(learning), tuple(sorted(validation)), tuple(sorted(test)))


def _read(path: Path, groups: Mapping[str, str]) -> tuple[Split, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        contents = json.loads(text) if path.suffix == ".json" else plain_yaml.load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise DataError(plain_yaml.explain(path, error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON: {error}") from error
    entries = contents if isinstance(contents, list) else [contents]
    if not entries:
        raise DataError(f"{path} holds no split.")
    folds = tuple(_checked(_entry(entry, path, groups), groups, str(path)) for entry in entries)
    _check_tested_once(folds, groups, path)
    return folds


def _check_tested_once(folds: Sequence[Split], groups: Mapping[str, str], path: Path) -> None:
    """The statistics take every tested group for an independent one."""
    places: dict[str, list[str]] = {}
    for number, fold in enumerate(folds):
        for group in dict.fromkeys(groups[name] for name in fold.test):
            places.setdefault(group, []).append(str(number))
    problems = [
        f"{group} is tested in the folds {', '.join(numbers)}"
        for group, numbers in places.items()
        if len(numbers) > 1
    ]
    if problems:
        heading = (
            f"{path}: expected every case, or patient, in the test part (or val) of one fold; take "
            "it out of the others, or keep a single fold"
        )
        raise DataError(listing(heading, problems))


def _entry(entry: Any, path: Path, groups: Mapping[str, str]) -> Split:
    lists = isinstance(entry, dict) and all(
        isinstance(part, list) and all(isinstance(name, str) for name in part)
        for part in entry.values()
    )
    keys = set(entry) if lists else set()
    if keys not in ({"train", "val"}, {"train", "test"}, set(PARTS)):
        raise DataError(
            f"{path}: expected lists of names as train, test and, if wanted, validation, or as "
            f"train and val, got {list(entry) if isinstance(entry, dict) else entry!s:.80}."
        )
    if "val" in keys:
        return _split(groups, entry["train"], entry["val"])
    return _split(groups, entry["train"], entry["test"], entry.get("validation"))


def _checked(split: Split, groups: Mapping[str, str], where: str) -> Split:
    """The split, if it can be."""
    problems = []
    owner: dict[str, str] = {}
    for part in PARTS:
        names = getattr(split, part)
        if not names and part != "validation":
            problems.append(f"the {part} part is empty")
        unknown = [name for name in names if name not in groups]
        if unknown:
            problems.append(f"{part}: unknown cases {some(unknown)}")
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            problems.append(f"{part}: named twice: {some(twice)}")
        shared = [
            name
            for name in dict.fromkeys(names)
            if name in groups and owner.setdefault(groups[name], part) != part
        ]
        if shared:
            problems.append(f"{part}: {some(shared)} (or their patients) are in another part too")
    if problems:
        raise DataError(listing(f"{where}: the split cannot be used", problems))
    return split
