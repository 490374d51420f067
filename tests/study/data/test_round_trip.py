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
from dilated_ce.study.data.layout import IMAGES, MASKS
from dilated_ce.study.data.pairing import MASK_ENDINGS

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
# The share of pixels that become those of another class when they are written.
BLURRED = {"smooth": 0.06, "jpeg": 0.06, "once jpeg": 0.06}
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
    # JPEG smears what is a few pixels wide.
    return np.kron(labels, np.ones((8, 8), np.uint8)) if way.kind == "jpeg" else labels


def stored(way, labels, number, random):
    """The mask as a picture, and the values that it means."""
    values = np.arange(256) * way.step % 256
    values[VOID] = VOID
    grey = values[labels].astype(np.uint8)
    colours = [(0, 0, 0), (200, 0, 0), (0, 160, 0), (0, 0, 120)]
    filled = [*colours[: way.num_classes], *[(1, 2, 3)] * (VOID - way.num_classes), (255,) * 3]
    coloured = np.array(filled, np.uint8)[labels]
    if way.kind in ("smooth", "once jpeg"):  # what these leave of small values is no trace
        grey = np.where(labels > 0, 255, 0).astype(np.uint8)
    if way.kind == "16 bits":
        return Image.fromarray(grey.astype(np.uint16)), grey
    if way.kind == "1 bit":
        return Image.fromarray(labels > 0), labels
    if way.kind in ("rgb", "alpha"):
        return Image.fromarray(grey).convert("RGB" if way.kind == "rgb" else "RGBA"), grey
    if way.kind == "colours":
        return Image.fromarray(coloured), labels
    if way.kind == "palette" or (way.kind == "mixed" and number == 0):
        return paletted(labels, *filled), labels
    if way.kind == "grey palette":  # the same greys, in any order of the indices
        present = np.unique(grey)
        order = random.permutation(len(present))
        indices = order[np.searchsorted(present, grey)].astype(np.uint8)
        return paletted(indices, *[(int(level),) * 3 for level in present[order.argsort()]]), grey
    if way.kind == "shuffled palette":
        order = random.permutation(way.num_classes)
        table = np.arange(256)
        table[: way.num_classes] = order
        mixed = [filled[i] for i in order.argsort()] + filled[way.num_classes :]
        return paletted(table[labels].astype(np.uint8), *mixed), labels
    if way.kind == "quantized":
        return Image.fromarray(coloured).quantize(way.num_classes + 1), labels
    if way.kind == "two codings" and number:
        return Image.fromarray(labels), labels
    if way.kind == "smooth":
        larger = Image.fromarray(grey).resize((2 * SIDE,) * 2, Image.Resampling.BILINEAR)
        return larger.resize((SIDE,) * 2, Image.Resampling.BILINEAR), grey
    if way.kind == "jpeg":  # which leaves nothing of a difference of a few levels
        return Image.fromarray(grey), np.where(grey <= 10, 0, np.where(grey >= 245, 255, grey))
    if way.kind == "once jpeg":
        return through_jpeg(grey, way.quality).copy(), grey
    return Image.fromarray(grey), grey


def write(way, folder):
    """Write the folder; the values that its masks mean, by the names of the cases."""
    random = np.random.default_rng(way.seed)
    meant = {}
    for number in range(CASES):
        labels = draw_labels(way, random)
        mask, meant[f"c{number}"] = stored(way, labels, number, random)
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
    return meant


def check(way):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "data")
        try:
            meant = write(way, folder)
        except OSError:  # a format that has no such kind of image
            return event("not written")
        if way.suffix == ".gif" and way.kind in ("rgb", "alpha", "colours"):
            return event("not written")  # as it was: Pillow chooses other colours for GIF
        options = {}
        if way.options and way.kind in BLURRED:
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
    assert found.keys() == meant.keys()
    everywhere = np.unique([*meant.values()])
    if way.kind == "1 bit":
        expected = {case: values > 0 for case, values in meant.items()}
    elif "mask_threshold" in options:
        expected = {case: values > 127 for case, values in meant.items()}
    else:
        classes = everywhere[everywhere != options.get("ignore_value")]
        assert len(data.classes) == len(classes)
        expected = {
            case: np.where(np.isin(values, classes), np.searchsorted(classes, values), VOID)
            for case, values in meant.items()
        }
    if way.kind in ("shuffled palette", "quantized"):  # whose indices say no more than "the same"
        pairs = {
            pair
            for case in found
            for pair in zip(found[case].flat, expected[case].flat, strict=True)
        }
        assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
        assert (0, 0) in pairs
        return None
    for case, labels in expected.items():
        assert np.mean(found[case] != labels) <= BLURRED.get(way.kind, 0.0)
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
