"""Masks as pictures: the values that were meant, or an error that says what else they may mean."""

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from study.data.written import disc, labels_in, paletted, picture, read, rings, through_jpeg, write
from toy import check_cases

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.reading import DataConfig
from dilated_ce.study.settings.report import ReportConfig

BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 128, 0)
COUNT = 4


def expect(folder, expected, **options):
    found = labels_in(folder, **options)
    assert len(found) == COUNT
    for number, labels in enumerate(found):
        np.testing.assert_array_equal(labels, expected(number))


def refused(folder, message, **options):
    with pytest.raises(DataError, match=message):
        read(folder, **options)


def each(make):
    return [make(number) for number in range(COUNT)]


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: Image.fromarray(disc(n) * 255).convert("RGB").quantize(2),
        lambda n: Image.fromarray(disc(n) * 255).convert("P", palette=Image.Palette.ADAPTIVE),
        lambda n: paletted(1 - disc(n), WHITE, BLACK),
        lambda n: paletted(disc(n), BLACK, WHITE) if n % 2 else paletted(1 - disc(n), WHITE, BLACK),
        lambda n: paletted(disc(n), BLACK, WHITE) if n % 2 else Image.fromarray(disc(n) * 255),
    ],
)
def test_a_grey_palette_means_its_greys(tmp_path, make, suffix):
    if suffix == ".bmp" and make(1).getpalette() == [*BLACK, *WHITE]:
        write(tmp_path, each(make), suffix=suffix)
        refused(tmp_path, "c1.bmp: is a BMP of 8 bits and 2 colours, which Pillow misreads")
        return
    expect(write(tmp_path, each(make), suffix=suffix), disc)


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
def test_any_other_palette_means_its_indices(tmp_path, suffix):
    write(tmp_path, each(lambda n: paletted(rings(n), BLACK, RED, GREEN)), suffix=suffix)
    expect(tmp_path, rings)
    assert read(tmp_path).classes == ("background", "1", "2")
    named = {"background": "black", "a": "#008000", "b": "red"}
    expect(tmp_path, lambda n: np.array([0, 2, 1])[rings(n)], mask_classes=named)
    expect(tmp_path, rings, mask_classes={"background": 0, "a": 1, "b": 2})
    refused(tmp_path, "--mask-threshold 0: some masks have a palette of colours", mask_threshold=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda n: (
                paletted(rings(n), BLACK, RED, GREEN)
                if n < 3
                else paletted(rings(n), BLACK, GREEN, RED)
            ),
            r"index 1 is #ff0000 in masks/c0.png and #008000 in masks/c3.png; .*--mask-classes",
        ),
        (lambda n: paletted(1 - disc(n), RED, BLACK), "another one is black; .*--mask-classes"),
        (lambda n: paletted(rings(n), BLACK, RED, RED), "several indices .* the same colour"),
        (lambda n: paletted(rings(n), BLACK, BLACK, BLACK), "c0.png: several indices .* colour"),
        (
            lambda n: paletted(1 - disc(n), WHITE, BLACK, RED),
            "by the indices of its palette #ffffff is the background, by its greys #000000",
        ),
        (
            lambda n: paletted(rings(n), BLACK, RED, GREEN) if n else rings(n),
            "masks/c1.png has a palette of colours and masks/c0.png has none",
        ),
        (lambda n: Image.fromarray(rings(n) * 127).convert("RGB").quantize(8).convert("RGB"), None),
    ],
)
def test_palettes_that_mean_two_things(tmp_path, make, message):
    write(tmp_path, each(make))
    if message is None:
        assert read(tmp_path).classes == ("background", "127", "254")
    else:
        refused(tmp_path, message)


