"""Reading image files, with errors that name the file."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

UPRIGHT = 1  # of the eight orientations of EXIF
COLOURS = ("red", "green", "blue")  # the channels of a picture


def read_image(file: Path | IO[bytes]) -> NDArray[np.float32]:
    """The pixels of an image file: see `pixels_of`."""
    return pixels_of(decoded(file))


def pixels_of(image: Image.Image) -> NDArray[np.float32]:
    """An image of 8 or 16 bits as float32 (3, H, W) from 0 to 1; grey images are repeated."""
    if image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.float32) / 65535
        return np.repeat(grey[None], 3, axis=0)
    if image.mode in ("I", "F"):
        raise ValueError(f"got pixels of 32 bits (mode {image.mode}), expected 8 or 16 bits")
    rgb = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    return np.ascontiguousarray(rgb.transpose(2, 0, 1))


def is_in_colour(image: Image.Image) -> bool:
    """Whether an image stores colours, and not a single channel.

    Examples:
        >>> is_in_colour(Image.new("RGB", (1, 1), "grey")), is_in_colour(Image.new("L", (1, 1)))
        (True, False)
    """
    if image.mode in ("P", "PA"):
        palette = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
        return bool((palette != palette[:, :1]).any())
    return len(image.getbands()) > 2


def decoded(file: Path | IO[bytes]) -> Image.Image:
    """The image as it is stored, which a camera may have held askew: see `alike`.

    Raises:
        ValueError: if it is no image, damaged, too large, or one of several pages.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, and refuses those of twice the size.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                pages = getattr(image, "n_frames", 1)
                misread = _is_misread(image)
                if pages == 1 and not misread:
                    image.load()
                    return image
    except UnidentifiedImageError:
        raise ValueError("is not an image that Pillow can read") from None
    except Image.DecompressionBombError:
        raise ValueError(
            "claims more pixels than are read (179 million); cut it into tiles or make it smaller"
        ) from None
    except Exception as error:  # of a damaged file Pillow raises whatever it stumbles over
        reason = str(error) or type(error).__name__
        raise ValueError(f"cannot be read: {reason}; copy the file again") from error
    if misread:
        raise ValueError("is a BMP of 8 bits and 2 colours, which Pillow misreads; save it as PNG")
    raise ValueError(f"holds {pages} pages, expected a single 2D image")


def _is_misread(image: Image.Image) -> bool:
    """Whether Pillow takes a BMP of a byte per pixel, black or white, for one of a bit."""
    if image.format != "BMP" or image.mode != "1":
        return False
    _, bytes_per_row, _ = image.tile[0].args  # type: ignore[attr-defined]
    return bool(bytes_per_row != (image.width + 31) // 32 * 4)


def alike(image: Image.Image, mask: Image.Image) -> str | None:
    """Read an image and its mask the same way up, where EXIF turns one of them; what to say of it.

    They are taken as they are stored, unless their sizes only agree as they are shown.
    """
    if _orientation(image) == _orientation(mask):
        return None
    if image.size != mask.size:
        for picture in (image, mask):
            ImageOps.exif_transpose(picture, in_place=True)
        return "EXIF turns the image and not its mask alike; both are read as they are shown"
    return "EXIF turns the image and not its mask alike; both are read as they are stored"


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, UPRIGHT))
    except Exception:  # of a damaged EXIF Pillow raises whatever it stumbles over
        return UPRIGHT


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the name of the file before the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def rescale_image(image: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize an image or maps (C, H, W) to (C, *shape), each pixel the mean over its area."""
    if image.shape[1:] == shape:
        return image
    resized: NDArray[np.float32] = F.interpolate(torch.from_numpy(image)[None], shape, mode="area")[
        0
    ].numpy()
    return resized


def rescale_labels(labels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Resize a label map; a pixel takes the class with the largest share in its area."""
    if scale == 1.0:
        return labels
    # A tie goes to the foreground, as thin structures should not vanish; ignored voxels come last.
    present = sorted(np.unique(labels).tolist(), key=lambda label: -((label + 1) % 256))
    one_hot = labels[None] == np.array(present)[:, None, None]
    shares = rescale_image(one_hot.astype(np.float32), scaled(labels.shape, scale))
    return np.array(present, np.uint8)[shares.argmax(0)]


def scaled(shape: Sequence[int], scale: float) -> tuple[int, int]:
    """The size of a resized image, at least one pixel."""
    height, width = (max(1, round(side * scale)) for side in shape)
    return height, width
