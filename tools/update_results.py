"""Write the tables and figures of docs/results.md from the files under results/evidence/.

python tools/update_results.py           rewrite what lies between the markers, and the figures
python tools/update_results.py --check   fail if docs/results.md is not what the files say
"""

from pathlib import Path

import matplotlib as mpl
from answer_figures import STYLE, along_radius, differences
from answer_tables import (
    choices_table,
    differences_table,
    lasting_table,
    learning_table,
    scores_table,
    sensitivity_table,
    words_table,
)
from marked import renew, write_or_check
from nnunet_table import nnunet_table

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAIRS = {
    "claim-1": ("dbce", "balanced-ce"),
    "claim-2": ("dbce", "ce"),
    "claim-3": ("dbce", "dice-ce"),
    "with-dice": ("dbce-dice", "dice-ce"),
    "claim-4": ("adaptive-dbce-dice", "dice-ce"),
    "claim-5": ("adaptive-dbce", "dice-ce"),
    "chosen": ("adaptive-dbce", "dbce"),
    "chosen-with-dice": ("adaptive-dbce-dice", "dbce-dice"),
}
HALVES = ("no-dilation", "no-shares")
LASTING = ("claim-1", "claim-2", "claim-3", "claim-4", "claim-5", "with-dice")
SCORES = {
    "dice": "dice",
    "hd95": "hd95",
    "precision": "precision",
    "recall": "recall",
    "ece": "ece",
    "false-alarms": "false_alarm",
    "empty": "empty",
}


def parts() -> dict[str, str]:
    """The tables by the name of their marker."""
    return {
        "words": words_table(),
        **{marker: differences_table(*pair) for marker, pair in PAIRS.items()},
        **{marker: scores_table(score) for marker, score in SCORES.items()},
        **{arm: differences_table(arm, "adaptive-dbce-dice", "ablations") for arm in HALVES},
        "lasting": lasting_table(PAIRS[of] for of in LASTING),
        "lasting-lesions": lasting_table((PAIRS[of] for of in LASTING), "lesion_precision"),
        "lasting-hd95": lasting_table((PAIRS[of] for of in LASTING), "hd95"),
        "long-words": words_table("long"),
        **{f"long-{score}": scores_table(score, "long") for score in ("dice", "hd95")},
        "long-learning": learning_table("curves_long.csv"),
        "nnunet": nnunet_table(),
        "sensitivity": sensitivity_table(),
        "learning": learning_table(),
        "choices": choices_table(),
    }


@mpl.rc_context(STYLE)  # whose salt names the parts of a file alike every time
def _draw() -> None:
    for name, figure in {"differences": differences(), "along_radius": along_radius()}.items():
        figure.savefig(DOCS / "figures" / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    page = DOCS / "results.md"
    write_or_check(page, renew(page, parts()), _draw)
