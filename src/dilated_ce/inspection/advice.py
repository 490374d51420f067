"""Words on the radius: what the labels say about it, and what they cannot.

The numbers in the words are those of the labels, but for the border's uncertainty: those are from
our own calculation, in closed form, on discs whose labelled radius varies.
"""

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dilated_ce.inspection.measuring import Measured
from dilated_ce.inspection.words import number
from dilated_ce.study.data.cases import DataSet

# Below these the weights differ little from those of CE:
NEARLY_IMBALANCE = 1.5
NEARLY_FAR = 0.1  # share of the voxels beyond the dilated foreground
THIN = 2.0  # mean depth in voxels below which a class counts as thin: a vessel of 3 to 5 voxels
DEAR = 100.0  # times a background voxel's weight that balanced CE gives to a small class
UNEVEN = 20.0  # largest over smallest foreground of a case


@dataclass(frozen=True)
class Point:
    """A piece of advice."""

    title: str
    text: str


@dataclass(frozen=True)
class Advice:
    """Radii to try, and why."""

    radii: tuple[float, ...]  # in the data's unit, ascending, at most three
    losses: tuple[str, ...]  # to compare, as `--losses` takes them: radii are in voxels there
    points: tuple[Point, ...]

    def command(self, data: str = "DATA", *options: str) -> str:
        """The command line that compares these losses, quoted for a shell.

        Args:
            data: what the command is to read, such as a folder.
            options: how it is to be read, such as "--scale" and "0.5": radii are for such pixels.

        Examples:
            >>> Advice((2.0,), ("ce", "dbce:radius=2"), ()).command("my data")
            "dilated-ce compare --data 'my data' --losses ce,dbce:radius=2"
        """
        losses = ",".join(self.losses)
        return shlex.join(["dilated-ce", "compare", "--data", data, *options, "--losses", losses])


def advise(data: DataSet, measured: Measured) -> Advice:
    """Advice on the radius for a data set, from its labels.

    Examples:
        A disc of radius 12, whose mean depth is a third of that:

        >>> from functools import partial
        >>> import numpy as np
        >>> from dilated_ce.inspection import measure
        >>> from dilated_ce.study.data.cases import Case, CaseSource, Split
        >>> y, x = np.mgrid[-48:48, -48:48]
        >>> labels = (y**2 + x**2 <= 144).astype(np.uint8)
        >>> case = Case("a", np.zeros((1, 96, 96), np.float32), labels)
        >>> source = CaseSource("a", partial(lambda case: case, case), group="a")
        >>> data = DataSet(
        ...     "disc", "Made up.", ("background", "disc"), ("grey",), 2, "px", None,
        ...     (source,), (Split(("a",), (), ()),), "All for training.",
        ... )
        >>> advise(data, measure(data)).radii
        (4.0, 8.0, 16.0)
    """
    depth = _depth(measured)
    radii = _choose(measured, depth)
    losses = ["ce", "dice-ce"]
    if radii:
        losses += ["adaptive-dbce", "adaptive-dbce-dice"]
        in_voxels = [round(radius / measured.voxel_size, 2) for radius in radii]
        losses += [f"dbce-dice:radius={radius:g}" for radius in in_voxels]
    points = [
        *_start(data, measured, depth, radii),
        *_border(),
        *_errors(data, measured, radii),
        *_thin(measured),
        *_merged(data, measured),
        *_dear(measured),
        *_rare(measured),
        *_uneven(measured),
    ]
    return Advice(radii, tuple(losses), tuple(points))


