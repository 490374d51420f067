"""Write the measured tables into README and the pages, from the files under results/.

python tools/update_readme.py           rewrite what lies between the markers
python tools/update_readme.py --check   fail if a page is not what the files say
"""

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
from answer_tables import differences_table, words_table
from marked import renew, row, write_or_check

ROOT = Path(__file__).resolve().parents[1]
# Of the evidence: what got better and what got worse, in few columns.
SHOWN = ("dice", "hd95", "precision", "recall", "lesion_precision", "lesion_f1")


def border_table() -> str:
    """Where the border of a disc of radius 8 px is predicted, by loss, radius and scope."""
    table = pd.read_csv(ROOT / "results" / "border_bias" / "crossings.csv", dtype=str)
    radii = table[table["volumes"] == "batch"]["radius"]
    border = table.set_index(["volumes", "radius"])["predicted_border_px"]
    ends = {"0": "0 (balanced CE)", "inf": "∞ (CE)"}
    lines = [
        row(["R (px)", *radii.replace(ends), "Adaptive DBCE"]),
        row(["---", *["---:"] * (len(radii) + 1)]),
    ]
    for scope in ("batch", "image"):
        adaptive = border["image", "adaptive"] if scope == "image" else ""
        borders = [border[scope, radius] for radius in radii]
        lines.append(row([f"border (px), volumes of the {scope}", *borders, adaptive]))
    return "\n".join(lines)


def _benchmark() -> tuple[pd.DataFrame, pd.Series]:
    """The whole table, and its rows by case and method."""
    table = pd.read_csv(ROOT / "results" / "benchmark" / "cpu.csv")
    return table, table.set_index(["what", "ndim", "side", "classes", "radius", "method"])


def cost_table() -> str:
    """Time and memory of the losses, forward and backward."""
    table, _ = _benchmark()
    losses = table[(table["what"] == "loss") & (table["busy"] == 0)]
    easy = losses[losses["labels"] == "blobs"]
    lines = [
        f"On {table['machine'].iloc[0]}, torch {table['torch'].iloc[0]}: the time as a multiple of "
        "that of `F.cross_entropy`, and the peak memory over the input in bytes per voxel; labels "
        "are small blobs, and in the last two rows the worst of six kinds:",
        "",
        row(["", *SIZES.values()]),
        row(["---", *["---:"] * len(SIZES)]),
    ]
    for method in dict.fromkeys(easy["method"]):
        cells = []
        for size in SIZES:
            cost = _of_size(easy[easy["method"] == method], size)
            cells.append(
                ""
                if cost.empty
                else f"{cost['ratio'].iloc[0]:.2f}, {cost['peak_bytes_per_voxel'].iloc[0]:.0f} B"
            )
        lines.append(row([method, *cells]))
    for method in OURS:
        lines.append(row([f"{method}, worst labels", *_worst(losses, method)]))
    return "\n".join(lines)


def kinds_table() -> str:
    """Both losses on every kind of labels, in quiet and beside other work, and one-hot targets."""
    table, _ = _benchmark()
    losses = table[table["what"] == "loss"]
    lines = [
        row(["labels", "", *SIZES.values()]),
        row(["---", "---", *["---:"] * len(SIZES)]),
    ]
    kinds = {
        **{kind: losses[losses["labels"] == kind] for kind in dict.fromkeys(losses["labels"])},
        "one-hot targets": table[table["what"] == "one-hot"],
    }
    for kind, rows in kinds.items():
        for method in OURS:
            cells = []
            for size in SIZES:
                found = _of_size(rows[rows["method"] == method], size).set_index("busy")["ratio"]
                quiet, busy = found.get(0), found.get(1)
                cells.append(f"{quiet:.2f}" + (f" ({busy:.2f})" if busy is not None else ""))
            lines.append(row([kind, method, *cells]))
    return "\n".join(lines)


