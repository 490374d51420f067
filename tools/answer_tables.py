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
MAIN = tuple(ARMS)[: list(ARMS).index("no-dilation")]
# What stands side by side, at the same size: what got better and what got worse.
SCORES = {
    "dice": "Dice",
    "nsd": "surface Dice",
    "hd95": "HD95, % (less is better)",
    "recall": "recall",
    "precision": "precision",
    "lesion_recall": "lesion recall",
    "lesion_precision": "lesion precision",
    "lesion_f1": "lesion F1",
    "ece": "calibration error (less is better)",
}
WITHOUT = "without kvasir"  # whose test part the search for our rule has seen
CLAIMS = {
    "1": "DBCE is better than balanced CE",
    "2": "DBCE is better than CE",
    "3": "DBCE is like Dice + CE",
    "4": "Dice + Adaptive DBCE is safe beside Dice + CE, and better on average",
    "5": "Adaptive DBCE alone",
}


def read(name: str) -> pd.DataFrame:
    """A table that `make answers` wrote."""
    return pd.read_csv(EVIDENCE / f"{name}.csv", dtype={"question": str}, keep_default_na=False,
                       na_values={c: [""] for c in NUMBERS})  # fmt: skip


NUMBERS = (
    *("difference", "error", "low", "high", "low_of_next", "high_of_next", "between"),
    *("mean", "of_reference", "patients", "sets", "together", *SCORES),
    *("error_of_patients", "plain_low", "plain_high", "lesion_f1", "false_alarm", "empty", "rate"),
)


def on_sets(arm: str, reference: str, group: str = "main") -> pd.DataFrame:
    """The differences of two arms on every data set, by set and score."""
    return _of_pair(read("by_set"), arm, reference, group).set_index(["set", "score"])


def over_sets(arm: str, reference: str, group: str = "main", over: str = "all") -> pd.DataFrame:
    """The mean differences of two arms over data sets, by score."""
    table = _of_pair(read("over_sets"), arm, reference, group)
    return table[table["over"] == over].set_index("score")


def _of_pair(table: pd.DataFrame, arm: str, reference: str, group: str) -> pd.DataFrame:
    of = (table["group"] == group) & (table["arm"] == arm) & (table["reference"] == reference)
    return table[of]


def points(table: pd.DataFrame, of: object, factor: float = 100) -> str:
    """A difference with its interval: of fractions in points, of distances in their unit."""
    if of not in table.index:
        return ""
    one = factor * table.loc[of, ["difference", "low", "high"]].astype(float)
    return f"{one['difference']:+.1f} ({one['low']:+.1f} to {one['high']:+.1f})"


def as_table(columns: list[str], rows: Iterable[list[str]]) -> str:
    """A table in Markdown, whose first column is of words."""
    return "\n".join([row(columns), row(["---", *["---:"] * (len(columns) - 1)]), *map(row, rows)])


def words_table(group: str = "main", scores: Iterable[str] = SCORES) -> str:
    """The questions as columns: the word of each, what it rests on, and what got worse."""
    answers, columns = read("answers"), []
    for said in answers[answers["group"] == group].itertuples():
        means = over_sets(said.arm, said.reference, group, said.over)
        low, high = 100 * means.loc["dice", ["low_of_next", "high_of_next"]].astype(float)
        columns.append(
            [
                CLAIMS[said.question] if said.over == "all" else f"the same {_over(said.over)}",
                f"**{said.word}**",
                said.plain_word,
                _titles(said.against),
                _titles(said.below),
                *(points(means, score) for score in scores),
                points(on_sets(said.arm, said.reference, group), ("healthy", "false_alarm")),
                f"{low:+.1f} to {high:+.1f}",
            ]
        )
    titles = [
        *("", "the word", "without patients of unseen kinds", "sets against it, or in doubt"),
        *("sets where Dice is lower", *(SCORES[score] for score in scores)),
        *("false alarms in healthy cases", "Dice on one more set, expected (95 %)"),
    ]
    first, *rest = ([title, *cells] for title, *cells in zip(titles, *columns, strict=True))
    return as_table(first, [cells for cells in rest if any(cells[1:])])


def differences_table(
    arm: str, reference: str, group: str = "main", scores: Iterable[str] = SCORES
) -> str:
    """One arm against another on each data set, and over them.

    False alarms are of the set with healthy cases, which is in no mean. Not every group has it.
    """
    titles = [SCORES[score].replace("HD95, %", "HD95") for score in scores]
    found, means = on_sets(arm, reference, group), over_sets(arm, reference, group)
    level = 100 * (1 - 0.05 / means["together"].iloc[0])
    alarms = ["false_alarm"] if "healthy" in found.index else []
    rows = []
    for name, title in SETS.items():
        if name in found.index:
            cells = [points(found, (name, score), 1 if score == "hd95" else 100)
                     for score in (*scores, *alarms)]  # fmt: skip
            patients = found.loc[(name, "dice"), "patients"]
            rows.append([title, f"{patients:.0f}", *cells])
    cells = [points(means, score) + ("%" if score == "hd95" else "") for score in scores]
    number = means.loc["dice", "sets"]
    rows.append([f"**over {number:.0f} sets** ({level:.3g} %)", "", *cells, *("" for _ in alarms)])
    without = over_sets(arm, reference, group, WITHOUT)
    if len(without):
        cells = [points(without, score) + ("%" if score == "hd95" else "") for score in scores]
        rows.append([f"the same {_over(WITHOUT)}", "", *cells, *("" for _ in alarms)])
    return as_table(["", "n", *titles, *("false alarms (less is better)" for _ in alarms)], rows)