def smoothed(mask, size=(160, 128), back=(80, 64)):
    return (
        Image.fromarray(mask)
        .resize(size, Image.Resampling.BILINEAR)
        .resize(back, Image.Resampling.BILINEAR)
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda n: through_jpeg(disc(n) * 255).copy(),
        lambda n: through_jpeg(disc(n) * 255, 75).copy(),
        lambda n: smoothed(disc(n) * 255),
        lambda n: smoothed(disc(n) * 255, (40, 32)),
        lambda n: np.where(disc(n) != np.roll(disc(n), 1), 128, disc(n) * 255).astype(np.uint8),
        lambda n: np.where(np.arange(80) < 3 + n, 253, disc(n) * 255).astype(np.uint8),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_black_and_white_masks_with_other_values(tmp_path, make, suffix):
    write(tmp_path, each(make), suffix=suffix)
    refused(tmp_path, r"(--mask-threshold 127|set --mask-threshold: 127)")
    for number, labels in enumerate(labels_in(tmp_path, mask_threshold=127)):
        values = np.asarray(Image.open(tmp_path / f"masks/c{number}{suffix}"))
        np.testing.assert_array_equal(labels, values > 127)


def test_a_class_that_only_lines_another(tmp_path):
    def lined(number):
        labels = disc(number) * 2
        labels[(labels == 0) & (np.roll(labels, 1, 0) + np.roll(labels, 1, 1) > 0)] = 1
        return labels

    write(tmp_path, each(lined))
    refused(
        tmp_path, "holds the value 1, which only lines the borders .*--mask-classes background=0"
    )
    expect(tmp_path, lined, mask_classes={"background": 0, "rim": 1, "core": 2})


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("value", [20, 60, 128, 190, 235])
def test_jpeg_with_a_third_value(tmp_path, quality, value):
    levels = np.array([0, 255, value], np.uint8)
    write(tmp_path, each(lambda n: levels[rings(n)]), suffix=".jpg", quality=quality)
    refused(tmp_path, r"masks/c\d.jpg: is a JPEG mask with .*(PNG|--mask-threshold)")


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_in_black_and_white(tmp_path, quality):
    write(tmp_path, each(lambda n: disc(n) * 255), suffix=".jpg", quality=quality)
    found = labels_in(tmp_path)
    assert all(np.mean(labels == disc(n)) > 0.995 for n, labels in enumerate(found))
    refused(tmp_path, "all masks hold 255 alone", ignore_value=0)
    with pytest.raises(DataError, match="--ignore-value 200: no mask holds it"):
        labels_in(tmp_path, mask_threshold=127, ignore_value=200)


def test_it_is_the_format_and_not_the_name_that_blurs(tmp_path):
    write(tmp_path, each(rings))
    for number in range(COUNT):
        path = tmp_path / f"masks/c{number}.png"
        path.rename(path.with_suffix(".jpg"))
    expect(tmp_path, rings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda n: disc(n) * (255 if n % 2 else 1),
            "c0.png holds the value 1, .*c1.png holds .*255",
        ),
        (
            lambda n: disc(n).astype(np.uint16) * (65535 if n % 2 else 255),
            "coded in two ways: masks/c0.png holds the value 255, masks/c1.png .* 65535",
        ),
        (
            lambda n: np.array([0, 127, 255] if n % 2 else [0, 1, 2], np.uint8)[rings(n)],
            "coded in two ways: masks/c0.png holds the value 1, masks/c1.png holds the value 127",
        ),
    ],
)
def test_two_codings_in_one_set(tmp_path, make, message):
    write(tmp_path, each(make))
    refused(tmp_path, message)


def test_0_and_1_are_nothing_above_a_threshold(tmp_path):
    write(tmp_path, each(lambda n: disc(n) * (255 if n % 2 else 1)))
    with pytest.raises(DataError, match=r"c0.png: holds 0 and 1, and nothing above the threshold"):
        labels_in(tmp_path, mask_threshold=127)
    expect(tmp_path, disc, mask_threshold=0)


