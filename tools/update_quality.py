"""Write the tables of docs/quality.md from the files under results/quality/.

python tools/update_quality.py           rewrite what lies between the markers
python tools/update_quality.py --check   fail if docs/quality.md is not what the files say
"""

from pathlib import Path

import pandas as pd
from marked import renew, row, write_or_check

ROOT = Path(__file__).resolve().parents[1]
QUALITY = ROOT / "results" / "quality"


def table(name: str) -> pd.DataFrame:
    """One of the files; empty cells are empty strings."""
    return pd.read_csv(QUALITY / f"{name}.csv", keep_default_na=False)


def fuzz_table() -> str:
    """Random calls by function and outcome, and what was wrong with those that were refused."""
    calls = table("fuzz")
    about = calls.iloc[0]
    counts = calls.pivot_table(
        index="function", columns="outcome", values="draws", aggfunc="sum", fill_value=0
    )
    lines = [row(["function", *counts.columns]), row(["---", *["---:"] * counts.shape[1]])]
    lines += [
        row([f"`{name}`", *(f"{count:,}" for count in counts.loc[name])]) for name in counts.index
    ]
    wrong = calls[calls["argument"] != ""].groupby("argument")["draws"].sum()
    named = ", ".join(
        f"`{name}` {count:,}" for name, count in wrong.sort_values(ascending=False).items()
    )
    return "\n".join(
        [
            f"{calls['draws'].sum():,} calls (seed {about['seed']}, {about['seconds']} s, Python "
            f"{about['python']}, torch {about['torch']}, scipy {about['scipy']}), none of which "
            "did anything else:",
            "",
            *lines,
            "",
            f"What was wrong with the calls that had to be refused: {named}.",
        ]
    )


def memory_table() -> str:
    """Memory along the steps of training."""
    steps = table("memory")
    shown = [step for step in (50, 500, 1000, 1500, 2000) if step in set(steps["step"])]
    lines = [
        row(["after steps", *(f"{step:,}" for step in shown)]),
        row(["---", *["---:"] * len(shown)]),
    ]
    names = {"resident_mib": "memory (MiB)", "tensors": "tensors", "cached_balls": "balls kept"}
    for loss, of_loss in steps.groupby("loss", sort=False):
        at = of_loss.set_index("step")
        for column, name in names.items():
            if loss == "DBCE" or column == "resident_mib":
                lines.append(row([f"{loss}: {name}", *(f"{at.loc[s, column]:g}" for s in shown)]))
    return "\n".join(lines)


def mutation_table() -> str:
    """Mutants by module."""
    counts = table("mutation")
    columns = ["mutants", "tried", "killed", "survived", "explained"]
    lines = [row(["module", *columns]), row(["---", *["---:"] * len(columns)])]
    for one in counts.to_dict("records"):
        lines.append(row([f"`{one['module']}`", *(str(one[name]) for name in columns)]))
    lines.append(row(["all", *(f"{counts[name].sum():,}" for name in columns)]))
    return "\n".join(lines)


def survivors_table() -> str:
    """Why mutants survive: how many for each reason, and one of them."""
    survivors = table("survivors")
    lines = [row(["reason", "mutants", "for example"]), row(["---", "---:", "---"])]
    reasons = survivors.assign(why=survivors["why"].replace("", "not looked into yet"))
    for why, alike in sorted(reasons.groupby("why"), key=lambda item: -len(item[1])):
        # One that can be read, of few words.
        first = alike.loc[(alike["before"].str.len() - 20).abs().sort_values().index[0]]
        example = f"`{first['module']}`: {_code(first['before'])} → {_code(first['after'])}"
        lines.append(row([str(why), str(len(alike)), example]))
    return "\n".join(lines)


def newcomer_table() -> str:
    """A first change, step by step: how long each took, and how much of that was waiting."""
    steps = table("newcomer")
    lines = [row(["step", "seconds", "of which waiting"]), row(["---", "---:", "---:"])]
    for one in steps.to_dict("records"):
        lines.append(row([one["step"], f"{one['seconds']:.0f}", f"{one['waiting']:.0f}"]))
    total = steps[["seconds", "waiting"]].sum() / 60
    lines.append(row(["all, in minutes", *(f"{value:.1f}" for value in total)]))
    return "\n".join(lines)


def _code(text: str) -> str:
    """Code for a cell of a table, which a bar would end."""
    return f"<code>{text.replace('<', '&lt;').replace('|', '&#124;')}</code>"


if __name__ == "__main__":
    page = ROOT / "docs" / "quality.md"
    parts = {
        "fuzz": fuzz_table(),
        "memory": memory_table(),
        "mutation": mutation_table(),
        "survivors": survivors_table(),
        "newcomer": newcomer_table(),
    }
    write_or_check(page, renew(page, parts))
