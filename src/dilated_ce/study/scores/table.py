"""The table of scores, `cases.csv`, and that of lesions: their columns, and how they are read."""

import math
from pathlib import Path

import pandas as pd

SCORES = (
    "dice",
    "recall",
    "precision",
    "nsd",
    "hd95",
    "assd",
    "lesion_f1",
    "lesion_recall",
    "lesion_precision",
    "false_alarm",
    "false_volume",
    "ece",
)
LOWER_IS_BETTER = {"hd95", "assd", "false_alarm", "false_volume", "ece"}
IN_UNITS = {"hd95", "assd", "false_volume"}  # of the data's spacing; the others are fractions
COUNTS = ("true_voxels", "predicted_voxels")
CASE_COLUMNS = [
    *("loss", "radius", "volumes", "seed", "fold", "case", "group", "class"),
    *SCORES,
    *COUNTS,
]
LESION_COLUMNS = ["loss", "seed", "fold", "case", "class", "lesion", "volume", "covered", "found"]


def read_cases(path: Path, word: str = "loss") -> pd.DataFrame:
    """Read a `cases.csv`; a case may be called "null" or "NA", and a score may not be there yet.

    Args:
        path: the file.
        word: the column of what is compared: loss, or method.
    """
    missing = {column: [""] for column in (*SCORES, "radius", "volumes")}
    text = dict.fromkeys((word, "case", "group", "class"), str)
    table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=missing)
    return table.assign(**{score: math.nan for score in SCORES if score not in table})


def read_lesions(path: Path) -> pd.DataFrame:
    """Read a `lesions.csv`; see `read_cases`."""
    text = dict.fromkeys(("loss", "case", "class"), str)
    return pd.read_csv(path, dtype=text, keep_default_na=False)