def adaptive_lines(data: DataSet, measured: Measured) -> tuple[tuple[str, str], ...]:
    """The name of every class that occurs, and a line on what Adaptive DBCE would do to it."""
    present = [(index, row) for index, row in enumerate(measured.classes.to_dict("records"))]
    present = [(index, row) for index, row in present if row["voxels"]]
    lines = []
    for index, row in present:
        radii = measured.adaptive.radii[:, index]
        least, most = (number(float(radius)) for radius in (radii[radii > 0].min(), radii.max()))
        found = f"{least} {data.unit}" if least == most else f"{least} to {most} {data.unit}"
        balanced = measured.num_voxels / row["voxels"] / len(present)
        line = (
            f"R = {found}. One of its voxels weighs "
            f"{number(measured.adaptive.weight_of(index))} on average "
            f"(balanced CE: {number(balanced)}, CE: 1)"
        )
        beyond = measured.adaptive.places()["far"]
        if index == 0 and not math.isnan(beyond):
            line += f"; beyond the neighbourhoods of the other classes {number(beyond)}"
        lines.append((str(row["class"]), f"{line}."))
    return tuple(lines)


def _foreground(measured: Measured) -> list[dict[str, Any]]:
    """The rows of `classes` of the foreground classes that occur."""
    rows = measured.classes.iloc[1:].to_dict("records")
    return [row for row in rows if row["voxels"]]


def _depth(measured: Measured) -> float:
    """The median depth of the thinnest class; NaN if no class has one."""
    depths = [row["depth"] for row in _foreground(measured) if not math.isnan(row["depth"])]
    return min(depths, default=math.nan)


def _choose(measured: Measured, depth: float) -> tuple[float, ...]:
    """Of the measured radii those next to once, twice and four times the depth."""
    if math.isnan(depth):
        return ()
    finite = [radius for radius in measured.radii if 0 < radius < math.inf]
    useful = [r for r in finite if not _is_nearly_ce(measured.weights_at(r, "data"))]
    chosen: set[float] = set()
    for target in (depth, 2 * depth, 4 * depth):
        left = [radius for radius in useful or finite if radius not in chosen]
        if left:
            chosen.add(min(left, key=lambda radius: abs(math.log(radius / target))))
    return tuple(sorted(chosen))


def _start(
    data: DataSet, measured: Measured, depth: float, radii: Sequence[float]
) -> Iterator[Point]:
    if not radii:
        return
    present = _foreground(measured)
    thinnest = next(row["class"] for row in present if row["depth"] == depth)
    which = ", the thinnest class," if len(present) > 1 else ""
    yield Point(
        f"Compare the adaptive loss with R = {_listed([f'{radius:g}' for radius in radii])} "
        f"{data.unit}, each beside Dice",
        "The adaptive loss finds a radius for each class in each image, from the labels alone. "
        f"A voxel of {thinnest}{which} lies {depth:.2g} {data.unit} from the border on average "
        "(median over the training cases); fixed radii to compare are about once, twice and four "
        "times this depth."
        + (
            f" The command has them in voxels of {measured.voxel_size:.3g} {data.unit}, in which "
            "`compare` counts. It takes voxels for cubes, and this page takes them as they are; "
            "--spacing resamples those that are not."
            if data.unit != "px"
            else ""
        ),
    )


def _border() -> Iterator[Point]:
    yield Point(
        "R must cover the border's uncertainty",
        "Suppose that annotators place a border with a standard deviation of s. Then R should be "
        "2 to 3 s, or the predicted border moves outwards. An example that we calculated: discs of "
        "radius 8 and s = 2 come out with radius 11.2 under balanced CE (R = 0), 8.7 with R = 2, "
        "and 8.0 with R = 6. One set of labels cannot tell s; labels of two annotators can.",
    )


def _errors(data: DataSet, measured: Measured, radii: Sequence[float]) -> Iterator[Point]:
    if not radii:
        return
    row = measured.weights_at(radii[0], "data")
    if math.isnan(row["far"]):
        return
    yield Point(
        "R must cover the places where the network errs",
        f"Background farther than R from any object is cheap: with R = {radii[0]:g} {data.unit} "
        f"one of its voxels weighs {row['far']:.2g}, a foreground voxel {row['foreground']:.2g}. "
        "If false positives lie far from the objects, a larger R or volumes of each image "
        "(volumes=image) may help; labels alone cannot tell.",
    )


