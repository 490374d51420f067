"""Speed and memory of the loss and of the dilation, beside their peers.

    make bench                       the whole grid: 20 to 30 minutes on 2 cores
    make bench ARGS=--quick          the cases that README quotes: 10 minutes
    make bench ARGS="--device cuda"  on a GPU

All methods of a case run in turns in one process, on the same labels and logits, and what counts
is the ratio of their medians: machines differ and are noisy. The losses meet six kinds of labels,
and a core that a pinned loop keeps busy. Writes results/benchmark/cpu.csv or
cuda.csv (with the machine, the versions and the commit) and the same as .svg.
"""

import argparse
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from measure import keep_busy, medians, peaks
from methods import Case, grid, methods_of
from rich.console import Console
from rich.progress import track
from rich.table import Table

import dilated_ce

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmark"
KEYS = list(Case.__dataclass_fields__)
# Times are given as multiples of this method's.
BASE = {
    "loss": "F.cross_entropy",
    "one-hot": "F.cross_entropy",
    "dilation": "ours, packed",
    "training step": "DBCE",
}
# One colour per method in all panels, after Okabe and Ito, for colour-blind eyes too; ours in blue.
COLOURS = {
    "ours, packed": "#0072b2",
    "ours, dilate_labels": "#56b4e9",
    "DBCE": "#0072b2",
    "Adaptive DBCE": "#56b4e9",
    "F.cross_entropy": "#000000",
    "MONAI DiceCE": "#d55e00",
    "nnU-Net DC_and_CE": "#e69f00",
    "MONAI GeneralizedDice": "#009e73",
    "MONAI DiceFocal": "#cc79a7",
    "MONAI HausdorffDT": "#999999",
    "edt": "#009e73",
    "cv2.dilate": "#d55e00",
    "scipy EDT": "#e69f00",
    "MONAI distance transform": "#cc79a7",
    "scipy binary_dilation": "#999999",
    "kornia": "#000000",
}
PEERS = ("edt", "kornia", "monai", "nnunetv2", "opencv-python-headless", "scipy")


def measure(quick: bool, seconds: float, device: str) -> pd.DataFrame:
    """One row per case and method."""
    rows = []
    for case in track(list(grid(quick, device == "cuda")), "measuring"):
        memory = {}
        quoted = (case.ndim, case.side, case.radius) in ((2, 512, 10), (3, 128, 5))
        if quoted and (case.what, case.labels, case.busy) == ("loss", "blobs", 0):
            memory = peaks(case, device)
        with keep_busy(case.busy):
            measured = medians(methods_of(case, device), seconds, device)
        for name, ms in measured.items():
            row = {**vars(case), "method": name, "ms": round(ms, 4)}
            if name in memory:
                row["peak_bytes_per_voxel"] = round(memory[name], 1)
            rows.append(row)
    table = pd.DataFrame(rows)
    base = table[table["method"] == table["what"].map(BASE)].set_index(KEYS)["ms"]
    reference = table[KEYS].apply(tuple, axis=1).map(base)
    table.insert(table.columns.get_loc("ms") + 1, "ratio", (table["ms"] / reference).round(3))
    return table


