"""Which values of a mask file stand for which class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageColor

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.images import decoded, naming
from dilated_ce.study.data.masks import LOSSY_SUFFIXES, MAX_CLASSES, read_mask
from dilated_ce.study.wording import listing

WHITE = 255


@dataclass(frozen=True)
class MaskCoding:
    """Turns mask files into label maps."""

    names: tuple[str, ...]  # of the classes, background first
    values: tuple[int, ...]  # of each class: grey values, or colours as 0xrrggbb
    threshold: int | None = None  # in place of values
    in_colour: bool = False

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The label map (H, W) of a mask file.

        Raises:
            ValueError: a file that cannot be read, or a value that is no class.
        """
        values = _colours(path) if self.in_colour else _grey_values(path, self.threshold)
        if self.threshold is not None:
            return (values > self.threshold).astype(np.uint8)
        known = np.array(self.values)
        order = known.argsort()
        places = np.searchsorted(known[order], values).clip(max=len(known) - 1)
        labels = order[places]
        unknown = values[known[labels] != values]
        if unknown.size:
            value = int(unknown[0])
            shown = f"#{value:06x}" if self.in_colour else str(value)
            raise ValueError(
                f"holds the value {shown}, which is no class; expected one of "
                + ", ".join(f"#{v:06x}" if self.in_colour else str(v) for v in self.values)
            )
        return labels.astype(np.uint8)


def find_coding(
    masks: Sequence[Path],
    threshold: int | None = None,
    classes: Mapping[str, int | str] | None = None,
) -> MaskCoding:
    """What the user says, or else what the masks hold.

    Without a threshold and classes every value that occurs is a class, the smallest the background.
    Two values, such as 0 and 255, are background and foreground; several are named by their value.
    JPEG blurs values, so JPEG masks have to be black and white: foreground is more than 127.

    Raises:
        DataError: masks that cannot be read, with one value alone, or with too many; classes that
            are neither all values nor all colours.
    """
    if threshold is not None:
        return MaskCoding(("background", "foreground"), (), threshold)
    if classes is not None:
        return _given(classes)
    values: set[int] = set()
    problems = []
    for path in masks:
        try:
            with naming(f"masks/{path.name}"):
                values |= set(np.unique(_grey_values(path, None)).tolist())
        except ValueError as error:
            problems.append(str(error))
    if problems:
        raise DataError(listing(f"{len(problems)} of the masks cannot be used", problems))
    ordered = tuple(sorted(values))
    shown = ", ".join(map(str, ordered[:8])) + (", ..." if len(ordered) > 8 else "")
    if len(ordered) > MAX_CLASSES:
        raise DataError(
            f"the masks hold {len(ordered)} values ({shown}), expected one per class and at most "
            f"{MAX_CLASSES}. Name the classes with data.mask_classes, or set data.mask_threshold."
        )
    if len(ordered) < 2:
        raise DataError(f"all masks hold {shown} alone, expected a background and a foreground.")
    names = ("foreground",) if len(ordered) == 2 else tuple(map(str, ordered[1:]))
    return MaskCoding(("background", *names), ordered)


def _given(classes: Mapping[str, int | str]) -> MaskCoding:
    in_colour = [isinstance(value, str) for value in classes.values()]
    if any(in_colour) and not all(in_colour):
        raise DataError("data.mask_classes: expected either grey values or colours, got both.")
    try:
        values = tuple(
            int.from_bytes(ImageColor.getcolor(value, "RGB"), "big")  # type: ignore[arg-type]
            if isinstance(value, str)
            else value
            for value in classes.values()
        )
    except ValueError as error:
        raise DataError(f"data.mask_classes: {error}; expected one such as #ff0000.") from error
    if len(set(values)) < len(values):
        raise DataError("data.mask_classes: two classes have the same value.")
    if len(values) > MAX_CLASSES:
        raise DataError(f"data.mask_classes: got {len(values)}, expected at most {MAX_CLASSES}.")
    return MaskCoding(tuple(classes), values, None, all(in_colour))


def _grey_values(path: Path, threshold: int | None) -> NDArray[np.uint16]:
    mask = read_mask(path)
    if threshold is None and path.suffix.lower() in LOSSY_SUFFIXES:
        between = float(np.mean((mask > 64) & (mask < 191)))
        if between > 0.05 or mask.max() in range(1, 128):
            raise ValueError(
                "got a JPEG mask with values between black and white, expected 0 and 255 alone; "
                "JPEG changes values: save masks of class indices as PNG, or set "
                "data.mask_threshold"
            )
        return np.where(mask > 127, WHITE, 0).astype(np.uint16)
    return mask


def _colours(path: Path) -> NDArray[np.int64]:
    image = decoded(path).convert("RGB")
    red, green, blue = np.asarray(image, dtype=np.int64).transpose(2, 0, 1)
    return (red << 16) + (green << 8) + blue