@pytest.mark.parametrize(
    "values", [(0, 1), (0, 255), (0, 7), (0, 128, 255), (0, 40, 80), (3, 1, 2), (0, 100, 200)]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_values(tmp_path, values, dtype, suffix):
    write(tmp_path, each(lambda n: np.array(values, dtype)[rings(n) % len(values)]), suffix=suffix)
    order = np.argsort(np.argsort(values))
    expect(tmp_path, lambda n: order[rings(n) % len(values)])


@pytest.mark.parametrize("white", [1, 255])
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_one_bit_beside_others(tmp_path, white, suffix):
    masks = each(lambda n: disc(n).astype(bool) if n % 2 else disc(n) * np.uint8(white))
    expect(write(tmp_path, masks, suffix=suffix), disc)
    expect(tmp_path, disc, mask_classes={"background": 0, "a": white})
    expect(tmp_path, disc, mask_threshold=white // 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: Image.fromarray(disc(n).astype(bool)),
        lambda n: Image.fromarray(disc(n) * 255).convert("RGB"),
        lambda n: Image.fromarray(disc(n) * 255).convert("RGBA"),
        lambda n: Image.fromarray(disc(n) * 255).convert("LA"),
    ],
)
def test_one_bit_and_three_equal_channels(tmp_path, make):
    expect(write(tmp_path, each(make)), disc)


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".pgm", ".tga", ".bmp"])
def test_formats_without_loss(tmp_path, suffix):
    lossless = {"lossless": True} if suffix == ".webp" else {}
    expect(write(tmp_path, each(lambda n: disc(n) * 255), suffix=suffix, **lossless), disc)


def test_webp_with_loss(tmp_path):
    write(tmp_path, each(lambda n: disc(n) * 255), suffix=".webp", quality=40)
    refused(tmp_path, "--mask-threshold")


@pytest.mark.parametrize("name", ["c2.npy", "c2.mat", "c2.nii.gz"])
def test_a_mask_in_a_format_that_is_not_read(tmp_path, name):
    write(tmp_path, each(disc))
    (tmp_path / "masks/c2.png").rename(tmp_path / "masks" / name)
    refused(
        tmp_path,
        "images/c2.png: no mask: expected masks/c2.png; "
        f"masks/{name} is not read: convert it to PNG",
    )


def test_colours_without_their_names(tmp_path):
    colours = np.array([BLACK, RED, GREEN], np.uint8)
    write(tmp_path, each(lambda n: colours[rings(n)]))
    refused(tmp_path, "a mask in colour .*--mask-classes background=#000000,NAME=#rrggbb")
    named = {"background": "#000000", "a": "#ff0000"}
    expect(
        tmp_path,
        lambda n: np.array([0, 1, 255])[rings(n)],
        mask_classes=named,
        ignore_value="#008000",
    )


def over(colours, opacity):
    """A mask with its opacity, either for each class or for each pixel."""
    levels = np.array(colours, np.uint8)
    return np.dstack([levels, np.asarray(opacity, np.uint8)])


def lower_half(number):
    return disc(number) * (np.arange(64) < 32 + number)[:, None].astype(np.uint8)


def red_and_erased(number):
    """A red disc, of which the lower half is transparent and still red below."""
    return over(np.array([BLACK, RED], np.uint8)[disc(number)], lower_half(number) * 255)


NAMED = {"background": "#000000", "lesion": "#ff0000"}


@pytest.mark.parametrize(
    ("make", "of_another"),
    [
        (red_and_erased, True),
        # All is painted, and what is no lesion erased again.
        (lambda n: over(np.full((64, 80, 3), RED), lower_half(n) * 255), True),
        # A palette of which one colour is transparent.
        (lambda n: paletted(disc(n) + lower_half(n), BLACK, RED, RED), True),
        (lambda n: over(np.array([BLACK, RED])[lower_half(n)], lower_half(n) * 255), False),
        (lambda n: over(np.array([BLACK, RED])[lower_half(n)], np.full((64, 80), 99)), False),
        (lambda n: np.array([BLACK, RED], np.uint8)[lower_half(n)], False),
    ],
)
def test_transparent_pixels_are_background(tmp_path, make, of_another):
    write(tmp_path, each(make))
    for path in tmp_path.glob("masks/*"):
        with Image.open(path) as mask:
            if mask.mode == "P":
                mask.save(path, transparency=1)
    expect(tmp_path, lower_half, mask_classes=NAMED)
    (note, *more) = check_cases(read(tmp_path, mask_classes=NAMED)).notes or [""]
    expected = "transparent pixels are background, whatever colour they have, in 4 cases: c0"
    assert note.startswith(expected) if of_another else note == ""
    assert not more


