"""Which column of a table is what: the names that people and their tools use."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
SCORE_OF = {name: score for score, names in NAMES.items() for name in names}


@dataclass(frozen=True)
class Layout:
    """What the columns of a table are."""

    keys: Mapping[str, str]  # method, case, class, ... -> column
    scores: Mapping[tuple[str | None, str], str]  # class (None: a column says it), score -> column
    methods: Sequence[str] = ()  # columns that are a method each, all with one score
    unread: Sequence[str] = ()


def plain(name: str) -> str:
    """A name as it is compared: in small letters, with _ between its parts.

    Examples:
        >>> plain("Hausdorff Distance 95 (mm)")
        'hausdorff_distance_95_mm'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def lay_out(
    columns: Sequence[str], told: Mapping[str, str], metrics: Sequence[str] | None = None
) -> Layout:
    """What the columns of a table are, by their names.

    Args:
        columns: of the table.
        told: columns that the user names, by what they are: {"dice": "DSC mean"}.
        metrics: the scores that are wanted; one alone says what columns of methods hold.

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
    scores: dict[tuple[str | None, str], str] = {
        (None, name): column for name, column in told.items() if name not in KEYS
    }
    unread = []
    for column in rest:
        found = _score_of(column)
        if found is None:
            unread.append(column)
        elif found in scores:
            if found[1] not in told:
                of = f" of {found[0]}" if found[0] else ""
                raise DataError(
                    f"both {scores[found]!r} and {column!r} may be the {found[1]}{of}: say which, "
                    f"--column {found[1]}={scores[found]}"
                )
            unread.append(column)
        else:
            scores[found] = column
    whole = [score for name, score in scores if name is None]
    of_classes = sorted({name for name, _ in scores if name is not None})
    if whole and of_classes and "class" not in keys:
        raise DataError(
            f"{some(whole)} is there as a score of all, and of the classes {some(of_classes)} in "
            "columns of their own: remove one of the two"
        )
    if of_classes and "class" in keys:  # a long table, whose other columns are none of ours
        unread += [column for (name, _), column in scores.items() if name is not None]
        scores = {key: column for key, column in scores.items() if key[0] is None}
    if scores:
        return Layout(keys, scores, (), unread)
    if metrics is not None and len(metrics) == 1 and "method" not in keys and unread:
        return Layout(keys, {}, unread)
    raise DataError(
        f"no column holds a score; there are {some(columns, 30)}. Name it, --column dice=NAME, or, "
        "if each method has a column, say what they hold: --metric dice"
    )


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
    if "case" not in keys:
        raise DataError(
            f"no column names the case; there are {some(columns, 30)}. Name it: --column case=NAME"
        )
    return keys


def _score_of(column: str) -> tuple[str | None, str] | None:
    """The class, if it is a part of the column's name, and the score; None for anything else."""
    name = plain(column)
    if name in SCORE_OF:
        return None, SCORE_OF[name]
    before, dash, after = column.rpartition("-")
    if dash:  # panoptica's: group-score
        return (before, SCORE_OF[plain(after)]) if before and plain(after) in SCORE_OF else None
    for known in sorted((*SCORE_OF, *OTHERS), key=len, reverse=True):
        if re.fullmatch(f".+_{known}", name):
            if known in OTHERS:
                return None
            found = re.fullmatch(
                r"(.+?)[\W_]+" + known.replace("_", r"[\W_]+"), column.strip(), re.I
            )
            return (found[1], SCORE_OF[known]) if found else None
    for known in sorted(SCORE_OF, key=len, reverse=True):
        found = re.fullmatch(known.replace("_", r"[\W_]+") + r"[\W_]+(.+)", column.strip(), re.I)
        if found:
            return found[1], SCORE_OF[known]
    return None
