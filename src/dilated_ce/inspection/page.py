"""The inspection as one HTML file that opens offline and holds everything."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import colormaps
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from dilated_ce import __version__
from dilated_ce.inspection import figures
from dilated_ce.inspection.advice import adaptive_lines, advise, foreground_shares
from dilated_ce.inspection.maps import COLOURS, paint, weigh, whole_file
from dilated_ce.inspection.measuring import Measured
from dilated_ce.inspection.planes import (
    View,
    class_colour,
    masks_overlay,
    photograph,
    thin_out,
    uri,
    view,
)
from dilated_ce.inspection.tallies import PLACES
from dilated_ce.inspection.words import number, percent, radius_name
from dilated_ce.study.data.cases import DataSet

SIDES = (512, 352, 256, 160)  # of the pictures, the largest that fits
MOST_PICTURES = 6_000_000  # characters of all pictures together
SCOPES = ("data", "image")
TICK_DIGITS = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 2, 5), (1,))  # from many ticks to few
MOST_TICKS = 9

# By radius, or None for the adaptive loss, and scope: a plane for each case.
Planes = dict[tuple[float | None, str], list[NDArray[np.float32]]]


def write_page(
    path: Path,
    data: DataSet,
    measured: Measured,
    *,
    arguments: Sequence[str] = ("DATA",),
) -> None:
    """Write the page: class frequencies, advice, and a slider: the adaptive loss, then the radii.

    It shows three training cases: those with the smallest, the median and the largest foreground;
    of volumes and stacks the slice with the most. Their weights are those of `weigh`.

    Args:
        path: of the HTML file, under 8 MB; it is written whole or not at all.
        data: the data set.
        measured: what `measure` gave for it.
        arguments: the data and how they are read, for the command line that the page suggests:
            see `Advice.command`.

    Raises:
        DataError: a case that cannot be read.
        OSError: a file that cannot be written.
    """
    views = [
        view(replace(data.by_name[name].load(), name=name), role, data)
        for name, role in representatives(measured)
    ]
    planes = _weights(views, data, measured)
    limits = {scope: _limits(planes, scope) for scope in SCOPES}
    for side in SIDES:
        frames = _frames(views, data, measured, planes, limits, side)
        photographs = [photograph(part, data, side) for part in views]
        if len(str(frames)) + len(str(photographs)) < MOST_PICTURES:
            break
    # Autoescape: names of files, folders and classes come from outside and must not become markup.
    environment = Environment(
        loader=PackageLoader("dilated_ce.inspection"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["number"] = number
    environment.filters["percent"] = percent
    environment.globals["radius_name"] = radius_name
    advice = advise(data, measured)
    stacked = any(part.case.labels.ndim > data.spatial_dims for part in views)
    start = _start(measured, advice.radii)
    page = environment.get_template("inspect.html.j2").render(
        data=data,
        measured=measured,
        advice=advice,
        command=advice.command(*arguments),
        classes=measured.classes.to_dict("records"),
        volumes=[measured.volumes.loc[radius].tolist() for radius in measured.radii],
        adaptive=measured.adaptive.places(),
        adaptive_volumes=measured.adaptive.volumes.sum(0).tolist(),
        adaptive_lines=adaptive_lines(data, measured),
        weights={
            scope: [measured.weights_at(radius, scope) for radius in measured.radii]
            for scope in SCOPES
        },
        histogram=figures.foreground_histogram(measured),
        imbalance=figures.imbalance_curve(measured, data),
        weight_curves=figures.weight_curves(measured, data),
        views=[
            {
                "name": part.case.name,
                "role": part.role,
                "slice": None if part.axis is None else part.index,
                "axis": "xyz"[part.axis or 0] if data.spatial_dims == 3 else "",
                "aspect": round(part.aspect, 4),
                "image": image,
            }
            for part, image in zip(views, photographs, strict=True)
        ],
        frames=frames,
        start=start,
        scopes={
            "data": "the whole training part",
            "image": f"each {'slice' if stacked else 'case'} on its own",
        },
        scales={scope: _scale(ends) for scope, ends in limits.items()},
        colours=[to_hex(colour) for colour in colormaps[COLOURS](np.linspace(0, 1, 9))],
        class_colour=class_colour,
        version=__version__,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def representatives(measured: Measured) -> list[tuple[str, str]]:
    """Training cases with the smallest, median and largest foreground, with what they are."""
    shares = foreground_shares(measured)
    ordered = shares[shares > 0].sort_values(kind="stable")
    if ordered.empty:  # there is nothing else to show
        return [(str(shares.index[0]), "no foreground")]
    names = [str(ordered.index[place]) for place in (0, len(ordered) // 2, -1)]
    roles = [f"{word} foreground" for word in ("smallest", "median", "largest")]
    return list({name: (name, role) for name, role in zip(names, roles, strict=True)}.values())


def _start(measured: Measured, radii: Sequence[float]) -> int:
    """The stop that the page opens with: the first radius that is advised."""
    return 1 + measured.radii.index(radii[0]) if radii else 1


def _weights(views: Sequence[View], data: DataSet, measured: Measured) -> Planes:
    """The weights that the page shows, by radius and scope, one plane for each case."""
    planes: Planes = {}
    whole = [part.near(0) if part.stacked else part for part in views]  # images of their own
    for scope in SCOPES:  # which of them makes no difference to these
        planes[None, scope] = [part.plane(weigh(part.case, data, None)) for part in whole]
    for radius in measured.radii:
        nearby = [part.near(radius) for part in views]
        of_data = measured.balancing(radius)
        planes[radius, "data"] = [
            part.plane(weigh(part.case, data, radius, **of_data)) for part in nearby
        ]
        # A slice of a stack is an image of its own, and whole.
        planes[radius, "image"] = [
            part.plane(weigh(part.case, data, radius, **measured.balancing(radius, part.case.name)))
            if data.spatial_dims == 3
            else part.plane(weigh(part.case, data, radius))
            for part in nearby
        ]
    return planes


def _frames(
    views: Sequence[View],
    data: DataSet,
    measured: Measured,
    weights: Planes,
    limits: dict[str, tuple[float, float]],
    side: int,
) -> list[dict[str, Any]]:
    """What the slider shows at each stop."""
    frames = []
    for radius in (None, *measured.radii):
        name = "found for each class (Adaptive DBCE)"
        if radius is not None:
            ends = {0.0: " (balanced CE)", math.inf: " (plain CE)"}
            unit = "" if radius == math.inf else f" {data.unit}"
            name = f"{radius_name(radius)}{unit}{ends.get(radius, '')}"
        frame: dict[str, Any] = {
            "name": name,
            "adaptive": radius is None,
            "masks": [masks_overlay(part, data, radius, side) for part in views],
            "masksAlt": [f"{part.case.name}: masks dilated by R {_is(name)}" for part in views],
        }
        for scope in SCOPES:
            row = measured.adaptive.places()
            if radius is not None:
                row = measured.weights_at(radius, scope)
            planes = weights[radius, scope]
            frame[scope] = {
                "weights": [uri(paint(thin_out(plane, side), limits[scope])) for plane in planes],
                "alt": [
                    f"{part.case.name}: weights with R {_is(name)}, {_range(plane)}"
                    for part, plane in zip(views, planes, strict=True)
                ],
                "means": [number(row[place]) for place in PLACES],
                "shares": [percent(row[f"{place}_share"]) for place in PLACES],
                "imbalance": number(row["imbalance"]),
            }
        frames.append(frame)
    return frames


def _is(name: str) -> str:
    """A radius after the letter R."""
    return name if name.startswith("found") else f"= {name}"


def _limits(planes: Planes, scope: str) -> tuple[float, float]:
    """The smallest and the largest weight that the page shows of a scope, over all stops."""
    of_scope = [plane for (_, own), found in planes.items() if own == scope for plane in found]
    values = np.concatenate([plane[plane > 0] for plane in of_scope])
    return (float(values.min()), float(values.max())) if values.size else (1.0, 1.0)


def _range(weights: NDArray[np.float32]) -> str:
    """The weights of a plane, in words."""
    valid = weights[weights > 0]
    if valid.size == 0:
        return "no valid voxel"
    return f"from {number(float(valid.min()))} to {number(float(valid.max()))}"


def _scale(limits: tuple[float, float]) -> dict[str, Any]:
    """The colour bar: colours from low to high, and ticks with their places in percent."""
    low, high = limits
    if high <= low * 1.001:  # as `paint` does
        low, high = low / 2, high * 2
    span = math.log(high / low)
    for digits in TICK_DIGITS:
        values = [digit * 10.0**power for power in range(-9, 10) for digit in digits]
        ticks = [tick for tick in values if low <= tick <= high]
        if len(ticks) <= MOST_TICKS:
            break
    return {
        "ticks": [(f"{tick:g}", round(100 * math.log(tick / low) / span, 2)) for tick in ticks],
        "low": number(limits[0]),
        "high": number(limits[1]),
    }
