"""What the page shows of a case at a radius: its image, its dilated masks, its weights."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dilated_ce import dilate_labels
from dilated_ce.inspection.measuring import images_of
from dilated_ce.inspection.tallies import radii_by_image
from dilated_ce.study.data.cases import Case, DataSet

# Okabe and Ito's colours, told apart by colour-blind people too; the background's is white.
CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#D55E00", "#0072B2")
BACKGROUND_COLOUR = "#FFFFFF"
CLASS_ALPHA, RIM_ALPHA = 130, 60  # of 255: a class itself, and what dilation adds to it
OUTLINE_SIDE = 384  # small pictures are enlarged to about this, so that outlines are thin


@dataclass(frozen=True)
class View:
    """A plane of a case: an image itself, or the slice of a volume with the most foreground."""

    case: Case
    role: str  # such as "median foreground"
    axis: int | None  # of the slices; None for an image
    index: int
    stacked: bool  # whether the slices are images of their own
    spacing: tuple[float, float]  # of the rows and the columns as shown

    def plane(self, array: NDArray) -> NDArray:
        """The plane (H, W), as shown, of an array (*spatial)."""
        # NIfTI's axes run to the right and upwards, those of pictures down and to the right.
        flat = array if self.axis is None else np.rot90(array.take(self.index, self.axis))
        return np.ascontiguousarray(flat)

    def near(self, radius: float) -> "View":
        """The same plane of a thinner case: all that the plane depends on, given the volumes."""
        if self.axis is None:
            return self
        # Slices of a stack do not reach into each other; a slice to spare for rounding.
        side = self.case.labels.shape[self.axis]
        reach = 0
        if not self.stacked:
            reach = int(min(radius / self.case.spacing[self.axis], side)) + 1
        first = max(0, self.index - reach)
        window: list[slice] = [slice(None)] * self.case.labels.ndim
        window[self.axis] = slice(first, self.index + reach + 1)
        case = replace(self.case, labels=self.case.labels[tuple(window)])
        return replace(self, case=case, index=self.index - first)

    @property
    def aspect(self) -> float:
        """Width over height."""
        height, width = self.plane(self.case.labels).shape
        return width * self.spacing[1] / (height * self.spacing[0])


def view(case: Case, role: str, data: DataSet) -> View:
    """The plane to show of a case."""
    labels, spacing = case.labels, tuple(case.spacing)
    if labels.ndim == 2:
        return View(case, role, None, 0, False, (spacing[-2], spacing[-1]))
    stacked = data.spatial_dims == 2
    # Volumes are seen along their thickest side, the last if they are all alike.
    axis = 0 if stacked else 2 - int(np.argmax(spacing[::-1]))
    foreground = (labels > 0) & (labels < len(data.classes))
    others = tuple(other for other in range(3) if other != axis)
    index = int(foreground.sum(others).argmax())
    first, second = (spacing[other - 3] for other in others)
    return View(case, role, axis, index, stacked, (second, first))


def photograph(view: View, data: DataSet, side: int) -> str:
    """The image: in colour if its channels are, else its first channel."""
    image = view.case.image
    coloured = [channel.lower() for channel in data.channels] == ["red", "green", "blue"]
    planes = np.stack([view.plane(channel) for channel in (image if coloured else image[:1])], -1)
    low, high = (0, 1) if coloured else np.percentile(planes, (0.5, 99.5))
    scaled = ((planes - low) / max(float(high - low), 1e-6)).clip(0, 1) * 255
    pixels = thin_out(scaled.round().astype(np.uint8), side)
    if coloured:
        return uri(Image.fromarray(pixels), "JPEG")
    return uri(Image.fromarray(pixels[..., 0]))


def adaptive_radii(view: View, data: DataSet) -> tuple[float, ...]:
    """The radius that the adaptive loss finds for each class of the image; 0 without the class."""
    case = view.near(0).case if view.stacked else view.case
    spacing = case.spacing[-data.spatial_dims :]
    images = np.ascontiguousarray(images_of(case.labels, data.spatial_dims))
    return tuple(radii_by_image(images, len(data.classes), spacing, data.ignore_index)[0].tolist())


def masks_overlay(view: View, data: DataSet, radius: float | None, side: int) -> str:
    """The classes, what dilation adds to them, and the outlines of the dilated masks.

    A transparent picture to lay over the image. What several foreground classes share is white.
    Without a radius the masks are those of the adaptive loss.
    """
    radii = adaptive_radii(view, data) if radius is None else (radius,) * len(data.classes)
    part = view.near(max(radii))
    masks = dilate_labels(
        torch.from_numpy(np.ascontiguousarray(images_of(part.case.labels, data.spatial_dims))),
        radii,
        num_classes=len(data.classes),
        spacing=view.case.spacing[-data.spatial_dims :],
        ignore_index=data.ignore_index,
    )
    by_class = masks[0].numpy().reshape(len(data.classes), *part.case.labels.shape)
    enlarged = [_enlarge(thin_out(part.plane(mask), side)) for mask in by_class]
    truth = _enlarge(thin_out(view.plane(view.case.labels), side))
    return uri(_draw(enlarged, truth))


def _draw(masks: Sequence[NDArray[np.bool_]], truth: NDArray[np.uint8]) -> Image.Image:
    colours = [BACKGROUND_COLOUR, *CLASS_COLOURS]
    # Pixel values: 0 nothing; then for each colour the class, what dilation adds, the outline.
    alphas = (CLASS_ALPHA, RIM_ALPHA, 255)
    entries = [(0, 0, 0, 0)]
    entries += [(*_rgb(colour), alpha) for colour in colours for alpha in alphas]
    pixels = np.zeros(truth.shape, np.uint8)
    several = np.sum(masks[1:], axis=0, dtype=np.int32) > 1
    for index in range(1, len(masks)):
        first = _first_value(index)
        pixels[masks[index]] = first + 1
    pixels[several] = _first_value(0) + 1
    for index in range(1, len(masks)):
        pixels[truth == index] = _first_value(index)
    for index, mask in enumerate(masks):
        inner = ndimage.binary_erosion(mask, iterations=2, border_value=1)
        pixels[mask & ~inner] = _first_value(index) + 2
    picture = Image.fromarray(pixels)
    picture.putpalette(bytes(value for entry in entries for value in entry[:3]))
    picture.info["transparency"] = bytes(entry[3] for entry in entries)
    return picture


def class_colour(index: int) -> str:
    """The colour of a class; after the seventh foreground class they start again."""
    return CLASS_COLOURS[(index - 1) % len(CLASS_COLOURS)] if index else BACKGROUND_COLOUR


def _first_value(index: int) -> int:
    return 1 + 3 * (1 + (index - 1) % len(CLASS_COLOURS) if index else 0)


def thin_out(pixels: NDArray, side: int) -> NDArray:
    """Every nth pixel, such that no side is longer than `side`: no value is made up."""
    step = math.ceil(max(pixels.shape[:2]) / side)
    return pixels[::step, ::step]


def _enlarge(pixels: NDArray) -> NDArray:
    factor = max(1, OUTLINE_SIDE // max(pixels.shape))
    return pixels.repeat(factor, 0).repeat(factor, 1)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return red, green, blue


def uri(picture: Image.Image, kind: str = "PNG") -> str:
    """A picture as a data URI."""
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, optimize=True)
    content = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/{kind.lower()};base64,{content}"
