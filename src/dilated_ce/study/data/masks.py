"""Reading mask files."""

from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dilated_ce.study.data.images import decoded

LOSSY_FORMATS = {"JPEG", "MPO"}
OPAQUE = 255
NEARLY_GREY = 16  # levels between red, green and blue


BY_COLOUR = (
    "if its colours are the classes, name them: --mask-classes background=#000000,NAME=#rrggbb"
)


def read_mask(file: Path | IO[bytes]) -> NDArray[np.uint16]:
    """A mask file that stands alone as uint16 (H, W): its grey values.

    Raises:
        ValueError: a damaged file, or a mask in colour or with transparency.
    """
    image = decoded(file)
    values, palette = stored_values(image, "save it with a grey value for each"), palette_of(image)
    if palette is None:
        return values
    if not is_grey(palette[np.unique(values)]):
        raise ValueError("has a palette of colours, expected grey values, one per class")
    return palette[values, 0].astype(np.uint16)


def stored_values(image: Image.Image, remedy: str = BY_COLOUR) -> NDArray[np.uint16]:
    """A mask as uint16 (H, W): the indices of a palette image, else its grey values.

    Of an image of one bit they are 0 and 1.

    Args:
        image: the mask.
        remedy: what the user may do if it is in colour.

    Raises:
        ValueError: a mask in colour or with transparency, or of fractions.
    """
    values = np.array(image)
    if image.mode in ("RGBA", "LA", "PA"):
        if not (values[..., :-1] != values[..., -1:]).any():
            values = values[..., :1]  # grey, and just as opaque
        else:
            check_drawn(image)
            if is_erased(image) is None:
                values = values[..., :-1]
    if values.ndim == 3:
        apart = np.ptp(values[..., :3].astype(np.int16), axis=-1).max()
        if values.shape[-1] == 3 and 0 < apart <= NEARLY_GREY:
            raise ValueError(
                "got a mask in colour that is nearly grey, as compression with loss leaves it, "
                "expected grey values; save it as a grey PNG and set --mask-threshold"
            )
        if (values != values[..., :1]).any():
            raise ValueError(
                f"got a mask in colour or with transparency (mode {image.mode}), expected grey "
                f"values or palette indices, one per class; {remedy}"
            )
        values = values[..., 0]
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"got a mask with fractions or more than 16 bits (mode {image.mode}), expected "
            "one whole number per class"
        )
    return values.astype(np.uint16)


def palette_of(image: Image.Image) -> NDArray[np.uint8] | None:
    """The colours (n, 3) of a palette image; None for any other.

    Raises:
        ValueError: a pixel whose index has no colour.
    """
    if image.mode not in ("P", "PA"):
        return None
    palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    highest = int(stored_values(image).max())
    if highest >= len(palette):
        raise ValueError(f"holds the index {highest}, and its palette has {len(palette)} colours")
    return palette


def is_erased(image: Image.Image) -> NDArray[np.bool_] | None:
    """Which pixels (H, W) are transparent; None if none is.

    One opacity of all pixels says nothing, unless it is 0.

    Raises:
        ValueError: pixels that are half transparent.
    """
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return None
    opacity = np.asarray(image.convert("RGBA").getchannel("A"))
    if opacity.min() == opacity.max() > 0:
        return None
    partial = opacity[(opacity > 0) & (opacity < OPAQUE)]
    if partial.size:
        raise ValueError(
            f"holds pixels that are half transparent (opacity {partial[0]} of {OPAQUE}), expected "
            "opaque ones, and for the background transparent ones; to make them opaque: m = "
            "Image.open(FILE).convert('RGBA'); m.putalpha(m.getchannel('A').point(lambda a: 255 * "
            "(a > 0))); m.save(FILE)"
        )
    return opacity == 0


def check_drawn(image: Image.Image) -> None:
    """Whether the colours of a mask that is transparent in places say anything.

    Raises:
        ValueError: all pixels have the same.
    """
    pixels = np.asarray(image.convert("RGBA"))
    differs = (pixels != pixels[:1, :1]).any((0, 1))
    if differs[3] and not differs[:3].any():
        raise ValueError(
            f"is drawn in its transparency alone, as all pixels have the colour "
            f"#{pixels[0, 0, :3].tobytes().hex()}; to make a grey mask of it: "
            "Image.open(FILE).convert('RGBA').getchannel('A').save(FILE)"
        )


def is_grey(colours: NDArray[np.uint8]) -> bool:
    """Whether all colours (n, 3) are greys."""
    return bool((colours == colours[:, :1]).all())


def is_lossy(image: Image.Image) -> bool:
    """Whether the format of the file may have changed the values."""
    return image.format in LOSSY_FORMATS
