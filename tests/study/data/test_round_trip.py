"""A labelled folder, written in any of the ways that people write them, is read back as it was.

The same classes and pixels, or an error, and never others: what is drawn is a way to store masks
(format, kind of image, values, palette), and names of folders and files.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from PIL import Image
from study.data.written import paletted, picture, read, through_jpeg

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.layout import IMAGES, MASK_ENDINGS, MASKS

SIDE = 24
CASES = 3
VOID = 255


@dataclass(frozen=True)
class Way:
    """How a folder is written."""

    kind: str  # of the masks
    suffix: str
    num_classes: int
    step: int  # between the values of grey masks
    unlabelled: bool
    quality: int  # of JPEG
    images: str  # the names of the folders
    masks: str
    ending: str  # of the masks' names
    parts: bool
    seed: int
    options: bool  # says what the masks are


KINDS = (
    *("grey", "16 bits", "1 bit", "rgb", "alpha", "colours", "palette", "grey palette"),
    *("shuffled palette", "quantized", "mixed", "two codings", "smooth", "jpeg", "once jpeg"),
)
LOSSLESS = (".png", ".tif", ".bmp", ".gif", ".tga")
WAYS = st.builds(
    Way,
    kind=st.sampled_from(KINDS),
    suffix=st.sampled_from(LOSSLESS),
    num_classes=st.integers(2, 4),
    step=st.sampled_from([1, 1, 7, 50, 60, 85, 255]),
    unlabelled=st.booleans(),
    quality=st.integers(10, 100),
    images=st.sampled_from(IMAGES),
    masks=st.sampled_from(MASKS),
    ending=st.sampled_from(["", "", *MASK_ENDINGS]),
    parts=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    options=st.booleans(),
)


def draw_labels(way, random):
    """Boxes of every class, of 3 pixels or more along each side; some pixels nobody labelled."""
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for index in range(1, way.num_classes):
        top, left = random.integers(0, SIDE - 8, 2)
        height, width = random.integers(3, 9, 2)
        labels[top : top + height, left : left + width] = index
    if way.unlabelled:
        labels[: random.integers(1, 4)] = VOID
    return labels


def stored(way, labels, number, random):
    """The mask as a picture; the values of its classes, where they have one each."""
    values = np.arange(256) * way.step % 256
    values[VOID] = VOID
    grey = values[labels].astype(np.uint8)
    colours = [(0, 0, 0), (200, 0, 0), (0, 160, 0), (0, 0, 120)]
    filled = [*colours[: way.num_classes], *[(1, 2, 3)] * (VOID - way.num_classes), (255,) * 3]
    if way.kind == "16 bits":
        return Image.fromarray(grey.astype(np.uint16))
    if way.kind == "1 bit":
        return Image.fromarray(labels > 0)
    if way.kind == "rgb":
        return Image.fromarray(grey).convert("RGB")
    if way.kind == "alpha":
        return Image.fromarray(grey).convert("RGBA")
    if way.kind == "colours":
        return Image.fromarray(np.array(filled, np.uint8)[labels])
    if way.kind == "palette":
        return paletted(labels, *filled)
    if way.kind == "grey palette":
        # Of the same greys in any order of the indices.
        present = np.unique(grey)
        order = random.permutation(len(present))
        indices = order[np.searchsorted(present, grey)].astype(np.uint8)
        return paletted(indices, *[(int(level),) * 3 for level in present[order.argsort()]])
    if way.kind == "shuffled palette":
        order = random.permutation(way.num_classes)
        table = np.arange(256)
        table[: way.num_classes] = order
        mixed = [filled[i] for i in order.argsort()] + filled[way.num_classes :]
        return paletted(table[labels].astype(np.uint8), *mixed)
    if way.kind == "quantized":
        return Image.fromarray(np.array(filled, np.uint8)[labels]).quantize(way.num_classes + 1)
    if way.kind == "mixed":
        return Image.fromarray(grey) if number else paletted(labels, *filled)
    if way.kind == "two codings":
        return Image.fromarray(labels if number else grey)
    if way.kind == "smooth":
        larger = Image.fromarray(grey).resize((2 * SIDE,) * 2, Image.Resampling.BILINEAR)
        return larger.resize((SIDE,) * 2, Image.Resampling.BILINEAR)
    if way.kind == "once jpeg":
        return through_jpeg(grey, way.quality).copy()
    return Image.fromarray(grey)


def write(way, folder):
    """Write the folder; the labels by the names of the cases."""
    random = np.random.default_rng(way.seed)
    truth = {}
    for number in range(CASES):
        labels = draw_labels(way, random)
        mask = stored(way, labels, number, random)
        place = folder / ("train", "val", "test")[number] if way.parts else folder
        suffix = ".jpg" if way.kind == "jpeg" else way.suffix
        lossy = {"quality": way.quality} if way.kind == "jpeg" else {}
        for part, image, name, options in (
            (way.images, picture(number, labels.shape), f"c{number}.png", {}),
            (way.masks, mask, f"c{number}{way.ending}{suffix}", lossy),
        ):
            path = place / part / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, **options)
        truth[f"c{number}"] = labels
    return truth


def is_blurred(way):
    return way.kind in ("jpeg", "once jpeg", "smooth")


def check(way):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "data")
        try:
            truth = write(way, folder)
        except OSError:  # a format that has no such kind of image
            return event("not written")
        options = {}
        if way.options and is_blurred(way):
            options = {"mask_threshold": 127}
        elif way.options and way.unlabelled:
            options = {"ignore_value": VOID}
        try:
            data = read(folder, **options)
            found = {case.name: case.load().labels for case in data.cases}
        except DataError as error:
            assert str(error)  # noqa: PT017
            return event(f"{way.kind}: an error")
    event(f"{way.kind}: read")
    assert found.keys() == truth.keys()
    occurring = np.unique([*truth.values()])
    if way.kind == "1 bit" or "mask_threshold" in options:
        # Black and white: what is white, if nothing else can be told.
        values = np.arange(256) * way.step % 256
        values[VOID] = VOID
        white = values > (0 if way.kind == "1 bit" else 127)
        expected = {case: white[labels].astype(np.uint8) for case, labels in truth.items()}
    else:
        classes = [value for value in occurring.tolist() if value != options.get("ignore_value")]
        # A class is told by its value, so in the order of the values, as unlabelled pixels are.
        values = np.arange(256) * (
            1 if "palette" in way.kind and "grey" not in way.kind else way.step
        )
        values = values % 256
        values[VOID] = VOID
        by_value = sorted(classes, key=lambda label: values[label])
        table = np.full(256, VOID)
        for index, label in enumerate(by_value):
            table[label] = index
        assert len(data.classes) == len(by_value)
        expected = {case: table[labels] for case, labels in truth.items()}
    tolerated = 0.06 if is_blurred(way) else 0.0
    for case, labels in expected.items():
        assert np.mean(found[case] != labels) <= tolerated, way
    return None


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(WAYS)
def test_what_is_written_is_read_or_refused(way):
    check(way)


@pytest.mark.slow
@settings(max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
@given(WAYS)
def test_what_is_written_is_read_or_refused_in_2000_ways(way):
    check(way)
