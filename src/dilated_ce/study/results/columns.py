"""Which column of a table is what: the names that people and their tools use."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.results.names import (
    FINEST,
    KEYS,
    MEANS,
    OVERALL,
    STATISTICS,
    SURE,
    Found,
    is_complement,
    plain,
    score_of,
)
from dilated_ce.study.scores.table import SCORES
from dilated_ce.study.wording import some

ColumnsOf = Literal["classes", "methods"]
CALLED = {"class": "classes", "method": "methods"}


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are."""

    keys: Mapping[str, str]  # method, case, class, ... -> column
    scores: Mapping[tuple[str | None, str], str]  # class (None: a column says it), score -> column
    methods: Sequence[str] = ()  # columns that are a method each, all with one score
    unread: Sequence[str] = ()
    notes: Sequence[str] = ()  # what was taken for what
    named_after: Literal["class", "method"] = "class"  # what the columns of scores are called by
    units: Mapping[str, str] = field(default_factory=dict)  # of scores, where a name has one
    size: str | None = None  # column with the size of the truth, in voxels


def lay_out(
    columns: Sequence[str],
    told: Mapping[str, str],
    metrics: Sequence[str] | None = None,
    columns_of: ColumnsOf | None = None,
    has_method: bool = False,
) -> Layout:
    """What the columns of a table are, by their names.

    Args:
        columns: of the table.
        told: columns that the user names, by what they are: {"dice": "DSC mean"}.
        metrics: the scores that are wanted; one alone says what columns of methods hold.
        columns_of: what columns such as `a_dice` are called by; classes, if nobody says.
        has_method: whether it is known already what the scores are of.

    Raises:
        DataError: no case, no score, or a column that may mean two things.

    Examples:
        >>> mist = lay_out(["id", "liver_dice", "tumor_dice", "liver_haus95", "tumor_haus95"], {})
        >>> mist.keys["case"], mist.scores["tumor", "hd95"]
        ('id', 'tumor_haus95')
    """
    known = {*KEYS, *SCORES, "iou"}
    wrong = [f"{name}={column}" for name, column in told.items() if column not in columns]
    if wrong:
        raise DataError(f"--column {some(wrong)}: no such column; there are {some(columns, 30)}")
    unknown = [name for name in told if name not in known]
    if unknown:
        raise DataError(f"--column {some(unknown)}: expected one of {', '.join(sorted(known))}")
    keys = _keys(columns, told)
    size = next((c for c in columns if plain(c) == "true_voxels"), None)
    used = (*keys.values(), *told.values(), size)
    rest = [c for c in columns if c not in used and c.strip()]
    scores, unread, notes = _scores(rest, told)
    named_after: Literal["class", "method"] = "method" if columns_of == "methods" else "class"
    whole = [score for name, score in scores if name is None]
    parts = sorted({name for name, _ in scores if name is not None})
    if named_after == "method" and parts and "method" in keys:
        raise DataError(
            f"--columns-of methods is given, and {keys['method']!r} names the method, too: remove "
            "one of the two"
        )
    if whole and parts and named_after not in keys:
        raise DataError(
            f"{some(whole)} is there as a score of all, and of the {CALLED[named_after]} "
            f"{some(parts)} in columns of their own ({_named_by(scores)}): remove one of the two"
        )
    if parts and named_after in keys:  # a long table, whose other columns are none of ours
        unread += [column for (name, _), column in scores.items() if name is not None]
        scores = {key: column for key, column in scores.items() if key[0] is None}
    elif parts:
        notes.append(f"{CALLED[named_after]} by the names of columns: {_named_by(scores)}")
    if scores:
        units = _units(scores)
        return Layout(keys, scores, (), unread, notes, named_after, units, size)
    plain_names = [column for column in unread if plain(column) not in STATISTICS | OVERALL]
    if metrics is not None and len(metrics) == 1 and plain_names:
        left = [column for column in unread if column not in plain_names]
        if columns_of is None and not (has_method or "method" in keys):
            raise DataError(
                f"each of {some(plain_names, 8)} holds {metrics[0]}: are these methods or classes? "
                "Say --columns-of methods, or --columns-of classes"
            )
        if columns_of == "methods":
            return Layout(keys, {}, plain_names, left, notes)
        if "class" not in keys:
            notes.append(f"classes by the names of columns, with {metrics[0]}: {some(plain_names)}")
            of_classes: dict[tuple[str | None, str], str] = {
                (name, metrics[0]): name for name in plain_names
            }
            return Layout(keys, of_classes, (), left, notes)
    said = "".join(f"; {note}" for note in notes)
    if {"metric", "value"} <= {plain(column) for column in columns}:
        raise DataError(
            f"a column of names of scores and one of values; there are {some(columns, 30)}. Give "
            "each score a column of its own, as pandas' pivot does"
        )
    raise DataError(
        f"no column holds a score; there are {some(columns, 30)}{said}. Name it, --column "
        "dice=NAME, or, if each method has a column, say what they hold, --metric dice "
        "--columns-of methods"
    )