def lasting_table(pairs: Iterable[tuple[str, str]], score: str = "dice") -> str:
    """Differences after the short and after the long schedule, on the same sets and folds."""
    factor = 1 if score == "hd95" else 100
    rows, titles = [], []
    for arm, reference in pairs:
        for group in ("short", "long"):
            found, means = on_sets(arm, reference, group), over_sets(arm, reference, group)
            names = [name for name in SETS if name in found.index]
            level = 100 * (1 - 0.05 / means["together"].iloc[0])
            mean = points(means, score) + (" %" if score == "hd95" else "")
            titles = [*(SETS[name] for name in names), f"over {len(names)} sets"]
            cells = [*(points(found, (name, score), factor) for name in names),
                     f"{mean}, at {level:.3g} %"]  # fmt: skip
            rows.append([f"{ARMS[arm]} minus {ARMS[reference]}, {group}", *cells])
    return as_table(["", *titles], rows)


def scores_table(score: str, group: str = "main", arms: Iterable[str] = ARMS) -> str:
    """The mean of a score of every arm on every data set that has it."""
    table = read("scores")
    means = table[table["group"] == group].pivot_table(score, "arm", "set") * (
        1 if score == "hd95" else 100
    )
    names = [name for name in SETS if name in means]
    rows = [[ARMS[arm], *(f"{means.loc[arm, name]:.1f}" for name in names)]
            for arm in arms if arm in means.index]  # fmt: skip
    return as_table(["", *(SETS[name] for name in names)], rows)


def sensitivity_table(group: str = "main") -> str:
    """The questions as columns: the mean over data sets by other analyses, a row each."""
    table = read("sensitivity")
    table = table[(table["group"] == group) & (table["over"] == "all")]
    names = {"dice": "Dice", "hd95": "HD95, %"}
    columns = {
        (question, reference): of.set_index(["score", "analysis"])
        for (question, reference), of in table.groupby(["question", "reference"], sort=False)
    }
    rows = []
    for score, analysis in next(iter(columns.values())).index:
        word = analysis.removeprefix("without ")
        shown = f"without {SETS[word]}" if word in SETS else analysis
        cells = [points(of, (score, analysis)) for of in columns.values()]
        rows.append([f"{names[score]}: {shown}", *cells])
    several = [question for question, _ in columns]
    titles = [
        CLAIMS[question] + (f" minus {ARMS[of]}" if several.count(question) > 1 else "")
        for question, of in columns
    ]
    return as_table(["", *titles], rows)


def learning_table(file: str = "curves.csv") -> str:
    """Points of validation Dice gained over the last third of the training, by main arm.

    Of the runs that all arms have: what else is there was broken off. Arms of other groups lie in
    the same files, and may be under way.
    """
    curves = {}
    for name in SETS:
        if (path := EVIDENCE / name / file).exists() and name != "healthy":
            table = pd.read_csv(path)
            table = table[table["arm"].isin(MAIN)]
            if table.empty:
                continue
            steps = sorted(table["step"].unique())
            dice = table.pivot_table("dice", ["arm", "seed", "fold"], "step")
            arms = dice.index.unique("arm")
            whole = dice.groupby(["seed", "fold"])[steps[-1]].transform("count") == len(arms)
            gain = (dice[steps[-1]] - dice[steps[-2]])[whole]
            curves[name] = 100 * gain.groupby("arm").mean()
    seen = [arm for arm in ARMS if any(arm in gain for gain in curves.values())]
    rows = [[ARMS[arm], *(f"{gain[arm]:+.1f}" if arm in gain else "" for gain in curves.values())]
            for arm in seen]  # fmt: skip
    return as_table(["", *(SETS[name] for name in curves)], rows)


def choices_table() -> str:
    """The radius and the learning rate that each arm took on each data set."""
    taken = read("choices").set_index(["arm", "set"])
    names = [name for name in SETS if name in taken.index.get_level_values("set")]
    rows = []
    for arm in [arm for arm in ARMS if arm in taken.index]:
        cells = [_choice(taken.loc[(arm, name)]) if (arm, name) in taken.index else ""
                 for name in names]  # fmt: skip
        rows.append([ARMS[arm], *cells])
    return as_table(["", *(SETS[name] for name in names)], rows)


def _over(which: str) -> str:
    """Over which sets, such as "without kvasir", in the names of the pages."""
    return f"without {SETS[which.removeprefix('without ')]}"


def _titles(names: str) -> str:
    named = names.split()
    others = [name for name in SETS if name not in (*named, "healthy")]
    if len(others) < len(named):
        return "all but " + ", ".join(SETS[name] for name in others) if others else "all"
    return ", ".join(SETS[name] for name in named) or "none"


def _choice(taken: pd.Series) -> str:
    _, _, radius = taken["loss"].partition("radius=")
    return (f"R = {radius}, " if radius else "") + f"{taken['rate']:g}"
