"""The tables of the evidence study, for pages, from the files under results/evidence/."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from marked import row

EVIDENCE = Path(__file__).resolve().parents[1] / "results" / "evidence"
SETS = {
    "kvasir": "Kvasir-SEG",
    "acdc": "ACDC",
    "hippocampus": "Hippocampus",
    "stare": "STARE",
    "busi": "BUSI",
    "ph2": "PH2",
    "nuclei": "nuclei",
    "healthy": "BUSI with healthy cases",
}
ARMS = {
    "ce": "CE",
    "balanced-ce": "balanced CE",
    "dice-ce": "Dice + CE",
    "dbce": "DBCE",
    "dbce-dice": "Dice + DBCE",
    "adaptive-dbce": "Adaptive DBCE",
    "adaptive-dbce-dice": "Dice + Adaptive DBCE",
    "no-dilation": "Dice + adaptive shares, no dilation",
    "no-shares": "Dice + adaptive dilation, shares 1 / v",
    "dice": "Dice",
    "dice-focal": "Dice + focal",
    "generalised-dice": "generalised Dice",
    "unified-focal": "unified focal",
    "dice-top-k": "Dice + top-k",
    "dice-boundary": "Dice + boundary",
}
# What stands side by side, at the same size: what got better and what got worse.
SCORES = {
    "dice": "Dice",
    "nsd": "surface Dice",
    "hd95": "HD95",
    "lesion_recall": "lesion recall",
    "lesion_precision": "lesion precision",
    "ece": "calibration error",
}
CLAIMS = {
    "1": "DBCE is better than balanced CE",
    "2": "DBCE is better than CE",
    "3": "DBCE is like Dice + CE",
    "4": "Dice + Adaptive DBCE is nowhere worse than Dice + CE, and better on average",
}


def read(name: str) -> pd.DataFrame:
    """A table that `make answers` wrote."""
    return pd.read_csv(EVIDENCE / f"{name}.csv", dtype={"question": str}, keep_default_na=False,
                       na_values={c: [""] for c in NUMBERS})  # fmt: skip


NUMBERS = (
    *("difference", "error", "low", "high", "low_of_next", "high_of_next", "between"),
    *("mean", "of_reference", "patients", "sets", "together", *SCORES, "recall", "precision"),
    *("lesion_f1", "false_alarm", "rate"),
)


def points(of: pd.Series, low: str = "low", high: str = "high") -> str:
    """A difference of fractions in points, with its interval."""
    return f"{100 * of['difference']:+.1f} ({100 * of[low]:+.1f} to {100 * of[high]:+.1f})"


def in_unit(of: pd.Series) -> str:
    """A difference in the unit of the data, with its interval."""
    return f"{of['difference']:+.1f} ({of['low']:+.1f} to {of['high']:+.1f})"


def words_table(group: str = "main") -> str:
    """The claims, each with its word, what it rests on, and what got worse."""
    answers, pooled, on_sets = read("answers"), read("over_sets"), read("by_set")
    head = ["", "the word", *SCORES.values(), "false alarms, healthy", "Dice on one more set"]
    lines = [row(head), row(["---", "---", *["---:"] * (len(head) - 2)])]
    for said in answers[answers["group"] == group].itertuples():
        of = _of(pooled, group, said.question, said.arm, said.reference)
        of = of[of["over"] == said.over].set_index("score")
        alarms = _of(on_sets, group, said.question, said.arm, said.reference)
        alarms = alarms[(alarms["set"] == "healthy") & (alarms["score"] == "false_alarm")]
        claim = CLAIMS[said.question] + (f", {said.over}" if said.over != "all" else "")
        word = f"**{said.word}**" + (f"; against: {_titles(said.against)}" if said.against else "")
        lines.append(
            row(
                [
                    claim,
                    word,
                    *(points(of.loc[score]) + ("%" if score == "hd95" else "")
                      if score in of.index else "" for score in SCORES),
                    points(alarms.iloc[0]) if len(alarms) else "",
                    f"{100 * of.loc['dice', 'low_of_next']:+.1f} to "
                    f"{100 * of.loc['dice', 'high_of_next']:+.1f}",
                ]
            )
        )  # fmt: skip
    return "\n".join(lines)


def differences_table(arm: str, reference: str, group: str = "main") -> str:
    """One arm against another on each data set, and over them."""
    on_sets, pooled = read("by_set"), read("over_sets")
    lines = [row(["", *SCORES.values()]), row(["---", *["---:"] * len(SCORES)])]
    found = on_sets[(on_sets["group"] == group) & (on_sets["arm"] == arm)
                    & (on_sets["reference"] == reference)]  # fmt: skip
    for name, title in SETS.items():
        of = found[found["set"] == name].drop_duplicates("score").set_index("score")
        if of.empty or name == "healthy":
            continue
        show = {score: in_unit if score == "hd95" else points for score in SCORES}
        lines.append(row([title, *(show[s](of.loc[s]) if s in of.index else "" for s in SCORES)]))
    over = pooled[(pooled["group"] == group) & (pooled["arm"] == arm)
                  & (pooled["reference"] == reference) & (pooled["over"] == "all")]  # fmt: skip
    of = over.drop_duplicates("score").set_index("score")
    cells = [points(of.loc[s]) + ("%" if s == "hd95" else "") if s in of.index else ""
             for s in SCORES]  # fmt: skip
    lines.append(row(["**over the sets**", *cells]))
    return "\n".join(lines)


def scores_table(score: str, group: str = "main", arms: Iterable[str] | None = None) -> str:
    """The mean of a score of every arm on every data set."""
    table = read("scores")
    table = table[table["group"] == group].set_index(["set", "arm"])
    names = [name for name in SETS if name in table.index.get_level_values("set")]
    there = table.index.get_level_values("arm")
    kept = [arm for arm in (arms or ARMS) if arm in there]
    factor = 1 if score == "hd95" else 100
    lines = [row(["", *(SETS[n] for n in names)]), row(["---", *["---:"] * len(names)])]
    for arm in kept:
        values = [table[score].get((name, arm)) for name in names]
        lines.append(row([ARMS[arm], *("" if pd.isna(v) else f"{factor * v:.1f}" for v in values)]))
    return "\n".join(lines)


def choices_table() -> str:
    """The radius and the learning rate that each arm took on each data set."""
    table = read("choices")
    names = [name for name in SETS if name in set(table["set"])]
    lines = [row(["", *(SETS[n] for n in names)]), row(["---", *["---:"] * len(names)])]
    taken = table.set_index(["arm", "set"])
    for arm in [arm for arm in ARMS if arm in set(table["arm"])]:
        cells = []
        for name in names:
            one = taken.loc[(arm, name)] if (arm, name) in taken.index else None
            radius = "" if one is None or "radius=" not in one["loss"] else (
                f"R = {one['loss'].split('radius=')[1].split(':')[0]}, "
            )  # fmt: skip
            cells.append("" if one is None else f"{radius}{one['rate']:g}")
        lines.append(row([ARMS[arm], *cells]))
    return "\n".join(lines)


def _of(table: pd.DataFrame, group: str, question: str, arm: str, reference: str) -> pd.DataFrame:
    return table[
        (table["group"] == group)
        & (table["question"] == question)
        & (table["arm"] == arm)
        & (table["reference"] == reference)
    ]


def _titles(names: str) -> str:
    return ", ".join(SETS[name] for name in names.split())
