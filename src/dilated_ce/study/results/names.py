"""What single names of columns, rows and classes mean: the words that people and tools use."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace

# In the order of how sure a name is: the first of them that is there is taken.
KEYS: dict[str, tuple[str, ...]] = {
    "method": (
        *("method", "loss", "model", "algorithm", "approach", "trainer", "network"),
        *("experiment", "strategy"),
    ),
    "case": (
        *("case", "case_id", "caseid", "case_name", "id", "subject_name", "subject", "subject_id"),
        *("image", "image_id", "name", "filename", "file_name", "file", "patient", "patient_id"),
        *("image_path", "file_path", "filepath", "path"),
    ),
    "class": ("class", "class_name", "label", "structure", "organ", "region", "roi", "target"),
    "group": ("group", "patient", "patient_id", "subject", "subject_id"),
    "seed": ("seed", "repeat", "repetition"),
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
# Scores of another kind whose names hold one of ours: they are not read as it. Of these the words
# stand before the name, alone or first, or behind it.
OTHERS_BEFORE = {
    *("lesion_wise", "lesionwise", "legacy", "delta", "diff", "difference", "rank", "relative"),
    *("inter_rater", "interrater", "inter_observer", "interobserver", "soft", "cl", "log"),
    *("generalized", "generalised", "weighted", "p"),
}
FIRST_OF_OTHERS = {"lesionwise", "legacy", "delta", "diff", "difference", "rank", "interrater"}
OTHERS_BEHIND = {
    *("loss", "losses", "error", "err", "diff", "difference", "delta", "gain", "improvement"),
    *("change", "rank", "ranking", "p", "pvalue", "pval", "se", "stderr", "n", "lower", "upper"),
    *("threshold", "thr", "better", "worse"),
}
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
    *("mittel", "mittelwert", "mw", "durchschnitt", "standardabweichung", "std_abweichung"),
    *("stabw", "gesamt", "summe", "summary", "moyenne", "ecart_type", "media", "promedio"),
    *("desviacion_estandar", "desvio_padrao", "1st_qu", "3rd_qu", "quartile", "quantile"),
}
COUNTED = {"n", "cases", "patients", "subjects", "images", "volumes", "fold"}  # with a number
BESIDE_STATISTICS = {
    *("of", "over", "the", "and", "by", "case", "patient", "value", "values", "score", "scores"),
    *("dice", "dsc", "fg", "foreground", "set", "train", "val", "validation", "test", "class"),
    *("classes", "dev", "deviation", "error", "lower", "upper"),
}
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}  # of the data
PARTS_BY = {"split", "phase", "subset", "partition", "part", "set"}  # columns that name them
BACKGROUND = {"background", "bg"}
# Of several names of the case, those that tell cases apart more finely come first.
FINEST = ("image_id", "image", "filename", "file_name", "file", "name", "image_path", "file_path")
SURE = {"case", "case_id", "caseid", "case_name"}
# As pandas, mist and the BraTS evaluation have them: 25%, 95th percentile, 25quantile.
PERCENTILE = r"\s*\d+(\.\d+)?\s*(%|(th|st|nd|rd)?\s*(percentile|quantile|quartile))\s*"
NUMBER = r"\d+(?:\.\d+)?"
UNIT = "(mm|cm|px|pixels?|voxels?|vox|%|percent|fractions?)"
UNITS = {"pixel": "px", "pixels": "px", "vox": "voxels", "voxel": "voxels", "percent": "%"}
SCORE_OF = {name: score for score, names in NAMES.items() for name in names}


@dataclass(frozen=True)
class Found:
    """What a column of scores holds, by its name."""

    of: str | None  # the class or method, if it is a part of the name
    score: str
    statistic: str | None = None  # the word in the name that sums up, or names a part of the data
    unit: str = ""  # of a distance, or the tolerance of a surface Dice, if the name has it: 2 mm


def plain(name: str) -> str:
    """A name as it is compared: in small letters without accents, with _ between its parts.

    Examples:
        >>> plain("Hausdorff Distance 95 (mm)"), plain("Écart-type")
        ('hausdorff_distance_95_mm', 'ecart_type')
    """
    letters = unicodedata.normalize("NFKD", re.sub("[Δδ∆]", " delta ", name).strip().lower())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return re.sub(r"[^a-z0-9]+", "_", bare).strip("_")


def is_statistic(name: str) -> bool:
    """Whether what is called so sums others up: `mean`, `95th percentile`."""
    found = re.fullmatch(PERCENTILE, name, re.I)
    return found is not None or plain(name) in STATISTICS | OVERALL


def is_row_of_statistics(name: str) -> bool:
    """Whether a row that is called so is no case but sums cases up.

    Examples:
        >>> [is_row_of_statistics(name) for name in ("Mean ± SD", "Average (n=24)", "meanDice")]
        [True, True, True]
        >>> [is_row_of_statistics(name) for name in ("max_01", "all_12", "P1 mean")]
        [False, False, False]
    """
    name = re.sub(r"\(\s*\d+\s*\)", "", name)  # Mean (24)
    whole = plain(re.sub("([a-z])([A-Z])", r"\1_\2", name))
    sums = STATISTICS | OVERALL | ROWS_OF_STATISTICS
    if is_statistic(name) or whole in sums or not whole:
        return bool(whole)
    words = [re.sub(r"^([a-z]+)\d+$", r"\1 n", word) for word in whole.split("_")]  # fold0
    words = [part for word in words for part in word.split()]
    letters = {word for word in words if not word.isdigit()}
    numbered = any(word.isdigit() for word in words)  # n = 24, 95 % CI; but max_01 is a case
    return (
        not sums.isdisjoint((words[0], words[-1]))
        and letters <= sums | BESIDE_STATISTICS | COUNTED
        and not (numbered and letters.isdisjoint(COUNTED | {"ci"}))
    )


def score_of(column: str) -> Found | None:
    """What a column holds, by its name; None for anything but a score.

    Examples:
        >>> score_of("Liver NSD (2 mm)")
        Found(of='Liver', score='nsd', statistic=None, unit='2 mm')
        >>> score_of("dice_loss"), score_of("LesionWise_Dice"), score_of("ΔDice")
        (None, None, None)
    """
    column = column.strip()
    for number in (NUMBER, ""):  # of the tolerance; in `HD 95 mm` it is none
        ending = re.search(rf"[\W_]+@?\s*({number})\s*{UNIT}\s*[)\]]?$", column, flags=re.I)
        found = None if ending is None else _of_name(column[: ending.start()])
        if ending is not None and found is not None:
            unit = UNITS.get(ending[2].lower(), ending[2].lower())
            return replace(found, unit=f"{float(ending[1]):g} {unit}" if ending[1] else unit)
    return _of_name(column)


def is_complement(column: str, columns: Sequence[str]) -> bool:
    """Whether `1-dice` is one minus Dice: no other column is called by a number, as classes are.

    Examples:
        >>> is_complement("1-dice", ["case", "1-dice"])
        True
        >>> is_complement("1-dice", ["case", "1-dice", "2-dice"])
        False
    """
    numbered = [name for name in columns if re.match(r"\s*\d+\s*[-\u2212\u2013]", name)]
    return column in numbered and numbered == [column]


def _of_name(column: str) -> Found | None:
    """What a column holds, without a unit in its name."""
    found = _matched(column)
    if found is not None and (found.of is None or not _sums_up(found.of)):
        return found
    parts = re.split(r"([\W_]+)", column)
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
    name = plain(column)
    if name in SCORE_OF:
        return Found(None, SCORE_OF[name])
    before, dash, after = column.rpartition("-")
    if dash and plain(after) in SCORE_OF:  # panoptica's: group-score
        return Found(before.strip(), SCORE_OF[plain(after)]) if before else None
    if dash:
        return None
    for known in sorted(SCORE_OF, key=len, reverse=True):
        spelled = known.replace("_", r"[\W_]+")
        if re.fullmatch(f".+_{known}", name):
            found = re.fullmatch(r"(.+?)[\W_]+" + spelled, column, re.I)
            if found is None or _is_of_another_kind(before=plain(found[1])):
                return None
            return Found(found[1].strip("()[] "), SCORE_OF[known])
    for known in sorted(SCORE_OF, key=len, reverse=True):
        spelled = known.replace("_", r"[\W_]+")
        found = re.fullmatch(spelled + r"[\W_]+(.+)", column, re.I)
        if found and not _is_of_another_kind(behind=plain(found[1])):
            return Found(found[1].strip("()[] "), SCORE_OF[known])
    return None


def _is_of_another_kind(before: str = "", behind: str = "") -> bool:
    """Whether what stands beside the name of a score makes another one of it: a loss, a rank."""
    return (
        before in OTHERS_BEFORE
        or before.split("_")[0] in FIRST_OF_OTHERS
        or before.endswith("_lesion_wise")
        or behind.split("_")[0] in OTHERS_BEHIND
    )
