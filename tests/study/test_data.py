from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dilated_ce.study.data import (
    DataError,
    load_folder,
    make_synthetic,
    rescale_image,
    rescale_labels,
)
from dilated_ce.study.images import read_image


def test_a_folder_is_split_by_sorted_name(image_folder):
    data = load_folder(image_folder(count=8))
    assert [case.name for case in data.train] == [f"case {i} é" for i in range(6)]
    assert [case.name for case in data.test] == ["case 6 é", "case 7 é"]
    case = data.train[0]
    assert case.image.shape == (3, 36, 40)
    assert case.image.dtype == np.float32
    assert case.image.min() >= 0
    assert case.image.max() <= 1
    assert data.classes == ("background", "foreground")
    assert set(np.unique(case.labels)) == {0, 1}
    assert 0.4 < data.foreground < 0.6
    assert data.split == "The last quarter of the sorted names is the test part."
    assert data.source == "Images from the folder data."  # no path: reports are passed on


def test_a_folder_with_train_and_test_is_taken_as_split(image_folder, tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        image_folder(root=tmp_path / "split" / part, count=count)
    data = load_folder(tmp_path / "split")
    assert (len(data.train), len(data.test)) == (3, 2)
    assert data.split == "Split as the folders train and test are."
    (tmp_path / "split" / "validation").mkdir()
    assert "validation is not used" in load_folder(tmp_path / "split").split


def test_each_value_is_a_class(image_folder):
    data = load_folder(image_folder(masks=(0, 1, 3)))
    assert data.classes == ("background", "1", "3")  # no class is made up for the value 2
    assert set(np.unique(data.train[0].labels)) == {0, 1, 2}


def test_jpeg_masks_are_cut_at_127(image_folder):
    folder = image_folder(suffix=".jpg")
    data = load_folder(folder)
    grey = np.asarray(Image.open(folder / "masks" / "case 0 é.jpg"))
    assert len(np.unique(grey)) > 2  # compression noise
    np.testing.assert_array_equal(data.train[0].labels, grey > 127)


def test_palette_masks_hold_indices(image_folder):
    folder = image_folder(masks=(0, 1))
    for path in (folder / "masks").iterdir():
        mask = Image.fromarray(np.asarray(Image.open(path)), mode="P")
        mask.putpalette([0, 0, 0, 200, 10, 10])
        mask.save(path)
    data = load_folder(folder)
    assert set(np.unique(data.train[0].labels)) == {0, 1}


def test_16_bit_images_keep_their_range(tmp_path):
    values = np.array([[0, 65535], [32768, 16384]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    image = read_image(tmp_path / "deep.png")
    assert image.shape == (3, 2, 2)
    np.testing.assert_allclose(image[1], values / 65535, atol=1e-6)


def break_nothing_there(folder):
    return folder.parent / "nowhere", "is no folder"


def break_layout(folder):
    (folder / "images").rename(folder / "pictures")
    return folder, "found neither images/ and masks/"


def break_masks_folder(folder):
    (folder / "masks").rename(folder / "labels")
    return folder, "masks is missing"


def break_empty(folder):
    for path in (folder / "images").iterdir():
        path.unlink()
    return folder, "holds no image"


def break_pairs(folder):
    (folder / "masks" / "case 2 é.png").unlink()
    (folder / "images" / "case 3 é.png").unlink()
    problems = (
        "\n  - images/case 2 é: no mask of that name\n  - masks/case 3 é: no image of that name"
    )
    return folder, f"a mask has its image's name:{problems}"


def break_single(folder):
    for part in ("images", "masks"):
        for path in sorted((folder / part).iterdir())[1:]:
            path.unlink()
    return folder, "got 1 image, expected at least 2"


def break_size(folder):
    Image.new("L", (10, 12)).save(folder / "masks" / "case 2 é.png")
    return folder, "images/case 2 é.png, masks/case 2 é.png: got 40 x 36 and 10 x 12 pixels"


def break_files(folder):
    (folder / "images" / "case 1 é.png").write_bytes(b"not a picture")
    path = folder / "masks" / "case 4 é.png"
    path.write_bytes(path.read_bytes()[:60])
    problems = (
        "\n  - images/case 1 é.png: is not an image that Pillow can read"
        "\n  - masks/case 4 é.png: cannot be read"
    )
    return folder, f"2 of the cases cannot be used:{problems}"


def break_foreground(folder):
    for path in (folder / "masks").iterdir():
        Image.new("L", (40, 36)).save(path)
    return folder, "all masks hold 0 alone, expected a background and a foreground"


def break_names(folder):
    Image.new("L", (40, 36)).save(folder / "masks" / "case 0 é.bmp")
    return folder, "case 0 é.bmp and case 0 é.png share a name"


def break_depth(folder):
    Image.fromarray(np.zeros((36, 40), np.float32)).save(folder / "images" / "case 0 é.tif")
    (folder / "images" / "case 0 é.png").unlink()
    return folder, "images/case 0 é.tif: got pixels of 32 bits (mode F), expected 8 or 16"


def break_pages(folder):
    path = folder / "images" / "case 0 é.png"
    page = Image.open(path)
    path.unlink()
    page.save(path.with_suffix(".tif"), save_all=True, append_images=[page])
    return folder, "images/case 0 é.tif: holds 2 pages, expected a single 2D image"


def break_colour(folder):
    Image.new("RGB", (40, 36), (255, 0, 0)).save(folder / "masks" / "case 0 é.png")
    return folder, "masks/case 0 é.png: got a mask in colour or with transparency (mode RGB)"


def break_alpha(folder):
    mask = np.zeros((36, 40, 4), np.uint8)
    mask[:10, :, 3] = 255
    Image.fromarray(mask).save(folder / "masks" / "case 0 é.png")
    return folder, "masks/case 0 é.png: got a mask in colour or with transparency (mode RGBA)"


def break_fractions(folder):
    mask = np.zeros((36, 40), np.float32)
    Image.fromarray(mask).save(folder / "masks" / "case 0 é.tif")
    (folder / "masks" / "case 0 é.png").unlink()
    return folder, "masks/case 0 é.tif: got a mask with fractions or more than 16 bits (mode F)"


def break_many_values(folder):
    mask = np.arange(36 * 40).reshape(36, 40).astype(np.uint8)
    Image.fromarray(mask).save(folder / "masks" / "case 0 é.png")
    return folder, "the masks hold 256 values (0, 1, 2, 3, 4, 5, 6, 7, ...), expected one per class"


def break_jpeg_indices(folder):
    mask = np.zeros((36, 40), np.uint8)
    mask[10:20] = 3
    Image.fromarray(mask).save(folder / "masks" / "case 0 é.jpg")
    (folder / "masks" / "case 0 é.png").unlink()
    return folder, "case 0 é.jpg: got a JPEG mask with values between black and white"


def break_test_part(folder):
    Image.new("L", (40, 36)).save(folder / "masks" / "case 5 é.png")
    return folder, "the test part has no foreground in any mask"


def break_train_part(folder):
    for index in range(5):
        Image.new("L", (40, 36), 255).save(folder / "masks" / f"case {index} é.png")
    return folder, "the train part has nothing but foreground"


@pytest.mark.parametrize(
    "spoil", [value for name, value in globals().items() if name.startswith("break_")]
)
def test_bad_folders_are_refused_by_name(image_folder, spoil):
    folder, message = spoil(image_folder())
    with pytest.raises(DataError) as error:
        load_folder(folder)
    assert message in str(error.value)


@pytest.mark.parametrize(("values", "foreground"), [((0, 64), 64), ((0, 100), 100), ((3, 9), 9)])
def test_of_two_values_the_larger_is_the_foreground(image_folder, values, foreground):
    folder = image_folder(masks=values)
    data = load_folder(folder)
    assert data.classes == ("background", "foreground")
    mask = np.asarray(Image.open(folder / "masks" / "case 0 é.png"))
    np.testing.assert_array_equal(data.train[0].labels, mask == foreground)


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "LA", "I;16"])
def test_grey_masks_in_any_mode(image_folder, mode):
    folder = image_folder()
    expected = load_folder(folder).digest
    for path in (folder / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        if mode == "I;16":
            Image.fromarray(mask.astype(np.uint16) * 257).save(path)
        else:
            Image.fromarray(mask).convert(mode).save(path)
    assert load_folder(folder).digest == expected


def test_photographs_are_turned_as_their_camera_says(image_folder):
    folder = image_folder()
    path = folder / "images" / "case 0 é.png"
    expected = read_image(path)
    turned = Image.open(path).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    turned.save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), expected)


