"""From mask files to label maps: which values are which classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dilated_ce.study.images import opened

MAX_CLASSES = 50  # more values than this are not classes
LOSSY_SUFFIXES = {".jpg", ".jpeg"}


class MaskError(Exception):
    """Masks whose values cannot be taken as classes."""


def classes_of_masks(
    masks: Mapping[str, NDArray[np.uint16]],
) -> tuple[tuple[str, ...], dict[str, NDArray[np.uint8]]]:
    """Name the classes of a set of masks, and turn each into a label map.

    - Every value that occurs is a class of its own, the smallest is the background. Two values,
      such as 0 and 255 or 0 and 1, are background and foreground; several are named by their
      value. No class is made up for a value between them that does not occur.
    - JPEG blurs values, so JPEG masks have to be black and white: foreground is more than 127.

    Args:
        masks: values (H, W) by file name.

    Returns:
        The names of the classes, background first, and the label maps (H, W) by file name.

    Raises:
        MaskError: one value alone, too many values, or JPEG masks with values in between.

    Example:
        >>> names, label_maps = classes_of_masks({"a.png": np.array([[0, 4]], np.uint16),
        ...                                       "b.png": np.array([[7, 4]], np.uint16)})
        >>> names, label_maps["b.png"].tolist()
        (('background', '4', '7'), [[2, 1]])
    """
    lossy = [name for name in masks if Path(name).suffix.lower() in LOSSY_SUFFIXES]
    for name in lossy:
        between = float(np.mean((masks[name] > 64) & (masks[name] < 191)))
        if between > 0.05 or masks[name].max() in range(1, 128):
            raise MaskError(
                f"{Path(name).name}: got a JPEG mask with values between black and white, expected "
                "0 and 255 alone. JPEG changes values: save masks of class indices as PNG."
            )
    if lossy:
        masks = {
            name: np.where(mask > 127, 255, 0) if name in lossy else mask
            for name, mask in masks.items()
        }
    values = sorted({int(value) for mask in masks.values() for value in np.unique(mask)})
    shown = ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")
    if len(values) > MAX_CLASSES:
        raise MaskError(
            f"the masks hold {len(values)} values ({shown}), expected one per class and at most "
            f"{MAX_CLASSES}. Save them as class indices, or as black and white."
        )
    if len(values) < 2:
        raise MaskError(f"all masks hold {shown} alone, expected a background and a foreground.")
    names = ("foreground",) if len(values) == 2 else tuple(map(str, values[1:]))
    label_maps = {
        name: np.searchsorted(values, mask).astype(np.uint8) for name, mask in masks.items()
    }
    return ("background", *names), label_maps


def read_mask(file: Path | IO[bytes]) -> NDArray[np.uint16]:
    """A mask as uint16 (H, W): the indices of a palette image, else its grey values.

    Raises:
        ValueError: a damaged file, or a mask in colour or with transparency.
    """
    with opened(file) as image:
        values = np.array(image)
        if image.mode in ("RGBA", "LA") and (values[..., -1] == values.flat[-1]).all():
            values = values[..., :-1]  # one opacity for all says nothing
        if values.ndim == 3:
            if (values != values[..., :1]).any():
                raise ValueError(
                    f"got a mask in colour or with transparency (mode {image.mode}), expected "
                    "grey values or palette indices, one per class"
                )
            values = values[..., 0]
        if image.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise ValueError(
                f"got a mask with fractions or more than 16 bits (mode {image.mode}), expected "
                "one whole number per class"
            )
        return values.astype(np.uint16)
