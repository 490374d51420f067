"""Which column of a table is what: the names that people and their tools use."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.scores.table import SCORES
from dilated_ce.study.wording import some

# In the order of how sure a name is: the first of them that is there is taken.
KEYS: dict[str, tuple[str, ...]] = {
    "method": (
        *("method", "loss", "model", "algorithm", "approach", "trainer", "network"),
        *("experiment", "strategy"),
    ),
    "case": (
        *("case", "case_id", "caseid", "case_name", "id", "subject_name", "subject", "subject_id"),
        *("image", "image_id", "name", "filename", "file_name", "file", "patient", "patient_id"),
    ),
    "class": ("class", "class_name", "label", "structure", "organ", "region", "roi", "target"),
    "group": ("group", "patient", "patient_id", "subject", "subject_id"),
    "seed": ("seed", "repeat", "repetition", "run"),
    "fold": ("fold", "cv_fold"),
    "dataset": ("dataset", "data_set", "dataset_name", "task"),
}
NAMES: dict[str, tuple[str, ...]] = {
    "dice": (
        *("dice", "dsc", "dice_score", "dice_coefficient", "dice_similarity_coefficient"),
        "global_bin_dsc",  # panoptica's, of the whole mask
    ),
    "iou": ("iou", "jaccard", "jaccard_index", "intersection_over_union", "global_bin_iou"),
    "nsd": (
        *("nsd", "surface_dice", "normalized_surface_dice", "normalised_surface_dice"),
        *("normalized_surface_distance", "normalised_surface_distance", "global_bin_nsd"),
    ),
    "hd95": (
        *("hd95", "hd_95", "95hd", "haus95", "hausdorff95", "hausdorff_95", "hd95_mm"),
        *("hausdorff_distance_95", "95_hausdorff_distance", "global_bin_hd95"),
    ),
    "assd": (
        *("assd", "assd_mm", "average_symmetric_surface_distance"),
        *("avg_symmetric_surface_distance", "global_bin_assd"),
    ),
    "recall": ("recall", "sensitivity", "tpr", "true_positive_rate"),
    "precision": ("precision", "ppv", "positive_predictive_value"),
    # Of whole lesions or instances: rq is the F1 of panoptic quality, det_* are segauge's.
    "lesion_f1": ("lesion_f1", "rq", "det_f1"),
    "lesion_recall": ("lesion_recall", "det_recall"),
    "lesion_precision": ("lesion_precision", "det_precision"),
    "false_alarm": ("false_alarm",),
    "false_volume": ("false_volume",),
    "ece": ("ece",),
}
# Scores of another kind that end like one of ours: they are not read as it.
OTHERS = ("lesion_wise_dice", "lesion_wise_surface_dice", "lesion_wise_hd95", "lesion_wise_haus95")
# Columns and rows that sum others up: they are no class, and no case.
MEANS = {"mean", "avg", "average"}
OVERALL = {"overall", "all", "total", "macro", "micro"}
STATISTICS = {
    *MEANS,
    *("std", "sd", "stdev", "std_dev", "stddev", "standard_deviation", "sem", "var", "variance"),
    *("median", "min", "minimum", "max", "maximum", "iqr", "q1", "q2", "q3", "count"),
    *("ci", "ci95", "ci_low", "ci_high", "ci_lower", "ci_upper", "percentile", "quantile"),
}
# What such rows are called beside that, and words that may stand with them: Mean +- SD (n = 24).
ROWS_OF_STATISTICS = {
    *("mittel", "mittelwert", "durchschnitt", "standardabweichung", "stabw", "gesamt"),
    *("moyenne", "ecart_type", "media", "promedio", "desviacion_estandar", "desvio_padrao"),
}
COUNTED = {"n", "cases", "patients", "subjects", "images", "volumes"}  # a number may stand there
BESIDE_STATISTICS = {"of", "over", "the", "and", "case", "patient", "values", "scores", "dice"}
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}  # of the data
BACKGROUND = {"background", "bg"}
# Of several names of the case, those that tell cases apart more finely come first.
FINEST = ("image_id", "image", "filename", "file_name", "file", "name")
SURE = {"case", "case_id", "caseid", "case_name"}
PERCENTILE = r"\s*\d+(\.\d+)?\s*(%|(th|st|nd|rd)?\s*percentile)\s*"  # as pandas and mist have it
TOLERANCE = r"@?\s*[\d.]*\s*(mm|cm|px|pixels?|voxels?|vox|%|percent)"  # NSD (2 mm)
SCORE_OF = {name: score for score, names in NAMES.items() for name in names}


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


@dataclass(frozen=True)
class Found:
    """What a column of scores holds, by its name."""

    of: str | None  # the class or method, if it is a part of the name
    score: str
    statistic: str | None = None  # the word in the name that sums up, or names a part of the data


def plain(name: str) -> str:
    """A name as it is compared: in small letters without accents, with _ between its parts.

    Examples:
        >>> plain("Hausdorff Distance 95 (mm)"), plain("Écart-type")
        ('hausdorff_distance_95_mm', 'ecart_type')
    """
    letters = unicodedata.normalize("NFKD", name.strip().lower())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[^a-z0-9]+", "_", bare).strip("_")


def is_statistic(name: str) -> bool:
    """Whether what is called so sums others up: `mean`, `95th percentile`."""
    found = re.fullmatch(PERCENTILE, name, re.I)
    return found is not None or plain(name) in STATISTICS | OVERALL


def is_row_of_statistics(name: str) -> bool:
    """Whether a row that is called so is no case but sums cases up.

    Examples:
        >>> [is_row_of_statistics(name) for name in ("Mean ± SD", "Average (n=24)", "mean_all")]
        [True, True, True]
        >>> [is_row_of_statistics(name) for name in ("max_01", "case_mean", "all_12")]
        [False, False, False]
    """
    whole = plain(name)
    if is_statistic(name) or whole in ROWS_OF_STATISTICS:
        return True
    words = {word for word in whole.split("_") if not word.isdigit()}
    has_number = words != {*whole.split("_")}
    sums = STATISTICS | OVERALL | ROWS_OF_STATISTICS
    return (
        whole.split("_")[0] in sums
        and words <= sums | BESIDE_STATISTICS | COUNTED
        and not (has_number and words.isdisjoint(COUNTED))
    )


def lay_out(
    columns: Sequence[str],
    told: Mapping[str, str],
    metrics: Sequence[str] | None = None,
    columns_of: ColumnsOf | None = None,
) -> Layout:
    """What the columns of a table are, by their names.

    Args:
        columns: of the table.
        told: columns that the user names, by what they are: {"dice": "DSC mean"}.
        metrics: the scores that are wanted; one alone says what columns of methods hold.
        columns_of: what columns such as `a_dice` are called by; classes, if nobody says.

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
    rest = [c for c in columns if c not in (*keys.values(), *told.values()) and c.strip()]
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
        return Layout(keys, scores, (), unread, notes, named_after)
    of_methods = [column for column in unread if plain(column) not in STATISTICS | OVERALL]
    if metrics is not None and len(metrics) == 1 and "method" not in keys and of_methods:
        left = [column for column in unread if column not in of_methods]
        return Layout(keys, {}, of_methods, left, notes)
    said = "".join(f"; {note}" for note in notes)
    raise DataError(
        f"no column holds a score; there are {some(columns, 30)}{said}. Name it, --column "
        "dice=NAME, or, if each method has a column, say what they hold, --metric dice (for names "
        "such as a_dice and b_dice: --columns-of methods)"
    )


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
        found = _score_of(column)
        if found is None:
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
        if found:
            keys[key] = found[0]
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
        raise DataError(
            f"no column names the case; there are {some(columns, 30)}. Name it: --column case=NAME"
        )
    return keys