def test_without_options_transparent_pixels_lead_to_what_reads_them(tmp_path):
    write(tmp_path, each(red_and_erased))
    refused(tmp_path, r"with transparency \(mode RGBA\).*--mask-classes background=#000000,NAME=")
    white = np.array([BLACK, WHITE], np.uint8)
    write(tmp_path, each(lambda n: over(white[disc(n)], lower_half(n) * 255)))
    refused(tmp_path, r"with transparency \(mode RGBA\)")
    expect(tmp_path, lower_half, mask_classes={"background": "#000000", "lesion": "#ffffff"})


@pytest.mark.parametrize("options", [{}, {"mask_classes": NAMED}])
def test_half_transparent_pixels(tmp_path, options):
    colours = np.array([BLACK, RED], np.uint8)
    write(tmp_path, each(lambda n: over(colours[disc(n)], disc(n) * 100)))
    with pytest.raises(DataError, match=r"half transparent \(opacity 100 of 255\).*m.putalpha"):
        labels_in(tmp_path, **options)
    for path in tmp_path.glob("masks/*"):  # as the error says
        m = Image.open(path).convert("RGBA")
        m.putalpha(m.getchannel("A").point(lambda a: 255 * (a > 0)))
        m.save(path)
    expect(tmp_path, disc, mask_classes=NAMED)


@pytest.mark.parametrize("colour", [BLACK, WHITE])
@pytest.mark.parametrize("options", [{}, {"mask_classes": NAMED}])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_mask_that_is_drawn_in_its_transparency_alone(tmp_path, colour, options, mode):
    smooth = np.array(smoothed(disc() * 255))
    for opacity in (disc() * 255, smooth):
        mask = Image.fromarray(over(np.full((64, 80, 3), colour), opacity)).convert(mode)
        write(tmp_path, each(lambda n, mask=mask: mask))
        fix = r"drawn in its transparency alone.*getchannel\('A'\)"
        if options and colour == WHITE:
            fix = "holds the value #ffffff, which is no class|half transparent"
        with pytest.raises(DataError, match=fix):
            labels_in(tmp_path, **options)
    for path in tmp_path.glob("masks/*"):
        Image.open(path).convert("RGBA").getchannel("A").save(path)
    expect(tmp_path, lambda n: smooth > 127, mask_threshold=127)


@pytest.mark.parametrize(
    ("classes", "order"),
    [
        ({"lesion": 255, "background": 0}, "background=0,lesion=255"),
        ({"a": "#ff0000", "b": "#00ff00", "Background": "#000000"}, "Background=#000000,a=#ff0000"),
    ],
)
@pytest.mark.parametrize("settings", [DataConfig, ReportConfig])
def test_the_background_is_first(classes, order, settings):
    first = next(iter(classes))
    message = f"mask_classes\n.*background has to be first, got {first} first; write {order}"
    with pytest.raises(ValidationError, match=message):
        settings(path="data", mask_classes=classes)
    turned = dict(reversed(classes.items()))
    assert list(DataConfig(path="data", mask_classes=turned).mask_classes) == list(turned)
    DataConfig(path="data", mask_classes={"healthy": 0, "ill": 1})  # called as one likes


def with_void(number, value=255, of=disc):
    mask = of(number).copy()
    mask[:3] = value
    return mask


def test_pixels_that_nobody_labelled(tmp_path):
    write(tmp_path, each(with_void))
    refused(tmp_path, "c0.png holds the value 255 beside small ones.*--ignore-value 255, or name")
    expect(tmp_path, with_void, ignore_value=255)
    data = read(tmp_path, ignore_value=255)
    assert (data.classes, data.ignore_index) == (("background", "foreground"), 255)
    assert check_cases(data).notes == []
    expect(tmp_path, with_void, ignore_value=255, mask_classes={"background": 0, "tool": 1})
    with pytest.raises(DataError, match=r"255, which is no class; .* or --ignore-value 255"):
        labels_in(tmp_path, mask_classes={"background": 0, "tool": 1})
    as_class = {"background": 0, "tool": 1, "border": 255}
    expect(
        tmp_path, lambda n: np.where(with_void(n) == 255, 2, with_void(n)), mask_classes=as_class
    )
    halves = read(tmp_path, ignore_value=255, scale=0.5).cases[0].load().labels
    assert set(np.unique(halves)) == {0, 1, 255}
    assert (halves[0] == 255).all()


