"""What folders and files are called: the common ways are read, and what is not read is named."""

import shutil
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
from PIL import Image
from study.data.written import disc, picture, read, write
from toy import check_cases

from dilated_ce.study.data.cases import DataError
from dilated_ce.study.data.layout import IMAGES, MASKS, PARTS
from dilated_ce.study.data.pairing import MASK_ENDINGS


def masks(count=4):
    return [disc(number) * 255 for number in range(count)]


def parts_of(data):
    (fold,) = data.folds
    return tuple(len(part) for part in (fold.train, fold.validation, fold.test))


def refused(folder, message):
    with pytest.raises(DataError, match=message):
        read(folder)


@pytest.mark.parametrize("images", [*IMAGES, "Images", "IMGS"])
def test_folders_of_images(tmp_path, images):
    assert len(read(write(tmp_path, masks(), images=images)).cases) == 4


@pytest.mark.parametrize("labels", [*MASKS, "Masks", "GT"])
def test_folders_of_masks(tmp_path, labels):
    assert len(read(write(tmp_path, masks(), labels=labels)).cases) == 4


@pytest.mark.parametrize("ending", [*MASK_ENDINGS, "_Segmentation"])
@pytest.mark.parametrize("together", [False, True])
def test_endings_of_masks(tmp_path, ending, together):
    write(tmp_path, masks())
    for path in (tmp_path / "masks").iterdir():
        path.rename(path.with_stem(path.stem + ending))
    if together:
        for path in [*tmp_path.glob("*/*")]:
            path.rename(tmp_path / path.name)
        for part in ("images", "masks"):
            (tmp_path / part).rmdir()
    data = read(tmp_path)
    assert [case.name for case in data.cases] == ["c0", "c1", "c2", "c3"]
    assert (data.cases[2].load().labels == disc(2)).all()


@pytest.mark.parametrize("train", ["train", "training", "Train"])
@pytest.mark.parametrize("validation", ["val", "valid", "validation", None])
@pytest.mark.parametrize("test", ["test", "testing"])
@pytest.mark.parametrize("above", [True, False])
def test_parts(tmp_path, train, validation, test, above):
    for part, count in ((train, 4), (validation, 2), (test, 3)):
        if part and above:
            write(tmp_path / part, masks(count))
        elif part:
            write(tmp_path, masks(count), images=f"images/{part}", labels=f"masks/{part}")
    data = read(tmp_path)
    # A fifth of the four is for validation, where the folders have none.
    assert parts_of(data) == ((4, 2, 3) if validation else (3, 1, 3))
    assert data.split == "Split as the folders are."
    assert data.notes == ()


def test_parts_with_masks_beside_their_images(tmp_path):
    for part in ("train", "valid", "test"):
        for number in range(3):
            path = tmp_path / part / f"{part}{number}.png"
            path.parent.mkdir(exist_ok=True)
            picture(number).save(path)
            write(tmp_path / "one", [disc(number)])
            (tmp_path / "one/masks/c0.png").rename(path.with_stem(f"{path.stem}_mask"))
    for path in [*(tmp_path / "one").rglob("*.png")]:
        path.unlink()
    assert parts_of(read(tmp_path)) == (3, 3, 3)


def test_drive(tmp_path):
    for part, short in (("training", "training"), ("test", "test")):
        write(tmp_path / part, masks(), labels="1st_manual", suffix=".gif")
        for path in [*(tmp_path / part / "images").iterdir()]:
            path.rename(path.with_stem(f"{path.stem}_{short}"))
        for path in [*(tmp_path / part / "1st_manual").iterdir()]:
            path.rename(path.with_stem(f"{path.stem}_manual1"))
    assert parts_of(read(tmp_path))[2] == 4
    write(tmp_path / "training", masks(), labels="mask")  # the field of view
    refused(tmp_path, "1st_manual/ and mask/ hold pictures, and either could be the masks")
    for path in (tmp_path / "training/mask").iterdir():
        path.unlink()
    (tmp_path / "test/1st_manual").rename(tmp_path / "test/mask")
    refused(tmp_path, "the masks are in test/mask and in training/1st_manual: are both of one kind")


@pytest.mark.parametrize(
    ("extra", "shown"),
    [
        ("unlabelled", "unlabelled/ (4 files)"),
        ("val2/images", "val2/images/ (4 files)"),
        ("images/more", "images/more/ (4 files)"),
        ("masks_old", "masks_old/ (4 files)"),
    ],
)
def test_folders_that_are_not_read_are_named(tmp_path, extra, shown):
    write(tmp_path, masks(), labels=extra)
    write(tmp_path, masks())
    notes = check_cases(read(tmp_path)).notes
    assert notes == [f"not read: {shown}"]


