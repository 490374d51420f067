"""The table of nnU-Net's study, from a small summary."""

import json

from nnunet_table import nnunet_table

LOSSES = ("dice-ce", "dbce-dice:radius=4")


def summary(hd95):
    """Of two losses that differ in Dice by 2 points, in HD95 by 1 mm, and have no probabilities."""
    means = {
        "dice": (0.85, 0.87), "nsd": (0.9, 0.9), "hd95": hd95, "recall": (0.8, 0.8),
        "precision": (0.8, 0.8), "lesion_recall": (1, 1), "lesion_precision": (0.5, 0.5),
        "lesion_f1": (0.7, 0.7),
        "ece": (None, None),
    }  # fmt: skip
    pairs = [
        {"metric": metric, "class_name": None, "loss": LOSSES[1], "low": other - one - 0.01,
         "difference": other - one, "error": 0.005, "high": other - one + 0.01}
        for metric, (one, other) in means.items() if one is not None
    ]  # fmt: skip
    of_a_class = {**pairs[0], "class_name": "rim", "difference": 9.0}
    return {
        "reference": LOSSES[0],
        "losses": {
            loss: {metric: {"mean": values[index]} for metric, values in means.items()}
            for index, loss in enumerate(LOSSES)
        },
        "verdicts": [{"comparisons": pairs[:3]}],
        "exploration": [of_a_class, *pairs[3:]],
    }


def test_means_and_differences_stand_side_by_side(tmp_path):
    content = summary(hd95=(2.0, 3.0))
    (tmp_path / "summary.json").write_text(json.dumps(content), encoding="utf-8")
    title, _, *rows = nnunet_table(tmp_path).splitlines()
    assert title == "|  | Dice + CE | Dice + DBCE (R = 4) | Dice + DBCE (R = 4) minus Dice + CE |"
    assert rows[0] == "| Dice | 85.0 | 87.0 | +2.0 (+1.0 to +3.0), ± 1.0 |"
    assert rows[2] == "| HD95 (less is better) | 2.0 mm | 3.0 mm | +1.0 (+1.0 to +1.0), ± 0.0 |"
    assert [row.split(" | ")[0] for row in rows] == [
        *("| Dice", "| surface Dice", "| HD95 (less is better)", "| recall", "| precision"),
        *("| lesion recall", "| lesion precision", "| lesion F1"),
    ]
