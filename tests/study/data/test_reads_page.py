"""Every row of the page "What does it read?" holds."""

import json
import re
import unicodedata
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from study.data import test_description as volumes
from study.data import test_volume_headers as headers
from study.data.written import disc, paletted, picture, read, rings, through_jpeg, write
from toy import check_cases

from dilated_ce.study.data.cases import DataError, mask_of

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "data.md"
COUNT = 4
ROWS = {}


def row(text):
    def register(test):
        ROWS[text] = test
        return test

    return register


def binary(number=0):
    return disc(number) * 255


def each(make):
    return [make(number) for number in range(COUNT)]


def holds(folder, expected=disc, **options):
    data = read(folder, **options)
    for number, case in enumerate(data.cases[:COUNT]):
        np.testing.assert_array_equal(case.load().labels, expected(number % COUNT))
    assert data.cases
    return data


def stops(folder, message, **options):
    with pytest.raises(DataError, match=message):
        read(folder, **options)


def notes(folder):
    return " ".join(check_cases(read(folder)).notes)


@row("`images/a.jpg` and `masks/a.png`")
def plain(folder):
    holds(write(folder, each(binary)))
    text = PAGE.read_text()
    from dilated_ce.study.data.layout import IMAGES, MASKS, PARTS
    from dilated_ce.study.data.pairing import MASK_ENDINGS

    assert all(f"`{name}" in text for name in (*IMAGES, *MASKS, *PARTS, *MASK_ENDINGS[1:]))


@row("`train/`, `valid/`, `test/` with both in each")
def parts(folder):
    for part in ("train", "valid", "test"):
        write(folder / part, each(binary))
    assert [len(names) for names in vars(holds(folder).folds[0]).values()] == [4, 4, 4]


@row("`images/train/` and `masks/train/` and so on")
def parts_within(folder):
    for part in ("train", "test"):
        write(folder, each(binary), images=f"images/{part}", labels=f"masks/{part}")
    assert holds(folder).split == "Split as the folders are."


@row("`a.jpg` and `a_mask.png`, in two folders or in one")
def endings(folder):
    write(folder, each(binary))
    for path in [*folder.glob("masks/*")]:
        path.rename(path.with_stem(f"{path.stem}_mask"))
    holds(folder)
    for path in [*folder.glob("*/*")]:
        path.rename(folder / path.name)
    holds(folder)


@row("two folders that could be the masks")
def two_folders(folder):
    write(folder, each(binary), labels="gt")
    stops(write(folder, each(binary)), "either could be the masks; move or rename")


@row("`a_mask.png` and `a_mask_1.png` for `a.png`, as in BUSI")
def several_masks(folder):
    write(folder, each(binary))
    for name in ("c0_mask", "c0_mask_1"):
        Image.fromarray(disc()).save(folder / f"masks/{name}.png")
    (folder / "masks/c0.png").unlink()
    stops(folder, "several masks of one image: c0_mask.png, c0_mask_1.png: merge")


@row("an image without a mask")
def no_mask(folder):
    write(folder, each(binary))
    (folder / "masks/c2.png").unlink()
    stops(folder, "c2.png: no mask: expected masks/c2.png")


@row("other folders with pictures or volumes; pairs in other formats beside the cases")
def others(folder):
    write(folder, each(binary), labels="more")
    write(folder, each(binary))
    (folder / "ct").mkdir()
    (folder / "ct/a.nii.gz").write_bytes(b"")
    for part in ("images", "masks"):
        (folder / part / "c9.npy").write_bytes(b"")
    assert notes(folder).startswith(
        "not read: ct/ (one file), images/c9.npy, masks/c9.npy, more/ (4 files)"
    )


@row("names with accents from another system")
def accents(folder):
    write(folder, each(binary))
    for part, form in (("images", "NFC"), ("masks", "NFD")):
        path = folder / part / "c1.png"
        path.rename(path.with_stem(unicodedata.normalize(form, "c1 é")))
    holds(folder)


@row("links, and hidden files")
def links(folder):
    write(folder / "there", each(binary))
    write(folder / "here", each(binary))
    (folder / "here/images/c0.png").unlink()
    (folder / "here/images/c0.png").symlink_to(folder / "there/images/c0.png")
    (folder / "here/images/.c9.png").write_text("")
    assert len(holds(folder / "here").cases) == COUNT
    (folder / "there/images/c0.png").unlink()
    stops(folder / "here", "images/c0.png: link to .* leads nowhere")