def _score_of(column: str) -> Found | None:
    """What a column holds, by its name; None for anything but a score."""
    found = _matched(column)
    if found is not None and (found.of is None or not _sums_up(found.of)):
        return found
    parts = re.split(r"([\W_]+)", column.strip())
    words = [part for part in parts if plain(part) in STATISTICS | PARTS | OVERALL | BACKGROUND]
    if not words:
        return found
    # What remains without the word: liver_dice of liver_dice_mean.
    kept = [part for part in parts[::2] if part and part not in words]
    rest = _matched("_".join(kept))
    return None if rest is None else Found(rest.of, rest.score, plain(words[0]))


def _sums_up(name: str) -> bool:
    """Whether what a column is called after is no class: `mean`, `liver_std`, `train`."""
    words = plain(name).split("_")
    return not {*words, plain(name)}.isdisjoint(STATISTICS | PARTS) or plain(name) in (
        OVERALL | BACKGROUND
    )


def _matched(column: str) -> Found | None:
    """The score of a name, and the rest of it."""
    column = re.sub(rf"[\W_]+{TOLERANCE}\s*[)\]]?$", "", column.strip(), flags=re.I)
    name = plain(column)
    if name in SCORE_OF:
        return Found(None, SCORE_OF[name])
    if name in OTHERS:
        return None
    before, dash, after = column.rpartition("-")
    if dash and plain(after) in SCORE_OF:  # panoptica's: group-score
        return Found(before, SCORE_OF[plain(after)]) if before else None
    if dash:
        return None
    for known in sorted((*SCORE_OF, *OTHERS), key=len, reverse=True):
        if re.fullmatch(f".+_{known}", name):
            if known in OTHERS:
                return None
            found = re.fullmatch(
                r"(.+?)[\W_]+" + known.replace("_", r"[\W_]+"), column.strip(), re.I
            )
            return Found(found[1].strip("()[] "), SCORE_OF[known]) if found else None
    for known in sorted(SCORE_OF, key=len, reverse=True):
        found = re.fullmatch(known.replace("_", r"[\W_]+") + r"[\W_]+(.+)", column.strip(), re.I)
        if found:
            return Found(found[1].strip("()[] "), SCORE_OF[known])
    return None