def test_hidden_folders_and_links(tmp_path):
    write(tmp_path / "data", masks(), labels=".old")
    write(tmp_path / "elsewhere", masks())
    (tmp_path / "data/images/c1.png").unlink()
    (tmp_path / "data/images/c1.png").symlink_to(tmp_path / "elsewhere/images/c1.png")
    (tmp_path / "data/masks").symlink_to(tmp_path / "elsewhere/masks")
    (tmp_path / "data/again").symlink_to(tmp_path / "data")
    (tmp_path / "data/images/._c0.png").write_text("of macOS")
    data = read(tmp_path / "data")
    assert (len(data.cases), data.notes) == (4, ())


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (("imgs", "masks"), "images/ and imgs/ hold pictures, and either could be the images"),
        (("images", "labels"), "labels/ and masks/ hold pictures, and either could be the masks"),
        (("train/images", "train/masks"), "images and masks are in .* and in the parts train/"),
    ],
)
def test_two_places(tmp_path, extra, message):
    write(tmp_path, masks())
    write(tmp_path, masks(), images=extra[0], labels=extra[1])
    refused(tmp_path, message)


def test_two_names_of_a_part(tmp_path):
    for part in ("train", "val", "valid", "test"):
        write(tmp_path / part, masks())
    refused(tmp_path, "val/ and valid/ could both be the validation part")


def test_a_part_is_missing(tmp_path):
    for part in ("train", "valid"):
        write(tmp_path / part, masks())
    refused(tmp_path, r"expected train/ and test/ .*, found train/images, valid/images alone")
    write(tmp_path / "other", masks(), images="images/train", labels="masks/train")
    write(tmp_path / "other", masks(), images="images/test", labels="masks/valid")
    refused(tmp_path / "other", "masks: has no test/, which .*images has")


def test_text_files_of_labels_are_no_masks(tmp_path):
    write(tmp_path, masks())
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/c0.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert len(read(tmp_path).cases) == 4


def test_volumes_in_the_place_of_pictures(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "c0.nii.gz").write_bytes(b"")
    refused(tmp_path, "images holds no image; .*c0.nii.gz in it .*dataset.json")


def test_names_in_two_forms_of_unicode(tmp_path):
    write(tmp_path, masks())
    for part, form in (("images", "NFD"), ("masks", "NFC")):
        name = unicodedata.normalize(form, "größe é.png")
        (tmp_path / part / "c0.png").rename(tmp_path / part / name)
    data = read(tmp_path)
    assert unicodedata.normalize("NFC", "größe é") in [case.name for case in data.cases]
    picture().save(tmp_path / "images" / unicodedata.normalize("NFC", "größe é.png"))
    refused(tmp_path, "share a name")


def test_two_masks_of_one_image(tmp_path):
    write(tmp_path, masks())
    (tmp_path / "masks/c1.png").rename(tmp_path / "masks/c0_mask.png")
    refused(tmp_path, r"images/c0.png: c0.png and c0_mask.png could both be its mask")
    (tmp_path / "masks/c0_mask.png").rename(tmp_path / "masks/c1_mask_1.png")
    refused(tmp_path, r"c1.png: c1_mask_1.png is one of several masks .* only one; expected .*/c1")
    (tmp_path / "masks/c1_mask_1.png").rename(tmp_path / "masks/c9.png")
    (tmp_path / "images/c9.npy").write_bytes(b"")
    refused(tmp_path, r"masks/c9.png: no image of that name; images/c9.npy is not read: convert")


def laid(folder, together, *names):
    """Images and masks by these names, in one folder or in two; the masks are discs."""
    for number, name in enumerate(names):
        is_mask = "_mask" in name
        place = folder if together else folder / ("masks" if is_mask else "images")
        place.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(disc(number) * 255) if is_mask else picture(number)
        image.save(place / f"{name}.png")
    return folder


@pytest.mark.parametrize("together", [True, False])
def test_an_image_without_its_mask(tmp_path, together):
    laid(tmp_path, together, "c0", "c0_mask", "c1", "c1_mask", "c3")
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    place = tmp_path.name if together else "masks"
    assert str(raised.value).endswith(f"c3.png: no mask: expected {place}/c3_mask.png")
    assert "not read" not in str(raised.value)


@pytest.mark.parametrize("together", [True, False])
def test_several_masks_of_one_image_as_in_busi(tmp_path, together):
    names = [f"benign ({n})" for n in range(4)]
    of_three = ["benign (3)_mask_1", "benign (3)_mask_2"]
    laid(tmp_path, together, *names, *[f"{name}_mask" for name in names], *of_three)
    with pytest.raises(DataError) as raised:
        read(tmp_path)
    problem, *how = str(raised.value).splitlines()[1:]
    assert problem.endswith(
        "benign (3).png: several masks of one image: benign (3)_mask.png, benign (3)_mask_1.png, "
        "benign (3)_mask_2.png: merge them"
    )
    place = tmp_path if together else tmp_path / "masks"
    files = [place / f"{name}.png" for name in ("benign (3)_mask", *of_three)]
    parts = [np.array(Image.open(file)) for file in files]
    lines = "\n".join(line.strip() for line in how[1:])
    subprocess.run([sys.executable, "-c", lines], check=True)
    for file in files[1:]:
        file.unlink()
    (labels,) = (case.load().labels for case in read(tmp_path).cases if "(3)" in case.name)
    np.testing.assert_array_equal(labels, np.max(parts, axis=0) > 0)