@row("PNG, TIFF, BMP, GIF, WebP, PPM, PGM, PBM, TGA, JPEG")
def formats(folder):
    for suffix in (".png", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".tga"):
        options = {"lossless": True} if suffix == ".webp" else {}
        holds(write(folder / suffix[1:], each(binary), suffix=suffix, **options))
    for suffix in (".jpg", ".ppm", ".webp", ".bmp"):
        write(folder / f"images {suffix}", each(binary))
        for number in range(COUNT):
            path = folder / f"images {suffix}/images/c{number}.png"
            picture(number).save(path.with_suffix(suffix))
            path.unlink()
        holds(folder / f"images {suffix}")
    write(folder / "pbm", each(lambda n: disc(n).astype(bool)), suffix=".pbm")
    assert len(read(folder / "pbm").cases) == COUNT


@row("a mask as `.npy` or in another format")
def other_formats(folder):
    write(folder, each(binary))
    (folder / "masks/c1.png").rename(folder / "masks/c1.npy")
    stops(folder, r"masks/c1.npy is not read: convert it to PNG")


@row("a picture that EXIF turns and whose mask it does not")
def exif(folder):
    write(folder, each(binary))
    turn = Image.Exif()
    turn[0x112] = 3
    picture(0).save(folder / "images/c0.png", exif=turn)
    holds(folder)
    assert "both are read as they are stored, in one case: c0" in notes(folder)


@row("grey values 0 and 255, or 0 and 1, or any two")
def two_values(folder):
    for value in (255, 1, 7):
        data = holds(write(folder / str(value), each(lambda n, v=value: disc(n) * np.uint8(v))))
        assert data.classes == ("background", "foreground")


@row("grey values such as 0, 1, 2 or 0, 128, 255")
def several_values(folder):
    for values in ((0, 1, 2), (0, 128, 255)):
        masks = each(lambda n, v=values: np.array(v, np.uint8)[rings(n)])
        data = holds(write(folder / str(values[1]), masks), rings)
        assert data.classes == ("background", str(values[1]), str(values[2]))


@row("1 bit, 16 bits, RGB of equal channels, one opacity")
def kinds_of_grey(folder):
    holds(write(folder / "1", [disc(0).astype(bool), *[binary(n) for n in range(1, COUNT)]]))
    holds(write(folder / "16", each(lambda n: disc(n).astype(np.uint16) * 65535)))
    for mode in ("RGB", "RGBA"):
        holds(write(folder / mode, each(lambda n, m=mode: Image.fromarray(binary(n)).convert(m))))


@row("a palette that is all grey")
def grey_palette(folder):
    holds(write(folder, each(lambda n: Image.fromarray(binary(n)).convert("RGB").quantize(2))))


@row("any other palette")
def other_palettes(folder):
    colours = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
    holds(write(folder, each(lambda n: paletted(rings(n), *colours))), rings)
    paletted(rings(0), colours[0], colours[2], colours[1]).save(folder / "masks/c0.png")
    stops(folder, "the palettes differ: .*--mask-classes background=#000000")
    by_colour = {"background": "#000000", "a": "#ff0000", "b": "#0000ff"}
    swap = np.array([0, 2, 1])
    holds(folder, lambda n: rings(n) if n else swap[rings(n)], mask_classes=by_colour)


@row("RGB in colour")
def in_colour(folder):
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)], np.uint8)
    write(folder, each(lambda n: colours[rings(n)]))
    stops(folder, "a mask in colour .*--mask-classes")
    by_colour = {"background": "#000000", "a": "#ff0000", "b": "#0000ff"}
    holds(folder, rings, mask_classes=by_colour)


@row("colours that are transparent in places")
def transparent(folder):
    for number, mask in enumerate(each(disc)):
        write(folder, [mask] * COUNT)
        for opacity, fix in ((mask * 255, None), (mask * 90, "half"), (None, "transparency alone")):
            below = np.full((*mask.shape, 3), (0, 0, 0) if opacity is None else (255, 0, 0))
            above = mask * 255 if opacity is None else opacity
            Image.fromarray(np.dstack([below.astype(np.uint8), above])).save(
                folder / f"masks/c{number}.png"
            )
            named = {"background": "#000000", "polyp": "#ff0000"}
            case = read(folder, mask_classes=named).cases[number]
            if fix is None:
                np.testing.assert_array_equal(case.load().labels, mask)
                assert "transparent pixels are background" in case.load().notes[0]
            else:
                with pytest.raises(DataError, match=fix):
                    case.load()


