"""Speed of the loss and of the dilation, beside that of their peers.

    make bench                  the whole grid
    make bench ARGS=--quick     the cases that README quotes

All methods of a case run in turns in one process, on the same labels and logits, and what counts
is the ratio of their medians: machines differ and are noisy. Writes results/benchmark/timings.csv
(with the machine, the versions and the commit) and cost.svg.
"""

import argparse
import math
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import edt
import matplotlib as mpl
import monai
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from monai.losses import (
    DiceCELoss,
    DiceFocalLoss,
    GeneralizedDiceLoss,
    HausdorffDTLoss,
)
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy import ndimage
from torch import Tensor

import dilated_ce
from dilated_ce import dilate_labels, dilated_balanced_cross_entropy
from dilated_ce.morphology import dilated_masks

OUT = Path(__file__).resolve().parents[1] / "results" / "benchmark"
Method = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One size of problem."""

    what: str  # "loss" or "dilation"
    batch: int
    classes: int
    side: int
    ndim: int
    radius: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the labels."""
        return (self.batch, *(self.side,) * self.ndim)

    def __str__(self) -> str:
        return f"{self.batch} x {self.side}^{self.ndim}, C {self.classes}, R {self.radius:g}"


def grid(quick: bool) -> Iterator[Case]:
    """The cases to measure."""
    radii: tuple[float, ...] = (10,) if quick else (2, 5, 10, 25)
    for classes in (2, 8) if quick else (2, 8, 20):
        for radius in radii:
            yield Case("loss", 8, classes, 512, 2, radius)
    for classes in (4,) if quick else (2, 4, 14):
        for radius in (5,) if quick else radii:
            yield Case("loss", 2, classes, 128, 3, radius)
    for radius in (4, 10, 64) if quick else (2, 4, 5, 10, 25, 64):
        yield Case("dilation", 8, 4, 512, 2, radius)
    for radius in (4, 6, 16) if quick else (2, 4, 6, 10, 16, 25):
        yield Case("dilation", 2, 4, 128, 3, radius)


def blobs(case: Case) -> Tensor:
    """Labels (B, *spatial) of smooth random regions; the background takes about 90%."""
    random = np.random.default_rng(0)
    labels = np.zeros(case.shape, np.int64)
    for image in labels:
        for index in range(1, case.classes):
            smooth = ndimage.gaussian_filter(random.standard_normal(image.shape), case.side / 40)
            image[smooth > np.quantile(smooth, 1 - 0.1 / (case.classes - 1))] = index
    return torch.from_numpy(labels)


def loss_methods(case: Case) -> dict[str, Method]:
    """Forward and backward on the same logits."""
    labels = blobs(case)
    shape = (case.batch, case.classes, *case.shape[1:])
    logits = torch.randn(shape, generator=torch.manual_seed(0)).requires_grad_()
    options = {"to_onehot_y": True, "softmax": True}
    criteria = {
        "F.cross_entropy": F.cross_entropy,
        "DBCE": lambda z, y: dilated_balanced_cross_entropy(z, y, case.radius),
        "MONAI DiceCE": lambda z, y: DiceCELoss(**options)(z, y[:, None]),
        "MONAI DiceFocal": lambda z, y: DiceFocalLoss(**options)(z, y[:, None]),
        "MONAI GeneralizedDice": lambda z, y: GeneralizedDiceLoss(**options)(z, y[:, None]),
    }
    if case.ndim == 2 and case.classes <= 8:  # it takes minutes otherwise
        criteria["MONAI HausdorffDT"] = lambda z, y: HausdorffDTLoss(**options)(z, y[:, None])

    def step(criterion: Callable[[Tensor, Tensor], Tensor]) -> Method:
        def run() -> None:
            logits.grad = None
            criterion(logits, labels).backward()

        return run

    return {name: step(criterion) for name, criterion in criteria.items()}


