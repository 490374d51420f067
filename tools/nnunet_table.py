"""The table of nnU-Net's study, for pages, from what `dilated-ce compare` wrote of it."""

import json
from pathlib import Path

from answer_tables import ARMS, SCORES, as_table

FOLDER = Path(__file__).resolve().parents[1] / "results" / "nnunet-hippocampus"
UNIT = {"hd95": (1, " mm")}  # of the others: points


def nnunet_table(folder: Path = FOLDER) -> str:
    """The scores of every trainer as columns, and how much each differs from the reference.

    Behind the interval stands 1.96 standard errors of the patients that were judged.
    """
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    reference, losses = summary["reference"], summary["losses"]
    verdicts = [of for verdict in summary["verdicts"] for of in verdict["comparisons"]]
    differences = {
        (of["loss"], of["metric"]): of
        for of in (*verdicts, *summary["exploration"])
        if of["class_name"] is None
    }
    others = [loss for loss in losses if loss != reference]
    titles = ["", *map(_name, [reference, *others])]
    titles += [f"{_name(loss)} minus {_name(reference)}" for loss in others]
    rows = []
    for score, title in SCORES.items():
        means = [losses[loss][score]["mean"] for loss in (reference, *others)]
        if None in means:  # nnU-Net's predictions hold no probabilities
            continue
        factor, unit = UNIT.get(score, (100, ""))
        cells = [f"{factor * mean:.1f}{unit}" for mean in means]
        for loss in others:
            low, middle, high, error = (
                factor * differences[loss, score][key]
                for key in ("low", "difference", "high", "error")
            )
            cells.append(f"{middle:+.1f} ({low:+.1f} to {high:+.1f}), ± {1.96 * error:.1f}")
        rows.append([title.replace(", %", ""), *cells])
    return as_table(titles, rows)


def _name(loss: str) -> str:
    arm, _, radius = loss.partition(":radius=")
    return ARMS[arm] + (f" (R = {radius})" if radius else "")
