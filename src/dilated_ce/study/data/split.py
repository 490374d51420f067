"""Splitting cases into training, validation and test parts; a group is never on two sides."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.model_selection import StratifiedGroupKFold

from dilated_ce.study import yaml_text
from dilated_ce.study.data.cases import DataError, Parts, Split
from dilated_ce.study.wording import listing, some

PARTS = ("train", "validation", "test")
TEST_PART, VALIDATION_PART = 4, 5  # a fourth of the groups, and a fifth of the others
Strata = Callable[[], Mapping[str, str]]


def make_folds(
    groups: Mapping[str, str],
    parts: Parts | None,
    split_file: Path | None = None,
    num_folds: int | None = None,
    *,
    strata: Strata | None = None,
    seed: int = 0,
) -> tuple[tuple[Split, ...], str]:
    """The folds, and a sentence that says how they were made.

    - `split_file` decides, if there is one: lists of names as train, validation and test, or a list
      of such, none of which tests a group that another does; nnU-Net's `val` is the test part.
    - `num_folds`: every group is in the test part once.
    - `parts`, as the folders have them.
    - Otherwise a fourth of the groups is the test part.

    Where the validation part is missing, it is a fifth of the training groups, if there are at
    least three. What is not given is drawn at random, by scikit-learn's StratifiedGroupKFold: names
    in their order would be no random sample, as data sets are often numbered by disease or centre.

    Args:
        groups: the group of each case by the case's name.
        parts: names of cases by part.
        split_file: JSON or YAML.
        num_folds: of a cross-validation.
        strata: gives the kind of each case, of which every part has its share; see `strata`.
            It is asked only where something is drawn.
        seed: of what is drawn.

    Raises:
        DataError: unknown names, parts that share a group, parts without a case, groups
            that two folds test, too many folds.

    Examples:
        >>> folds, words = make_folds({name: name for name in "abcdefgh"}, None)
        >>> [len(part) for part in (folds[0].train, folds[0].validation, folds[0].test)]
        [4, 2, 2]
        >>> words
        'A fourth of the groups is for testing; drawn at random (seed 0).'
    """
    draw = _Draw(groups, strata, seed)
    if split_file is not None:
        splits = _read(split_file, groups, draw)
        return splits, f"Split as {split_file.name} says."
    if num_folds is not None:
        tests = draw.folds(sorted(groups), num_folds)
        folds = tuple(_split(draw, None, test) for test in tests)
        return folds, f"Cross-validation with {num_folds} folds, {draw}."
    if parts is not None:
        split = _split(draw, parts["train"], parts["test"], parts.get("validation"))
        return (_checked(split, groups, "the folders"),), "Split as the folders are."
    number = len(set(groups.values()))
    if number < 2:
        raise DataError(
            f"got {number} case or patient, expected at least 2: one to train on and one to test "
            "on."
        )
    test = draw.folds(sorted(groups), min(TEST_PART, number))[0]
    return (_split(draw, None, test),), f"A fourth of the groups is for testing; {draw}."


class _Draw:
    """Draws parts of cases: the same whatever the order of the names."""

    def __init__(self, groups: Mapping[str, str], strata: Strata | None, seed: int) -> None:
        self.groups, self.strata, self.seed = groups, strata, seed
        self.kinds: Mapping[str, str] | None = None

    def __str__(self) -> str:
        by = ", stratified by classes and size of the foreground" if self.strata else ""
        return f"drawn at random (seed {self.seed}){by}"

    def folds(self, names: Sequence[str], number: int) -> list[list[str]]:
        """So many parts of about the same size and kinds; a group is in one of them.

        Raises:
            DataError: more parts than groups.
        """
        groups = [self.groups[name] for name in names]
        if number > len(set(groups)):
            raise DataError(
                f"data.folds: got {number}, expected at most {len(set(groups))}, as many as there "
                "are groups of cases."
            )
        splitter = StratifiedGroupKFold(number, shuffle=True, random_state=self.seed)
        kinds = self._kinds(names, number)
        return [
            [names[place] for place in test] for _, test in splitter.split(names, kinds, groups)
        ]

    def _kinds(self, names: Sequence[str], number: int) -> list[str]:
        """The kind of each case; those too rare to have a case in each part are one."""
        if self.kinds is None:
            self.kinds = self.strata() if self.strata else {}
        kinds = [self.kinds.get(name, "") for name in names]
        counts = Counter(kinds)
        kinds = [kind if counts[kind] >= number else "rare" for kind in kinds]
        counts = Counter(kinds)
        if counts["rare"] < number:
            largest = max(counts, key=lambda kind: (counts[kind], kind))
            kinds = [largest if kind == "rare" else kind for kind in kinds]
        return kinds


def _split(
    draw: _Draw,
    train: Sequence[str] | None,
    test: Sequence[str],
    validation: Sequence[str] | None = None,
) -> Split:
    """A split; all that is not tested trains, and a fifth of that validates, if not given."""
    held_out = set(test)
    learning = sorted(draw.groups.keys() - held_out if train is None else train)
    if validation is None:
        known = [name for name in dict.fromkeys(learning) if name in draw.groups]
        number = len({draw.groups[name] for name in known})
        validation = draw.folds(known, min(VALIDATION_PART, number))[0] if number > 2 else []
        learning = [name for name in learning if name not in set(validation)]
    return Split(tuple(learning), tuple(sorted(validation)), tuple(sorted(test)))


def _read(path: Path, groups: Mapping[str, str], draw: _Draw) -> tuple[Split, ...]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        contents = json.loads(text) if path.suffix == ".json" else yaml_text.load(text, path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except yaml_text.YamlError as error:
        raise DataError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON: {error}") from error
    entries = contents if isinstance(contents, list) else [contents]
    if not entries:
        raise DataError(f"{path} holds no split.")
    folds = tuple(_checked(_entry(entry, path, draw), groups, str(path)) for entry in entries)
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


def _entry(entry: Any, path: Path, draw: _Draw) -> Split:
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
        return _split(draw, entry["train"], entry["val"])
    return _split(draw, entry["train"], entry["test"], entry.get("validation"))


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
