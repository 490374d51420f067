"""The tables of the search: from the runs, or from the rows kept here where runs are missing."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
REFERENCE = "dice_ce"
SCORES = {  # column: title, factor, digits, whether more is better
    "dice": ("Dice, %", 100, 1, True),
    "hd95": ("HD95, voxels", 1, 1, False),
    "precision": ("Precision, %", 100, 1, True),
    "recall": ("Recall, %", 100, 1, True),
    "alarm": ("Cases without the class that raise a false alarm, %", 100, 0, False),
    "false voxels": ("False voxels in a case without the class", 1, 0, False),
}


def write(planned, stage, part):
    """Write the rows, the summary and the tables of a stage."""
    rows = collect(planned, stage, part)
    rows["patient"] = rows["case"].where(
        rows["set"] != "acdc", rows["case"].str.rsplit("_", n=1).str[0]
    )
    empty = rows["recall"].isna()  # nothing to find
    rows["alarm"] = (rows["false"] > 0).astype(float).where(empty)
    rows["false voxels"] = rows["false"].astype(float).where(empty)
    summary = pd.DataFrame(summarise(rows))
    summary.round(3).to_csv(HERE / f"{stage}_{part}_summary.csv", index=False)
    readme = HERE / "README.md"
    if readme.exists():
        name, text = f"{stage} {part}", readme.read_text()
        block = f"<!-- {name} -->\n{tables(summary)}\n<!-- end of {name} -->"
        pattern = f"<!-- {name} -->.*?<!-- end of {name} -->"
        readme.write_text(re.sub(pattern, lambda _: block, text, flags=re.DOTALL))
    else:
        readme.write_text("")


def collect(planned, stage, part):
    """All rows of a stage, those kept beside this file and those of runs since then."""
    kept = HERE / f"{stage}_{part}.csv.gz"
    paths = [HERE / "runs" / stage / f"{'-'.join(map(str, run))}.{part}.csv" for run in planned]
    tables = [pd.read_csv(path, dtype={"case": str}) for path in paths if path.exists()]
    rows = pd.concat(tables).drop(columns="patient") if tables else pd.DataFrame()
    if kept.exists():  # a run that was made anew counts, not its rows of before
        rows = pd.concat([pd.read_csv(kept, dtype={"case": str}), rows])
        rows = rows.drop_duplicates(["set", "arm", "seed", "case", "class"], keep="last")
    packing = {"method": "gzip", "mtime": 0}
    rows.to_csv(kept, index=False, float_format="%.4g", compression=packing)
    return rows


def summarise(rows):
    """One entry per set, arm and score: mean, difference to Dice + CE and its interval."""
    for (name, arm), ours in rows.groupby(["set", "arm"], sort=False):
        theirs = rows[(rows["set"] == name) & (rows["arm"] == REFERENCE)]
        seeds = set(ours["seed"]) & set(theirs["seed"])
        ours, theirs = (r[r["seed"].isin(seeds)] for r in (ours, theirs))
        for score, (_, factor, *_) in SCORES.items():
            per_case = [per_patient(r, score) for r in (ours, theirs)]
            if per_case[0][1].sum() == 0:
                continue
            difference, low, high = compare(*per_case)
            yield {
                "set": name,
                "arm": arm,
                "score": score,
                "seeds": len(seeds),
                "mean": factor * per_case[0][0].sum() / per_case[0][1].sum(),
                "difference": factor * difference,
                "low": factor * low,
                "high": factor * high,
            }


def per_patient(rows, score):
    """Sum and number of a score, by patient."""
    groups = rows.groupby("patient")[score]
    return groups.sum(), groups.count()


def compare(ours, theirs, draws=2000):
    """Difference of the means, and its 95 % interval over patients."""
    numbers = [n.to_numpy() for n in (*ours, *theirs)]
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(numbers[0]), size=(draws, len(numbers[0])))
    with np.errstate(invalid="ignore"):
        drawn = [n[chosen].sum(1) for n in numbers]
        differences = drawn[0] / drawn[1] - drawn[2] / drawn[3]
    mean = numbers[0].sum() / numbers[1].sum() - numbers[2].sum() / numbers[3].sum()
    return mean, *np.nanpercentile(differences, (2.5, 97.5))


def tables(summary):
    """Markdown: per score a table of arms by sets, with the worst difference to Dice + CE."""
    blocks = []
    for score, (title, _, digits, more) in SCORES.items():
        part = summary[summary["score"] == score]
        sets, arms = part["set"].unique(), part["arm"].unique()
        lines = [f"**{title}** (difference to Dice + CE, 95 % interval)", ""]
        lines += [f"| | {' | '.join(sets)} | worst |", "|---" * (len(sets) + 2) + "|"]
        for arm in arms:
            cells, differences = [], []
            for name in sets:
                cell = part[(part["set"] == name) & (part["arm"] == arm)]
                if cell.empty:
                    cells.append("-")
                    continue
                row = cell.iloc[0]
                text = f"{row['mean']:.{digits}f}"
                if arm != REFERENCE:
                    low, high = (f"{row[k]:.{digits}f}" for k in ("low", "high"))
                    text += f" ({row['difference']:+.{digits}f}, {low} to {high})"
                    differences.append(row["difference"])
                cells.append(text)
            worst = (min if more else max)(differences, default=0)
            cells.append(f"{worst:+.{digits}f}" if differences else "")
            lines.append(f"| {arm} | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    blocks.insert(0, seeds(summary))
    return "\n\n".join(blocks)


def seeds(summary):
    """A sentence on the number of seeds behind each arm."""
    counts = summary[summary["score"] == "dice"].groupby("arm", sort=False)["seeds"]
    spans = [f"{arm} {'-'.join(map(str, sorted({n.min(), n.max()})))}" for arm, n in counts]
    return f"Seeds per set: {', '.join(spans)}."


if __name__ == "__main__":
    raise SystemExit("Use search.py table.")