def test_ignored_pixels_under_a_threshold(tmp_path):
    write(tmp_path, each(lambda n: with_void(n, 127, lambda n: disc(n) * 255)))
    expect(
        tmp_path,
        lambda n: np.where(np.arange(64)[:, None] < 3, 255, disc(n)),
        ignore_value=127,
        mask_threshold=100,
    )


def test_ignored_indices_of_a_palette(tmp_path):
    colours = [BLACK, RED, GREEN, *[(9, 9, 9)] * 252, (224, 224, 192)]
    write(tmp_path, each(lambda n: paletted(with_void(n, of=rings), *colours)))
    refused(tmp_path, "--ignore-value 255")
    expect(tmp_path, lambda n: with_void(n, of=rings), ignore_value=255)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ignore_value": "#ff0000"}, "a colour is for classes that have colours"),
        ({"ignore_value": 0, "mask_classes": {"a": 0, "b": 1}}, "is the value of a class, too"),
        ({"ignore_value": 3, "mask_classes": {"a": "black", "b": "red"}}, "expected a colour"),
        ({"ignore_value": "rosy", "mask_classes": {"a": "black", "b": "red"}}, "--ignore-value: "),
        ({"ignore_value": 254}, "--ignore-value 254: no mask holds it; they hold 0, 1"),
        ({"ignore_value": 1}, "all masks hold 0 alone beside the ignored 1"),
    ],
)
def test_values_that_cannot_be_ignored(tmp_path, options, message):
    refused(write(tmp_path, each(disc)), message, **options)


def test_a_test_part_that_holds_nothing(tmp_path):
    for part, masks in (
        ("train", [disc(0), with_void(1)]),
        ("val", [disc(2)]),
        ("test", [np.full_like(disc(3), 255)]),
    ):
        write(tmp_path / part, masks)
    (problem,) = check_cases(read(tmp_path, ignore_value=255)).untested
    assert problem.startswith("all voxels of the test part are ignored; split the cases")
    write(tmp_path / "test", [disc(3) * 0])
    (problem,) = check_cases(read(tmp_path, ignore_value=255)).untested
    assert problem.startswith("no test case has a voxel of any class; split the cases")


def turned_by_exif(path, number, orientation, pixels=None):
    exif = Image.Exif()
    exif[0x112] = orientation
    (picture(number) if pixels is None else pixels).save(path, exif=exif)


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_exif_turns_image_and_mask_alike(tmp_path, orientation):
    write(tmp_path, each(lambda n: np.roll(disc(n), 20, 1)))
    for number in range(COUNT):
        (tmp_path / f"images/c{number}.png").unlink()
        bright = Image.fromarray(np.roll(disc(number), 20, 1) * 200).convert("RGB")
        turned_by_exif(tmp_path / f"images/c{number}.jpg", number, orientation, bright)
    for case in read(tmp_path).cases:
        loaded = case.load()
        assert loaded.image[:, loaded.labels == 1].mean() > 0.7
        assert loaded.image[:, loaded.labels == 0].mean() < 0.1
    (note,) = check_cases(read(tmp_path)).notes
    assert note.startswith("EXIF turns the image and not its mask alike; both are read as they are")


def test_a_mask_that_was_drawn_on_the_turned_picture(tmp_path):
    write(tmp_path, each(disc))
    for number in range(COUNT):
        stored = (
            Image.fromarray(disc(number) * 200).convert("RGB").transpose(Image.Transpose.ROTATE_90)
        )
        turned_by_exif(tmp_path / f"images/c{number}.png", number, 6, stored)
    for case in read(tmp_path).cases:
        loaded = case.load()
        assert loaded.image[:, loaded.labels == 1].min() > loaded.image[:, loaded.labels == 0].max()
    assert "both are read as they are shown" in check_cases(read(tmp_path)).notes[0]
