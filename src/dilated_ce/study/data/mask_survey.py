"""Looking at all masks of a set before one is read: may their values mean two things?

Where they may, an error says both readings and the option that decides. The rules:

- A palette that is all grey means its grey values, any other its indices. All files have to agree
  on the colours of the indices that they use, and black, if it is used, has the lowest one.
- A value that is rare, fills no 3 x 3 pixels in any file and lies between a lower and a higher
  neighbour only lines the borders of others: that is what smoothing leaves.
- Values near 0 and near 255 beside 0 and 255 are what JPEG leaves.
- White in an image of one bit is what the others have, 255 or 1.
- 255 beside small values may be a class, or pixels that nobody labelled.
- Some files with small and others with large values are coded in two ways.
- A JPEG file is black and white, more than 127 being white, unless it has a plateau in between:
  5 x 5 pixels within 64 grey levels of one another whose mean is more than 20 from 0 and from 255,
  or 3 x 3 within 8 and more than 10 away; or greys that have no black, or no white, within 4
  pixels. What is nearer to black or white than that JPEG does not tell apart.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.images import decoded, naming
from dilated_ce.study.data.masks import is_grey, is_lossy, palette_of, stored_values
from dilated_ce.study.wording import listing

WHITE = 255
SMALL = 50  # values below are indices rather than greys
UNLABELLED = {255, 65535}  # where they stand beside small ones
NEAR = 32  # grey levels that JPEG moves a value
RARE = 0.1  # of the pixels, at most, are those that line a border
BETWEEN = 0.9  # of such pixels, at least, lie between a lower and a higher one
# Of a plateau in a JPEG file: pixels along a side, levels within it, levels from black and white.
# 1,000 masks of Kvasir-SEG and discs of any size at the qualities 10 to 95 have none.
PLATEAUS = ((5, 64, 20), (3, 8, 10))


Holding = tuple[str, set[int]]  # the name of a mask, for people, and its values


@dataclass(frozen=True)
class Held:
    """What a mask holds: its values, ascending, and of each the pixels, all and some."""

    name: str  # for people
    values: NDArray[np.int64]  # of a palette image, the indices
    pixels: NDArray[np.int64]
    solid: NDArray[np.int64]  # amid 3 x 3 of their own
    between: NDArray[np.int64]  # beside a darker and a brighter one
    palette: NDArray[np.uint8] | None  # of a palette image, the colours of its values
    is_grey: bool  # the palette, with all that is not used
    is_one_bit: bool  # so that 1 is white, whatever white is called elsewhere


@dataclass(frozen=True)
class Survey:
    """What the masks of a set hold."""

    masks: tuple[Held, ...]

    @cached_property
    def by_index(self) -> bool:
        """Whether palette images mean their indices, and not their greys."""
        return not all(is_grey(held.palette) for held in self.masks if held.palette is not None)

    @cached_property
    def white(self) -> int:
        """The value of white in images of one bit: 255 if others have it, else 1."""
        others = (held for held in self.masks if not held.is_one_bit)
        return WHITE if any(WHITE in self.values_of(held) for held in others) else 1

    def values_of(self, held: Held) -> list[int]:
        """The values of a mask as they are meant."""
        if held.is_one_bit:
            return (held.values * self.white).tolist()
        if held.palette is None or self.by_index:
            return held.values.tolist()
        return held.palette[:, 0].tolist()

    @property
    def values(self) -> list[int]:
        """The values of all masks, ascending."""
        return sorted({value for held in self.masks for value in self.values_of(held)})

    def count(self, which: str) -> Counter[int]:
        """The pixels of each value: all, or those that are solid or between."""
        total: Counter[int] = Counter()
        for held in self.masks:
            numbers = getattr(held, which).tolist()
            total.update(dict(zip(self.values_of(held), numbers, strict=True)))
        return total


def survey(masks: Iterable[Path], ignored: int | None = None) -> Survey:
    """Look at every mask.

    Raises:
        DataError: with each that cannot be read, or is JPEG and not black and white; palettes that
            mean different things.
    """
    found, problems = [], []
    for path in masks:
        name = f"masks/{path.name}"
        try:
            with naming(name):
                found.append(_look(name, decoded(path), ignored))
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise DataError(listing(f"{len(problems)} of the masks cannot be used", problems))
    result = Survey(tuple(found))
    _check_palettes(result)
    return result


def black_and_white(values: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """The mask that a JPEG file was made of: 0 and 255.

    Raises:
        ValueError: it was made of other values.
    """
    levels = values.astype(np.float32)
    for side, within, away in PLATEAUS:
        highest, lowest, mean = (
            filtered(levels, side, mode="nearest")
            for filtered in (ndimage.maximum_filter, ndimage.minimum_filter, ndimage.uniform_filter)
        )
        plateau = (highest - lowest <= within) & (mean > away) & (mean < WHITE - away)
        if plateau.any():
            raise ValueError(
                f"is a JPEG mask with areas of about {mean[plateau][0]:.0f}, expected black and "
                "white; JPEG changes values: save masks of classes as PNG, or, if all above a "
                "value is foreground, set --mask-threshold"
            )
    brightest, darkest = (
        filtered(levels, 9, mode="nearest")
        for filtered in (ndimage.maximum_filter, ndimage.minimum_filter)
    )
    # Between black and white there is a border, with both nearby.
    stray = (levels >= 48) & (levels <= WHITE - 48) & ((brightest < 160) | (darkest > WHITE - 160))
    is_grey = np.mean((values > 64) & (values < 191)) > 0.05 or values.max() in range(1, 128)
    if is_grey or stray.any():
        raise ValueError(
            "is a JPEG mask with values between black and white, expected 0 and 255; JPEG changes "
            "values: save masks of classes as PNG, or set --mask-threshold 127"
        )
    return np.where(values > 127, WHITE, 0).astype(np.uint16)


def check_values(found: Survey, values: Sequence[int]) -> None:
    """Stop where the values of the masks, without ignored ones, may mean two things.

    Raises:
        DataError: with both.
    """
    _check_smoothing(found, values)
    check_codings([(held.name, {*found.values_of(held)}) for held in found.masks], values)


def check_codings(masks: Sequence[Holding], values: Sequence[int]) -> None:
    """Stop where masks are coded in two ways, or 255 may be a class, or pixels without a label.

    Args:
        masks: the name of each and the values that it holds.
        values: of all, without ignored ones.

    Raises:
        DataError: with both readings.
    """
    small = {value for value in values if 0 < value < SMALL}
    large = {value for value in values if value >= SMALL}

    def together(some: set[int], others: set[int]) -> bool:
        return any(held & some and held & others for _, held in masks)

    if small and large and not together(small, large) and (1 in small or large <= UNLABELLED):
        raise _two_codings(masks, values, small, large)
    if large >= UNLABELLED and not together({255}, {65535}):
        raise _two_codings(masks, values, {255}, {65535})
    if small and len(large) == 1 and large <= UNLABELLED:
        (void,) = large
        raise DataError(
            f"{first_with(masks, large)} beside small ones: a class, or pixels that nobody "
            f"labelled? Set --ignore-value {void}, or name each class with its value: "
            f"--mask-classes {as_classes(values)}."
        )


def _look(name: str, image: Image.Image, ignored: int | None) -> Held:
    values, palette = stored_values(image), palette_of(image)
    if is_lossy(image):
        values = black_and_white(values)
    present, places, pixels = np.unique(values, return_inverse=True, return_counts=True)
    heights = values.astype(np.int64)
    if palette is not None:
        heights = palette.astype(np.int64).sum(1)[values]  # how bright, as indices have no order
    greys = palette[values, 0] if palette is not None and is_grey(palette[present]) else values
    known = np.ones(values.shape, bool) if ignored is None else greys != ignored
    highest = ndimage.maximum_filter(np.where(known, heights, -1), 3, mode="nearest")
    lowest = ndimage.minimum_filter(np.where(known, heights, 2**20), 3, mode="nearest")

    def count(which: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(places.ravel()[(known & which).ravel()], minlength=len(present))

    return Held(
        name,
        present.astype(np.int64),
        pixels.astype(np.int64),
        count(highest == lowest),
        count((lowest < heights) & (heights < highest)),
        None if palette is None else palette[present],
        palette is not None and is_grey(palette),
        image.mode == "1",
    )


def _check_palettes(found: Survey) -> None:
    """Whether the palettes mean the same in all files, and each index one class."""
    remedy = "name the classes by their colours: --mask-classes background=#000000,NAME=#rrggbb"
    colour_of: dict[int, str] = {}
    seen_in: dict[int, str] = {}
    for held in found.masks:
        if held.palette is None:
            continue
        colours = ["#" + bytes(colour).hex() for colour in held.palette.tolist()]
        if len(set(colours)) < len(colours):
            raise DataError(
                f"{held.name}: several indices of its palette have the same colour: are they one "
                f"class? Save the masks as grey values, or {remedy}."
            )
        if not found.by_index:
            if not held.is_grey and colours != sorted(colours):
                raise DataError(
                    f"{held.name}: by the indices of its palette {colours[0]} is the background, "
                    f"by its greys {min(colours)}; {remedy}."
                )
            continue
        for index, colour in zip(held.values.tolist(), colours, strict=True):
            if colour_of.setdefault(index, colour) != colour:
                raise DataError(
                    f"the palettes differ: the index {index} is {colour_of[index]} in "
                    f"{seen_in[index]} and {colour} in {held.name}; {remedy}."
                )
            seen_in.setdefault(index, held.name)
    if not colour_of:
        return
    plain = [held.name for held in found.masks if held.palette is None]
    if plain:
        raise DataError(
            f"{next(iter(seen_in.values()))} has a palette of colours and {plain[0]} has none: do "
            f"their values mean the same? Save all masks in one way, or {remedy}."
        )
    if len(set(colour_of.values())) < len(colour_of):
        raise DataError(
            f"several indices of the palettes have the same colour: are they one class? If so, "
            f"{remedy}; if not, save the masks as grey values."
        )
    lowest = min(colour_of)
    if "#000000" in colour_of.values() and colour_of[lowest] != "#000000":
        raise DataError(
            f"{seen_in[lowest]}: by the indices of its palette {colour_of[lowest]} is the "
            f"background, and yet another one is black; {remedy}."
        )


def _check_smoothing(found: Survey, values: Sequence[int]) -> None:
    masks = [(held.name, {*found.values_of(held)}) for held in found.masks]
    pixels, solid, between = (found.count(which) for which in ("pixels", "solid", "between"))
    middle = [value for value in values if values[0] < value < values[-1]]
    lining = [
        value
        for value in middle
        if not solid[value]
        and between[value] >= BETWEEN * pixels[value]
        and pixels[value] <= RARE * pixels.total()
    ]
    is_black_and_white = (values[0], values[-1]) == (0, WHITE)
    near_black = [value for value in middle if value <= NEAR]
    near_white = [value for value in middle if value >= WHITE - NEAR]
    if is_black_and_white and (lining or (near_white and near_black + near_white == middle)):
        raise DataError(
            f"{first_with(masks, {*(lining or near_white)})}, and the masks hold 0 and 255: are "
            "they black and white, smoothed or once saved as JPEG, or are these classes? Set "
            "--mask-threshold 127, or name each class with its value: --mask-classes "
            f"{as_classes(values)}."
        )
    if lining:
        raise DataError(
            f"{first_with(masks, {*lining})}, which only lines the borders of others: is it a "
            "class, or smoothing? Name each class with its value: --mask-classes "
            f"{as_classes(values)}; or set --mask-threshold, or save the masks without smoothing."
        )


def _two_codings(
    masks: Sequence[Holding], values: Sequence[int], some_values: set[int], others: set[int]
) -> DataError:
    return DataError(
        f"the masks are coded in two ways: {first_with(masks, some_values)}, "
        f"{first_with(masks, others)}. Save all with the same values, or, if each value is a "
        f"class, name them: --mask-classes {as_classes(values)}."
    )


def first_with(masks: Sequence[Holding], values: set[int]) -> str:
    """A mask and what it holds of some values, in words."""
    for name, held in masks:
        if here := values & held:
            return f"{name} holds the value {min(here)}"
    return "the masks"


def as_classes(values: Sequence[int]) -> str:
    """The values as classes that are yet to be named."""
    shown = ",".join(f"NAME={value}" for value in values[1:4])
    return f"background={values[0]},{shown}" + (",NAME=..." if len(values) > 4 else "")