OURS = ("DBCE", "Adaptive DBCE")
SIZES = {(2, 512, 2, 10): "8 x 512², 2 classes, R = 10",
         (2, 512, 8, 10): "8 x 512², 8 classes, R = 10",
         (3, 128, 4, 5): "2 x 128³, 4 classes, R = 5"}  # fmt: skip


def _of_size(table: pd.DataFrame, size: tuple[int, ...]) -> pd.DataFrame:
    for column, value in zip(("ndim", "side", "classes", "radius"), size, strict=True):
        table = table[table[column] == value]
    return table


def _worst(losses: pd.DataFrame, method: str) -> list[str]:
    cells = []
    for size in SIZES:
        rows = _of_size(losses[losses["method"] == method], size)
        worst = rows.loc[rows["ratio"].idxmax()]
        cells.append(f"{worst['ratio']:.2f} ({worst['labels']})")
    return cells


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


def cost_line() -> str:
    """Time of the losses in a sentence: the worst of six kinds of labels, and small images."""
    table, _ = _benchmark()
    losses = table[(table["what"] == "loss") & (table["busy"] == 0)]
    times = []
    for words, size in zip(("2 classes", "8 classes", "4 classes in 3D"), SIZES, strict=True):
        worst = _of_size(losses, size).groupby("method")["ratio"].max()
        times.append(f"{words}: {', '.join(f'{worst[m]:.2f}' for m in OURS)} "
                     f"({worst['MONAI DiceCE']:.2f})")  # fmt: skip
    small = losses[(losses["ndim"] == 2) & (losses["side"] == 64)].set_index("method")
    return (
        "DBCE and Adaptive DBCE, forward and backward on 2 CPU cores, the worst of six kinds of "
        "labels, as a multiple of `F.cross_entropy` (MONAI's DiceCE in brackets): "
        + "; ".join(times)
        + ". On small images, 8 x 64² of 2 classes, they cost "
        + ", ".join(f"{small['ratio'][m]:.1f}" for m in OURS)
        + f" times as much ({small['ratio']['MONAI DiceCE']:.1f}), or "
        + ", ".join(f"{small['ms'][m]:.1f}" for m in OURS)
        + " ms."
    )


def sizes_table() -> str:
    """Time along the size of the images: of small ones a fixed part weighs most."""
    table, _ = _benchmark()
    losses = table[(table["what"] == "loss") & (table["busy"] == 0) & (table["labels"] == "blobs")]
    methods = [*OURS, "MONAI DiceCE"]
    lines = [row(["", *methods]), row(["---", *["---:"] * len(methods)])]
    for ndim, classes, radius in ((2, 2, 10), (3, 4, 5)):
        found = losses[(losses["ndim"] == ndim) & (losses["classes"] == classes)]
        found = found[found["radius"] == radius]
        for side, rows in found.groupby("side"):
            by_method = rows.set_index("method")
            cells = [f"{by_method['ratio'][m]:.2f}, {by_method['ms'][m]:.1f} ms" for m in methods]
            size = f"{rows['batch'].iloc[0]} x {side}{'²' if ndim == 2 else '³'}"
            lines.append(row([f"{size}, {classes} classes, R = {radius}", *cells]))
    return "\n".join(lines)


