"""What the labels alone tell about the radius: volumes, depths and weights, as tables."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from dilated_ce.inspection.adaptive import Adaptive, tally_adaptive
from dilated_ce.inspection.tallies import PLACES, Tally, radii_by_image, sum_depths, tally
from dilated_ce.study.data.cases import Case, DataSet

DEFAULT_RADII = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # in steps of about a voxel
LARGEST_IN_3D = 32  # as the work of a dilation grows with the square of the radius there
SAMPLED_CASES = 9  # whose sizes decide how far the default radii go


@dataclass(frozen=True)
class Measured:
    """What was measured. All but the first two tables are about the training part (of fold 0).

    Attributes:
        cases: a row per case and class, background first: `case`, `group`, `part` (of fold 0:
            "train", "validation", "test", or "" for none), `class`, `voxels`, `share` (of the
            case's valid voxels), `depth` (mean distance of the class's voxels to the nearest voxel
            that is not of the class, in the data's unit; NaN where there is none, and for the
            background), `adaptive` (the radius of the adaptive loss, the median over the slices
            with the class where slices are trained on; NaN without the class), and `components`
            (number of connected ones, diagonal neighbours included).
        dilated: a row per case, class and radius: `case`, `part`, `class`, `radius`, and `volume`
            of the dilated mask, in voxels.
        classes: a row per class: `class`, `voxels`, `share`, `cases` (in how many it occurs),
            `depth`, `adaptive` and `components` (medians over the cases that it occurs in).
        volumes: volumes of the dilated masks, in voxels, by radius (index) and class (columns):
            what `dilated_balanced_weights` takes as `volumes`.
        weights: a row per radius and scope, which is "data" for volumes counted over the whole
            training part and "image" for those of each image: `radius`, `scope`, `imbalance` (the
            largest over the smallest 1 / v_c of the classes that occur; of "image" the median over
            the images with two classes or more), the mean weights of a `foreground` voxel, of a
            background voxel within the radius of the foreground (`rim`), and of a background voxel
            beyond (`far`), with mean 1 over all voxels; and `foreground_share`, `rim_share` and
            `far_share` of the voxels. NaN where a place has no voxel.
        adaptive: the weights of the adaptive loss.
        radii: in the data's unit, ascending.
        voxel_size: the shortest side of a voxel, the median over the cases, in the data's unit.
        num_cases: measured cases of the training part.
        num_voxels: their valid voxels: what `dilated_balanced_weights` takes as `num_voxels`.
    """

    cases: pd.DataFrame
    dilated: pd.DataFrame
    classes: pd.DataFrame
    volumes: pd.DataFrame
    weights: pd.DataFrame
    adaptive: Adaptive
    radii: tuple[float, ...]
    voxel_size: float
    num_cases: int
    num_voxels: int

    def weights_at(self, radius: float, scope: str) -> dict[str, float]:
        """The row of `weights` as numbers by column."""
        table = self.weights
        row = table[(table["radius"] == radius) & (table["scope"] == scope)].iloc[0]
        return {column: float(row[column]) for column in table.columns if column != "scope"}

    def balancing(self, radius: float, case: str | None = None) -> dict[str, Any]:
        """The arguments `volumes` and `num_voxels` of `dilated_balanced_weights`.

        Args:
            radius: one of those that were measured.
            case: count over this case alone instead of the whole training part.

        Raises:
            ValueError: a radius at which nothing was measured.
        """
        if radius not in self.radii:
            known = ", ".join(f"{known:g}" for known in self.radii)
            raise ValueError(
                f"radius: got {radius:g}, expected one that was measured: {known}. Add it to the "
                "radii of `measure`."
            )
        if case is None:
            volumes = self.volumes.loc[radius]
            return {"volumes": volumes.tolist(), "num_voxels": self.num_voxels}
        of_case = self.dilated[(self.dilated["case"] == case) & (self.dilated["radius"] == radius)]
        voxels = self.cases.loc[self.cases["case"] == case, "voxels"].sum()
        return {"volumes": of_case["volume"].tolist(), "num_voxels": int(voxels)}


def measure(
    data: DataSet,
    radii: Sequence[float] | None = None,
    max_cases: int | None = None,
    on_case: Callable[[], None] = lambda: None,
) -> Measured:
    """Measure the classes of every case, and what dilation by each radius makes of them.

    One case is in memory at a time. The slices of a stack, in 2D, are images of their own: they are
    dilated, and have their depths, in their planes.

    Args:
        data: the data set; of its folds the first counts.
        radii: in the data's unit, >= 0 or `math.inf`; None for `default_radii`.
        max_cases: measure only so many cases of the training part, evenly spread, and no others.
        on_case: called after each case.

    Raises:
        DataError: a case that cannot be read.
        ValueError: a radius that is none, `max_cases` below 1, or a label that is no class.

    Examples:
        >>> from functools import partial
        >>> from dilated_ce.study.data.cases import CaseSource, Split
        >>> labels = np.array([[0, 0, 0, 0, 1, 0, 0]], np.uint8)
        >>> case = Case("a", np.zeros((1, 1, 7), np.float32), labels)
        >>> source = CaseSource("a", partial(lambda case: case, case), group="a")
        >>> data = DataSet(
        ...     "tiny", "Made up.", ("background", "spot"), ("grey",), 2, "px", None,
        ...     (source,), (Split(("a",), (), ()),), "All for training.",
        ... )
        >>> measure(data, [0, 1]).volumes
        class   background  spot
        radius
        0.0              6     1
        1.0              7     3
    """
    if max_cases is not None and max_cases < 1:
        raise ValueError(f"max_cases: got {max_cases}, expected at least 1.")
    grid = default_radii(data) if radii is None else _as_grid(radii)
    split = data.folds[0]
    parts = dict.fromkeys(split.train, "train")
    parts |= dict.fromkeys(split.validation, "validation") | dict.fromkeys(split.test, "test")
    rows: list[dict[str, Any]] = []
    dilated: list[dict[str, Any]] = []
    of_training: list[Tally] = []
    adaptive: list[Adaptive] = []
    voxel_sizes: list[float] = []
    for source in data.cases:
        if max_cases is not None and source.name not in _spread(split.train, max_cases):
            continue
        case = source.load()
        tallies = _tallies(case, grid, data)
        who = {"case": source.name, "part": parts.get(source.name, "")}
        rows += [{**who, "group": source.group, **row} for row in _describe(case, data)]
        volumes = np.sum([image.volumes for image in tallies], axis=0)
        dilated += [
            {**who, "class": name, "radius": radius, "volume": int(volumes[r, c])}
            for c, name in enumerate(data.classes)
            for r, radius in enumerate(grid)
        ]
        if who["part"] == "train":
            of_training += tallies
            adaptive.append(_adaptive(case, data))
            voxel_sizes.append(min(case.spacing[-data.spatial_dims :]))
        on_case()
    cases = pd.DataFrame(rows)
    total = Tally(
        np.sum([image.places for image in of_training], axis=0),
        np.sum([image.by_class for image in of_training], axis=0),
    )
    return Measured(
        cases=cases,
        dilated=pd.DataFrame(dilated),
        classes=_by_class(cases[cases["part"] == "train"], data.classes),
        volumes=pd.DataFrame(
            total.volumes,
            index=pd.Index(grid, name="radius"),
            columns=pd.Index(data.classes, name="class"),
        ),
        weights=_weights(total, of_training, grid),
        adaptive=Adaptive.sum(adaptive),
        radii=grid,
        voxel_size=float(np.median(voxel_sizes)),
        num_cases=int(cases.loc[cases["part"] == "train", "case"].nunique()),
        num_voxels=total.num_voxels,
    )


def default_radii(data: DataSet) -> tuple[float, ...]:
    """0 to 32 voxels or so (64 in 2D), up to half the median side of an image, and infinity.

    They are multiples of a round number, 1, 2 or 5 times a power of ten, that is next to the size
    of a voxel along its shortest side: 1 for pixels and for voxels of 0.8 mm.
    """
    sizes, sides = [], []
    for name in _spread(data.folds[0].train, SAMPLED_CASES):
        case = data.by_name[name].load()
        spacing = case.spacing[-data.spatial_dims :]
        sizes.append(min(spacing))
        sides += [
            side * size
            for side, size in zip(case.labels.shape[-data.spatial_dims :], spacing, strict=True)
        ]
    size, half = float(np.median(sizes)), float(np.median(sides)) / 2
    magnitude = 10.0 ** math.floor(math.log10(size))
    step = min((1, 2, 5, 10), key=lambda digit: abs(math.log(digit * magnitude / size)))
    # Rounded, as 3 * 0.1 is not the 0.3 that people write.
    largest = LARGEST_IN_3D if data.spatial_dims == 3 else max(DEFAULT_RADII)
    multiples = [radius for radius in DEFAULT_RADII if radius <= largest]
    radii = [float(f"{multiple * step * magnitude:.9g}") for multiple in multiples]
    return (*(radius for radius in radii if radius <= half), math.inf)


def images_of(labels: NDArray[np.uint8], spatial_dims: int) -> NDArray[np.uint8]:
    """Labels as a batch (B, *spatial): an image, a volume, or the slices of a stack."""
    return labels if labels.ndim > spatial_dims else labels[None]


def _tallies(case: Case, radii: Sequence[float], data: DataSet) -> list[Tally]:
    spacing = tuple(case.spacing[-data.spatial_dims :])
    return [
        tally(image, radii, len(data.classes), spacing, data.ignore_index)
        for image in images_of(case.labels, data.spatial_dims)
    ]


def _adaptive(case: Case, data: DataSet) -> Adaptive:
    images, spacing = images_of(case.labels, data.spatial_dims), case.spacing[-data.spatial_dims :]
    return tally_adaptive(images, len(data.classes), tuple(spacing), data.ignore_index)


def _describe(case: Case, data: DataSet) -> list[dict[str, Any]]:
    """Voxels, share, depth and components of each class."""
    spacing = tuple(case.spacing[-data.spatial_dims :])
    counts = np.bincount(case.labels.ravel(), minlength=256)[: len(data.classes)]
    images = images_of(case.labels, data.spatial_dims)
    radii = radii_by_image(images, len(data.classes), spacing, data.ignore_index)
    rows = []
    for index, name in enumerate(data.classes):
        found = radii[radii[:, index] > 0, index]
        mask = case.labels == index
        # That of the background means nothing, and takes the most time and memory.
        parts = images_of(mask, data.spatial_dims) if index else ()
        depths = [sum_depths(image, spacing) for image in parts]
        total, number = np.sum(depths, axis=0) if depths else (0.0, 0)
        neighbours = ndimage.generate_binary_structure(mask.ndim, mask.ndim)
        rows.append(
            {
                "class": name,
                "voxels": int(counts[index]),
                "share": float(counts[index] / max(1, counts.sum())),
                "depth": float(total / number) if number else math.nan,
                "adaptive": float(np.median(found)) if len(found) else math.nan,
                "components": int(ndimage.label(mask, neighbours)[1]),
            }
        )
    return rows


def _by_class(cases: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Sums and medians over the cases."""
    rows = []
    for name in names:
        of_class = cases[cases["class"] == name]
        present = of_class[of_class["voxels"] > 0]
        rows.append(
            {
                "class": name,
                "voxels": int(of_class["voxels"].sum()),
                "share": float(of_class["voxels"].sum() / max(1, cases["voxels"].sum())),
                "cases": len(present),
                "depth": float(present["depth"].median()),
                "adaptive": float(present["adaptive"].median()),
                "components": float(present["components"].median()),
            }
        )
    return pd.DataFrame(rows)