def dilation_methods(case: Case) -> dict[str, Method]:
    """The exact dilated masks of all classes, by every method."""
    labels = blobs(case)
    array = labels.numpy()
    masks = [image == c for image in array for c in range(case.classes)]
    bytes_ = [mask.astype(np.uint8) for mask in masks]
    inverse = [np.ascontiguousarray(~mask) for mask in masks]
    reach = math.floor(case.radius)
    axes = np.ogrid[(slice(-reach, reach + 1),) * case.ndim]
    ball = sum(axis**2 for axis in axes) <= case.radius**2
    radii, spacing = (float(case.radius),) * case.classes, (1.0,) * case.ndim
    methods: dict[str, Method] = {
        # Packed bits are what the loss works on; `dilate_labels` unpacks them.
        "packed": lambda: dilated_masks("labels", labels, radii, spacing, None),
        "dilate_labels": lambda: dilate_labels(labels, case.radius, num_classes=case.classes),
        "edt": lambda: [
            edt.edt(m, parallel=torch.get_num_threads()) <= case.radius for m in inverse
        ],
        "scipy EDT": lambda: [ndimage.distance_transform_edt(m) <= case.radius for m in inverse],
    }
    if case.ndim == 2:
        kernel = ball.astype(np.uint8)
        methods["cv2.dilate"] = lambda: [cv2.dilate(m, kernel) for m in bytes_]
    if case.radius <= 5:  # its cost is that of the ball's volume
        methods["scipy binary_dilation"] = lambda: [
            ndimage.binary_dilation(m, structure=ball) for m in masks
        ]
    return methods


def medians(methods: dict[str, Method], seconds: float) -> dict[str, float]:
    """The median time of each method in ms, over rounds in which every method has its turn.

    Methods that take over 10 times as long as the fastest have 3 turns, so that they do not keep
    the others from theirs.
    """
    times: dict[str, list[float]] = {name: [] for name in methods}

    def turn(name: str) -> None:
        before = time.perf_counter()
        methods[name]()
        times[name].append(1000 * (time.perf_counter() - before))

    for name in methods:
        methods[name]()  # first calls fill caches
        turn(name)
    fastest = min(first for (first,) in times.values())
    quick = [name for name, (first,) in times.items() if first <= 10 * fastest]
    start = time.perf_counter()
    rounds = 0
    while rounds < 9 or time.perf_counter() - start < seconds:
        for name in methods if rounds < 2 else quick:
            turn(name)
        rounds += 1
    return {name: float(np.median(values)) for name, values in times.items()}


def measure(quick: bool, seconds: float) -> pd.DataFrame:
    """One row per case and method."""
    rows = []
    for case in track(list(grid(quick)), "measuring"):
        methods = (loss_methods if case.what == "loss" else dilation_methods)(case)
        for name, ms in medians(methods, seconds).items():
            rows.append({**vars(case), "method": name, "ms": round(ms, 3)})
    table = pd.DataFrame(rows)
    keys = list(Case.__dataclass_fields__)
    base = {"loss": "F.cross_entropy", "dilation": "packed"}
    reference = table[table["method"] == table["what"].map(base)].set_index(keys)["ms"]
    table["ratio"] = (table["ms"] / table[keys].apply(tuple, axis=1).map(reference)).round(3)
    return table


def describe() -> dict[str, object]:
    """The machine, the versions and the commit."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "monai": monai.__version__,
        "dilated_ce": dilated_ce.__version__,
        "commit": commit.stdout.strip(),
    }


def show(table: pd.DataFrame) -> None:
    """Print the ratios."""
    console = Console()
    keys = list(Case.__dataclass_fields__)
    for what, base in (("loss", "F.cross_entropy"), ("dilation", "ours, packed")):
        part = table[table["what"] == what]
        shown = Table(title=f"{what}: time as a multiple of {base}", title_justify="left")
        shown.add_column("case")
        for method in part["method"].unique():
            shown.add_column(method, justify="right")
        for fields, rows in part.groupby(keys, sort=False):
            ratios = rows.set_index("method")["ratio"].reindex(part["method"].unique())
            cells = ["" if pd.isna(ratio) else f"{ratio:.2f}" for ratio in ratios]
            shown.add_row(str(Case(*fields)), *cells)
        console.print(shown)


def draw(table: pd.DataFrame) -> Figure:
    """Cost against the radius, a line per method."""
    with mpl.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        panels = figure.subplots(1, 2)
    part = table[table["what"] == "dilation"]
    for axes, ndim in zip(panels, (2, 3), strict=True):
        for method, rows in part[part["ndim"] == ndim].groupby("method", sort=False):
            axes.plot(
                rows["radius"],
                rows["ms"],
                "o-",
                label=method,
            )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="radius (voxels)",
            ylabel="ms",
            title=f"Dilation, {ndim}D",
        )
        axes.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    """Measure, print, and write the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the cases that README quotes")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case")
    arguments = parser.parse_args()
    table = measure(arguments.quick, arguments.seconds).assign(**describe())
    OUT.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUT / "timings.csv", index=False)
    mpl.rcParams["svg.hashsalt"] = "dilated-ce"
    draw(table).savefig(OUT / "cost.svg", metadata={"Date": None}, facecolor="white")
    show(table)


if __name__ == "__main__":
    main()
