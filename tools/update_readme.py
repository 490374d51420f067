"""Write the measured tables into README, from the files under results/.

python tools/update_readme.py           rewrite what lies between the markers
python tools/update_readme.py --check   fail if README is not what the files say
"""

import json
import re
import sys
from pathlib import Path

import pandas as pd

from dilated_ce.study.summary import METRICS, compare, read_cases, summarise

ROOT = Path(__file__).resolve().parents[1]


def demo_table() -> str:
    """What the demo measured: how, the scores, and the differences in words."""
    folder = ROOT / "results" / "demo"
    cases = read_cases(folder / "cases.csv")
    study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    if study["data"]["name"] != "STARE":
        raise SystemExit(f"{folder} holds {study['data']['name']}, expected STARE.")
    seconds = sum(study["seconds"].values())
    intro = (
        f"{len(study['data']['test'])} test images, mean ± half the range over "
        f"{study['config']['seeds']} seeds; the {len(study['seconds'])} runs took "
        f"{seconds / 60:.1f} minutes on {study['versions']['device']}:"
    )
    header = ["loss", *(f"{metric.capitalize()} (%)" for metric in METRICS)]
    lines = [_row(header), _row(["---", *["---:"] * len(METRICS)])]
    lines += [_row([row.loss.title, *row.cells()]) for row in summarise(cases)]
    differences = [f"- {difference.sentence}." for difference in compare(cases)]
    return "\n".join([intro, "", *lines, "", *differences])


def border_table() -> str:
    """Where the border of a disc of radius 8 px is predicted."""
    table = pd.read_csv(ROOT / "results" / "border_bias" / "crossings.csv", dtype=str)
    radii = table["radius"].replace({"0": "0 (balanced CE)", "inf": "∞ (CE)"})
    return "\n".join(
        [
            _row(["R (px)", *radii]),
            _row(["---", *["---:"] * len(table)]),
            _row(["predicted border (px)", *table["predicted_border_px"]]),
        ]
    )


def cost_table() -> str:
    """Forward and backward of the losses as a multiple of `F.cross_entropy`."""
    table = pd.read_csv(ROOT / "results" / "benchmark" / "timings.csv")
    table = table[table["what"] == "loss"]
    sizes = {(2, 2, 10): "8 x 512², 2 classes, R = 10", (2, 8, 10): "8 x 512², 8 classes, R = 10",
             (3, 4, 5): "2 x 128³, 4 classes, R = 5"}  # fmt: skip
    ratios = table.set_index(["ndim", "classes", "radius", "method"])["ratio"]
    methods = list(dict.fromkeys(table["method"]))
    lines = [f"On {table['machine'].iloc[0]}, torch {table['torch'].iloc[0]}:", ""]
    lines += [_row(["", *sizes.values()]), _row(["---", *["---:"] * len(sizes)])]
    for method in methods:
        found = [ratios.get((*size, method)) for size in sizes]
        lines.append(_row([method, *("" if r is None else f"{r:.2f}" for r in found)]))
    return "\n".join(lines)


def render(text: str) -> str:
    """README with its tables renewed."""
    tables = {"border-bias": border_table(), "demo": demo_table(), "cost": cost_table()}
    for name, table in tables.items():
        pattern = rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end -->)"
        text, count = re.subn(
            pattern, lambda m, table=table: f"{m[1]}{table}\n{m[2]}", text, flags=re.DOTALL
        )
        if count != 1:
            raise SystemExit(f"README.md: expected one marker for {name}, found {count}.")
    return text


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Rewrite or check README."""
    path = ROOT / "README.md"
    old = path.read_text(encoding="utf-8")
    new = render(old)
    if "--check" in sys.argv[1:]:
        if new != old:
            raise SystemExit("README.md does not say what results/ holds: run make figures.")
    else:
        path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