@row("0 and 255, and values between or near them")
def once_jpeg(folder):
    write(folder, each(lambda n: through_jpeg(binary(n)).copy()))
    stops(folder, "--mask-threshold 127")
    holds(folder, mask_threshold=127)


@row("a class that only lines others")
def lining(folder):
    def lined(number):
        labels = disc(number) * 2
        labels[(labels == 0) & (np.roll(labels, 1, 0) + np.roll(labels, 1, 1) > 0)] = 1
        return labels

    stops(write(folder, each(lined)), "only lines the borders of others")
    holds(folder, lined, mask_classes={"background": 0, "a": 1, "b": 2})


@row("JPEG in black and white")
def jpeg(folder):
    holds(write(folder, each(binary), suffix=".jpg", quality=95))


@row("JPEG with areas in between")
def grey_jpeg(folder):
    values = np.array([0, 128, 255], np.uint8)
    write(folder, each(lambda n: values[rings(n)]), suffix=".jpg", quality=80)
    stops(folder, "is a JPEG mask with areas of about 1.*PNG.*--mask-threshold")


@row("0 and 1 in some files, 0 and 255 in others")
def two_codings(folder):
    stops(write(folder, [disc(0), *each(binary)]), "coded in two ways")


def with_void(number):
    labels = disc(number)
    labels[:3] = 255
    return labels


@row("255 beside small values")
def void_or_class(folder):
    stops(write(folder, each(with_void)), "--ignore-value 255, or name each class")


@row("pixels that nobody labelled")
def void(folder):
    assert holds(write(folder, each(with_void)), with_void, ignore_value=255).ignore_index == 255


@row("nnU-Net: `channel_names`, `file_ending`, `imagesTr/c_0000.nii.gz`")
def nnunet(folder):
    volumes.check(volumes.write(folder, channels=2), channels=2)


@row("nnU-Net with the key `dataset`")
def nnunet_dataset(folder):
    case = {"images": ["imagesTr/c2_0000.nii.gz"], "label": "labelsTr/c2.nii.gz"}
    volumes.check(
        volumes.write(
            folder, dataset={"c2": case, "c3": json.loads(json.dumps(case).replace("c2", "c3"))}
        ),
        ("c2", "c3"),
    )


@row("nnU-Net's first version: `modality`, `training` without `_0000`")
def nnunet_old(folder):
    volumes.check(volumes.old(folder))


@row("the Medical Segmentation Decathlon")
def decathlon(folder):
    volumes.check(volumes.old(folder, numbered=False))


@row("a list of images for a case")
def lists(folder):
    volumes.test_a_list_of_images_is_of_channels(folder)


@row("paths with backslashes, `./`, or absolute ones in the folder")
def paths(folder):
    for number, path in enumerate(["imagesTr\\c{}.nii.gz", "{folder}/imagesTr/c{}.nii.gz"]):
        volumes.test_paths_as_other_systems_write_them(folder / str(number), path)


@row("`labels` as name: value or value: name")
def either_way(folder):
    volumes.check(volumes.write(folder))
    labels = {str(value): name for name, value in volumes.LABELS.items()}
    volumes.check(volumes.write(folder, labels=labels))
    stops(volumes.write(folder, labels={"0": "1", "1": "2", "2": "0"}), "can be the class '0'")


@row("regions: `[1, 2]`")
def regions(folder):
    data = read(volumes.write(folder, labels={"background": 0, "all": [1, 2], "core": 2}))
    assert data.overlapping
    found = data.by_name["c1"].load().labels
    assert (mask_of(found, 1, True) == (volumes.labels_of(1) > 0)).all()


@row("a label called `ignore`")
def ignore(folder):
    data = read(volumes.write(folder, labels={"background": 0, "core": 2, "ignore": 1}))
    assert ((data.by_name["c1"].load().labels == 255) == (volumes.labels_of(1) == 1)).all()


@row("NIfTI, NRRD, MetaImage: `.nii.gz`, `.nii`, `.nrrd`, `.mha`")
def formats_of_volumes(folder):
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        volumes.check(volumes.write(folder / ending[1:], ending))