def _comparison(name: str) -> dict[str, Any]:
    path = ROOT / "results" / "comparison" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def training_table() -> str:
    """Steps per second of runs, and the memory that they take."""
    found = _comparison("training")
    ratios = found["steps per second, over those of a bare loop"]
    memory = found["peak MB of a run, by its cases"]
    lines = [
        f"On {found['cores']} CPU cores, PyTorch {found['torch']}; batches of 8 patches of 128² "
        "(2D) and 4 of 48³ (3D), the default network. Steps per second, over those of a bare "
        "PyTorch loop with its patches already in memory: "
        + "; ".join(f"{what}: {ratio:.2f}" for what, ratio in ratios.items())
        + ".",
        "",
        "Peak memory of a run: "
        + ", ".join(f"{mb:,} MB with {cases} volumes" for cases, mb in memory.items())
        + ".",
        "",
    ]
    table = pd.DataFrame(found["runs at once"])
    keys = ["precision", "forward"]
    lines += [
        row(["steps per second of all runs", *(f"{a}, {b}" for a, b in (
            ("2D", "one run, 2 threads"), ("2D", "two runs, 1 thread each"),
            ("3D", "one run, 2 threads"), ("3D", "two runs, 1 thread each")))]),
        row(["---", *["---:"] * 4]),
    ]  # fmt: skip
    rates = table.set_index(["data", "runs at once", *keys])["steps per second of all"]
    for how in dict.fromkeys(table[keys].itertuples(index=False, name=None)):
        cells = [rates.get((data, number, *how)) for data in ("2D", "3D") for number in (1, 2)]
        lines.append(row([", ".join(how), *("" if c is None else f"{c:.1f}" for c in cells)]))
    return "\n".join(lines)


def preparing_table() -> str:
    """Seconds of a case before anything trains."""
    found = _comparison("preparing")
    lines = [
        row([f"{found['volumes']} volumes of {found['side']}³ on {found['cores']} cores",
             "seconds per case"]),
        row(["---", "---:"]),
    ]  # fmt: skip
    for what, seconds in found["seconds per case"].items():
        lines.append(row([what, f"{seconds:.2g}"]))
    lines += [
        "",
        f"The first start takes {found['prepared over read and written']:.2f} times as long as "
        f"reading and writing alone, the second {found['seconds of the second start']:.2g} s.",
    ]
    return "\n".join(lines)


def gpu_table() -> str:
    """The losses on every GPU that `make gpu` has seen: beside plain CE, and the launches."""
    lines = []
    for folder in sorted(path.parent for path in (ROOT / "results" / "gpu").glob("*/speed.csv")):
        table = pd.read_csv(folder / "speed.csv")
        about = (folder / "summary.txt").read_text(encoding="utf-8")
        card, torch = re.match(r"(.*?) \(.*?(PyTorch [^,]*)", about).groups()
        spread = table.groupby(["size", "method"], sort=False)
        sizes = list(dict.fromkeys(table["size"]))
        lines += [
            *([""] if lines else []),
            f"{card}, {torch}, the worst of five kinds of labels, in ms:",
            "",
            row(["", *(f"{size.replace('^2', '²').replace('^3', '³')}" for size in sizes)]),
            row(["---", *["---:"] * len(sizes)]),
        ]
        ways = {"ms": "as a loop calls it", "ms_in_graph": "work of the GPU alone",
                "ms_compiled": "by torch.compile"}  # fmt: skip
        for method in dict.fromkeys(table["method"]):
            for way, title in ways.items():
                worst = spread[way].max()
                cells = ["" if pd.isna(ms := worst[size, method]) else f"{ms:.2f}"
                         for size in sizes]  # fmt: skip
                lines.append(row([f"{method}, {title}", *cells]))
            launches = spread["kernels"].max()
            lines.append(
                row([f"{method}, kernels", *(f"{launches[size, method]}" for size in sizes)])
            )
    return "\n".join(lines)


def parts() -> dict[str, dict[str, str]]:
    """The tables by page and by the name of their marker."""
    return {
        "README.md": {"claims": words_table(scores=SHOWN), "cost-line": cost_line()},
        "docs/how-to/which-loss.md": {
            "with-dice": differences_table("adaptive-dbce-dice", "dice-ce", scores=SHOWN)
        },
        "docs/method.md": {"border-bias": border_table()},
        "docs/performance.md": {
            "cost": cost_table(),
            "kinds": kinds_table(),
            "sizes": sizes_table(),
            "dilation": dilation_table(),
            "step": step_table(),
            "training": training_table(),
            "preparing": preparing_table(),
            "gpu": gpu_table(),
        },
    }


if __name__ == "__main__":
    for name, tables in parts().items():
        page = ROOT / name
        write_or_check(page, renew(page, tables))
