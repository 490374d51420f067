import numpy as np
import pytest
from PIL import Image

from dilated_ce.study.data import Case, DataError, load_folder, make_synthetic, read_image, rescale


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


def test_a_folder_with_train_and_test_is_taken_as_split(image_folder, tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        image_folder(root=tmp_path / "split" / part, count=count)
    data = load_folder(tmp_path / "split")
    assert (len(data.train), len(data.test)) == (3, 2)


def test_class_indices_stay_what_they_are(image_folder):
    data = load_folder(image_folder(masks=(0, 1, 3)))
    assert data.classes == ("background", "1", "2", "3")
    assert set(np.unique(data.train[0].labels)) == {0, 1, 3}


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
    return folder, "images/case 2 é: no mask of that name\n  - masks/case 3 é: no image"


def break_single(folder):
    for part in ("images", "masks"):
        for path in sorted((folder / part).iterdir())[1:]:
            path.unlink()
    return folder, "got 1 image, expected at least 2"


def break_size(folder):
    Image.new("L", (10, 12)).save(folder / "masks" / "case 2 é.png")
    return folder, "case 2 é.png: the image is 40 x 36 pixels, its mask 10 x 12"


def break_files(folder):
    (folder / "images" / "case 1 é.png").write_bytes(b"not a picture")
    path = folder / "masks" / "case 4 é.png"
    path.write_bytes(path.read_bytes()[:60])
    return folder, "2 of the images cannot be used:\n  - case 1 é.png: is not an image"


def break_values(folder):
    mask = np.array([[0, 85, 170, 255]] * 36, np.uint8).repeat(10, 1)
    Image.fromarray(mask).save(folder / "masks" / "case 0 é.png")
    return folder, "the masks hold the values 0, 85, 170, 255; expected two grey values"


def break_foreground(folder):
    for path in (folder / "masks").iterdir():
        Image.new("L", (40, 36)).save(path)
    return folder, "all masks are empty"


def break_names(folder):
    Image.new("L", (40, 36)).save(folder / "masks" / "case 0 é.bmp")
    return folder, "case 0 é.bmp and case 0 é.png share a name"


def break_depth(folder):
    Image.fromarray(np.zeros((36, 40), np.float32)).save(folder / "images" / "case 0 é.tif")
    (folder / "images" / "case 0 é.png").unlink()
    return folder, "case 0 é.tif: got pixels of 32 bits (mode F), expected 8 or 16 bits"


@pytest.mark.parametrize(
    "spoil", [value for name, value in globals().items() if name.startswith("break_")]
)
def test_bad_folders_are_refused_by_name(image_folder, spoil):
    folder, message = spoil(image_folder())
    with pytest.raises(DataError) as error:
        load_folder(folder)
    assert message in str(error.value)


def test_rescaling_halves_and_keeps_thin_lines():
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 3] = 2  # one pixel wide: half of the pixels of a column at half size
    image = np.random.default_rng(0).random((3, 8, 8), dtype=np.float32)
    case = rescale(Case("a", image, labels), 0.5)
    assert case.labels.tolist() == [[0, 2, 0, 0]] * 4
    np.testing.assert_allclose(case.image, image.reshape(3, 4, 2, 4, 2).mean((2, 4)), rtol=1e-5)


def test_the_digest_sees_every_pixel_and_the_split():
    def digest(change=lambda data: data):
        return change(make_synthetic(4, 32)).digest

    def one_pixel(data):
        data.test[1].labels[3, 3] ^= 1
        return data

    def swap(data):
        return type(data)(data.name, data.source, data.classes, data.test, data.train)

    assert digest() == digest()
    assert len({digest(), digest(one_pixel), digest(swap)}) == 3