def describe(device: str) -> dict[str, object]:
    """The machine, the versions and the commit."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    machine = f"{platform.machine()}, {torch.get_num_threads()} threads"
    return {
        "machine": torch.cuda.get_device_name() if device == "cuda" else machine,
        "dilated_ce": dilated_ce.__version__,
        "commit": commit.stdout.strip(),
        "torch": torch.__version__,
        **{name: version(name) for name in PEERS},
    }


def show(table: pd.DataFrame) -> None:
    """Print the ratios, and the memory."""
    titles = {
        "loss": "loss, forward + backward: time as a multiple of F.cross_entropy",
        "one-hot": "the same for one-hot targets",
        "dilation": "dilation: time as a multiple of ours, packed",
        "training step": "training step: time as a multiple of that of the loss (DBCE)",
    }
    for what, title in titles.items():
        show_part(table[table["what"] == what], title, "ratio")
    show_part(
        table[table["peak_bytes_per_voxel"].notna()],
        "loss: peak memory over that of its input, bytes per voxel",
        "peak_bytes_per_voxel",
    )


def show_part(part: pd.DataFrame, title: str, column: str) -> None:
    """Print one column, a row per case and a column per method."""
    if part.empty:
        return
    shown = Table(title=title, title_justify="left")
    shown.add_column("case")
    for method in part["method"].unique():
        shown.add_column(method, justify="right")
    for fields, rows in part.groupby(KEYS, sort=False):
        numbers = rows.set_index("method")[column].reindex(part["method"].unique())
        cells = ["" if pd.isna(number) else f"{number:.2f}" for number in numbers]
        shown.add_row(str(Case(*fields)), *cells)
    Console().print(shown)


def draw(table: pd.DataFrame) -> Figure:
    """Cost against the radius and against the number of voxels, a line per method."""
    table = table[(table["labels"] == "blobs") & (table["busy"] == 0)]
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(13, 10), layout="constrained")
        panels = figure.subplots(3, 2)
    for row, what in zip(panels[:2], ("dilation", "loss"), strict=True):
        for axes, ndim, side, classes in zip(row, (2, 3), (512, 128), (2, 4), strict=True):
            part = table[
                (table["what"] == what) & (table["ndim"] == ndim) & (table["side"] == side)
            ]
            part = part[part["classes"] == (classes if what == "loss" else 4)]
            unit = "pixels" if ndim == 2 else "voxels"
            _lines(axes, part, "radius", f"radius ({unit})")
            axes.set_title(f"{what.capitalize()}, {_size(part)}")
    for axes, ndim, radius, classes in zip(panels[2], (2, 3), (10, 5), (2, 4), strict=True):
        part = table[(table["what"] == "loss") & (table["ndim"] == ndim)]
        part = part[(part["radius"] == radius) & (part["classes"] == classes)]
        part = part.assign(voxels=part["batch"] * part["side"] ** ndim).sort_values("voxels")
        _lines(axes, part, "voxels", "pixels" if ndim == 2 else "voxels")
        axes.set_title(f"Loss, {ndim}D, {classes} classes, R = {radius}")
    return figure


def _lines(axes: mpl.axes.Axes, part: pd.DataFrame, x: str, label: str) -> None:
    for method in (name for name in COLOURS if name in set(part["method"])):
        rows = part[part["method"] == method]
        ours = method in ("DBCE", "ours, packed")
        axes.plot(
            rows[x],
            rows["ms"],
            "o-",
            label=method,
            color=COLOURS[method],
            lw=3 if ours else 1.2,
            ms=4,
        )
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="ms")
    if x == "radius":
        axes.set_xticks(sorted(part[x].unique()), [f"{r:g}" for r in sorted(part[x].unique())])
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))


def _size(part: pd.DataFrame) -> str:
    batch, side, ndim, classes = part[["batch", "side", "ndim", "classes"]].iloc[0]
    return f"{batch} x {side}{'²' if ndim == 2 else '³'}, {classes} classes"


def main() -> None:
    """Measure, print, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the cases that README quotes")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--redraw", action="store_true", help="the plot, from the table there is")
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write to")
    arguments = parser.parse_args()
    path = arguments.out / f"{arguments.device}.csv"
    if arguments.redraw:
        table = pd.read_csv(path)
    else:
        described = describe(arguments.device)  # before, as the tree may change meanwhile
        table = measure(arguments.quick, arguments.seconds, arguments.device).assign(**described)
        arguments.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)
        show(table)
    mpl.rcParams["svg.hashsalt"] = "dilated-ce"
    draw(table).savefig(path.with_suffix(".svg"), metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
