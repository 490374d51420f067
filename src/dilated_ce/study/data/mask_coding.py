"""Which values of a mask file stand for which class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from dilated_ce.study.data.cases import IGNORE_INDEX, DataError
from dilated_ce.study.data.mask_survey import WHITE, Survey, black_and_white, check_values, survey
from dilated_ce.study.data.masks import (
    check_drawn,
    is_erased,
    is_grey,
    is_lossy,
    palette_of,
    stored_values,
)
from dilated_ce.study.wording import some

MAX_CLASSES = 50  # more values than this are not classes


@dataclass(frozen=True)
class MaskCoding:
    """Turns mask files into label maps."""

    names: tuple[str, ...]  # of the classes, background first
    values: tuple[int, ...]  # of each class: grey values, or colours as 0xrrggbb
    threshold: int | None = None  # in place of values
    ignored: int | None = None  # the value of pixels that nobody labelled
    in_colour: bool = False
    by_index: bool = False  # palette images mean their indices, and not their greys
    white: int = 1  # the value of white in an image of one bit

    def labels(self, mask: Image.Image, is_predicted: bool = False) -> NDArray[np.uint8]:
        """The label map (H, W) of a mask.

        Args:
            mask: what the file holds.
            is_predicted: so that it is to have the values of the true masks.

        Raises:
            ValueError: a mask of another kind, or a value that is no class.
        """
        values = self._colours(mask)[0] if self.in_colour else self._numbers(mask)
        ignored = np.zeros(values.shape, bool) if self.ignored is None else values == self.ignored
        if self.threshold is not None:
            if values.max(where=~ignored, initial=0) == 1 and self.threshold > 0:
                raise ValueError(
                    f"holds 0 and 1, and nothing above the threshold {self.threshold}; save all "
                    "masks with the same values"
                )
            labels = (values > self.threshold).astype(np.uint8)
        else:
            labels = self._classes(values, ignored, is_predicted)
        labels[ignored] = IGNORE_INDEX
        return labels

    def note_on(self, mask: Image.Image) -> str | None:
        """What to say of how a mask is read."""
        if self.in_colour and self._colours(mask)[1]:
            return "transparent pixels are background, whatever colour they have"
        return None

    def _colours(self, mask: Image.Image) -> tuple[NDArray[np.int64], bool]:
        """The colours of a mask as 0xrrggbb, and whether some of another are transparent."""
        if mask.mode.startswith(("I", "F")):
            raise ValueError(
                f"has grey values of 16 bits or more (mode {mask.mode}), and no colours"
            )
        red, green, blue = np.asarray(mask.convert("RGB"), dtype=np.int64).transpose(2, 0, 1)
        values = (red << 16) + (green << 8) + blue
        background = self.values[0]
        if (values == background).all():
            check_drawn(mask)
        erased = is_erased(mask)
        if erased is None:
            return values, False
        of_another = bool((values[erased] != background).any())
        values[erased] = background
        return values, of_another

    def _numbers(self, mask: Image.Image) -> NDArray[np.uint16]:
        values, palette = stored_values(mask), palette_of(mask)
        if palette is not None and not self.by_index:
            if not is_grey(palette[np.unique(values)]):
                raise ValueError("has a palette of colours, which those of the others are not")
            return palette[values, 0].astype(np.uint16)
        if mask.mode == "1":
            return values * np.uint16(self.white)
        if not is_lossy(mask):
            return values
        if self.ignored is not None:
            raise ValueError("is JPEG, which changes values: none in it can be ignored")
        return values if self.threshold is not None else black_and_white(values)

    def _classes(
        self, values: NDArray, ignored: NDArray[np.bool_], is_predicted: bool
    ) -> NDArray[np.uint8]:
        known = np.array(self.values)
        order = known.argsort()
        labels = order[np.searchsorted(known[order], values).clip(max=len(known) - 1)]
        unknown = values[(known[labels] != values) & ~ignored]
        if unknown.size:
            expected = ", ".join(map(self._shown, self.values))
            shown = self._shown(int(unknown[0]))
            low, high = min(self.values), max(self.values)
            fix = "" if self.ignored is not None else f", or --ignore-value {shown}"
            if is_predicted:
                fix = ", which the true masks hold: save it with these values"
            if len(self.values) == 2 and low < unknown[0] < high and not self.in_colour:
                fix = f"; for masks with soft edges: --mask-threshold {(low + high) // 2}"
            raise ValueError(
                f"holds the value {shown}, which is no class; expected one of {expected}{fix}"
            )
        return labels.astype(np.uint8)

    def _shown(self, value: int) -> str:
        return f"#{value:06x}" if self.in_colour else str(value)


def find_coding(
    masks: Sequence[Path],
    threshold: int | None = None,
    classes: Mapping[str, int | str] | None = None,
    ignored: int | str | None = None,
) -> MaskCoding:
    """What the user says, or else what the masks hold.

    Without a threshold and classes every value that occurs is a class, the smallest the background.
    Two values, such as 0 and 255, are background and foreground; several are named by their value.

    Raises:
        DataError: masks that cannot be read, with one value alone, or with too many, or whose
            values may mean two things (see `mask_survey`); classes that are neither all values nor
            all colours.
    """
    if classes is not None:
        given = _given(classes, ignored)
        if given.in_colour:
            return given
        found = _with_ignored(survey(masks, given.ignored), given.ignored)
        white = WHITE if WHITE in given.values and 1 not in given.values else 1
        return replace(given, by_index=found.by_index, white=white)
    if isinstance(ignored, str):
        raise DataError(
            "--ignore-value: a colour is for classes that have colours: name them with "
            "--mask-classes."
        )
    found = _with_ignored(survey(masks, ignored), ignored)
    if threshold is not None:
        return _above(threshold, ignored, found)
    values = [value for value in found.values if value != ignored]
    shown = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
    if len(values) > MAX_CLASSES:
        raise DataError(
            f"the masks hold {len(values)} values ({shown}), expected one per class and at most "
            f"{MAX_CLASSES}. Name the classes with --mask-classes, or set --mask-threshold: 127 "
            "for masks that are black and white, smoothed or once saved as JPEG."
        )
    if len(values) < 2:
        beside = "" if ignored is None else f" beside the ignored {ignored}"
        raise DataError(
            f"all masks hold {shown or 'nothing'} alone{beside}, expected a background and a "
            "foreground."
        )
    check_values(found, values)
    names = ("foreground",) if len(values) == 2 else tuple(map(str, values[1:]))
    return MaskCoding(
        ("background", *names),
        tuple(values),
        ignored=ignored,
        by_index=found.by_index,
        white=found.white,
    )


def _with_ignored(found: Survey, ignored: int | None) -> Survey:
    """The survey, if the value that is to be ignored occurs."""
    if ignored is not None and ignored not in found.values:
        shown = some([str(value) for value in found.values], 8)
        raise DataError(f"--ignore-value {ignored}: no mask holds it; they hold {shown}.")
    return found


def _above(threshold: int, ignored: int | None, found: Survey) -> MaskCoding:
    if found.by_index:
        raise DataError(
            f"--mask-threshold {threshold}: some masks have a palette of colours, which are above "
            "or below nothing; name the classes by their colours: --mask-classes "
            "background=#000000,NAME=#rrggbb."
        )
    return MaskCoding(("background", "foreground"), (), threshold, ignored, white=WHITE)


def _given(classes: Mapping[str, int | str], ignored: int | str | None) -> MaskCoding:
    in_colour = [isinstance(value, str) for value in classes.values()]
    if any(in_colour) and not all(in_colour):
        raise DataError("--mask-classes: expected either grey values or colours, got both.")
    if ignored is not None and isinstance(ignored, str) != all(in_colour):
        raise DataError(
            f"--ignore-value: got {ignored}, expected a {'colour' if all(in_colour) else 'value'}, "
            "as the classes have."
        )
    values = tuple(_number("--mask-classes", value) for value in classes.values())
    void = None if ignored is None else _number("--ignore-value", ignored)
    if len(set(values)) < len(values):
        raise DataError("--mask-classes: two classes have the same value.")
    if void in values:
        raise DataError(f"--ignore-value: {ignored} is the value of a class, too.")
    if len(values) > MAX_CLASSES:
        raise DataError(f"--mask-classes: got {len(values)}, expected at most {MAX_CLASSES}.")
    return MaskCoding(tuple(classes), values, None, void, all(in_colour))


def _number(option: str, value: int | str) -> int:
    """A grey value as it is, a colour as 0xrrggbb."""
    if not isinstance(value, str):
        return value
    try:
        colour = ImageColor.getcolor(value, "RGB")
    except ValueError as error:
        raise DataError(f"{option}: {error}; expected one such as #ff0000.") from error
    return int.from_bytes(bytes(colour), "big")
