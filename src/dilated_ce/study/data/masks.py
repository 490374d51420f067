"""Reading mask files."""

from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dilated_ce.study.data.images import decoded

MAX_CLASSES = 50  # more values than this are not classes
LOSSY_SUFFIXES = {".jpg", ".jpeg"}


def read_mask(file: Path | IO[bytes]) -> NDArray[np.uint16]:
    """A mask as uint16 (H, W): the indices of a palette image, else its grey values.

    Raises:
        ValueError: a damaged file, or a mask in colour or with transparency.
    """
    image = decoded(file)
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