def _weights(total: Tally, images: Sequence[Tally], radii: Sequence[float]) -> pd.DataFrame:
    """The table `weights` of `Measured`."""
    several = [image.imbalance for image in images if image.num_present > 1]
    median = np.median(several, axis=0) if several else np.ones(len(radii))
    scopes = {
        "data": (total.imbalance, total.shares, total.num_present),
        "image": (
            median,
            np.sum([image.shares for image in images], axis=0),
            sum(image.num_present for image in images),
        ),
    }
    tables = []
    for scope, (imbalance, shares, num_shares) in scopes.items():
        # The weights sum to one per class that occurs; scaled, their mean over the voxels is 1.
        sums = shares * total.num_voxels / max(1, num_shares)
        means = np.divide(
            sums, total.places, out=np.full(sums.shape, np.nan), where=total.places > 0
        )
        table = pd.DataFrame({"radius": radii, "scope": scope, "imbalance": imbalance})
        table[list(PLACES)] = means
        table[[f"{place}_share" for place in PLACES]] = total.places / max(1, total.num_voxels)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _as_grid(radii: Sequence[float]) -> tuple[float, ...]:
    """Radii as floats, ascending, each once."""
    grid = tuple(sorted({float(radius) for radius in radii}))
    if not grid or not all(radius >= 0 for radius in grid):  # nor NaN
        raise ValueError(f"radii: got {list(radii)}, expected numbers >= 0, or inf.")
    return grid


def _spread(names: Sequence[str], count: int) -> tuple[str, ...]:
    """At most `count` of the names, evenly spread."""
    places = np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int)
    return tuple(names[place] for place in places)