def _thin(measured: Measured) -> Iterator[Point]:
    most = THIN * measured.voxel_size
    thin = [row for row in _foreground(measured) if row["depth"] < most]
    if thin:
        names = _listed([row["class"] for row in thin])
        yield Point(
            f"Thin: {names}",
            f"On average {'its' if len(thin) == 1 else 'their'} voxels are less than "
            f"{THIN:g} voxels from the border. On the retinal vessels of our studies radii of 1 to "
            "4 pixels did best, and hardly differed.",
        )


def _is_nearly_ce(row: dict[str, float]) -> bool:
    return row["imbalance"] < NEARLY_IMBALANCE or row["far_share"] < NEARLY_FAR


def _merged(data: DataSet, measured: Measured) -> Iterator[Point]:
    rows = [measured.weights_at(radius, "data") for radius in measured.radii if radius < math.inf]
    row = next(filter(_is_nearly_ce, rows), None)
    if row is None:
        return
    if row["radius"] == 0:
        yield Point(
            "The classes are nearly balanced as they are",
            f"The largest class has {row['imbalance']:.2g} times the voxels of the smallest, and "
            f"{row['far_share']:.0%} of all voxels are background. Weights have little to correct.",
        )
        return
    yield Point(
        f"From R = {row['radius']:g} {data.unit} on DBCE is nearly plain CE",
        f"The dilated masks of the foreground then hold {1 - row['far_share']:.0%} of all voxels, "
        f"and the imbalance that is left is {row['imbalance']:.2g}.",
    )


def _dear(measured: Measured) -> Iterator[Point]:
    background = measured.classes["voxels"].iloc[0]
    small = [row for row in _foreground(measured) if background / row["voxels"] > DEAR]
    if small:
        worst = min(small, key=lambda row: row["voxels"])
        factor = background / worst["voxels"]
        yield Point(
            f"Balanced CE would exaggerate: {_listed([row['class'] for row in small])}",
            f"With R = 0 one voxel of {worst['class']} weighs as much as {factor:,.0f} of the "
            f"background, so that predicting too much of it costs next to nothing. A dilated mask "
            "softens this: see the imbalance in the figure below.",
        )


def _rare(measured: Measured) -> Iterator[Point]:
    classes = measured.classes.iloc[1:]
    absent = classes.loc[classes["voxels"] == 0, "class"]
    if len(absent):
        yield Point(
            f"Not in the training part: {_listed(list(absent))}",
            "No network can learn a class without examples. Check the labels and the split.",
        )
    rare = [row for row in _foreground(measured) if row["cases"] < measured.num_cases / 2]
    if rare:
        listed = _listed([f"{row['class']} ({row['cases']})" for row in rare])
        yield Point(
            "Classes that most cases lack",
            f"Of {measured.num_cases} training cases, few hold {listed}. A class that is absent "
            "from a batch takes no part in its balance, so its weight changes from batch to batch; "
            "and DBCE does not become plain CE, however large R is.",
        )


def _uneven(measured: Measured) -> Iterator[Point]:
    foreground = foreground_shares(measured).to_numpy()
    foreground = foreground[foreground > 0]
    if len(foreground) > 1 and foreground.max() / foreground.min() > UNEVEN:
        yield Point(
            "Objects of very different sizes",
            f"The foreground is {foreground.min():.2%} of the smallest training case and "
            f"{foreground.max():.1%} of the largest. Volumes counted over the batch let the large "
            "ones dominate; volumes of each image (volumes=image) give every image the same say, "
            "but may draw the border of small objects a little too tight.",
        )


def foreground_shares(measured: Measured) -> pd.Series:
    """The share of foreground in the valid voxels of each training case, by name."""
    cases = measured.cases
    background = measured.classes["class"].iloc[0]
    train = cases[(cases["part"] == "train") & (cases["class"] != background)]
    return train.groupby("case", sort=False)["share"].sum()


def _listed(words: Sequence[str]) -> str:
    """Words as people list them: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""
