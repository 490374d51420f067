"""Cases with the truth and the errors of each loss, as data URIs."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from dilated_ce.study.data.cases import Case, DataSet, num_labels
from dilated_ce.study.runs.store import Run
from dilated_ce.study.training.loss_spec import LossSpec

HITS, FALSE_POSITIVES, FALSE_NEGATIVES = "#F2F2F2", "#FF9F1C", "#3DA5FF"
MOST_PIXELS = 320  # of a side: more would only make the file large
MOST_CASES = 12  # in pictures: the worst, the median and the best one, and others


def choose(
    dataset: DataSet,
    cases: pd.DataFrame,
    runs: Sequence[Run],
    specs: Sequence[LossSpec],
    load_case: Callable[[str], Case],
) -> list[dict[str, Any]]:
    """Cases under every loss, first seed and fold: worst, median and best, then some others."""
    first = [run for run in runs if (run.seed, run.fold) == (runs[0].seed, runs[0].fold)]
    of_first = cases[(cases["seed"] == runs[0].seed) & (cases["fold"] == runs[0].fold)]
    dice = of_first.groupby("case")["dice"].mean().dropna().sort_values(kind="stable")
    picks = {"worst": 0, "median": len(dice) // 2, "best": len(dice) - 1} if len(dice) > 2 else {}
    roles = {dice.index[place]: role for role, place in picks.items()}
    others = [name for name in dice.index if name not in roles]
    step = max(1, math.ceil(len(others) / (MOST_CASES - len(roles))))
    by_loss = of_first.groupby(["loss", "case"])["dice"].mean() * 100
    run_of = {run.loss: run for run in first}
    gallery = []
    for name in [*roles, *others[::step]]:
        case = load_case(name)
        kept = [spec for spec in specs if spec in run_of and run_of[spec].has("predictions")]
        of_case = {spec: run_of[spec].prediction(name) for spec in kept}
        highest = num_labels(len(dataset.classes), dataset.overlapping)
        place = best_slice(
            case,
            {str(spec): part for spec, part in of_case.items()},
            dataset.spatial_dims,
            highest,
        )
        panels: list[dict[str, Any]] = [
            {"title": "image", "source": photograph(case, place), "dice": None},
            {
                "title": "truth",
                "source": overlay(case, case.labels, place, highest),
                "dice": None,
            },
        ]
        for spec, prediction in of_case.items():
            score = float(by_loss[str(spec), name])
            panels.append(
                {
                    "title": spec.title,
                    "source": overlay(case, prediction, place, highest),
                    "dice": None if math.isnan(score) else score,
                }
            )
        gallery.append(
            {
                "name": name,
                "role": roles.get(name, ""),
                "slice": None if place is None else place[1],
                "panels": panels,
            }
        )
    return gallery


def best_slice(
    case: Case, predictions: Mapping[str, NDArray[np.uint8]], spatial_dims: int, num_labels: int
) -> tuple[int, int] | None:
    """The axis and number of the slice with the most truth and errors; None for an image."""
    if case.labels.ndim == 2:
        return None
    axis = 0 if spatial_dims == 2 else case.labels.ndim - 1  # stacks have their slices first
    labels = np.asarray(case.labels)
    seen = (labels > 0) & (labels < num_labels)
    for prediction in predictions.values():
        seen = seen | (prediction > 0)
    others = tuple(other for other in range(labels.ndim) if other != axis)
    return axis, int(seen.sum(axis=others).argmax())


def photograph(case: Case, place: tuple[int, int] | None) -> str:
    """The image itself: in colour if it has three channels, else its first channel."""
    image = np.asarray(case.image, np.float32)
    image = image if len(image) == 3 else image[:1]
    plane = np.stack([_plane(channel, place) for channel in image], -1)
    return _png(Image.fromarray(_shades(plane).squeeze()))


def overlay(
    case: Case,
    prediction: NDArray[np.uint8],
    place: tuple[int, int] | None,
    num_labels: int,
) -> str:
    """The dimmed image with hits, false positives and false negatives in colour.

    A voxel of one foreground class that is predicted as another, or of other ones that overlap,
    counts as a false positive; voxels that do not count are left out.
    """
    grey = _plane(np.asarray(case.image, np.float32).mean(0), place)
    labels, predicted = _plane(np.asarray(case.labels), place), _plane(prediction, place)
    pixels = np.repeat((_shades(grey) * 0.45).astype(np.uint8)[..., None], 3, -1)
    valid = labels < num_labels
    found, true = (predicted > 0) & valid, (labels > 0) & valid
    for mask, colour in (
        (true & (predicted == labels), HITS),
        (found & (predicted != labels), FALSE_POSITIVES),
        (true & ~found, FALSE_NEGATIVES),
    ):
        pixels[mask] = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    picture = Image.fromarray(pixels)
    return _png(picture.quantize(64))


def _plane(array: NDArray, place: tuple[int, int] | None) -> NDArray:
    """A 2D image of a volume, thinned out if it is large; slices stand upright."""
    if place is not None:
        axis, number = place
        array = np.rot90(array.take(number, axis))  # NIfTI's axes run to the right and upwards
    step = max(1, -(-max(array.shape) // MOST_PIXELS))
    return array[::step, ::step]


def _shades(plane: NDArray[np.floating]) -> NDArray[np.uint8]:
    low, high = np.percentile(plane, (1, 99))
    shades: NDArray[np.uint8] = (
        ((plane - low) / max(float(high - low), 1e-6)).clip(0, 1) * 255
    ).astype(np.uint8)
    return shades


def _png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