def test_other_files_and_folders_are_passed_over(image_folder):
    folder = image_folder()
    expected = load_folder(folder).digest
    (folder / "images" / ".DS_Store").write_bytes(b"x")
    (folder / "images" / ".hidden.png").write_bytes(b"x")
    (folder / "images" / "notes.txt").write_text("x")
    (folder / "images" / "folder.png").mkdir()
    assert load_folder(folder).digest == expected


def test_rescaling_halves_and_keeps_thin_lines(image_folder):
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 3] = 2  # one pixel wide: half of the pixels of a column at half size
    assert rescale_labels(labels, 0.5).tolist() == [[0, 2, 0, 0]] * 4
    image = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    halved = image.reshape(3, 4, 2, 4, 2).mean((2, 4))
    np.testing.assert_allclose(rescale_image(image, (4, 4)), halved, rtol=1e-5)
    case = load_folder(image_folder(), scale=0.5).train[0]
    assert case.image.shape == (3, 18, 20)
    assert case.labels.shape == (18, 20)


def test_the_digest_sees_every_pixel_and_the_split():
    def digest(change=lambda data: data):
        return change(make_synthetic(4, 32)).digest

    def one_pixel(data):
        data.test[1].labels[3, 3] ^= 1
        return data

    def swap(data):
        return replace(data, train=data.test, test=data.train)

    assert digest() == digest()
    assert len({digest(), digest(one_pixel), digest(swap)}) == 3