@row("PNG, TIFF, BMP")
def pictures_of_nnunet(folder):
    for ending in (".png", ".tif", ".bmp"):
        place = folder / ending[1:]
        write(place, each(rings), images="imagesTr", labels="labelsTr", suffix=ending)
        for number in range(COUNT):
            (place / f"imagesTr/c{number}.png").unlink()
            picture(number).save(place / f"imagesTr/c{number}_0000{ending}")
        names = {"0": "R", "1": "G", "2": "B"}
        contents = {"channel_names": names, "labels": volumes.LABELS, "file_ending": ending}
        (place / "dataset.json").write_text(json.dumps(contents))
        data = holds(place, rings)
        assert data.cases[0].load().image.shape[0] == 3
        path = place / f"imagesTr/c0_0000{ending}"
        picture(0).convert("L").save(path)
        (problem, *_) = check_cases(data).problems
        assert f"c0: {path.name}: is one grey channel" in problem
        picture(0).save(path.with_stem("c0_0001"))
        stops(place, f"imagesTr/c0_0002{ending}: no such file")


@row("labels such as 0.99999")
def fractions(folder):
    volumes.write(folder)
    volumes.save(volumes.labels_of(1) * np.float32(0.99999), folder / "labelsTr/c1.nii.gz")
    volumes.check(folder)
    volumes.save(volumes.labels_of(1) * np.float32(0.5), folder / "labelsTr/c1.nii.gz")
    assert "such as 0.5" in check_cases(read(folder)).problems[0]


@row("labels stored in another orientation than the image")
def orientations(folder):
    volumes.write(folder)
    label = nibabel.Nifti1Image(volumes.labels_of(1), volumes.AFFINE)
    nibabel.save(nibabel.as_closest_canonical(label), folder / "labelsTr/c1.nii.gz")
    volumes.check(folder)
    assert "stored in different orientations (RAS and RPS), and were turned" in notes(folder)
    flipped = nibabel.Nifti1Image(volumes.labels_of(1), volumes.AFFINE @ np.diag([1, -1, 1, 1]))
    nibabel.save(flipped, folder / "labelsTr/c1.nii.gz")
    assert "expected the same places" in check_cases(read(folder)).problems[0]


@row("cases stored in different orientations")
def orientations_of_cases(folder):
    headers.volumes(folder, [(1, 1, 1)] * 4, ("RAS", "SPL"))
    assert "RAS in 2 cases, SPL in 2 cases" in notes(folder)


@row("volumes with `--dims 2`")
def slices(folder):
    data = read(headers.volumes(folder, [(1, 1, 1.05), (1.05, 1, 1)] * 2), dims=2)
    assert "across their axis to the head" in " ".join(check_cases(data).notes)
    headers.volumes(folder, [(1, 1, 2), (2, 1, 1)] * 2)
    assert "slices would be cut across" in check_cases(read(folder, dims=2)).problems[0]


@row("NIfTI whose pixdim and sform give two sizes of a voxel")
def two_sizes(folder):
    headers.say_other_sizes(headers.volumes(folder, [(1, 1, 5)] * 4) / "imagesTr/c1_0000.nii.gz")
    (problem,) = check_cases(read(folder)).problems
    assert "1 x 1 x 1 mm (pixdim) and 1 x 1 x 5 mm" in problem


@row("NIfTI in micrometres or metres")
def units(folder):
    headers.volumes(folder, [(500, 500, 900)] * 4, change=lambda i: headers.in_unit(i, "micron"))
    assert "were converted to mm" in notes(folder)


@row("NIfTI whose sform and qform differ")
def two_forms(folder):
    headers.volumes(folder, [(1, 1, 1)] * 4, change=headers.turn_qform)
    assert "the sform was taken" in notes(folder)


@row("files beside the cases")
def beside(folder):
    volumes.write(folder)
    volumes.save(volumes.labels_of(1), folder / "labelsTr/c9.nrrd")
    assert "not read: labelsTr/c9.nrrd" in notes(folder)


def test_every_row_of_the_page_is_tested():
    rows = re.findall(r"^\| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    headings = {"you have", "---"}
    assert [text for text in rows if text not in headings] == list(ROWS)


@pytest.mark.parametrize("text", ROWS)
def test_a_row_of_the_page(tmp_path, text):
    ROWS[text](tmp_path)