def _units(scores: Mapping[tuple[str | None, str], str]) -> dict[str, str]:
    """The units of distances and the tolerances of surface Dice that names of columns have.

    Raises:
        DataError: two for one score.
    """
    units: dict[str, str] = {}
    for (_, score), column in scores.items():
        found = score_of(column)
        unit = found.unit if found else ""
        if not unit:
            continue
        if units.setdefault(score, unit) != unit:
            raise DataError(
                f"{score}: columns in {units[score]} and in {unit} ({column!r}): give all in one"
            )
    return units


def _scores(
    columns: Sequence[str], told: Mapping[str, str]
) -> tuple[dict[tuple[str | None, str], str], list[str], list[str]]:
    """Columns by what they are called after and the score; those that are not read; notes."""
    scores: dict[tuple[str | None, str], str] = {
        (None, name): column for name, column in told.items() if name not in KEYS
    }
    unread: list[str] = []
    sums: dict[str, Found] = {}
    for column in columns:
        found = score_of(column)
        if found is None or (found.of == "1" and is_complement(column, columns)):
            unread.append(column)
        elif found.statistic is not None:
            sums[column] = found
        elif (found.of, found.score) in scores:
            if found.score not in told:
                of_part = f" of {found.of}" if found.of else ""
                first = scores[found.of, found.score]
                raise DataError(
                    f"both {first!r} and {column!r} may be the {found.score}{of_part}: say which, "
                    f"--column {found.score}={first}"
                )
            unread.append(column)
        else:
            scores[found.of, found.score] = column
    # A mean is a score where there is no other: dice_mean beside dice_std.
    there = {score for _, score in scores}
    means: dict[tuple[str | None, str], list[str]] = {}
    for column, found in sums.items():
        if found.statistic in (MEANS | OVERALL) and found.score not in there:
            means.setdefault((found.of, found.score), []).append(column)
    notes = []
    for (of, score), names in means.items():
        if len(names) > 1:
            raise DataError(
                f"{some([repr(name) for name in names])} may each be the {score}: say which, "
                f"--column {score}={names[0]}"
            )
        scores[of, score] = names[0]
        notes.append(f"{names[0]} is taken as the {score}{f' of {of}' if of else ''}")
    left = [column for column in sums if column not in scores.values()]
    if left:
        notes.append(
            f"{some(left, 8)}: no class but a statistic, a part of the data or background; left out"
        )
    return scores, unread, notes


def _named_by(scores: Mapping[tuple[str | None, str], str]) -> str:
    """Classes or methods with the columns that they are from."""
    by_name: dict[str, list[str]] = {}
    for (name, _), column in scores.items():
        if name is not None:
            by_name.setdefault(name, []).append(column)
    return some([f"{name} ({some(columns, 2)})" for name, columns in by_name.items()], 12)


def _keys(columns: Sequence[str], told: Mapping[str, str]) -> dict[str, str]:
    keys = {name: told[name] for name in KEYS if name in told}
    by_name: dict[str, list[str]] = {}
    for column in columns:
        by_name.setdefault(plain(column), []).append(column)
    for key, names in KEYS.items():
        if key in keys:
            continue
        taken = set(keys.values())
        found = [c for name in names for c in by_name.get(name, []) if c not in taken]
        if key == "method" and len(found) > 1 and plain(found[0]) != "method":
            raise DataError(
                f"{' and '.join(repr(name) for name in found)} may each name the method: say "
                f"which, --column method={found[0]}"
            )
        if found:
            keys[key] = found[0]
    if "seed" not in keys and (runs := by_name.get("run", [])) and runs[0] not in keys.values():
        raise DataError(
            f"{runs[0]!r} may be a repeat of the training, or of the scan: for trainings say "
            f"--column seed={runs[0]}; for scans remove the column, and give each a name in the "
            "column of the case"
        )
    if "case" in keys and "case" not in told and plain(keys["case"]) not in SURE:
        used = {*keys.values(), *told.values()} - {keys["case"]}
        several = [c for name in KEYS["case"] for c in by_name.get(name, []) if c not in used]
        if len(several) > 1:
            best = min(several, key=lambda c: (plain(c) not in FINEST, several.index(c)))
            raise DataError(
                f"{' and '.join(repr(name) for name in several)} may each name the case: say "
                f"which, --column case={best}"
            )
    if "case" not in keys:
        named = [name for name in columns if name]
        unnamed = ", or give the column without a name one: case" if "" in columns else ""
        raise DataError(
            f"no column names the case; there are {some(named, 30)}. Name it: --column case=NAME"
            f"{unnamed}"
        )
    return keys
