"""Reading image files, with errors that name the file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError


def read_image(file: Path | IO[bytes]) -> NDArray[np.float32]:
    """An image of 8 or 16 bits as float32 (3, H, W) from 0 to 1; grey images are repeated."""
    with opened(file) as image:
        if image.mode.startswith("I;16"):
            grey = np.asarray(image, dtype=np.float32) / 65535
            return np.repeat(grey[None], 3, axis=0)
        if image.mode in ("I", "F"):
            raise ValueError(f"got pixels of 32 bits (mode {image.mode}), expected 8 or 16 bits")
        rgb = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
        return np.ascontiguousarray(rgb.transpose(2, 0, 1))


@contextmanager
def opened(file: Path | IO[bytes]) -> Iterator[Image.Image]:
    """The image, decoded and turned as its camera says.

    Raises:
        ValueError: if it is no image, damaged, too large, or one of several pages.
    """
    try:
        with Image.open(file) as image:
            pages = getattr(image, "n_frames", 1)
            if pages > 1:
                raise ValueError(f"holds {pages} pages, expected a single 2D image")
            image.load()
            yield ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise ValueError("is not an image that Pillow can read") from None
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot be read: {error}; copy the file again") from error


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the name of the file before the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
