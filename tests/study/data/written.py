"""Folders of pictures with drawn masks, written in the ways that people write them."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dilated_ce.study.data.reading import DataConfig, open_data

SHAPE = (64, 80)


def disc(number=0, shape=SHAPE):
    """One in a mask, 9 % of its pixels."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return ((y - 30 - number) ** 2 + (x - 40) ** 2 <= 144).astype(np.uint8)


def rings(number=0):
    """Classes 0, 1 and 2, thick ones."""
    labels = disc(number)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    labels[(y - 30 - number) ** 2 + (x - 40) ** 2 <= 25] = 2
    return labels


def picture(number=0, shape=SHAPE):
    """An image of noise."""
    return Image.fromarray(
        np.random.default_rng(number).integers(0, 255, (*shape, 3), dtype=np.uint8)
    )


def write(folder, masks, images="images", labels="masks", suffix=".png", **options):
    """Write images, and masks (arrays or pictures) by the same names: c0, c1, ..."""
    for number, mask in enumerate(masks):
        mask = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        for part, image, ending in ((images, picture(number), ".png"), (labels, mask, suffix)):
            path = Path(folder, part, f"c{number}{ending}")
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, **(options if image is mask else {}))
    return folder


def paletted(indices, *colours):
    """A palette image."""
    image = Image.fromarray(indices, "L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([level for colour in colours for level in colour])
    return image


def through_jpeg(mask, quality=95):
    """What JPEG makes of a mask."""
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def read(folder, **options):
    """The data set in a folder."""
    return open_data(DataConfig(path=folder, **options))


def labels_in(folder, **options):
    """The label maps in a folder, in the order of their names."""
    return [case.load().labels for case in read(folder, **options).cases]
