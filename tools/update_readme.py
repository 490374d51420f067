"""Write the measured tables into README and the pages, from the files under results/.

python tools/update_readme.py           rewrite what lies between the markers
python tools/update_readme.py --check   fail if a page is not what the files say
"""

import json
from pathlib import Path

import pandas as pd
from evidence import CLAIMS, GOALS
from marked import renew, row, write_or_check
from result_tables import claims_table

from dilated_ce.study.report.tables import TITLES, show, summarise
from dilated_ce.study.scores.table import read_cases
from dilated_ce.study.training.loss_spec import parse_loss

ROOT = Path(__file__).resolve().parents[1]
SCORES = ("dice", "recall", "precision")  # of the demo


def demo_table() -> str:
    """What the demo measured: how, the scores, and the differences in words."""
    folder = ROOT / "results" / "demo"
    cases = read_cases(folder / "cases.csv")
    study = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    if study["data"]["name"] != "STARE":
        raise SystemExit(f"{folder} holds {study['data']['name']}, expected STARE.")
    seeds = cases["seed"].nunique()
    intro = (
        f"{cases['case'].nunique()} test images, mean ± standard deviation over {seeds} seeds; the "
        f"{summary['runs']} runs took {summary['seconds'] / 60:.1f} minutes on "
        f"{summary['device']}, {study['training']['threads']} cores:"
    )
    header = ["loss", *(f"{TITLES[score].capitalize()} (%)" for score in SCORES)]
    lines = [row(header), row(["---", *["---:"] * len(SCORES)])]
    for mean in summarise(cases):
        cells = [show(score, mean.mean[score], mean.spread[score]) for score in SCORES]
        lines.append(row([parse_loss(mean.loss).title, *cells]))
    return "\n".join([intro, "", *lines, "", *(f"- {text}" for text in summary["sentences"])])


def border_table(scope: str, with_default: bool = False) -> str:
    """Where the border of a disc of radius 8 px is predicted, by radius."""
    table = pd.read_csv(ROOT / "results" / "border_bias" / "crossings.csv", dtype=str)
    default = (table["radius"] == "auto") & with_default  # whose volumes are those of the image
    table = table[(table["volumes"] == scope) | default]
    ends = {"0": "0 (balanced CE)" if scope == "batch" else "0", "inf": "∞ (CE)"}
    if with_default:
        ends["auto"] = "auto (default)"
    return "\n".join(
        [
            row(["R (px)", *table["radius"].replace(ends)]),
            row(["---", *["---:"] * len(table)]),
            row(["predicted border (px)", *table["predicted_border_px"]]),
        ]
    )


def _benchmark() -> tuple[pd.DataFrame, pd.Series]:
    """The whole table, and its rows by case and method."""
    table = pd.read_csv(ROOT / "results" / "benchmark" / "cpu.csv")
    return table, table.set_index(["what", "ndim", "side", "classes", "radius", "method"])


def cost_table() -> str:
    """Time and memory of the losses, forward and backward."""
    table, rows = _benchmark()
    sizes = {(2, 512, 2, 10): "8 x 512², 2 classes, R = 10",
             (2, 512, 8, 10): "8 x 512², 8 classes, R = 10",
             (3, 128, 4, 5): "2 x 128³, 4 classes, R = 5"}  # fmt: skip
    lines = [
        f"On {table['machine'].iloc[0]}, torch {table['torch'].iloc[0]}: the time as a multiple of "
        "that of `F.cross_entropy`, and the peak memory over the input in bytes per voxel:",
        "",
        row(["", *sizes.values()]),
        row(["---", *["---:"] * len(sizes)]),
    ]
    for method in dict.fromkeys(table[table["what"] == "loss"]["method"]):
        cells = []
        for size in sizes:
            key = ("loss", *size, method)
            found = key in rows.index
            cost = rows.loc[key] if found else None
            cells.append(
                f"{cost['ratio']:.2f}, {cost['peak_bytes_per_voxel']:.0f} B" if found else ""
            )
        lines.append(row([method, *cells]))
    return "\n".join(lines)


def dilation_table() -> str:
    """Exact dilation of every class by every method."""
    _, rows = _benchmark()
    sizes = {(2, 512, 4, 4): "2D, R = 4", (2, 512, 4, 10): "2D, R = 10",
             (2, 512, 4, 64): "2D, R = 64", (3, 128, 4, 4): "3D, R = 4",
             (3, 128, 4, 6): "3D, R = 6", (3, 128, 4, 16): "3D, R = 16"}  # fmt: skip
    dilation = rows.loc["dilation"]
    lines = [row(["", *sizes.values()]), row(["---", *["---:"] * len(sizes)])]
    for method in dict.fromkeys(dilation.index.get_level_values("method")):
        found = [dilation["ms"].get((*size, method)) for size in sizes]
        lines.append(row([method, *("" if ms is None else _milliseconds(ms) for ms in found)]))
    return "\n".join(lines)


def _milliseconds(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"


def step_table() -> str:
    """The share of the loss in a step of training."""
    table, _ = _benchmark()
    table = table[table["what"] == "training step"]
    lines = [
        row(["a training step on 2 cores", "2D, 8 x 512²", "3D, 2 x 128³"]),
        row(["---", "---:", "---:"]),
    ]
    ms = table.set_index(["ndim", "method"])["ms"]
    for network in ("UNet", "BasicUNet"):
        step = {ndim: ms[ndim, f"{network}, a step with DBCE"] for ndim in (2, 3)}
        lines.append(
            row([f"{network}, with DBCE", *(f"{step[ndim] / 1000:.1f} s" for ndim in (2, 3))])
        )
        for loss in ("DBCE", "F.cross_entropy"):
            shares = [f"{100 * ms[ndim, loss] / step[ndim]:.1f}%" for ndim in (2, 3)]
            lines.append(row([f"of which {loss} takes", *shares]))
    return "\n".join(lines)


def parts() -> dict[str, dict[str, str]]:
    """The tables by page and by the name of their marker."""
    cost = {"cost": cost_table()}
    return {
        "README.md": {
            "border-bias": border_table("batch", with_default=True),
            "demo": demo_table(),
            "claims": claims_table((*CLAIMS, GOALS[-1])),
            **cost,
        },
        "docs/method.md": {
            "border-bias": border_table("batch"),
            "border-bias-image": border_table("image"),
        },
        "docs/performance.md": {**cost, "dilation": dilation_table(), "step": step_table()},
    }


if __name__ == "__main__":
    for name, tables in parts().items():
        page = ROOT / name
        write_or_check(page, renew(page, tables))