def test_images_that_are_called_like_one_of_several_masks(tmp_path):
    names = ["x_label_1", "x_label_2", "x_label_3"]
    laid(tmp_path, True, *names, *[f"{name}_mask" for name in names])
    assert [case.name for case in read(tmp_path).cases] == names


def test_images_alone_and_masks_alone(tmp_path):
    laid(tmp_path / "one", True, *"abcdef")
    refused(tmp_path / "one", r": 6 pictures and no masks; expected such as a_mask.png for a.png")
    write(tmp_path / "two", masks())
    for path in (tmp_path / "two/masks").iterdir():
        path.rename(path.with_suffix(".npy"))
    refused(tmp_path / "two", r"masks is missing|4 pictures and no masks in .*masks; .* 4 files")
    laid(tmp_path / "three", True, "a_mask", "b_mask")
    refused(tmp_path / "three", r"2 masks and no images in .*; expected such as a.png for a_mask")
    for part in ("train", "test"):
        laid(tmp_path / "four" / part, True, "a", "b")
    refused(tmp_path / "four", r"train: 2 pictures and no masks; expected such as a_mask.png")


KINDS = (".npy", ".dcm", ".nii.gz")


@pytest.mark.parametrize("together", [True, False])
def test_cases_in_formats_that_are_not_read_are_named(tmp_path, together):
    names = [f"c{number}" for number in range(4)]
    laid(tmp_path, together, *names, *[f"{name}_mask" for name in names])
    for path in [*tmp_path.rglob("*.png")]:
        for kind in KINDS:
            path.with_name(f"x{path.stem}{kind}").write_bytes(b"")
    one = tmp_path if together else tmp_path / "images"
    (one / "README.txt").write_text("of nothing")
    (one / "c0.json").write_text("of the first case")
    (note,) = check_cases(read(tmp_path)).notes
    assert "README" not in note
    assert "c0.json" in note
    for kind in KINDS:
        many = "8" if together else "4"
        start = "xc0" if together else "images/xc0"
        assert f"{many} {kind} files such as {start}{kind}" in note
        assert together or f"4 {kind} files such as masks/xc0_mask{kind}" in note


@pytest.mark.parametrize("kind", KINDS)
def test_a_part_in_a_format_that_is_not_read_is_named(tmp_path, kind):
    for part in ("train", "val", "test"):
        write(tmp_path / part, masks())
    for path in [*(tmp_path / "val").rglob("*.png")]:
        path.rename(path.with_suffix(kind))
    (note,) = check_cases(read(tmp_path)).notes
    assert note == "not read: val/images/ (4 files), val/masks/ (4 files)"


def gone(path, target="/nowhere/at/all"):
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    "name",
    [
        "masks/c1.png",  # of an image that is there
        "images/z.tif",
        "images/z.nii.gz",
        "masks",
        "images",
        "train",
        "dataset.json",
    ],
)
def test_links_that_lead_nowhere(tmp_path, name):
    gone(write(tmp_path, masks()) / name)
    refused(tmp_path, f"{name}: link to /nowhere/at/all leads nowhere; mount or fetch")


def test_all_files_are_links_that_lead_nowhere(tmp_path):
    for path in [*write(tmp_path, masks()).rglob("*.png")]:
        gone(path)
    refused(tmp_path, r"images/c0.png: link to (.|\n)*masks/c3.png: link to")
    gone(tmp_path / "data")
    refused(tmp_path / "data", r"data is no folder. The link to /nowhere/at/all leads nowhere")


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("kind", ["images", "masks"])
def test_links_that_lead_nowhere_in_a_part(tmp_path, above, kind):
    for part in ("train", "test"):
        write(
            tmp_path / (part if above else ""),
            masks(),
            images="images" if above else f"images/{part}",
            labels="masks" if above else f"masks/{part}",
        )
    last = tmp_path / (f"test/{kind}" if above else f"{kind}/test")
    gone(last / "c2.png")
    refused(tmp_path, f"{last.name}/c2.png: link to /nowhere")


def test_links_that_lead_nowhere_beside_the_data_and_hidden_ones(tmp_path):
    write(tmp_path, masks())
    (tmp_path / "more").mkdir()
    for name in ("more/c0.png", "images/.c9.png", "readme", "images/notes.txt"):
        gone(tmp_path / name)
    assert check_cases(read(tmp_path)).notes == ["not read: more/ (one file)"]


def test_every_name_is_in_small_letters():
    assert all(name == name.lower() for name in (*IMAGES, *MASKS, *PARTS, *MASK_ENDINGS))
